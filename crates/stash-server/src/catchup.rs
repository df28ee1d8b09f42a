//! Getting what others have and this node has not: records by their hashes, in the order of each
//! member, from where this node had come to; chunks come after them (`wants.rs`).
//!
//! What a node knows is the set of records that it holds. A position in a member's order only saves
//! asking again: when it is lost, or the member's store is not what it was, everything is compared.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, ReadError, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::{AskError, Core, ask, lock, unexpected};
use crate::ledger::{Chunks, LedgerError};
use crate::logs::Cursor;
use crate::message::{self, RecordResult, Reply, Request};
use crate::{compare, intake, short, sync};

/// Store row that says that one full exchange of records has ended.
pub(crate) const COMPLETE: &[u8] = b"sync/complete";

/// Store rows of how far this node has come in the order of each member: log id, sequence number
/// (little-endian).
const CURSORS: &[u8] = b"cursor/";

/// How long news wait for more of them. What a connected member is sent directly does not wait.
const NEWS: Duration = Duration::from_secs(1);

/// How often all that is held is compared with a connected member: 40 bytes if it is the same.
const AUDIT: Duration = Duration::from_secs(600);

/// Pauses after a failure: twice as long each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Records asked for in one message: what comes back seldom is more than fits.
const FIND: usize = 128;

/// Such messages under way. Signatures are verified on as many threads.
const AT_ONCE: usize = 4;

/// Records that a member said this node lacks and that wait to be read, 32 bytes each. What is
/// beyond is found when all that is held is compared.
const LACKING: usize = 1 << 16;

/// What wakes whoever follows a member.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    wake: Notify,
    lacking: Mutex<BTreeSet<RecordHash>>,
}

impl Follower {
    /// The member has news.
    pub(crate) fn news(&self) {
        self.wake.notify_one();
    }

    /// The member has records that this node lacks.
    pub(crate) fn lack(&self, hashes: impl IntoIterator<Item = RecordHash>) {
        let mut lacking = lock(&self.lacking);
        let room = LACKING.saturating_sub(lacking.len());
        lacking.extend(hashes.into_iter().take(room));
        drop(lacking);
        self.wake.notify_one();
    }
}

/// The store may not be the one that this node had: what it holds is compared with others before it
/// is called synchronised again.
pub(crate) fn doubt(store: &Store) -> Result<(), LedgerError> {
    let strike = |batch: Batch, (key, _): &(Vec<u8>, Vec<u8>)| batch.row(key, None);
    let batch = store.rows(CURSORS)?.iter().fold(Batch::new().row(COMPLETE, None), strike);
    store.commit(batch.even_if_full())?;
    Ok(())
}

/// Tells connected members, a little later, that there may be news here.
pub(crate) async fn tell(core: Arc<Core>) {
    let mut changes = core.changes.subscribe();
    changes.borrow_and_update();
    loop {
        tokio::select! {
            () = core.stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = sleep(NEWS) => {}
        }
        changes.borrow_and_update();
        for (node, peer) in core.connected() {
            core.tasks.spawn(async move {
                if let Err(error) = ask(&peer, &Request::News {}).await {
                    tracing::debug!(peer = %node.short(), %error, "a member was not told news");
                }
            });
        }
    }
}

/// Keeps this node up to date with a member until the connection ends.
pub(crate) async fn follow(core: Arc<Core>, node: NodeId, peer: Peer) {
    let follower = Arc::new(Follower::default());
    lock(&core.news).insert(node, Arc::clone(&follower));
    sync::meet(&core, node, &peer).await;
    let (mut audit_at, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        let due = Instant::now() >= audit_at;
        let again = match round(&core, node, &peer, &follower, due).await {
            Ok(()) => {
                if due {
                    audit_at = Instant::now() + AUDIT;
                }
                pause = PAUSES.0;
                audit_at
            }
            Err(error) => {
                tracing::debug!(peer = %node.short(), %error, "catching up was interrupted");
                pause = (pause * 2).min(PAUSES.1);
                Instant::now() + pause
            }
        };
        tokio::select! {
            () = core.stop.cancelled() => return,
            _ = peer.closed() => return,
            () = follower.wake.notified() => {}
            () = sleep_until(again) => {}
        }
    }
}

/// Reads what the member has; with `audit`, makes sure that nothing was passed over.
async fn round(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    follower: &Follower,
    audit: bool,
) -> Result<(), AskError> {
    let lacking: Vec<RecordHash> =
        std::mem::take(&mut *lock(&follower.lacking)).into_iter().collect();
    take(core, node, peer, lacking).await?;
    let mut count = pull(core, node, peer).await?;
    if audit {
        if !equal(core, peer).await? {
            count += compare_all(core, node, peer).await?;
        }
        exchanged(core).await?;
    }
    if count > 0 {
        tracing::info!(peer = %node.short(), count, "took over records");
    }
    // What came with news may be what the member lacked.
    short::settle(core, node, peer).await;
    Ok(())
}

