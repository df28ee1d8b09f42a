//! The one question of evicting: do you have these chunks, and every record that names them here?

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef, NodeId};
use stash_p2p::Peer;
use stash_store::{ReadError, Store};

use crate::ledger::at;
use crate::message::{NamedBy, Refusal, Reply, Request, Together, refused, unable};
use crate::rpc::{AskError, unexpected};
use crate::transfer::counting::CACHE;
use crate::transfer::proof::Question;
use crate::transfer::{Transfer, local};
use crate::{message, rpc};

/// Chunks in one question, at most.
pub(crate) const CHUNKS: usize = 64;

/// Record hashes in one question, at most: half of what a message may have. Chunks that more
/// records name are asked for with a digest of their hashes.
pub(crate) const RECORDS: usize = 4_096;

/// A member's answer.
pub(crate) struct Answer {
    pub(super) proven: Vec<Address>,
    /// A sentence for people.
    pub(super) text: String,
}

/// Asks one member. The expected proofs are worked out here while it reads.
pub(crate) async fn ask(
    transfer: &Arc<Transfer>,
    node: &NodeId,
    peer: &Peer,
    groups: &[Group],
) -> Result<Answer, AskError> {
    let mut nonce = [0; 32];
    transfer.core.environment.rng().fill_bytes(&mut nonce);
    let chunks: Vec<Address> =
        groups.iter().flat_map(|group| &group.chunks).map(|chunk| chunk.address).collect();
    let request = Request::Evict { nonce, groups: groups.iter().map(together).collect() };
    let expected = expected(transfer, *node, peer.handshake_hash(), nonce, chunks.clone());
    let (reply, expected) = tokio::join!(rpc::ask(peer, &request), expected);
    let reply = reply?;
    let Reply::Kept { proofs, reason } = reply else {
        return Err(unexpected(&reply));
    };
    let (proofs, rest) = proofs.as_chunks::<32>();
    if proofs.len() != chunks.len() || !rest.is_empty() {
        return Err(AskError::Protocol(format!("{} proofs", proofs.len())));
    }
    let (mut proven, mut bad, mut text) = (Vec::new(), 0, reason);
    for ((chunk, proof), expected) in chunks.into_iter().zip(proofs).zip(expected) {
        match expected {
            _ if *proof == [0; 32] => {}
            None => text = "the copy here is not whole".to_owned(),
            Some(expected) if is_equal(&expected, proof) => proven.push(chunk),
            Some(_) => bad += 1,
        }
    }
    if bad > 0 {
        tracing::error!(peer = %node.short(), bad, "a member gave proofs that do not hold");
        text = format!("{bad} proofs do not hold");
    }
    if text.is_empty() {
        text.push_str("proven");
    }
    Ok(Answer { proven, text })
}

/// Compares in constant time.
fn is_equal(expected: &[u8; 32], proof: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*expected) == blake3::Hash::from_bytes(*proof)
}

fn together(group: &Group) -> Together {
    let chunks = message::pack(group.chunks.iter().map(|chunk| &chunk.address));
    let named = if group.records.len() <= RECORDS {
        NamedBy::Records { hashes: ByteBuf::from(joined(&group.records)) }
    } else {
        NamedBy::Digest { digest: digest(&group.records) }
    };
    Together { chunks, named }
}

fn joined(records: &BTreeSet<[u8; 32]>) -> Vec<u8> {
    records.iter().flatten().copied().collect()
}

/// The digest of the records that name a chunk.
fn digest(records: &BTreeSet<[u8; 32]>) -> [u8; 32] {
    *blake3::hash(&joined(records)).as_bytes()
}

/// The proofs of what is here; `None` for what is not here whole.
async fn expected(
    transfer: &Arc<Transfer>,
    prover: NodeId,
    session: [u8; 32],
    nonce: [u8; 32],
    chunks: Vec<Address>,
) -> Vec<Option<[u8; 32]>> {
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| {
        let (stash, verifier) = (&shared.core.stash, &shared.core.me);
        let (nonce, prover, session) = (&nonce, &prover, &session);
        let question = Question { nonce, stash, verifier, prover, session };
        chunks.iter().map(|chunk| prove(&shared, store, &question, chunk)).collect()
    };
    transfer.core.disk.run(work).await
}

/// The proof of a chunk that is here whole and durable.
fn prove(
    transfer: &Transfer,
    store: &Store,
    question: &Question<'_>,
    chunk: &Address,
) -> Option<[u8; 32]> {
    let mut sealed = Vec::new();
    let is_durable = store.has(&[at(chunk)]).is_ok_and(|here| here[0]);
    let is_whole =
        is_durable && matches!(local::read(transfer, store, chunk, &mut sealed), Ok(true));
    is_whole.then(|| question.answer(&sealed))
}

