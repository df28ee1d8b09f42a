//! The step in which records become part of a node's store.
//!
//! A record is acknowledged only with every chunk that it names durable here: the commit re-checks
//! them under the store's own lock, because a chunk may have been evicted since it was looked up.

use std::collections::HashMap;

use stash_crypto::{NameId, Record, RecordHash};
use stash_store::room::Allowance;
use stash_store::{Batch, CommitError, DamagedRecord, RecordEntry, Store};

use crate::ledger::alarms::equivocation;
use crate::ledger::error::LedgerError;
use crate::ledger::forgets::{Judgement, judge, judge_with};
use crate::ledger::manifest::{Chunks, Named, announce, children, named, reference, require};
use crate::ledger::name_locks::{NameGuard, NameLocks};
use crate::ledger::read::{is_stored, names_of};
use crate::ledger::room::{LEAST, Whose, allowance, with_room};
use crate::ledger::rows;
use crate::message::{RecordResult, pack};

/// Times that a batch is tried, as a chunk may vanish between look-up and commit.
const ATTEMPTS: usize = 3;

/// Makes accepted records durable, all that can be in one commit, and carries out what they forget.
/// Without room for all of them, those that say that something has ended go first, and each is
/// taken that there is room for. One result a record.
///
/// # Errors
///
/// [`LedgerError`]; records that are not stored before may be kept.
pub(crate) fn admit(
    name_locks: &NameLocks,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    match admit_together(name_locks, store, records, chunks) {
        Err(error) if error.is_full() => admit_apart(name_locks, store, records, chunks),
        result => result,
    }
}

