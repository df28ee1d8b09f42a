//! Numbering of this node's own records.
//!
//! A record carries the hash of the one before, so numbering, signing and committing a batch are
//! one step. A number is used up only by a record that is durable. Batches that wait for their turn
//! are committed as one, with one sync of the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use stash_crypto::record::{N_MAX, SignError, includes_forget};
use stash_crypto::{
    Dot, MemberLog, NameId, NodeId, Record, RecordHash, Role, StashId, Vector, Writer,
};
use stash_p2p::Environment;
use stash_store::{Batch, CommitError, DamagedRecord, Store};

use crate::ledger::admit::admit_all;
use crate::ledger::error::{LedgerError, WriteError};
use crate::ledger::forgets::last_of;
use crate::ledger::group_commit::GroupCommit;
use crate::ledger::incarnation::Past;
use crate::ledger::name_locks::{NameGuard, NameLocks};
use crate::ledger::read::{Held, held};
use crate::ledger::roster::Roster;
use crate::ledger::seen::{Known, Seen};
use crate::ledger::{incarnation, seen};

/// Records of several batches that are committed together, at most: far below what one batch of the
/// store may have (16 MiB), at 65 KiB a record.
const TOGETHER: usize = 128;

/// Place of a new record in the history of its name. The vault adds the kind, the manifest and the
/// sealed meta, and signs.
#[derive(Clone, Debug)]
pub struct Position {
    /// The stash.
    pub stash: StashId,
    /// The epoch whose keys seal the meta.
    pub epoch: u32,
    /// The name.
    pub name: NameId,
    /// This record's dot.
    pub dot: Dot,
    /// Hash of the writer's record before this one; zeros for the first.
    pub previous: RecordHash,
    /// The greatest height held of the name, plus one.
    pub height: u64,
    /// The join of the dots and `seen` of every version held of the name, and of the vectors of
    /// every forget. For a forget of all that is held, its vector.
    pub seen: Vector,
}

/// Makes a signed record for a position. It is asked again, for another position, if the batches
/// that were to be committed together with its own could not be.
pub type Draft = Box<dyn Fn(Position) -> Result<Record, SignError> + Send>;

/// A record to be written.
pub struct Write {
    /// The name id.
    pub name: NameId,
    /// Makes the record once its place is known.
    pub draft: Draft,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Write({})", self.name.short())
    }
}

/// This node as a writer.
#[derive(Debug)]
pub(crate) struct Author {
    stash: StashId,
    environment: Environment,
    last: Mutex<Last>,
    commits: GroupCommit<Vec<Write>, Result<Vec<Record>, WriteError>>,
}

/// The row that remembers the writer that this node was. Records of another life may still come
/// under its numbers: after a copy was put back, used, and put back again.
fn given_up(store: &Store, current: Option<Writer>) -> Result<Batch, LedgerError> {
    let Some(writer) = current else { return Ok(Batch::new()) };
    let Some((n, hash)) = last_of(store, &writer)? else { return Ok(Batch::new()) };
    let opened = incarnation::agreed(store, &writer, n)?;
    let sequence = store.last_sequence();
    let past = Past { writer, n, hash, opened, sequence, is_shown: false };
    Ok(incarnation::remember(Batch::new(), &past))
}

/// The store to write to, with its locks and the member log.
struct Place<'a> {
    name_locks: &'a NameLocks,
    roster: &'a Roster,
    store: &'a Store,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    writer: Writer,
    n: u64,
    hash: RecordHash,
    /// The last number that certainly means the same in all lives of this node.
    opened: u64,
    /// True once the store notes that all records were exchanged with a member since it was opened.
    met: bool,
}

impl Last {
    /// A writer that has written nothing yet.
    fn fresh(writer: Writer) -> Last {
        Last { writer, n: 0, hash: zeros(), opened: 0, met: false }
    }

    fn is_touched(&self, record: &Record) -> bool {
        let clear = record.clear();
        clear.dot.writer == self.writer || clear.seen.get(&self.writer) > self.n
    }
}

impl Author {
    /// Continues the incarnation that the store remembers, or begins a new one: in a new store, or
    /// when `fresh` says that the store may not be the one that this node last wrote to.
    pub(crate) fn open(
        store: &Store,
        stash: StashId,
        node: NodeId,
        fresh: bool,
        environment: &Environment,
    ) -> Result<Author, LedgerError> {
        let current = incarnation::current(store, node)?;
        let writer = match current {
            Some(writer) if !fresh => writer,
            _ => incarnation::begin(store, given_up(store, current)?, node, environment)?,
        };
        let (n, hash) = last_of(store, &writer)?.unwrap_or((0, zeros()));
        let opened = incarnation::opened(store, &writer, n)?;
        let last = Mutex::new(Last { writer, n, hash, opened, met: false });
        let environment = environment.clone();
        Ok(Author { stash, environment, last, commits: GroupCommit::new(TOGETHER) })
    }