/// Answers a member that wants to evict. Nothing is written: the chunks are kept here by the
/// records that name them.
pub(crate) async fn answer(
    transfer: &Arc<Transfer>,
    verifier: NodeId,
    session: [u8; 32],
    nonce: [u8; 32],
    groups: Vec<Together>,
) -> Reply {
    let wanted = match unpack(&groups) {
        Ok(wanted) => wanted,
        Err(reason) => return refused(Refusal::Malformed, &reason),
    };
    if let Err(away) = transfer.core.disk.run(Store::look).await {
        return unable(&away.into());
    }
    // Each chunk may be 4 MiB to read: members come in turn.
    let _turn = transfer.proving.of(verifier).await;
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| {
        let (stash, prover) = (&shared.core.stash, &shared.core.me);
        let (nonce, verifier, session) = (&nonce, &verifier, &session);
        let question = Question { nonce, stash, verifier, prover, session };
        show(&shared, store, &question, &wanted)
    };
    match transfer.core.disk.run(work).await {
        Ok((proofs, reason)) => Reply::Kept { proofs: ByteBuf::from(proofs), reason },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// The records that name some chunks, as the asker tells them.
enum Named {
    Records(BTreeSet<[u8; 32]>),
    Digest([u8; 32]),
}

impl Named {
    /// True if the records that name a chunk here are all that name it there, or more.
    fn is_met_by(&self, here: &BTreeSet<[u8; 32]>) -> bool {
        match self {
            Named::Records(there) => there.is_subset(here),
            Named::Digest(there) => *there == digest(here),
        }
    }
}

/// Chunks that are asked for, and what names them.
struct Wanted {
    chunks: Vec<Address>,
    named: Named,
}

fn unpack(groups: &[Together]) -> Result<Vec<Wanted>, String> {
    let (mut seen, mut records) = (BTreeSet::new(), 0);
    let mut wanted = Vec::with_capacity(groups.len().min(CHUNKS));
    for Together { chunks, named } in groups {
        let chunks = message::unpack(chunks).map_err(|error| error.to_string())?;
        if chunks.is_empty() || !chunks.iter().all(|chunk| seen.insert(*chunk)) {
            return Err("a group without chunks, or a chunk twice".to_owned());
        }
        let named = match named {
            NamedBy::Digest { digest } => Named::Digest(*digest),
            NamedBy::Records { hashes } => {
                let hashes = message::unpack_hashes(hashes).map_err(|error| error.to_string())?;
                records += hashes.len();
                Named::Records(hashes.iter().map(|hash| *hash.as_bytes()).collect())
            }
        };
        if matches!(&named, Named::Records(records) if records.is_empty()) {
            return Err("chunks that no record names".to_owned());
        }
        if seen.len() > CHUNKS || records > RECORDS {
            return Err(format!("more than {CHUNKS} chunks or {RECORDS} record hashes"));
        }
        wanted.push(Wanted { chunks, named });
    }
    Ok(wanted)
}

/// The proofs side by side, and a sentence if some are missing.
fn show(
    transfer: &Transfer,
    store: &Store,
    question: &Question<'_>,
    wanted: &[Wanted],
) -> Result<(Vec<u8>, String), ReadError> {
    let (mut proofs, mut reason) = (Vec::new(), String::new());
    for Wanted { chunks, named } in wanted {
        let addresses: Vec<_> = chunks.iter().map(at).collect();
        let here = store.referrers_of_all(&addresses)?;
        for (chunk, here) in chunks.iter().zip(here) {
            let shown = if transfer.core.keeps.is_cache() {
                Err(CACHE)
            } else if !named.is_met_by(&here) {
                Err("does not have all records that name them")
            } else if transfer.evicting.is_raised(chunk) {
                Err("is evicting the same bytes")
            } else {
                prove(transfer, store, question, chunk).ok_or("does not have all of it")
            };
            proofs.extend(shown.unwrap_or([0; 32]));
            reason = shown.err().map_or(reason, str::to_owned);
        }
    }
    Ok((proofs, reason))
}

/// Chunks that the same records name.
pub(crate) struct Group {
    /// Hashes of all records that name each of them here.
    pub(super) records: Arc<BTreeSet<[u8; 32]>>,
    pub(super) chunks: Vec<ChunkRef>,
}
