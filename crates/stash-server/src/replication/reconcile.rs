//! Comparing all that is held here with what a member holds: the questions of `difference.rs`,
//! asked.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, RecordHash};
use stash_p2p::Peer;

use crate::message::{self, Reply, Request};
use crate::replication::records::take;
use crate::replication::{Replication, difference};
use crate::rounds::Rounds;
use crate::rpc::{AskError, ask, unexpected};

/// Compares all that is held here and there; reads what is new, and tells the member what it lacks.
/// Returns how many records are new here.
pub(crate) async fn compare_all(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
) -> Result<u64, AskError> {
    let mut differing = vec![Vec::new()];
    for length in [0, 1] {
        let mut next = Vec::new();
        for page in differing.chunks(difference::PARTS) {
            next.extend(compare_sums(replication, peer, page.to_vec(), length).await?);
        }
        differing = next;
    }
    let parts: Vec<[u8; 2]> = differing.iter().filter_map(|p| p[..].try_into().ok()).collect();
    let size = difference::told(parts.len());
    let (mut rest, mut count) = (&parts[..], 0);
    let (mut rounds, mut named) = (Rounds::default(), Rounds::default());
    while !rest.is_empty() {
        let page = &rest[..rest.len().min(difference::SMALL)];
        let told = compare_parts(replication, peer, page, size).await?;
        rest = &rest[told.parts..];
        let difference = told.difference;
        if !rounds.answer(told.parts == page.len() || told.bytes >= LONG) {
            tracing::debug!(peer = %node.short(), "a member tells too little at a time");
            return Ok(count);
        }
        let mut lacking = difference.here;
        replication.transfer.in_flight.strike(&node, &mut lacking);
        for page in lacking.chunks(message::MAX_ADDRESSES) {
            ask(peer, &Request::Lack { hashes: message::pack_hashes(page) }).await?;
        }
        for page in difference.there.chunks(difference::SMALL) {
            let hashes = if size == difference::HALF {
                whole_hashes(peer, page).await?
            } else {
                page.iter()
                    .filter_map(|h| Some(RecordHash::from_bytes(h[..].try_into().ok()?)))
                    .collect()
            };
            let taken = take(replication, node, peer, hashes).await?;
            count += taken.count;
            if !named.answer(taken.shown > 0 || !taken.no_room.is_empty()) {
                tracing::debug!(peer = %node.short(), "a member names records that it does not show");
                return Ok(count);
            }
        }
    }
    Ok(count)
}

/// The parts of these prefixes in which the member holds something else.
async fn compare_sums(
    replication: &Arc<Replication>,
    peer: &Peer,
    prefixes: Vec<Vec<u8>>,
    length: u8,
) -> Result<Vec<Vec<u8>>, AskError> {
    let request = Request::Sums { prefixes: ByteBuf::from(prefixes.concat()), length };
    let reply = ask(peer, &request).await?;
    let Reply::Sums { sums: theirs } = reply else {
        return Err(unexpected(&reply));
    };
    let of = prefixes.clone();
    let mine = replication.core.disk.run(move |store| difference::sums(store, &of)).await;
    let mine = mine?;
    if mine.len() != theirs.len() {
        return Err(AskError::Protocol("sums of other parts".to_owned()));
    }
    Ok(difference::differing(&prefixes, &mine, &theirs))
}

/// A member's answer about the first of some parts.
struct Told {
    difference: difference::Difference,
    /// Number of those parts.
    parts: usize,
    bytes: usize,
}

/// An answer of so many bytes is a long one: a third of what an answer may have.
const LONG: usize = 64 << 10;

/// Compares the first of these parts.
async fn compare_parts(
    replication: &Arc<Replication>,
    peer: &Peer,
    parts: &[[u8; 2]],
    size: usize,
) -> Result<Told, AskError> {
    let told = u8::try_from(size).expect("16 or 32");
    let request = Request::Ids { parts: ByteBuf::from(parts.concat()), size: told };
    let reply = ask(peer, &request).await?;
    let Reply::Ids { ids, parts: done } = reply else {
        return Err(unexpected(&reply));
    };
    let wrong = || AskError::Protocol("hashes of other parts".to_owned());
    let done = usize::try_from(done).ok().filter(|done| (1..=parts.len()).contains(done));
    let done = done.ok_or_else(wrong)?;
    let (parts, bytes) = (parts[..done].to_vec(), ids.len());
    let found = replication
        .core
        .disk
        .run(move |store| difference::difference(store, &parts, size, &ids))
        .await;
    let difference = found?.ok_or_else(wrong)?;
    Ok(Told { difference, parts: done, bytes })
}

/// The member's records of which it told half of each hash.
async fn whole_hashes(peer: &Peer, halves: &[Vec<u8>]) -> Result<Vec<RecordHash>, AskError> {
    let reply = ask(peer, &Request::Match { halves: ByteBuf::from(halves.concat()) }).await?;
    let Reply::Hashes { hashes } = reply else {
        return Err(unexpected(&reply));
    };
    message::unpack_hashes(&hashes).map_err(|error| AskError::Protocol(error.to_string()))
}
