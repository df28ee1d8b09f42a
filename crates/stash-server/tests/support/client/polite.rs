//! The answers of a polite member that holds nothing.

use serde_bytes::ByteBuf;

use super::message::{Answer, Ask, bit_string};

pub(super) fn polite(ask: Ask) -> Answer {
    match ask {
        Ask::Members { .. } => Answer::Members { entries: vec![], addresses: vec![] },
        Ask::Log { log, after } => {
            Answer::Log { known: true, hashes: ByteBuf::new(), log, last: after }
        }
        Ask::Find { .. } => Answer::Records { records: vec![] },
        Ask::Writers { .. } => Answer::Writers { last: ByteBuf::new() },
        Ask::Sums { prefixes, length, .. } => {
            let parts = if length == 0 { 1 } else { prefixes.len() };
            Answer::Sums { sums: ByteBuf::from(vec![0; parts * 256 * 8]) }
        }
        Ask::Ids { parts, .. } => {
            let parts = parts.len() / 2;
            Answer::Ids { ids: ByteBuf::from(vec![0; 2 * parts]), parts: parts as u64 }
        }
        Ask::Match { .. } => Answer::Hashes { hashes: ByteBuf::new() },
        Ask::Cuts { .. } => Answer::Cuts { cuts: ByteBuf::new() },
        // As a member that holds nothing.
        Ask::All {} => Answer::All { n: 0, sum: ByteBuf::from(vec![0; 32]), log: 0 },
        Ask::Turned { run, after } => Answer::Turned {
            known: run == 1,
            records: ByteBuf::new(),
            run: 1,
            last: if run == 1 { after } else { 0 },
            n: 0,
            sum: ByteBuf::from(vec![0; 32]),
        },
        Ask::Have { chunks } => {
            Answer::Have { chunks: bit_string(&vec![false; chunks.len() / 32]) }
        }
        Ask::Holding { hashes } => {
            Answer::Holding { states: ByteBuf::from(vec![0; hashes.len() / 32]) }
        }
        Ask::Prove { chunks, .. } => {
            Answer::Proofs { proofs: ByteBuf::from(vec![0; chunks.len()]) }
        }
        Ask::Leaves { drawn } => Answer::Leaves { leaves: vec![ByteBuf::new(); drawn.len() / 36] },
        Ask::Evict { groups, .. } => Answer::Kept {
            proofs: ByteBuf::from(vec![0; groups.iter().map(|group| group.chunks.len()).sum()]),
            reason: "has nothing".to_owned(),
        },
        Ask::Get { .. } => Answer::NotHere {},
        Ask::Announce { .. } | Ask::News {} | Ask::Lack { .. } | Ask::Confirmed { .. } => {
            Answer::Done {}
        }
        Ask::Put {} | Ask::Join { .. } => {
            Answer::Refused { code: "role".to_owned(), reason: "scripted".to_owned() }
        }
    }
}
