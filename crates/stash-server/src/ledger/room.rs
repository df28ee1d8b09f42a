//! What becomes of records when there is no room for all of them.

use stash_crypto::{Record, RecordKind};
use stash_store::{Allowance, Batch, Store};

use super::{Chunks, LedgerError, Turns, Whose, admit_together};
use crate::message::{FindPuts, RecordResult};

/// Bytes of a record that only says something about content: the longest clear part, and a sealed one
/// with the longest key and some attributes. What is longer has content in it.
const SAYS_ONLY: usize = 8 << 10;

/// Bytes of the least record, with what the store writes beside it.
const LEAST: u64 = 1 << 10;

/// Records that are asked for at once while room is scarce.
pub(crate) const FEW: usize = 16;

/// Bytes that such a question brings at most, of records that say something only.
const FEW_BYTES: u64 = (FEW * SAYS_ONLY) as u64;

/// Of what a small store may have, so much has to be left for a question to be of use.
const PART: u64 = 256;

/// How much has to be left for a few records to be asked for.
fn enough(store: &Store) -> u64 {
    (store.stats().limit_bytes / PART).clamp(LEAST, FEW_BYTES)
}

/// Which puts may be asked for: what comes should find room.
pub(crate) fn readable(store: &Store) -> FindPuts {
    let enough = enough(store);
    if store.has_room(enough, Allowance::None) {
        FindPuts::All
    } else if store.has_room(enough, Allowance::Records) {
        FindPuts::Naming
    } else {
        FindPuts::None
    }
}

/// Whether there is room for several questions at once.
pub(crate) fn is_roomy(store: &Store) -> bool {
    store.has_room(8 * enough(store), Allowance::None)
}

/// Whether a record is among those that are to be read.
pub(crate) fn is_read(record: &Record, puts: FindPuts) -> bool {
    match allowance(record) {
        Allowance::Endings => true,
        Allowance::Records => puts != FindPuts::None,
        Allowance::None => puts == FindPuts::All,
    }
}

/// What a record may use beyond the quota. A put that names no chunks may have its content in
/// itself, where nobody but its readers sees how much: that counts as a chunk would.
fn allowance(record: &Record) -> Allowance {
    let clear = record.clear();
    let says_only = record.bytes().len() <= SAYS_ONLY;
    match clear.kind {
        _ if !says_only => Allowance::None,
        RecordKind::Put if clear.manifest.refs().is_empty() => Allowance::None,
        RecordKind::Put => Allowance::Records,
        RecordKind::Tombstone | RecordKind::Forget(_) => Allowance::Endings,
    }
}

fn is_ending(record: &Record) -> bool {
    record.clear().kind != RecordKind::Put
}

/// Lets a batch with these new records use the room that is for them. Endings of this node's own, and
/// those that let as many held records go, are written whatever the quota says: there is less
/// afterwards.
pub(super) fn with_room(batch: Batch, new: &[&Record], drops: usize, whose: Whose) -> Batch {
    let endings = new.iter().all(|record| is_ending(record));
    if endings && (whose == Whose::Own || drops >= new.len()) {
        return batch.even_if_full();
    }
    let least = || new.iter().map(|record| allowance(record)).min_by_key(|one| rank(*one));
    match whose {
        Whose::Own => batch,
        Whose::Others => batch.with_allowance(least().unwrap_or_default()),
    }
}

fn rank(allowance: Allowance) -> u8 {
    match allowance {
        Allowance::None => 0,
        Allowance::Records => 1,
        Allowance::Endings => 2,
    }
}

/// Takes of these records what there is room for: endings first, then what says little, then what has
/// content in it.
pub(super) fn admit_apart(
    turns: &Turns,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    let stats = store.stats();
    let full = RecordResult::Full { used: stats.used_bytes, limit: stats.limit_bytes };
    let mut apart = Apart { turns, store, records, chunks, results: vec![full; records.len()] };
    for kind in [Allowance::Endings, Allowance::Records, Allowance::None] {
        let some: Vec<usize> =
            (0..records.len()).filter(|at| allowance(&records[*at]) == kind).collect();
        apart.take(&some, kind)?;
    }
    Ok(apart.results)
}

struct Apart<'a> {
    turns: &'a Turns,
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
        match admit_together(self.turns, self.store, &records, self.chunks) {
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
