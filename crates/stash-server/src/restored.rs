//! When another life of this node has written under its numbers: it was restored from a copy, or it
//! was cloned.
//!
//! A number says which record is meant only as long as it is used once. Once records show that this
//! node's numbers were used elsewhere, it goes on under a new incarnation. What it had written since
//! the two lives parted may be hidden by what has seen the other record of the same number, and the
//! other way round; so after the next full exchange, what is hidden without having been seen is written
//! again, under new numbers, with the `seen` it had before the lives parted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{Dot, NameId, NodeId, Record, RecordHash, Vector, Writer};
use stash_store::{Batch, ReadError, Store};
use tokio::sync::watch;

use crate::author::Past;
use crate::core::{Core, lock};
use crate::engine::Engine;
use crate::ledger::{self, LedgerError};
use crate::{catchup, incarnations};

/// Store rows of incarnations that were given up because their numbers were used elsewhere, by
/// writer: the last number, its hash, the last number before which no lives can have parted, and the
/// last sequence number in the store.
const PASTS: &[u8] = b"writer/past/";

/// Store rows of records that were written again, by hash; the value is empty.
const AGAIN: &[u8] = b"reissued/";

/// Own records that are looked at, at most, on the way back to where the lives parted.
const FAR: usize = 100_000;

/// A version to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reissue {
    /// The version as it was written.
    pub record: Record,
    /// What the new record has to have seen: what this one had, without numbers that mean two things.
    pub seen: Vector,
}

/// Tells whoever can write versions again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Something came, since that was looked at, that may make a difference.
    changed: AtomicBool,
    told: watch::Sender<u64>,
    /// The incarnations that were given up.
    given_up: Mutex<BTreeSet<Writer>>,
}

impl Restored {
    pub(crate) fn load(store: &Store) -> Result<Restored, ReadError> {
        let given_up = pasts(store)?.into_iter().map(|past| past.writer).collect();
        let (changed, told) = (AtomicBool::new(true), watch::Sender::new(0));
        Ok(Restored { changed, told, given_up: Mutex::new(given_up) })
    }

    /// Whether a record may hide what this node wrote in one of its lives, or be hidden by it.
    fn concerns(&self, record: &Record, me: NodeId) -> bool {
        let clear = record.clear();
        clear.dot.writer.node == me
            || lock(&self.given_up).iter().any(|writer| clear.seen.get(writer) > 0)
    }
}

/// The row of a past incarnation, and the alarm that goes with it.
pub(crate) fn note(batch: Batch, past: &Past) -> Batch {
    let Past { writer, n, hash, opened, sequence } = past;
    let numbers = [opened.to_le_bytes(), sequence.to_le_bytes()].concat();
    let value = [&n.to_le_bytes()[..], hash.as_bytes(), &numbers].concat();
    let batch = batch.row(&[PASTS, &writer.to_bytes()].concat(), Some(&value));
    let key = [b"restored/", &writer.to_bytes()[..]].concat();
    ledger::alarm(
        batch,
        &key,
        "this node's numbers were used by another life of it: it was brought back from a copy, or a \
         second machine runs with its keys. If one does, stop it for good: it needs a ticket of its own",
    )
}

fn pasts(store: &Store) -> Result<Vec<Past>, ReadError> {
    let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
        let writer = Writer::from_bytes(key.strip_prefix(PASTS)?.try_into().ok()?);
        let (n, rest) = value.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (opened, sequence) = rest.split_first_chunk::<8>()?;
        Some(Past {
            writer,
            n: u64::from_le_bytes(*n),
            hash: RecordHash::from_bytes(*hash),
            opened: u64::from_le_bytes(*opened),
            sequence: u64::from_le_bytes(sequence.try_into().ok()?),
        })
    };
    Ok(store.rows(PASTS)?.into_iter().filter_map(decode).collect())
}

/// Looks whether records that others offer, and that are not here, show that this node's numbers were
/// used elsewhere. Before they are stored: what comes of it is durable first, or else a process that
/// ends in between would go on with those numbers. Blocking.
pub(crate) fn look(core: &Core, store: &Store, offered: &[Record]) -> Result<(), LedgerError> {
    let offered: Vec<Record> = offered
        .iter()
        .filter(|record| {
            record.clear().dot.writer.node == core.me || core.author.is_touched(record)
        })
        .cloned()
        .collect();
    if offered.is_empty() {
        return Ok(());
    }
    let new = ledger::unknown(store, offered)?;
    let own = new.iter().map(|record| record.clear().dot.writer);
    let own: BTreeSet<Writer> = own.filter(|writer| writer.node == core.me).collect();
    cloned(core, store, &own)?;
    if let Some(given_up) = core.author.overtaken(store, &new)? {
        lock(&core.restored.given_up).insert(given_up);
        tracing::error!("another life of this node has used its numbers: going on as a new writer");
        catchup::doubt(store)?;
        catchup::compare_with_all(core);
    }
    Ok(())
}

