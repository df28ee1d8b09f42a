//! Records that members lack: noted when a put ends, struck out when the members have them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{NodeId, Record, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::message::HOLDING_PAGE;
use crate::transfer::Transfer;
use crate::transfer::shipment::Shipment;
use crate::transfer::under_replicated::{Change, UnderReplicated, nodes};

/// Questions that a member is asked at once, while most of what it is asked about is there: what it
/// has then goes in one commit.
pub(crate) const QUESTIONS: usize = 8;

/// Rows that one commit changes, unless a single change has more.
const ROWS_AT_ONCE: usize = 4_096;

/// Waits until no target of a shipment can still report, then writes down what is missing, or
/// strikes out what no longer is.
pub(crate) async fn watch(transfer: Arc<Transfer>, shipment: Arc<Shipment>, lanes: Vec<NodeId>) {
    let tally = shipment.until(|tally| tally.closed()).await;
    for node in &lanes {
        transfer.in_flight.remove(node, shipment.records());
    }
    let lacking: BTreeSet<NodeId> = tally.without().into_iter().map(|(node, _)| node).collect();
    let hashes = shipment.records().iter().map(Record::hash);
    // Mostly nobody lacks anything, and nothing has to be struck out.
    if !lacking.is_empty() || transfer.under_replicated.some.load(Ordering::Relaxed) {
        let (lacking, shared) = (lacking.clone(), Arc::clone(&transfer));
        let update = move |nodes: &mut BTreeSet<NodeId>| {
            // Whoever was removed since the put began, or has lapsed, lacks nothing.
            let counted: BTreeSet<NodeId> = shared.core.counted().collect();
            *nodes = lacking.intersection(&counted).copied().collect();
        };
        if let Err(error) = change(&transfer, hashes.collect(), update).await {
            tracing::warn!(%error, "missing copies could not be written down");
        }
    }
    // One that is connected all the same has passed over them in this node's order.
    for follower in lacking.iter().filter_map(|node| transfer.core.peers.follower(node)) {
        follower.news();
    }
}

/// Changes who lacks some records. Changes that wait for their turn are written in one commit by the first
/// that has it: while a member is away, every put makes one.
async fn change(
    transfer: &Arc<Transfer>,
    hashes: Vec<RecordHash>,
    update: impl Fn(&mut BTreeSet<NodeId>) + Send + Sync + 'static,
) -> Result<(), LedgerError> {
    let under_replicated = &transfer.under_replicated;
    let is_done = Arc::new(AtomicBool::new(false));
    let change = Change { hashes, update: Box::new(update), is_done: Arc::clone(&is_done) };
    lock(&under_replicated.waiting).push(change);
    let turn = Arc::clone(&under_replicated.turn).lock_owned().await;
    let shared = Arc::clone(transfer);
    let write = move |store: &Store| {
        // To the end of the work, also if nobody waits for it any more.
        let _turn = turn;
        let waiting = &shared.under_replicated.waiting;
        while !is_done.load(Ordering::Acquire) {
            let mut some = first_of(&mut lock(waiting));
            if let Err(error) = write_down(&shared.under_replicated, store, &some) {
                // It may be due to any of them: each of the others is tried in its own turn.
                some.retain(|change| !Arc::ptr_eq(&change.is_done, &is_done));
                lock(waiting).splice(..0, some);
                return Err(error);
            }
            some.iter().for_each(|change| change.is_done.store(true, Ordering::Release));
        }
        Ok(())
    };
    transfer.core.disk.run(write).await
}

/// Takes the first of some changes: as many as one commit takes, and one at least.
fn first_of(waiting: &mut Vec<Change>) -> Vec<Change> {
    let mut records = 0;
    let fits = |change: &&Change| {
        records += change.hashes.len();
        records <= ROWS_AT_ONCE
    };
    let fitting = waiting.iter().take_while(fits).count();
    let count = fitting.max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

fn write_down(
    under_replicated: &UnderReplicated,
    store: &Store,
    changes: &[Change],
) -> Result<(), LedgerError> {
    let mut rows: BTreeMap<RecordHash, (Option<Vec<u8>>, BTreeSet<NodeId>)> = BTreeMap::new();
    for change in changes {
        for hash in &change.hashes {
            let (_, lacking) = match rows.entry(*hash) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let old = store.row(&rows::under_replicated(hash))?;
                    let lacking = nodes(old.as_deref().unwrap_or_default());
                    unknown.insert((old, lacking))
                }
            };
            (change.update)(lacking);
        }
    }
    let raw: Vec<[u8; 32]> = rows.keys().map(|hash| *hash.as_bytes()).collect();
    let held = store.has_records(&raw)?;
    let (mut batch, mut some) = (Batch::new(), false);
    for ((hash, (old, lacking)), held) in rows.into_iter().zip(held) {
        let value: Vec<u8> = lacking.iter().flat_map(|node| *node.as_bytes()).collect();
        // Of one that a forget has taken meanwhile, nobody needs a copy any more.
        let value = Some(value).filter(|value| held && !value.is_empty());
        some |= value.is_some();
        if value != old {
            batch = batch.row(&rows::under_replicated(&hash), value.as_deref());
        }
    }
    if some {
        under_replicated.some.store(true, Ordering::Relaxed);
    }
    if !batch.is_empty() {
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// Goes through the records that any of some members are known to lack, some at a time.
#[derive(Debug)]
pub(crate) struct Lacked {
    pub(crate) nodes: BTreeSet<NodeId>,
    after: Vec<u8>,
}

impl Lacked {
    pub(crate) fn by(nodes: BTreeSet<NodeId>) -> Lacked {
        Lacked { nodes, after: Vec::new() }
    }

    /// The records among the next `limit` that somebody lacks, which may be none; `None` after the
    /// last.
    pub(crate) async fn next(
        &mut self,
        transfer: &Transfer,
        limit: usize,
    ) -> Result<Option<Vec<RecordHash>>, ReadError> {
        if !transfer.under_replicated.some.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let after = self.after.clone();
        let rows = transfer
            .core
            .disk
            .run(move |store| store.rows_after(rows::UNDER_REPLICATED, &after, limit))
            .await?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        self.after.clone_from(last);
        let rows = rows.iter().filter(|(_, value)| !nodes(value).is_disjoint(&self.nodes));
        let hash = |key: &Vec<u8>| key.strip_prefix(rows::UNDER_REPLICATED)?.try_into().ok();
        Ok(Some(rows.filter_map(|(key, _)| hash(key).map(RecordHash::from_bytes)).collect()))
    }
}

/// Nodes that were removed, or have lapsed, lack nothing any more.
pub(crate) async fn part(
    transfer: &Arc<Transfer>,
    nodes: BTreeSet<NodeId>,
) -> Result<(), LedgerError> {
    let mut lacked = Lacked::by(nodes);
    while let Some(page) = lacked.next(transfer, QUESTIONS * HOLDING_PAGE).await? {
        strike(transfer, &lacked.nodes, page).await?;
    }
    Ok(())
}

pub(crate) async fn strike(
    transfer: &Arc<Transfer>,
    who: &BTreeSet<NodeId>,
    hashes: Vec<RecordHash>,
) -> Result<(), LedgerError> {
    if hashes.is_empty() {
        return Ok(());
    }
    let who = who.clone();
    change(transfer, hashes, move |nodes| nodes.retain(|node| !who.contains(node))).await
}