    /// True if new records are written as this writer.
    pub(crate) fn is(&self, writer: &Writer) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).writer == *writer
    }

    /// All records have been exchanged with a member.
    pub(crate) fn met(&self, store: &Store) -> Result<(), LedgerError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.met {
            incarnation::met(store, &last.writer, last.opened)?;
            last.met = true;
        }
        Ok(())
    }

    /// Takes a new incarnation if records from others show that this one's numbers were used
    /// elsewhere: a number that it has not used, or another record under one that it has. Returns
    /// the incarnation that was given up. None of these records may be here, or have been forgotten
    /// here.
    pub(crate) fn renew_if_reused(
        &self,
        store: &Store,
        came: &[Record],
    ) -> Result<Option<Writer>, LedgerError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Last { writer, n, hash, opened, .. } = *last;
        if !came.iter().any(|record| last.is_touched(record)) {
            return Ok(None);
        }
        let sequence = store.last_sequence();
        let past = Past { writer, n, hash, opened, sequence, is_shown: true };
        let noted = incarnation::note(store, Batch::new().even_if_full(), &past)?;
        *last = Last::fresh(incarnation::begin(store, noted, writer.node, &self.environment)?);
        Ok(Some(writer))
    }

    /// True if a record is of the current writer, or its author has seen a number that this writer
    /// has not used.
    pub(crate) fn is_touched(&self, record: &Record) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).is_touched(record)
    }

    /// Numbers, signs and commits a batch. Durable here when it returns. A forget that adds nothing
    /// to a held one is left out: it takes no number.
    pub(crate) fn write(
        &self,
        name_locks: &NameLocks,
        roster: &Roster,
        store: &Store,
        writes: Vec<Write>,
    ) -> Result<Vec<Record>, WriteError> {
        let weight = writes.len();
        self.commits.take(writes, weight, |batches| {
            // Taken by whoever commits for all: those that wait for it hold nothing.
            let _uncut = roster.uncut();
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let role = roster.role(&last.writer.node).unwrap_or(Role::Keeper);
            if !role.writes() {
                return batches.iter().map(|_| Err(WriteError::Role(role))).collect();
            }
            let place = Place { name_locks, roster, store };
            if batches.len() > 1
                && let Some(written) = self.together(&place, &mut last, &batches)
            {
                return written.into_iter().map(Ok).collect();
            }
            // One that cannot be committed is no reason for the others to fail.
            batches.iter().map(|batch| self.alone(&place, &mut last, batch)).collect()
        })
    }

    fn alone(
        &self,
        place: &Place<'_>,
        last: &mut Last,
        batch: &[Write],
    ) -> Result<Vec<Record>, WriteError> {
        let mut turn = place.name_locks.take(batch.iter().map(|write| write.name).collect());
        let signed = self.sign(place, *last, batch.iter())?;
        admit(place.store, &mut turn, last, signed)
    }

    /// Commits batches as one; `None` if that cannot be done.
    fn together(
        &self,
        place: &Place<'_>,
        last: &mut Last,
        batches: &[Vec<Write>],
    ) -> Option<Vec<Vec<Record>>> {
        let names = batches.iter().flatten().map(|write| write.name).collect();
        let mut turn = place.name_locks.take(names);
        let signed = self.sign(place, *last, batches.iter().flatten()).ok()?;
        // A forget may be left out, or undo what another batch has written: that one is to hear that
        // it was stored.
        if signed.records.iter().any(|record| !record.clear().kind.is_version()) {
            return None;
        }
        // A record for each write.
        let counts =
            batches.iter().enumerate().flat_map(|(at, batch)| batch.iter().map(move |_| at));
        let hashes = signed.records.iter().map(Record::hash);
        let batch_of: HashMap<RecordHash, usize> = hashes.zip(counts).collect();
        let mut written = vec![vec![]; batches.len()];
        for record in admit(place.store, &mut turn, last, signed).ok()? {
            written[batch_of[&record.hash()]].push(record);
        }
        Some(written)
    }

    fn sign<'a>(
        &self,
        place: &Place<'_>,
        last: Last,
        writes: impl Iterator<Item = &'a Write>,
    ) -> Result<Signed, WriteError> {
        let (store, epoch) = (place.store, place.roster.log(MemberLog::epoch));
        let mut next = last;
        let mut known: HashMap<NameId, Known> = HashMap::new();
        let mut records = Vec::new();
        let mut covered = Vec::new();
        let mut before: HashMap<NameId, Vec<Record>> = HashMap::new();
        for write in writes {
            let known = match known.entry(write.name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => {
                    let Held { whole, damaged } = held(store, &write.name)?;
                    let lost = damaged.iter().map(|(dot, _)| *dot).collect();
                    covered.extend(damaged.into_iter().map(|(_, damaged)| damaged));
                    before.insert(write.name, whole.clone());
                    free.insert(Known { records: whole, lost })
                }
            };
            let Seen { vector: seen, height, full } =
                seen::seen(place.roster, store, &write.name, known)?;
            let next_dot = Dot { writer: next.writer, n: next.n + 1 };
            let cut = place.roster.log(|log| log.cut_of(&next.writer).is_some());
            if next.n >= N_MAX || cut || seen.covers(&next_dot) {
                // Somebody has seen a number of this writer that it has not used: another life of
                // this node, or an owner that makes them up. This writer could not write the name.
                // Or the node was an owner before, and what this writer writes does not count.
                let (node, environment) = (next.writer.node, &self.environment);
                let begun = incarnation::begin(store, Batch::new(), node, environment)?;
                next = Last::fresh(begun);
            }
            let position = Position {
                stash: self.stash,
                epoch,
                name: write.name,
                dot: Dot { writer: next.writer, n: next.n + 1 },
                previous: next.hash,
                height,
                seen,
            };
            let record = (write.draft)(position)?;
            let clear = record.clear();
            // Whoever forgets says that this is wanted; a version would cover what nobody here has seen.
            if let Some(full) = full.filter(|_| clear.kind.is_version()) {
                return Err(WriteError::TooManyWriters(full));
            }
            if !clear.kind.is_version()
                && known.records.iter().any(|held| includes_forget(held.clear(), clear))
            {
                continue;
            }
            known.records.push(record.clone());
            next = Last { n: next.n + 1, hash: record.hash(), ..next };
            records.push(record);
        }
        Ok(Signed { records, held: before, covered, next })
    }
}