/// Raises an alarm if records come of a life of this node of which nothing is known: before the first
/// exchange has ended, it is what this node wrote before it lost its store.
fn cloned(core: &Core, store: &Store, own: &BTreeSet<Writer>) -> Result<(), LedgerError> {
    if !catchup::synchronised(core) {
        return Ok(());
    }
    for writer in own.iter().filter(|writer| !core.author.is(writer)) {
        let begun_here = incarnations::is_own(store, writer)?;
        if !begun_here && store.dots_from(&writer.to_bytes(), 1, 1)?.is_empty() {
            let key = [b"clone/", &writer.to_bytes()[..]].concat();
            let text = "records came of another life of this node: a second machine seems to run with \
                        its keys. Stop it for good: it needs a ticket of its own";
            store.commit(ledger::alarm(Batch::new().even_if_full(), &key, text))?;
        }
    }
    Ok(())
}

/// Records were taken in.
pub(crate) fn came(core: &Core, records: &[Record]) {
    if records.iter().any(|record| core.restored.concerns(record, core.me)) {
        core.restored.changed.store(true, Ordering::Relaxed);
    }
}

/// A full exchange has ended: what was written in another life is here, as far as anybody has it.
pub(crate) fn exchanged(core: &Core) {
    if core.restored.changed.swap(false, Ordering::Relaxed) {
        core.restored.told.send_modify(|count| *count += 1);
    }
}

impl Engine {
    /// Changes whenever [`Engine::reissues`] may have something new.
    #[must_use]
    pub fn restored(&self) -> watch::Receiver<u64> {
        self.core.restored.told.subscribe()
    }

    /// Versions that have to be written again because their numbers were used twice: each with its own
    /// content, with this `seen` and the height it had. Only owners write.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn reissues(&self) -> Result<Vec<Reissue>, LedgerError> {
        self.core.disk.run(reissues).await
    }

    /// Notes that a version was written again.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be written: it may be written a second time.
    pub async fn reissued(&self, record: RecordHash) -> Result<(), LedgerError> {
        let row = [AGAIN, record.as_bytes()].concat();
        let batch = Batch::new().row(&row, Some(&[])).even_if_full();
        self.core.disk.run(move |store| store.commit(batch)).await?;
        Ok(())
    }
}

fn reissues(store: &Store) -> Result<Vec<Reissue>, LedgerError> {
    let (pasts, own) = (pasts(store)?, incarnations::own(store)?);
    let writers: BTreeSet<Writer> = pasts.iter().map(|past| past.writer).collect();
    let mut all = Vec::new();
    for past in &pasts {
        let parting = Parting::find(store, past)?;
        for name in parting.names(store)? {
            let held = held(store, &name)?;
            let later = |writer: &Writer| own.contains(writer) && !writers.contains(writer);
            for reissue in parting.confused(&held, later) {
                let row = [AGAIN, reissue.record.hash().as_bytes()].concat();
                if store.row(&row)?.is_none() {
                    all.push(reissue);
                }
            }
        }
    }
    Ok(all)
}

/// A record, and the sequence number under which it is stored here.
type Held = (u64, Record);

/// What is held of a name and can be read.
fn held(store: &Store, name: &NameId) -> Result<Vec<Held>, LedgerError> {
    let (stored, _) = store.records_of_and_damaged(name.as_bytes())?;
    stored.iter().map(|one| Ok((one.sequence, ledger::decode(one.sequence, &one.bytes)?))).collect()
}

/// Where two lives of one writer parted.
struct Parting {
    writer: Writer,
    /// The last number that means the same in both lives.
    common: u64,
    /// The last number of this life.
    last: u64,
    /// The records of this life after that, by number.
    ours: BTreeMap<u64, RecordHash>,
}

impl Parting {
    /// Goes back along this life's records until one of the other life's follows on the same record as
    /// it does here. What the other life had may have been forgotten: then it is the number below the
    /// least that is still held, or, if none is, the last before which none can have parted.
    fn find(store: &Store, past: &Past) -> Result<Parting, LedgerError> {
        let Past { writer, n: last, hash, opened, .. } = *past;
        if others(store, Dot { writer, n: last + 1 }, &hash)?.contains(&hash) {
            return Ok(Parting { writer, common: last, last, ours: BTreeMap::new() });
        }
        let (mut expected, mut least) = (hash, None);
        let mut ours = BTreeMap::new();
        for n in (1..=last).rev().take(FAR) {
            let Some(record) = ledger::whole(store, &expected)? else {
                return Parting::by_arrival(store, past, ours);
            };
            ours.insert(n, expected);
            let previous = others(store, Dot { writer, n }, &expected)?;
            if !previous.is_empty() {
                least = Some(n);
            }
            expected = record.clear().previous;
            if previous.contains(&expected) || n <= opened + 1 && least.is_none() {
                break;
            }
        }
        let common = least.map_or(opened, |least| least - 1);
        ours.retain(|n, _| *n > common);
        Ok(Parting { writer, common, last, ours })
    }