fn admit_together(
    name_locks: &NameLocks,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    let mut turn = name_locks.take(names_of(records));
    for _ in 0..ATTEMPTS {
        let named = named(store, records, chunks)?;
        let lacking = |named: &Named| chunks == Chunks::Required && !named.missing.is_empty();
        let (without, whole): (Vec<_>, Vec<_>) =
            records.iter().zip(&named).partition(|(_, named)| lacking(named));
        let arrivals = || whole.iter().map(|(record, _)| *record);
        let judgement = judge(store, arrivals(), without.iter().map(|(record, _)| *record))?;
        match commit(store, &mut turn, &whole, &judgement, (chunks, Whose::Others)) {
            Ok(()) => {
                let result = |(record, named): (&Record, &Named)| match judgement
                    .refused
                    .get(&record.hash())
                {
                    Some(why) => RecordResult::Refused { reason: why.to_string() },
                    None if lacking(named) => RecordResult::Need { chunks: pack(&named.missing) },
                    None => RecordResult::Stored {},
                };
                return Ok(records.iter().zip(&named).map(result).collect());
            }
            // Evicted since the look: look again.
            Err(LedgerError::Commit(CommitError::MissingChunk { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let reason = "chunks keep vanishing while the record is stored".to_owned();
    Ok(vec![RecordResult::Failed { reason }; records.len()])
}

/// The records that are not here, and that no forget takes: neither a held one nor one among them.
pub(crate) fn unknown(store: &Store, records: Vec<Record>) -> Result<Vec<Record>, LedgerError> {
    let hashes: Vec<[u8; 32]> = records.iter().map(|record| *record.hash().as_bytes()).collect();
    let held = store.has_records(&hashes)?;
    let refused = judge(store, records.iter(), std::iter::empty())?.refused;
    let new = records.into_iter().zip(held).filter(|(_, held)| !held).map(|(record, _)| record);
    Ok(new.filter(|record| !refused.contains_key(&record.hash())).collect())
}

/// Makes this node's own records durable, all or none: their numbers are used up together. The
/// caller took the turn before it looked at what is held of their names: `held`, as far as it can be
/// read. Drops held ones that are `damaged`, which they cover. Returns those that are held now: one that another of the same batch
/// forgets is not.
///
/// # Errors
///
/// [`CommitError::MissingChunk`] when a chunk that a record names is not here.
pub(crate) fn admit_all(
    store: &Store,
    turn: &mut NameGuard<'_>,
    mut records: Vec<Record>,
    held: HashMap<NameId, Vec<Record>>,
    damaged: &[DamagedRecord],
) -> Result<Vec<Record>, LedgerError> {
    let named = named(store, &records, Chunks::Required)?;
    let judgement = judge_with(store, held, records.iter(), std::iter::empty())?;
    let whole: Vec<_> = records.iter().zip(&named).collect();
    commit(store, turn, &whole, &judgement, (Chunks::Required, Whose::Own))?;
    records.retain(|record| !judgement.refused.contains_key(&record.hash()));
    if let Err(error) = drop_damaged(store, damaged) {
        // They are covered already: left where they are, they do no more than to be found again.
        tracing::warn!(%error, "damaged records that others cover are not dropped");
    }
    Ok(records)
}

fn drop_damaged(store: &Store, damaged: &[DamagedRecord]) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    for one in damaged {
        batch = rows::unlist(store, batch, &one.hash)?.drop_record(one.hash);
    }
    if !batch.is_empty() {
        store.commit(batch)?;
    }
    Ok(())
}

/// Commits records in one batch, and drops what they forget in the same one. What their manifest
/// chunks name is required in batches before, one manifest chunk at a time; the last batch only
/// asks that nothing has left the store since, or else a file of 1 TiB would hold up every other
/// commit while its 262,144 chunks are looked up.
fn commit(
    store: &Store,
    turn: &mut NameGuard<'_>,
    records: &[(&Record, &Named)],
    judgement: &Judgement,
    (chunks, whose): (Chunks, Whose),
) -> Result<(), LedgerError> {
    let losses = store.losses();
    let mut batch = Batch::new();
    let mut fresh_ones = Vec::new();
    let mut manifests = Vec::new();
    let stays = |record: &Record| !judgement.refused.contains_key(&record.hash());
    for (record, named) in records.iter().filter(|(record, _)| stays(record)) {
        let fresh = !is_stored(store, &record.hash())?;
        for manifest in &named.manifests {
            announce(store, manifest, chunks)?;
        }
        if chunks == Chunks::Required {
            batch = require(batch, &named.direct);
            manifests.extend_from_slice(&named.manifests);
        }
        if fresh {
            let dot = record.clear().dot;
            let arriving = turn.enter(record);
            let stored = store.dot(&dot.writer.to_bytes(), dot.n)?.map(RecordHash::from_bytes);
            if arriving || stored.is_some_and(|twin| twin != record.hash()) {
                batch = equivocation(store, batch, &dot)?;
            }
            fresh_ones.push(*record);
            batch = batch.record(entry(record));
            if !record.clear().kind.is_version() {
                batch = batch.row(&rows::forget(record.hash().as_bytes()), Some(&[]));
            }
            if chunks == Chunks::Later && !named.missing.is_empty() {
                batch = batch.row(&rows::want(&record.hash()), Some(&[]));
            }
        }
    }
    batch = judgement.apply(store, batch)?;
    batch = with_room(batch, &fresh_ones, judgement.drops(), whose);
    if manifests.is_empty() {
        if !batch.is_empty() {
            store.commit(batch)?;
        }
        return judgement.finish(store);
    }
    match store.commit(batch.clone().none_lost_since(losses)) {
        // Something has left, most likely something else.
        Err(CommitError::Lost) => {
            for manifest in &manifests {
                batch = require(batch, &children(store, manifest)?);
            }
            store.commit(batch)?;
        }
        result => drop(result?),
    }
    judgement.finish(store)
}

pub(crate) fn entry(record: &Record) -> RecordEntry {
    let clear = record.clear();
    RecordEntry {
        hash: *record.hash().as_bytes(),
        name: *clear.name.as_bytes(),
        writer: clear.dot.writer.to_bytes(),
        n: clear.dot.n,
        refs: clear.manifest.refs().iter().map(reference).collect(),
        bytes: record.shared_bytes(),
    }
}

/// Takes of these records what there is room for: endings first, then what says little, then what
/// has content in it.
pub(crate) fn admit_apart(
    name_locks: &NameLocks,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    let stats = store.stats();
    let full = RecordResult::Full { used: stats.used_bytes, limit: stats.limit_bytes };
    let mut apart =
        Apart { name_locks, store, records, chunks, results: vec![full; records.len()] };
    for kind in [Allowance::Endings, Allowance::Records, Allowance::None] {
        let some: Vec<usize> =
            (0..records.len()).filter(|at| allowance(&records[*at]) == kind).collect();
        apart.take(&some, kind)?;
    }
    Ok(apart.results)
}

struct Apart<'a> {
    name_locks: &'a NameLocks,
    store: &'a Store,
    records: &'a [Record],
    chunks: Chunks,
    results: Vec<RecordResult>,
}

impl Apart<'_> {
    /// Takes some records together, or else each half of them.
    fn take(&mut self, some: &[usize], kind: Allowance) -> Result<(), LedgerError> {
        // One that lets others go finds room where no other does.
        let hopeless = kind != Allowance::Endings && !self.store.has_room(LEAST, kind);
        if some.is_empty() || hopeless {
            return Ok(());
        }
        let records: Vec<Record> = some.iter().map(|at| self.records[*at].clone()).collect();
        match admit_together(self.name_locks, self.store, &records, self.chunks) {
            Ok(results) => {
                some.iter().zip(results).for_each(|(at, result)| self.results[*at] = result);
                Ok(())
            }
            Err(error) if error.is_full() && some.len() == 1 => Ok(()),
            Err(error) if error.is_full() => {
                let (first, second) = some.split_at(some.len() / 2);
                self.take(first, kind)?;
                self.take(second, kind)
            }
            Err(error) => Err(error),
        }
    }
}