/// Records that are not stored yet.
struct Signed {
    records: Vec<Record>,
    /// The records that were held of their names, as far as they can be read.
    held: HashMap<NameId, Vec<Record>>,
    /// Damaged records that they cover.
    covered: Vec<DamagedRecord>,
    /// State of their writer once they are durable.
    next: Last,
}

fn admit(
    store: &Store,
    turn: &mut NameGuard<'_>,
    last: &mut Last,
    signed: Signed,
) -> Result<Vec<Record>, WriteError> {
    let Signed { records, held, covered, next } = signed;
    let written = admit_all(store, turn, records, held, &covered);
    let written = written.map_err(|error| match error {
        LedgerError::Commit(CommitError::MissingChunk { .. }) => WriteError::ChunkGone,
        error => error.into(),
    })?;
    *last = next;
    Ok(written)
}

fn zeros() -> RecordHash {
    RecordHash::from_bytes([0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;
    use std::sync::Arc;

    use stash_crypto::{NodeKeys, RecordKind};
    use stash_store::{Committer, MemDisk, Options};

    use crate::ledger::forgets_tests::{Owner, admit_now, author, name, store, write};
    use crate::ledger::{roster, rows};

    /// The simulator's seed 6,204.
    #[test]
    fn a_store_that_is_not_the_one_that_the_node_left_remembers_the_writer_that_it_was() {
        let (store, locks, owner) = (store(Committer::Inline), NameLocks::default(), Owner::new(1));
        let put = owner.put(name(1), 1, &[]);
        let writer = put.clear().dot.writer;
        let open = |fresh| {
            let environment = Environment::default();
            Author::open(&store, put.clear().stash, writer.node, fresh, &environment).unwrap();
            incarnation::pasts(&store).unwrap()
        };
        assert_eq!(open(true), [], "there is nothing to remember yet");
        let row = Batch::new().row(rows::INCARNATION, Some(&[1; 8]));
        store.commit(row).unwrap();
        admit_now(&locks, &store, std::slice::from_ref(&put));
        assert_eq!(open(false), []);
        let past = Past {
            writer,
            n: 1,
            hash: put.hash(),
            opened: 1,
            sequence: store.last_sequence(),
            is_shown: false,
        };
        assert_eq!(open(true), [past]);
    }

    #[test]
    fn a_put_reads_each_version_of_its_name_once() {
        const VERSIONS: u64 = 200;
        let disk = MemDisk::new(1);
        let options = Options {
            committer: Committer::Inline,
            disk: Arc::new(disk.clone()),
            ..Options::default()
        };
        let store = Store::create(Path::new("/store"), &options).unwrap();
        let keys = Arc::new(NodeKeys::from_seed([9; 32]));
        let (author, roster) = (author(&store, &keys), roster::of_owner(&store, &keys));
        let locks = NameLocks::default();
        let put = || {
            let writes = vec![write(&keys, 1, RecordKind::Put)];
            author.write(&locks, &roster, &store, writes).unwrap();
        };
        put();
        let before = disk.reads();
        put();
        let each = disk.reads() - before;
        (2..VERSIONS).for_each(|_| put());
        let before = disk.reads();
        put();
        let reads = disk.reads() - before;
        assert!(reads < each + VERSIONS + VERSIONS / 4, "{reads} reads of {VERSIONS} versions");
    }
}