    /// A forget has taken a record of the chain, of which this much is `shown`. What is held of this
    /// writer and was here when it was given up is of this life, since nothing of the other one was.
    fn by_arrival(
        store: &Store,
        past: &Past,
        shown: BTreeMap<u64, RecordHash>,
    ) -> Result<Parting, LedgerError> {
        let Past { writer, n: last, opened, .. } = *past;
        let (mut ours, mut least) = (shown, last + 1);
        for n in (1..=last).rev().take(FAR) {
            for hash in store.dots(&writer.to_bytes(), n)? {
                let hash = RecordHash::from_bytes(hash);
                match sequence(store, &hash)? {
                    Some(came) if came <= past.sequence => drop(ours.insert(n, hash)),
                    // One that was damaged here and healed has come anew.
                    Some(_) if ours.get(&n) != Some(&hash) => least = n,
                    _ => {}
                }
            }
        }
        let common = opened.min(least - 1);
        ours.retain(|n, _| *n > common);
        Ok(Parting { writer, common, last, ours })
    }

    /// Names that either life has written since.
    fn names(&self, store: &Store) -> Result<BTreeSet<NameId>, LedgerError> {
        let mut names = BTreeSet::new();
        for n in self.common + 1..=self.last {
            for hash in store.dots(&self.writer.to_bytes(), n)? {
                let record = ledger::whole(store, &RecordHash::from_bytes(hash))?;
                names.extend(record.map(|record| record.clear().name));
            }
        }
        Ok(names)
    }

    /// Versions of one name under numbers that mean two things, which somebody covers who has seen the
    /// other thing; or may come to, of this life's. `later` says which writers this life is now.
    fn confused(&self, held: &[Held], later: impl Fn(&Writer) -> bool) -> Vec<Reissue> {
        let is_ours = |record: &Record| {
            let dot = record.clear().dot;
            let mine = self.ours.get(&dot.n).is_some_and(|hash| *hash == record.hash());
            dot.writer == self.writer && mine || later(&dot.writer)
        };
        let mut again = Vec::new();
        for (came, record) in held.iter().filter(|(_, record)| self.doubtful(record)) {
            let (dot, side) = (record.clear().dot, is_ours(record));
            let (mut rightly, mut wrongly) = (false, false);
            for (written, other) in held.iter().filter(|(_, other)| other.hash() != record.hash()) {
                let covers = other.clear().seen.covers(&dot);
                if is_ours(other) == side {
                    rightly |= covers;
                } else if side {
                    wrongly |= covers || other.clear().dot == dot;
                } else {
                    // What was written here after it came covers it as it should.
                    rightly |= covers && written > came;
                    wrongly |= covers;
                }
            }
            if wrongly && !rightly {
                let seen = self.before(&record.clear().seen);
                again.push(Reissue { record: record.clone(), seen });
            }
        }
        again
    }

    /// Whether it is a version under a number that means two things.
    fn doubtful(&self, record: &Record) -> bool {
        let (dot, kind) = (record.clear().dot, record.clear().kind);
        let range = self.common + 1..=self.last;
        kind.is_version() && dot.writer == self.writer && range.contains(&dot.n)
    }

    /// What was seen, without the numbers of this writer after the parting.
    fn before(&self, seen: &Vector) -> Vector {
        let mut before = Vector::new();
        for dot in seen.iter() {
            let n = if dot.writer == self.writer { dot.n.min(self.common) } else { dot.n };
            let fits = before.insert(Dot { writer: dot.writer, n });
            fits.expect("a part of a vector fits into a vector");
        }
        before
    }
}

/// The records before those that have this number and are not the one that is meant.
fn others(store: &Store, dot: Dot, meant: &RecordHash) -> Result<Vec<RecordHash>, LedgerError> {
    let mut previous = Vec::new();
    for hash in store.dots(&dot.writer.to_bytes(), dot.n)? {
        let hash = RecordHash::from_bytes(hash);
        if hash != *meant {
            previous.extend(ledger::whole(store, &hash)?.map(|record| record.clear().previous));
        }
    }
    Ok(previous)
}

/// Under which number a record is stored here, if it is and can be read.
fn sequence(store: &Store, hash: &RecordHash) -> Result<Option<u64>, LedgerError> {
    match store.record(hash.as_bytes()) {
        Ok(stored) => Ok(stored.map(|stored| stored.sequence)),
        Err(ReadError::RecordDamaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
