//! Setting records aside that lie past a cut of the member log, and taking them back if a later
//! entry lets them count again.
//!
//! They leave the order, the names and the counts, and go into rows of their own in the same
//! commit: what a node holds afterwards is what it would hold had it known of the cut before they
//! came. A node that hears of the log piece by piece may set aside what counts by the whole of it:
//! records of an owner that was none for a while.

use std::collections::BTreeSet;

use stash_crypto::{Dot, NameId, NodeId, Record, RecordHash, Writer};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::admit::admit;
use crate::ledger::error::LedgerError;
use crate::ledger::forgets::drops;
use crate::ledger::manifest::Chunks;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::read::decode;
use crate::ledger::roster::Roster;
use crate::ledger::rows;
use crate::message::RecordResult;

/// Records set aside in one batch: with their rows, 6 MiB of the 16 that a batch may have.
const PAGE: usize = 64;

/// Records that were set aside, or taken back.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The records.
    pub(crate) records: Vec<RecordHash>,
    /// Names that show something else now.
    pub(crate) names: BTreeSet<NameId>,
}

/// Number of records ever set aside in this store.
pub(crate) fn set_aside_count(store: &Store) -> Result<u64, ReadError> {
    let row = store.row(rows::ASIDE_COUNT)?.and_then(|row| row.try_into().ok());
    Ok(row.map_or(0, u64::from_le_bytes))
}

/// Looks through the records of every node that was cut and not looked through yet. The roster bars
/// what comes from now on. `doubt` adds to each commit that sets records aside that what the store
/// holds is to be compared with others. What an error left undone is done by the next
/// call; `aside` has what was done before.
pub(crate) fn set_aside(
    name_locks: &NameLocks,
    store: &Store,
    roster: &Roster,
    doubt: impl Fn(&Store, Batch) -> Result<Batch, LedgerError>,
    aside: &mut Aside,
) -> Result<(), LedgerError> {
    let _one_at_a_time = roster.cutting();
    // A row that is written meanwhile is of another entry, and stays for the next call.
    for (key, _) in store.rows(rows::UNCUT)? {
        let node = key.strip_prefix(rows::UNCUT).and_then(|node| node.first_chunk::<32>().copied());
        let before = aside.records.len();
        for (writer, _, _) in node.map_or(Ok(Vec::new()), |node| store.writers(&node))? {
            cut(name_locks, store, roster, &Writer::from_bytes(&writer), aside, &doubt)?;
        }
        let records = aside.records.len() - before;
        if let Some(node) = node.map(NodeId::from_bytes).filter(|_| records > 0) {
            let node = node.short();
            tracing::warn!(%node, records, "records past a cut of the member log were set aside");
        }
        store.commit(Batch::new().row(&key, None).even_if_full())?;
    }
    Ok(())
}

/// Takes back what was set aside of nodes that are owners again and counts by the log as it is now.
/// Records that a full store does not take stay aside until the next call, as do those that an
/// error left; `back` has those that were taken back before.
pub(crate) fn take_back(
    name_locks: &NameLocks,
    store: &Store,
    roster: &Roster,
    back: &mut Aside,
) -> Result<(), LedgerError> {
    // Those that are written meanwhile are of other entries, and stay for the next call.
    let regained = store.rows(rows::REGAINED)?;
    let node = |key: &[u8]| key.strip_prefix(rows::REGAINED)?.first_chunk::<32>().copied();
    let nodes: BTreeSet<NodeId> =
        regained.iter().filter_map(|(key, _)| node(key)).map(NodeId::from_bytes).collect();
    let (mut after, mut is_done) = (Vec::new(), true);
    while !nodes.is_empty() {
        let page = store.rows_after(rows::ASIDE, &after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        // No cut takes effect between the check and the commit.
        let _uncut = roster.uncut();
        let counts = |record: &Record| {
            let dot = record.clear().dot;
            let admits = || roster.log(|log| log.admits(&dot, &record.hash()).is_ok());
            nodes.contains(&dot.writer.node) && admits()
        };
        let records = page.iter().filter_map(|(_, bytes)| Record::decode(bytes).ok());
        let records: Vec<Record> = records.filter(counts).collect();
        let mut batch = Batch::new();
        for (record, result) in
            records.iter().zip(admit(name_locks, store, &records, Chunks::Later)?)
        {
            match result {
                RecordResult::Stored {} => {
                    batch = batch.row(&[rows::ASIDE, record.hash().as_bytes()].concat(), None);
                    back.records.push(record.hash());
                    back.names.insert(record.clear().name);
                }
                // A forget has taken it.
                RecordResult::Refused { .. } => {}
                _ => is_done = false,
            }
        }
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
    }
    if is_done && !regained.is_empty() {
        let strike = |batch: Batch, (key, _): &(Vec<u8>, Vec<u8>)| batch.row(key, None);
        store.commit(regained.iter().fold(Batch::new(), strike).even_if_full())?;
    }
    if !back.records.is_empty() {
        let records = back.records.len();
        tracing::info!(records, "records count again that were set aside");
    }
    Ok(())
}

fn cut(
    name_locks: &NameLocks,
    store: &Store,
    roster: &Roster,
    writer: &Writer,
    aside: &mut Aside,
    doubt: impl Fn(&Store, Batch) -> Result<Batch, LedgerError>,
) -> Result<(), LedgerError> {
    // The record at the cut may have a twin that does not count.
    let from = roster.log(|log| log.cut_of(writer).map_or(1, |cut| cut.n));
    loop {
        let page = store.dots_from(&writer.to_bytes(), from, PAGE)?;
        let past = |(n, hash): &(u64, [u8; 32])| {
            let dot = Dot { writer: *writer, n: *n };
            roster.log(|log| log.admits(&dot, &RecordHash::from_bytes(*hash)).is_err())
        };
        let past: Vec<[u8; 32]> = page.iter().filter(|one| past(one)).map(|one| one.1).collect();
        if past.is_empty() {
            return Ok(());
        }
        move_aside(name_locks, store, &past, doubt(store, Batch::new())?, aside)?;
    }
}

fn move_aside(
    name_locks: &NameLocks,
    store: &Store,
    hashes: &[[u8; 32]],
    mut batch: Batch,
    aside: &mut Aside,
) -> Result<(), LedgerError> {
    let mut records = Vec::new();
    for hash in hashes {
        match store.record(hash) {
            Ok(Some(stored)) => records.push(decode(&stored)?),
            // Dropped meanwhile.
            Ok(None) => {}
            // Nothing of it can be kept.
            Err(ReadError::RecordDamaged { .. }) => {
                batch = rows::unlist(store, batch, hash)?.drop_record(*hash);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let names: BTreeSet<NameId> = records.iter().map(|record| record.clear().name).collect();
    let _turn = name_locks.take(names.clone());
    // A forget may have taken some before the turn came.
    let mut held = Vec::with_capacity(records.len());
    for record in records {
        if store.record(record.hash().as_bytes())?.is_some() {
            held.push(record);
        }
    }
    let total = set_aside_count(store)? + held.len() as u64;
    batch = batch.row(rows::ASIDE_COUNT, Some(&total.to_le_bytes()));
    for record in &held {
        let key = [rows::ASIDE, record.hash().as_bytes()].concat();
        batch = batch.row(&key, Some(record.bytes()));
    }
    store.commit(drops(store, batch, &held)?.even_if_full())?;
    aside.records.extend(held.iter().map(Record::hash));
    aside.names.extend(names);
    Ok(())
}
