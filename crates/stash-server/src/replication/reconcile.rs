//! Comparing all that is held here with what a member holds: the questions of `difference.rs`,
//! asked.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, RecordHash};
use stash_p2p::Peer;
use stash_store::{ReadError, Store};

use crate::message::{self, Reply, Request, Which};
use crate::replication::difference::Difference;
use crate::replication::records::take;
use crate::replication::whole::Believed;
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
    let parts = differing_parts(replication, peer, Subject::Held).await?;
    let size = difference::told(parts.len());
    let (mut rest, mut count) = (&parts[..], 0);
    let (mut rounds, mut named) = (Rounds::default(), Rounds::default());
    while !rest.is_empty() {
        let page = &rest[..rest.len().min(difference::SMALL)];
        let told = compare_parts(replication, peer, page, size, Subject::Held).await?;
        rest = &rest[told.parts..];
        if !rounds.answer(told.taught(page)) {
            tracing::debug!(peer = %node.short(), "a member tells too little at a time");
            return Ok(count);
        }
        let difference = told.difference;
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

/// Records that are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// All that are held here and there.
    Held,
    /// Those that are whole there, and those that the member is believed to have whole.
    Whole(NodeId),
}

impl Subject {
    fn which(self) -> Which {
        match self {
            Subject::Held => Which::Held,
            Subject::Whole(_) => Which::Whole,
        }
    }

    fn sums(self, store: &Store, prefixes: &[Vec<u8>]) -> Result<Vec<u8>, ReadError> {
        match self {
            Subject::Held => difference::sums(store, prefixes),
            Subject::Whole(node) => difference::sums(&Believed { store, node }, prefixes),
        }
    }

    fn difference(
        self,
        store: &Store,
        parts: &[[u8; 2]],
        size: usize,
        ids: &[u8],
    ) -> Result<Option<Difference>, ReadError> {
        match self {
            Subject::Held => difference::difference(store, parts, size, ids),
            Subject::Whole(node) => {
                difference::difference(&Believed { store, node }, parts, size, ids)
            }
        }
    }
}

/// The smallest parts in which there is something else at the member.
pub(crate) async fn differing_parts(
    replication: &Arc<Replication>,
    peer: &Peer,
    subject: Subject,
) -> Result<Vec<[u8; 2]>, AskError> {
    let mut differing = vec![Vec::new()];
    for length in [0, 1] {
        let mut next = Vec::new();
        for page in differing.chunks(difference::PARTS) {
            next.extend(compare_sums(replication, peer, page.to_vec(), length, subject).await?);
        }
        differing = next;
    }
    Ok(differing.iter().filter_map(|part| part[..].try_into().ok()).collect())
}

/// The parts of these prefixes in which there is something else at the member.
async fn compare_sums(
    replication: &Arc<Replication>,
    peer: &Peer,
    prefixes: Vec<Vec<u8>>,
    length: u8,
    subject: Subject,
) -> Result<Vec<Vec<u8>>, AskError> {
    let which = subject.which();
    let request = Request::Sums { prefixes: ByteBuf::from(prefixes.concat()), length, which };
    let reply = ask(peer, &request).await?;
    let Reply::Sums { sums: theirs } = reply else {
        return Err(unexpected(&reply));
    };
    let of = prefixes.clone();
    let mine = replication.core.disk.run(move |store| subject.sums(store, &of)).await;
    let mine = mine?;
    if mine.len() != theirs.len() {
        return Err(AskError::Protocol("sums of other parts".to_owned()));
    }
    Ok(difference::differing(&prefixes, &mine, &theirs))
}

/// A member's answer about the first of some parts.
pub(crate) struct Told {
    pub(crate) difference: Difference,
    /// Number of those parts.
    pub(crate) parts: usize,
    bytes: usize,
}

impl Told {
    /// False if that is little of what was asked for.
    pub(crate) fn taught(&self, asked: &[[u8; 2]]) -> bool {
        self.parts == asked.len() || self.bytes >= LONG
    }
}

/// An answer of so many bytes is a long one: a third of what an answer may have.
const LONG: usize = 64 << 10;

/// Compares the first of these parts.
pub(crate) async fn compare_parts(
    replication: &Arc<Replication>,
    peer: &Peer,
    parts: &[[u8; 2]],
    size: usize,
    subject: Subject,
) -> Result<Told, AskError> {
    let (told, which) = (u8::try_from(size).expect("16 or 32"), subject.which());
    let request = Request::Ids { parts: ByteBuf::from(parts.concat()), size: told, which };
    let reply = ask(peer, &request).await?;
    let Reply::Ids { ids, parts: done } = reply else {
        return Err(unexpected(&reply));
    };
    let wrong = || AskError::Protocol("hashes of other parts".to_owned());
    let done = usize::try_from(done).ok().filter(|done| (1..=parts.len()).contains(done));
    let done = done.ok_or_else(wrong)?;
    let (parts, bytes) = (parts[..done].to_vec(), ids.len());
    let found =
        replication.core.disk.run(move |store| subject.difference(store, &parts, size, &ids)).await;
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