/// Whether one full exchange of records has ended in this store.
pub(crate) fn synchronised(core: &Core) -> bool {
    matches!(core.disk.store().row(COMPLETE), Ok(Some(_)))
}

async fn exchanged(core: &Arc<Core>) -> Result<(), AskError> {
    if synchronised(core) {
        return Ok(());
    }
    let done = |store: &Store| store.commit(Batch::new().row(COMPLETE, Some(b"1")).even_if_full());
    core.disk.run(done).await.map(drop).map_err(|error| here(&error))
}

/// Whether the member holds the same records as this node.
async fn equal(core: &Core, peer: &Peer) -> Result<bool, AskError> {
    let reply = ask(peer, &Request::Totals {}).await?;
    let Reply::Totals { records, sum } = reply else {
        return Err(unexpected(&reply));
    };
    let mine = core.disk.store().record_totals();
    Ok((mine.count, mine.sum) == (records, sum))
}

/// Reads a member's order from where this node had come to. How many records are new here.
async fn pull(core: &Arc<Core>, node: NodeId, peer: &Peer) -> Result<u64, AskError> {
    let row = [CURSORS, node.as_bytes()].concat();
    let kept = core.disk.run(move |store| store.row(&row)).await.map_err(|error| here(&error))?;
    let from = kept.as_deref().and_then(decode).unwrap_or_default();
    walk(core, node, peer, from).await
}

/// Reads a member's order from a position to its end. How many records are new here. How far it has
/// come is kept with every page, so that a failure costs no more than a page.
async fn walk(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    mut cursor: Cursor,
) -> Result<u64, AskError> {
    let row = [CURSORS, node.as_bytes()].concat();
    let mut count = 0;
    loop {
        let reply = ask(peer, &Request::Log { log: cursor.log, after: cursor.after }).await?;
        let Reply::Log { known, hashes, log, last } = reply else {
            return Err(unexpected(&reply));
        };
        if !known {
            if cursor == Cursor::default() {
                return Err(AskError::Protocol("it does not know its own beginning".to_owned()));
            }
            // Restored from a copy, or made anew: the same numbers may mean other records there.
            tracing::warn!(peer = %node.short(), "a member's store is not what it was");
            count += compare_all(core, node, peer).await?;
            cursor = Cursor { log, after: last };
            continue;
        }
        let hashes = message::unpack_hashes(&hashes);
        let hashes = hashes.map_err(|error| AskError::Protocol(error.to_string()))?;
        let next = Cursor { log, after: last };
        if last < cursor.after || last == cursor.after && !hashes.is_empty() {
            return Err(AskError::Protocol("the sequence does not grow".to_owned()));
        }
        count += take(core, node, peer, hashes).await?;
        if next != cursor {
            let batch = Batch::new().row(&row, Some(&encode(&next))).even_if_full();
            let kept = core.disk.run(move |store| store.commit(batch)).await;
            kept.map_err(|error| here(&error))?;
        }
        if last == cursor.after {
            return Ok(count);
        }
        cursor = next;
    }
}

/// Compares all that is held here and there; reads what is new, and tells the member what it lacks.
/// How many records are new here.
async fn compare_all(core: &Arc<Core>, node: NodeId, peer: &Peer) -> Result<u64, AskError> {
    let mut differing = vec![Vec::new()];
    for length in [0, 1] {
        let mut next = Vec::new();
        for page in differing.chunks(compare::PARTS) {
            next.extend(compare_sums(core, peer, page.to_vec(), length).await?);
        }
        differing = next;
    }
    let parts: Vec<[u8; 2]> = differing.iter().filter_map(|p| p[..].try_into().ok()).collect();
    let size = compare::told(parts.len());
    let (mut rest, mut count) = (&parts[..], 0);
    while !rest.is_empty() {
        let page = &rest[..rest.len().min(compare::SMALL)];
        let (difference, done) = compare_parts(core, peer, page, size).await?;
        rest = &rest[done..];
        let mut here = difference.here;
        core.flying.strike(&node, &mut here);
        for page in here.chunks(message::MAX_ADDRESSES) {
            ask(peer, &Request::Lack { hashes: message::pack_hashes(page) }).await?;
        }
        for page in difference.there.chunks(compare::SMALL) {
            let hashes = if size == compare::HALF {
                whole_hashes(peer, page).await?
            } else {
                page.iter()
                    .filter_map(|h| Some(RecordHash::from_bytes(h[..].try_into().ok()?)))
                    .collect()
            };
            count += take(core, node, peer, hashes).await?;
        }
    }
    Ok(count)
}

/// The parts of these prefixes in which the member holds something else.
async fn compare_sums(
    core: &Arc<Core>,
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
    let mine = core.disk.run(move |store| compare::sums(store, &of)).await;
    let mine = mine.map_err(|error| here(&error))?;
    if mine.len() != theirs.len() {
        return Err(AskError::Protocol("sums of other parts".to_owned()));
    }
    Ok(compare::differing(&prefixes, &mine, &theirs))
}

