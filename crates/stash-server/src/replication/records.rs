//! Getting records by their hashes from a member.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::{NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{ReadError, Store};

use crate::ledger::Chunks;
use crate::membership::exchange;
use crate::message::{FindPuts, RecordResult, Reply, Request};
use crate::replication::Replication;
use crate::replication::under_way::Claim;
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::accept::{self, Arrival};
use crate::{ledger, message};

/// Records asked for in one message: what comes back seldom is more than fits.
const FIND: usize = 128;

/// Such messages under way. Signatures are verified on as many threads.
const AT_ONCE: usize = 4;

/// Reads the records of a member that are not held here, but for those that are known to find no
/// room.
pub(crate) async fn take(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    mut hashes: Vec<RecordHash>,
) -> Result<Taken, AskError> {
    let named = hashes.len();
    replication.refused.strike(&mut hashes);
    let struck = named - hashes.len();
    let taken = Taken { struck, ..take_from(replication, node, peer, hashes).await? };
    if !taken.no_room.is_empty() {
        // Before the position moves on past them.
        let (shared, no_room) = (Arc::clone(replication), taken.no_room.clone());
        let keep = move |store: &Store| shared.refused.keep(store, &no_room);
        replication.core.disk.run(keep).await?;
        replication.transfer.rooms.changed();
    }
    Ok(taken)
}

/// Outcome of reading some records.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Number of records that are here now and were not.
    pub(crate) count: u64,
    /// Number that the member showed, whether the rules took them or not.
    pub(crate) shown: u64,
    /// Number that were not asked for: they are known to find no room here.
    pub(crate) struck: usize,
    /// Records that may be there and find no room here.
    pub(crate) no_room: Vec<RecordHash>,
}

impl Taken {
    fn plus(mut self, other: Taken) -> Taken {
        self.count += other.count;
        self.shown += other.shown;
        self.no_room.extend(other.no_room);
        self
    }
}

/// Reads the records among `hashes` that are not held here.
pub(crate) async fn take_from(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    hashes: Vec<RecordHash>,
) -> Result<Taken, AskError> {
    let (mut taken, mut left) = (Taken::default(), hashes);
    loop {
        left = not_held(replication, left).await?;
        if left.is_empty() {
            return Ok(taken);
        }
        let (more, others) = take_new(replication, node, peer, left).await?;
        taken = taken.plus(more);
        // Whoever is asked for them has them, mostly; if not, or not in time, this member is asked.
        replication.under_way.ended(&others).await;
        left = others;
    }
}

/// The records among `hashes` that are not held here.
async fn not_held(
    replication: &Replication,
    hashes: Vec<RecordHash>,
) -> Result<Vec<RecordHash>, AskError> {
    let look = move |store: &Store| {
        let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
        let held = store.has_records(&raw)?;
        let new = hashes.into_iter().zip(held).filter(|(_, held)| !held);
        Ok::<_, ReadError>(new.map(|(hash, _)| hash).collect::<Vec<_>>())
    };
    Ok(replication.core.disk.run(look).await?)
}

/// Reads records that are not held here, but for those that another member is being asked for: these are given
/// back.
async fn take_new(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    new: Vec<RecordHash>,
) -> Result<(Taken, Vec<RecordHash>), AskError> {
    // What is asked for at once may come at once, and is to find room.
    let (find_at_once, questions) = match replication.core.disk.run(ledger::is_roomy).await {
        true => (FIND, AT_ONCE),
        false => (ledger::FEW, 1),
    };
    let parts = new.chunks(find_at_once).map(<[RecordHash]>::to_vec);
    let parts: Vec<Vec<RecordHash>> = parts.collect();
    let one = |part| async move {
        // What came by another way since, or is on its way, is not asked for.
        let left = not_held(replication, part).await?;
        let (claim, others) = replication.under_way.claim(left);
        let taken = find(replication, node, peer, claim.hashes(), claim).await?;
        Ok::<_, AskError>((taken, others))
    };
    let taken = stream::iter(parts.into_iter().map(one)).buffer_unordered(questions);
    let taken: Vec<(Taken, Vec<RecordHash>)> = taken.try_collect().await?;
    let nothing = (Taken::default(), Vec::new());
    Ok(taken.into_iter().fold(nothing, |(all, mut rest), (taken, others)| {
        rest.extend(others);
        (all.plus(taken), rest)
    }))
}

/// Reads records by their hashes, as far as the member has them and there is room.
async fn find(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    mut wanted: Vec<RecordHash>,
    mut claim: Claim<'_>,
) -> Result<Taken, AskError> {
    let mut taken = Taken::default();
    while !wanted.is_empty() {
        let puts = replication.core.disk.run(ledger::readable).await;
        let request = Request::Find { hashes: message::pack_hashes(&wanted), puts };
        let reply = ask(peer, &request).await?;
        let Reply::Records { records } = reply else {
            return Err(unexpected(&reply));
        };
        let records = accept::decode(&replication.core.disk, records).await;
        claim.goes_on();
        // They come in the order of the question: what is before the last and did not come is gone
        // there or was left out, what is behind it may not have fitted.
        let mut passed = Vec::new();
        let next = match records.last() {
            Some(last) => {
                let is_last =
                    |hash: &RecordHash| last.as_ref().is_ok_and(|last| last.hash() == *hash);
                let at = wanted.iter().position(is_last);
                let unasked = || AskError::Protocol("a record that was not asked for".to_owned());
                wanted.split_off(at.ok_or_else(unasked)? + 1)
            }
            None => Vec::new(),
        };
        std::mem::swap(&mut passed, &mut wanted);
        wanted = next;
        let (count, full) = accept(replication, node, peer, &records).await?;
        taken.count += count;
        taken.shown += records.len() as u64;
        if puts == FindPuts::All {
            taken.no_room.extend(full);
            continue;
        }
        let came: BTreeSet<RecordHash> = records
            .iter()
            .filter_map(|record| Some(record.as_ref().ok()?.hash()))
            .filter(|hash| !full.contains(hash))
            .collect();
        taken.no_room.extend(passed.into_iter().filter(|hash| !came.contains(hash)));
    }
    Ok(taken)
}

/// True if there is room for any put at all. Blocking.
pub(crate) fn has_room(store: &Store) -> bool {
    ledger::readable(store) == FindPuts::All
}

/// Stores records. Returns how many are here now, and which found no room.
async fn accept(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    records: &[Arrival],
) -> Result<(u64, Vec<RecordHash>), AskError> {
    let mut results =
        accept::accept(&replication.transfer, node, records.to_vec(), Chunks::Later).await;
    let refused = |result: &RecordResult| matches!(result, RecordResult::Refused { .. });
    let again: Vec<usize> = (0..results.len()).filter(|at| refused(&results[*at])).collect();
    if !again.is_empty() {
        // Their writers may be members of whom this node has not heard.
        exchange::members(&replication.membership, peer).await?;
        let second = again.iter().map(|at| records[*at].clone()).collect();
        let second = accept::accept(&replication.transfer, node, second, Chunks::Later).await;
        again.into_iter().zip(second).for_each(|(at, result)| results[at] = result);
    }
    let (mut count, mut full) = (0, Vec::new());
    for (record, result) in records.iter().zip(&results) {
        match result {
            RecordResult::Stored {} => count += 1,
            RecordResult::Full { .. } => {
                full.extend(record.as_ref().ok().map(Record::hash));
            }
            RecordResult::Failed { reason } => {
                return Err(AskError::NotKept(reason.clone()));
            }
            RecordResult::Need { .. } | RecordResult::Refused { .. } => {}
        }
    }
    Ok((count, full))
}
