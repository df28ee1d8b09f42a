//! Records that members do not have whole: noted when a put ends and when a member says so, struck out when the members
//! have them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{NodeId, Record, RecordHash};
use stash_store::{Batch, Store};

use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::message::Holding;
use crate::transfer::Transfer;
use crate::transfer::counting::Counting;
use crate::transfer::shipment::Shipment;
use crate::transfer::under_replicated::{
    Change, Counts, Lacking, UnderReplicated, decode, encode, record_of,
};

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
    if !lacking.is_empty() || transfer.under_replicated.some() {
        let (lacking, shared) = (lacking.clone(), Arc::clone(&transfer));
        let update = move |_: &RecordHash, nodes: &mut Lacking| {
            // Whoever was removed since the put began, or has lapsed, lacks nothing.
            let expected: BTreeSet<NodeId> = Counting::now(&shared).expected().collect();
            let lacking = lacking.intersection(&expected);
            *nodes = lacking.map(|node| (*node, Holding::Absent)).collect();
        };
        if let Err(error) = change(&transfer, hashes.collect(), update).await {
            tracing::warn!(%error, "missing copies could not be written down");
        }
    }
    // What a cache has too much of may go now.
    transfer.cache.wake.notify_one();
    // One that is connected all the same has passed over them in this node's order, or has them by now.
    for follower in lacking.iter().filter_map(|node| transfer.core.peers.follower(node)) {
        follower.news();
    }
}

/// Changes who lacks some records. Changes that wait for their turn are written in one commit by the first
/// that has it: while a member is away, every put makes one.
async fn change(
    transfer: &Arc<Transfer>,
    hashes: Vec<RecordHash>,
    update: impl Fn(&RecordHash, &mut Lacking) + Send + Sync + 'static,
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
    let mut rows: BTreeMap<RecordHash, (Lacking, Lacking)> = BTreeMap::new();
    for change in changes {
        for hash in &change.hashes {
            let (_, lacking) = match rows.entry(*hash) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let old = store.row(&rows::lacked(hash))?;
                    let old = decode(old.as_deref().unwrap_or_default());
                    unknown.insert((old.clone(), old))
                }
            };
            (change.update)(hash, lacking);
        }
    }
    rows.retain(|_, (old, new)| old != new);
    let raw: Vec<[u8; 32]> = rows.keys().map(|hash| *hash.as_bytes()).collect();
    let held = store.has_records(&raw)?;
    // Of one that a forget has taken meanwhile, nobody needs a copy any more.
    for ((_, lacking), _) in rows.values_mut().zip(held).filter(|(_, held)| !held) {
        lacking.clear();
    }
    rows.retain(|_, (old, new)| old != new);
    let mut batch = Batch::new();
    for (hash, (_, lacking)) in &rows {
        let value = (!lacking.is_empty()).then(|| encode(lacking));
        batch = batch.row(&rows::lacked(hash), value.as_deref());
    }
    if !batch.is_empty() {
        store.commit(batch.even_if_full())?;
    }
    for (hash, (old, new)) in &rows {
        under_replicated.changed(hash, old, new);
    }
    Ok(())
}

/// Notes what a member has of some records, by its own word.
pub(crate) async fn note(
    transfer: &Arc<Transfer>,
    node: NodeId,
    states: Vec<(RecordHash, Holding)>,
) -> Result<(), LedgerError> {
    let is_news = |(_, state): &(RecordHash, Holding)| *state != Holding::Whole;
    if states.is_empty() || !transfer.under_replicated.some() && !states.iter().any(is_news) {
        return Ok(());
    }
    // The last word about a record counts.
    let states: BTreeMap<RecordHash, Holding> = states.into_iter().collect();
    let hashes: Vec<RecordHash> = states.keys().copied().collect();
    for page in hashes.chunks(ROWS_AT_ONCE) {
        let states = states.clone();
        let update = move |record: &RecordHash, nodes: &mut Lacking| match states.get(record) {
            Some(Holding::Whole) | None => drop(nodes.remove(&node)),
            Some(state) => drop(nodes.insert(node, *state)),
        };
        change(transfer, page.to_vec(), update).await?;
    }
    Ok(())
}

/// What is not whole at members.
pub(crate) async fn counts(transfer: &Arc<Transfer>) -> Result<Counts, LedgerError> {
    if transfer.under_replicated.counts().is_none() {
        count(transfer).await?;
    }
    Ok(transfer.under_replicated.counts().unwrap_or_default())
}

/// Strikes out what older versions wrote down of records that members lack.
pub(crate) async fn strike_older(transfer: Arc<Transfer>) {
    let strike = |store: &Store| {
        loop {
            let old = store.rows_after(rows::SHORT, &[], ROWS_AT_ONCE)?;
            if old.is_empty() {
                return Ok::<_, LedgerError>(());
            }
            let batch = old.iter().fold(Batch::new(), |batch, (row, _)| batch.row(row, None));
            store.commit(batch.even_if_full())?;
        }
    };
    if let Err(error) = transfer.core.disk.run(strike).await {
        tracing::debug!(%error, "what an older version wrote down of missing copies is left until the next start");
    }
}

/// Counts what is not whole at members, from the start.
pub(crate) async fn count(transfer: &Arc<Transfer>) -> Result<(), LedgerError> {
    let turn = Arc::clone(&transfer.under_replicated.turn).lock_owned().await;
    let shared = Arc::clone(transfer);
    let count = move |store: &Store| {
        let _turn = turn;
        shared.under_replicated.count(store)
    };
    Ok(transfer.core.disk.run(count).await?)
}

/// Nodes that were removed, or have lapsed, lack nothing any more.
pub(crate) async fn part(
    transfer: &Arc<Transfer>,
    nodes: BTreeSet<NodeId>,
) -> Result<(), LedgerError> {
    if nodes.is_empty() {
        return Ok(());
    }
    let agreed: Vec<Vec<u8>> = nodes.iter().map(rows::believed).collect();
    let forget = move |store: &Store| {
        let mut batch = Batch::new();
        for row in agreed {
            if store.row(&row)?.is_some() {
                batch = batch.row(&row, None);
            }
        }
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
        Ok::<_, LedgerError>(())
    };
    transfer.core.disk.run(forget).await?;
    let mut after = Vec::new();
    while transfer.under_replicated.some() {
        let from = after.clone();
        let look = move |store: &Store| store.rows_after(rows::LACKED, &from, ROWS_AT_ONCE);
        let page = transfer.core.disk.run(look).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        let concerned =
            page.iter().filter(|(_, value)| decode(value).keys().any(|node| nodes.contains(node)));
        let hashes: Vec<_> = concerned.filter_map(|(key, _)| record_of(key)).collect();
        if !hashes.is_empty() {
            let nodes = nodes.clone();
            let update = move |_: &RecordHash, lacking: &mut Lacking| {
                lacking.retain(|node, _| !nodes.contains(node));
            };
            change(transfer, hashes, update).await?;
        }
    }
    Ok(())
}