/// What differs in the first of these parts, and how many parts those are.
async fn compare_parts(
    core: &Arc<Core>,
    peer: &Peer,
    parts: &[[u8; 2]],
    size: usize,
) -> Result<(compare::Difference, usize), AskError> {
    let told = u8::try_from(size).expect("16 or 32");
    let request = Request::Ids { parts: ByteBuf::from(parts.concat()), size: told };
    let reply = ask(peer, &request).await?;
    let Reply::Ids { ids, parts: done } = reply else {
        return Err(unexpected(&reply));
    };
    let wrong = || AskError::Protocol("hashes of other parts".to_owned());
    let done = usize::try_from(done).ok().filter(|done| (1..=parts.len()).contains(done));
    let done = done.ok_or_else(wrong)?;
    let parts = parts[..done].to_vec();
    let found = core.disk.run(move |store| compare::difference(store, &parts, size, &ids)).await;
    let found = found.map_err(|error| here(&error))?.ok_or_else(wrong)?;
    Ok((found, done))
}

/// The member's records of which it told half of each hash.
async fn whole_hashes(peer: &Peer, halves: &[Vec<u8>]) -> Result<Vec<RecordHash>, AskError> {
    let reply = ask(peer, &Request::Match { halves: ByteBuf::from(halves.concat()) }).await?;
    let Reply::Hashes { hashes } = reply else {
        return Err(unexpected(&reply));
    };
    message::unpack_hashes(&hashes).map_err(|error| AskError::Protocol(error.to_string()))
}

/// Reads those of a member's records that are not held here. How many that were.
async fn take(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    hashes: Vec<RecordHash>,
) -> Result<u64, AskError> {
    let look = move |store: &Store| {
        let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
        let held = store.has_records(&raw)?;
        let new = hashes.into_iter().zip(held).filter(|(_, held)| !held);
        Ok::<_, ReadError>(new.map(|(hash, _)| hash).collect::<Vec<_>>())
    };
    let new = core.disk.run(look).await.map_err(|error| here(&error))?;
    let parts: Vec<Vec<RecordHash>> = new.chunks(FIND).map(<[RecordHash]>::to_vec).collect();
    let one = |part| find(core, node, peer, part);
    let counts = stream::iter(parts.into_iter().map(one)).buffer_unordered(AT_ONCE);
    let counts: Vec<u64> = counts.try_collect().await?;
    Ok(counts.iter().sum())
}

/// Reads records by their hashes, as far as the member has them. How many were taken.
async fn find(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    mut wanted: Vec<RecordHash>,
) -> Result<u64, AskError> {
    let mut count = 0;
    while !wanted.is_empty() {
        let request = Request::Find { hashes: message::pack_hashes(&wanted) };
        let reply = ask(peer, &request).await?;
        let Reply::Records { records } = reply else {
            return Err(unexpected(&reply));
        };
        // They come in the order of the question: what is before the last and did not come is gone
        // there, what is behind it may not have fitted.
        let Some(last) = records.last() else { break };
        let last = Record::decode(last).map(|record| record.hash());
        let at = wanted.iter().position(|hash| last.as_ref().is_ok_and(|last| last == hash));
        let unasked = || AskError::Protocol("a record that was not asked for".to_owned());
        let at = at.ok_or_else(unasked)?;
        wanted.drain(..=at);
        count += accept(core, node, peer, records).await?;
    }
    Ok(count)
}

async fn accept(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    records: Vec<ByteBuf>,
) -> Result<u64, AskError> {
    let results = intake::accept(core, node, records.clone(), Chunks::Later).await;
    let refused = |result: &RecordResult| matches!(result, RecordResult::Refused { .. });
    let again: Vec<ByteBuf> = records
        .into_iter()
        .zip(&results)
        .filter(|(_, result)| refused(result))
        .map(|(record, _)| record)
        .collect();
    let mut results = results;
    if !again.is_empty() {
        // Their writers may be members of whom this node has not heard.
        sync::members(core, peer).await?;
        results.retain(|result| !refused(result));
        results.extend(intake::accept(core, node, again, Chunks::Later).await);
    }
    let failed = results.iter().find_map(|result| match result {
        RecordResult::Failed { reason } => Some(reason),
        _ => None,
    });
    match failed {
        Some(reason) => Err(AskError::Gone(format!("records were not stored here: {reason}"))),
        None => Ok(results.iter().filter(|r| matches!(r, RecordResult::Stored {})).count() as u64),
    }
}

/// A failure of the own store ends the exchange as a broken connection does: it is tried again.
fn here(error: &dyn std::fmt::Display) -> AskError {
    AskError::Gone(format!("the store here: {error}"))
}

fn encode(cursor: &Cursor) -> Vec<u8> {
    [&cursor.log[..], &cursor.after.to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (log, after) = bytes.split_first_chunk::<16>()?;
    Some(Cursor { log: *log, after: u64::from_le_bytes(after.try_into().ok()?) })
}
