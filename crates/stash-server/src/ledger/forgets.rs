//! Carrying out forgets: the held records that go, and the arrivals that are refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stash_crypto::record::{Gone, settle};
use stash_crypto::{NameId, Record, RecordHash, Writer};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::error::LedgerError;
use crate::ledger::read::held;
use crate::ledger::rows;

/// Records dropped in one batch: the store reserves 37 KiB of log for each, and a batch may take
/// 16 MiB.
const DROPS: usize = 256;

/// The effect of forgets on some arrivals, and on the records held of their names.
#[derive(Default)]
pub(crate) struct Judgement {
    /// Arrivals that a held forget, or one that arrives with them, does not let in.
    pub(super) refused: HashMap<RecordHash, Gone>,
    /// Held records that go.
    drops: Vec<Record>,
    /// Names of which no version stays.
    emptied: Vec<NameId>,
}

/// Looks at the names of these arrivals; the caller has the turn on them. Those of `without` lack
/// chunks: they change nothing, but may be refused.
pub(crate) fn judge<'a>(
    store: &Store,
    arrivals: impl Iterator<Item = &'a Record>,
    without: impl Iterator<Item = &'a Record>,
) -> Result<Judgement, LedgerError> {
    judge_with(store, HashMap::new(), arrivals, without)
}

/// As [`judge`]; of some names, the records that are held and can be read are known already.
pub(super) fn judge_with<'a>(
    store: &Store,
    mut known: HashMap<NameId, Vec<Record>>,
    arrivals: impl Iterator<Item = &'a Record>,
    without: impl Iterator<Item = &'a Record>,
) -> Result<Judgement, LedgerError> {
    let mut names: BTreeMap<NameId, [Vec<&Record>; 2]> = BTreeMap::new();
    let arrivals = arrivals.map(|record| (0, record));
    for (kind, record) in arrivals.chain(without.map(|record| (1, record))) {
        names.entry(record.clear().name).or_default()[kind].push(record);
    }
    let mut judgement = Judgement::default();
    for (name, [arrivals, without]) in names {
        let mut records = known.remove(&name).map_or_else(|| held_of(store, &name), Ok)?;
        let held: BTreeSet<RecordHash> = records.iter().map(Record::hash).collect();
        records.extend(arrivals.iter().copied().cloned());
        let settled = settle(&records);
        for record in without {
            let mut with = settled.keep.clone();
            with.push(record.clone());
            let last = settle(&with).drop.into_iter().find(|(gone, _)| gone == record);
            judgement.refused.extend(last.map(|(record, why)| (record.hash(), why)));
        }
        let is_empty = |record: &Record| !record.clear().kind.is_version();
        if !settled.drop.is_empty() && settled.keep.iter().all(is_empty) {
            judgement.emptied.push(name);
        }
        for arrival in arrivals {
            let gone = settled.drop.iter().find(|(gone, _)| gone.hash() == arrival.hash());
            judgement.refused.extend(gone.map(|(gone, why)| (gone.hash(), *why)));
        }
        let drops = settled.drop.into_iter().map(|(record, _)| record);
        // One that is held and damaged is here as well, and its good copy has just arrived.
        let here = |record: &Record| -> Result<bool, ReadError> {
            Ok(held.contains(&record.hash()) || is_damaged(store, &record.hash())?)
        };
        for record in drops {
            if here(&record)? {
                judgement.drops.push(record);
            }
        }
    }
    Ok(judgement)
}

impl Judgement {
    /// Number of held records that go.
    pub(super) fn drops(&self) -> usize {
        self.drops.len()
    }

    /// Adds the first of what goes to the batch of the arrivals.
    pub(super) fn apply(&self, store: &Store, mut batch: Batch) -> Result<Batch, LedgerError> {
        for name in &self.emptied {
            let given_up = [rows::EVICTED, name.as_bytes()].concat();
            if store.row(&given_up)?.is_some() {
                batch = batch.row(&given_up, None);
            }
        }
        let (first, rest) = self.drops.split_at(self.drops.len().min(DROPS));
        let unfinished: BTreeSet<NameId> = rest.iter().map(|record| record.clear().name).collect();
        for name in unfinished {
            batch = batch.row(&[rows::UNSETTLED, name.as_bytes()].concat(), Some(b""));
        }
        drops(store, batch, first)
    }

    /// Drops what did not fit into that batch; the caller still has the turn.
    pub(super) fn finish(&self, store: &Store) -> Result<(), LedgerError> {
        let rest = self.drops.get(DROPS..).unwrap_or_default();
        for some in rest.chunks(DROPS) {
            store.commit(drops(store, Batch::new().even_if_full(), some)?)?;
        }
        let names: BTreeSet<NameId> = rest.iter().map(|record| record.clear().name).collect();
        let ended = |batch: Batch, name: &NameId| {
            batch.row(&[rows::UNSETTLED, name.as_bytes()].concat(), None)
        };
        if !names.is_empty() {
            store.commit(names.iter().fold(Batch::new(), ended))?;
        }
        Ok(())
    }
}

/// Ends what a stop interrupted. Before anybody else uses the store. One that takes no writes stays
/// as it is: what has to go is hidden by the forgets that are held.
pub(crate) fn resume(store: &Store) -> Result<(), LedgerError> {
    match settle_all(store) {
        Err(LedgerError::Commit(error)) => {
            tracing::warn!(%error, "forgotten records could not be dropped");
            Ok(())
        }
        result => result,
    }
}

fn settle_all(store: &Store) -> Result<(), LedgerError> {
    for (key, _) in store.rows(rows::UNSETTLED)? {
        let name =
            key.strip_prefix(rows::UNSETTLED).and_then(|name| <[u8; 32]>::try_from(name).ok());
        if let Some(name) = name.map(NameId::from_bytes) {
            let held = held_of(store, &name)?;
            let drops = settle(&held).drop.into_iter().map(|(record, _)| record).collect();
            let judgement = Judgement { drops, ..Judgement::default() };
            store.commit(judgement.apply(store, Batch::new().even_if_full())?)?;
            judgement.finish(store)?;
        }
        store.commit(Batch::new().row(&key, None))?;
    }
    Ok(())
}

pub(crate) fn drops(
    store: &Store,
    mut batch: Batch,
    records: &[Record],
) -> Result<Batch, LedgerError> {
    for record in records {
        let hash = record.hash();
        batch = keep_last(store, batch, record)?.drop_record(*hash.as_bytes());
        batch = rows::unlist(store, batch, hash.as_bytes())?;
    }
    Ok(batch)
}

/// Notes the number of this node's own last record before it goes.
fn keep_last(store: &Store, batch: Batch, record: &Record) -> Result<Batch, LedgerError> {
    let Writer { incarnation, .. } = record.clear().dot.writer;
    if store.row(rows::INCARNATION)?.as_deref() != Some(incarnation.as_bytes().as_slice()) {
        return Ok(batch);
    }
    let dot = record.clear().dot;
    let last = store.last_of(&dot.writer.to_bytes())?.is_some_and(|(n, _)| n == dot.n);
    // In this order: whoever has dropped a later one meanwhile has written the row.
    let noted = store.row(rows::LAST_RECORD)?.and_then(|row| decode_last(&row, &dot.writer));
    match last && noted.is_none_or(|(n, _)| n < dot.n) {
        true => Ok(batch.row(rows::LAST_RECORD, Some(&encode_last(record)))),
        false => Ok(batch),
    }
}

fn encode_last(record: &Record) -> Vec<u8> {
    let dot = record.clear().dot;
    [&dot.writer.to_bytes()[..], &dot.n.to_le_bytes(), record.hash().as_bytes()].concat()
}

fn decode_last(row: &[u8], writer: &Writer) -> Option<(u64, RecordHash)> {
    let rest = row.strip_prefix(&writer.to_bytes()[..])?;
    let (n, hash) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*n), RecordHash::from_bytes(hash.try_into().ok()?)))
}

/// The last number that this writer used here, and the hash of the record that has or had it.
pub(crate) fn last_of(
    store: &Store,
    writer: &Writer,
) -> Result<Option<(u64, RecordHash)>, LedgerError> {
    let held = store.last_of(&writer.to_bytes())?;
    let held = held.map(|(n, hash)| (n, RecordHash::from_bytes(hash)));
    let gone = store.row(rows::LAST_RECORD)?.and_then(|row| decode_last(&row, writer));
    Ok(held.into_iter().chain(gone).max_by_key(|(n, _)| *n))
}

/// The records held of a name that can be read: a damaged one is judged when its good copy comes.
fn held_of(store: &Store, name: &NameId) -> Result<Vec<Record>, LedgerError> {
    Ok(held(store, name)?.whole)
}

fn is_damaged(store: &Store, hash: &RecordHash) -> Result<bool, ReadError> {
    match store.record(hash.as_bytes()) {
        Err(ReadError::RecordDamaged { .. }) => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}
