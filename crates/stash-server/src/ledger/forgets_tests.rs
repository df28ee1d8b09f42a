//! Forgets in the store: one step with what they drop, whoever else writes the name.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use stash_crypto::record::{covered_vector, dead_vector, settle};
use stash_crypto::{
    Clear, Dot, ForgetKind, Incarnation, Manifest, Meta, NameId, NodeKeys, Record, RecordDraft,
    RecordHash, RecordKind, RootSecret, StashId, Vector, Writer,
};
use stash_p2p::Environment;
use stash_store::{Batch, Committer, MemDisk, Options, Store};

use crate::ledger::admit::{admit, entry};
use crate::ledger::author::{Author, Write};
use crate::ledger::evicted::{GivenUp, give_up};
use crate::ledger::forgets::resume;
use crate::ledger::manifest::Chunks;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::read::records_of;
use crate::ledger::roster::Roster;
use crate::ledger::{roster, rows};
use crate::message::RecordResult;

const DEAD: RecordKind = RecordKind::Forget(ForgetKind::Dead);

const COVERED: RecordKind = RecordKind::Forget(ForgetKind::Covered);

pub(crate) fn store(committer: Committer) -> Store {
    let options = Options { committer, disk: Arc::new(MemDisk::new(1)), ..Options::default() };
    Store::create(std::path::Path::new("/store"), &options).unwrap()
}

pub(crate) fn name(n: u8) -> NameId {
    NameId::from_bytes([n; 32])
}

/// An owner that writes what a test says.
pub(crate) struct Owner {
    keys: NodeKeys,
    incarnation: Incarnation,
}

impl Owner {
    pub(crate) fn new(seed: u8) -> Owner {
        let keys = NodeKeys::from_seed([seed; 32]);
        Owner { keys, incarnation: Incarnation::from_bytes([seed; 8]) }
    }

    pub(crate) fn record(&self, kind: RecordKind, name: NameId, n: u64, seen: Vector) -> Record {
        let writer = Writer { node: self.keys.node_id(), incarnation: self.incarnation };
        let previous = RecordHash::from_bytes([u8::from(n > 1); 32]);
        let clear = Clear {
            stash: StashId::from_bytes([2; 32]),
            kind,
            name,
            dot: Dot { writer, n },
            previous,
            height: n,
            epoch: 0,
            seen,
            manifest: Manifest::Direct(Vec::new()),
        };
        sign(&self.keys, clear)
    }

    pub(crate) fn put(&self, name: NameId, n: u64, of: &[&Record]) -> Record {
        self.record(RecordKind::Put, name, n, vector(of))
    }
}

pub(crate) fn sign(keys: &NodeKeys, clear: Clear) -> Record {
    let inline = (clear.kind == RecordKind::Put).then(Vec::new);
    let key = stash_crypto::Key::new("k").unwrap();
    let meta = clear.kind.is_version().then(|| Meta { inline, ..Meta::new(key, 0) });
    let root = RootSecret::from_bytes([4; 32]);
    RecordDraft { clear, meta }.sign(keys.signer(), &root.read_root().meta_keys()).unwrap()
}

pub(crate) fn vector(of: &[&Record]) -> Vector {
    covered_vector(of.iter().map(|record| record.clear())).unwrap()
}

pub(crate) fn admit_now(
    name_locks: &NameLocks,
    store: &Store,
    records: &[Record],
) -> Vec<RecordResult> {
    admit(name_locks, store, records, Chunks::Later).unwrap()
}

fn held(store: &Store, n: u8) -> Vec<Record> {
    records_of(store, &name(n)).unwrap()
}

fn hashes(records: &[Record]) -> BTreeSet<RecordHash> {
    records.iter().map(Record::hash).collect()
}

// The store reserves the most that a dropped record could take, so many go in several batches.
#[test]
fn a_forget_of_more_versions_than_a_batch_drops_takes_them_all() {
    let (store, name_locks, owner) =
        (store(Committer::Inline), NameLocks::default(), Owner::new(1));
    let puts: Vec<Record> = (1..=600).map(|n| owner.put(name(1), n, &[])).collect();
    for some in puts.chunks(50) {
        admit_now(&name_locks, &store, some);
    }
    let dead = owner.record(DEAD, name(1), 601, vector(&puts.iter().collect::<Vec<_>>()));
    let admitted = admit(&name_locks, &store, std::slice::from_ref(&dead), Chunks::Later).unwrap();
    assert_eq!(admitted, [RecordResult::Stored {}]);
    assert_eq!(held(&store, 1), [dead]);
    assert!(store.rows(b"unsettled/").unwrap().is_empty());
}

#[test]
fn what_a_stop_left_undone_is_done_at_the_next_start() {
    let (store, owner) = (store(Committer::Inline), Owner::new(1));
    let put = owner.put(name(1), 1, &[]);
    let dead = owner.record(DEAD, name(1), 2, vector(&[&put]));
    let batch = Batch::new().record(entry(&put)).record(entry(&dead));
    let key = [b"unsettled/".as_slice(), name(1).as_bytes()].concat();
    store.commit(batch.row(&key, Some(b""))).unwrap();
    resume(&store).unwrap();
    assert_eq!(held(&store, 1), [dead]);
    assert_eq!(store.row(&key).unwrap(), None);
}

#[test]
fn a_dropped_record_is_not_short_and_not_given_up_any_more() {
    let (store, name_locks, owner) =
        (store(Committer::Inline), NameLocks::default(), Owner::new(1));
    let put = owner.put(name(1), 1, &[]);
    admit_now(&name_locks, &store, std::slice::from_ref(&put));
    give_up(&store, &name(1), Some(GivenUp { version: put.hash(), copies: None })).unwrap();
    let short = rows::lacked(&put.hash());
    store.commit(Batch::new().row(&short, Some(b"someone"))).unwrap();
    let dead = owner.record(DEAD, name(1), 2, vector(&[&put]));
    admit_now(&name_locks, &store, &[dead]);
    assert_eq!(store.row(&short).unwrap(), None);
    assert!(store.rows(rows::EVICTED).unwrap().is_empty());
}

/// A write of a kind that covers, or forgets, all that is held.
pub(crate) fn write(keys: &Arc<NodeKeys>, n: u8, kind: RecordKind) -> Write {
    let keys = Arc::clone(keys);
    let draft = Box::new(move |position: crate::Position| {
        Ok(sign(
            &keys,
            Clear {
                stash: position.stash,
                kind,
                name: position.name,
                dot: position.dot,
                previous: position.previous,
                height: position.height,
                epoch: position.epoch,
                seen: position.seen,
                manifest: Manifest::Direct(Vec::new()),
            },
        ))
    });
    Write { name: name(n), draft }
}

struct Scene {
    store: Store,
    name_locks: NameLocks,
    roster: Roster,
    keys: Arc<NodeKeys>,
    author: Author,
}

fn scene() -> Scene {
    let (store, keys) = (store(Committer::Inline), Arc::new(NodeKeys::from_seed([9; 32])));
    let (author, roster) = (author(&store, &keys), roster::of_owner(&store, &keys));
    Scene { store, name_locks: NameLocks::default(), roster, keys, author }
}

pub(crate) fn author(store: &Store, keys: &NodeKeys) -> Author {
    let stash = StashId::from_bytes([2; 32]);
    Author::open(store, stash, keys.node_id(), false, &Environment::default()).unwrap()
}

impl Scene {
    fn write(&self, kinds: &[(u8, RecordKind)]) -> Vec<Record> {
        let writes = kinds.iter().map(|(n, kind)| write(&self.keys, *n, *kind)).collect();
        self.author.write(&self.name_locks, &self.roster, &self.store, writes).unwrap()
    }
}

// Fault case 114: a number is used once, though the record that had it is gone.
#[test]
fn the_number_of_a_forgotten_record_is_not_used_again_after_a_restart() {
    let scene = scene();
    let put = scene.write(&[(1, RecordKind::Put), (2, RecordKind::Put)]).remove(1);
    let other = Owner::new(1);
    let dead = other.record(DEAD, name(2), 1, vector(&[&put]));
    admit_now(&scene.name_locks, &scene.store, &[dead]);
    assert!(!hashes(&held(&scene.store, 2)).contains(&put.hash()));
    let again = Scene { author: author(&scene.store, &scene.keys), ..scene };
    let next = again.write(&[(1, RecordKind::Put)]).remove(0);
    let clear = next.clear();
    assert_eq!(clear.dot, Dot { n: 3, ..put.clear().dot });
    assert_eq!(clear.previous, put.hash());
}

#[test]
fn a_forget_that_a_held_one_includes_is_not_written() {
    let scene = scene();
    scene.write(&[(1, RecordKind::Put)]);
    let forget = scene.write(&[(1, DEAD)]).remove(0);
    assert_eq!(scene.write(&[(1, COVERED), (1, DEAD)]), []);
    assert_eq!(held(&scene.store, 1), std::slice::from_ref(&forget));
    let next = scene.write(&[(2, RecordKind::Put)]).remove(0);
    assert_eq!(next.clear().dot.n, forget.clear().dot.n + 1, "it took no number");
}

// The dot of the forget, n = 2, is not seen: n = 1 of the same writer may be a version of the name.
#[test]
fn a_writer_sees_the_vector_of_a_forget_and_not_its_dot() {
    let scene = scene();
    let other = Owner::new(1);
    let (unseen, old) = (other.put(name(1), 3, &[]), other.put(name(1), 1, &[]));
    let forget = other.record(COVERED, name(1), 4, vector(&[&old]));
    admit_now(&scene.name_locks, &scene.store, &[forget]);
    let written = scene.write(&[(1, RecordKind::Put)]).remove(0);
    assert!(stash_crypto::record::covers(written.clear(), old.clear()));
    assert!(!stash_crypto::record::covers(written.clear(), unseen.clear()));
    admit_now(&scene.name_locks, &scene.store, std::slice::from_ref(&unseen));
    let all = held(&scene.store, 1);
    let leaves = stash_crypto::record::leaves(&all).into_iter().map(Record::hash);
    assert_eq!(leaves.collect::<BTreeSet<_>>(), hashes(&[written, unseen]));
}

// Fault case 26: an owner gone bad names numbers that a writer has not used yet.
#[test]
fn a_forget_of_numbers_to_come_does_not_keep_a_writer_from_writing() {
    let scene = scene();
    let first = scene.write(&[(1, RecordKind::Put)]).remove(0);
    let mut vector = Vector::new();
    vector.insert(Dot { n: stash_crypto::record::N_MAX, ..first.clear().dot }).unwrap();
    let other = Owner::new(1);
    admit_now(&scene.name_locks, &scene.store, &[other.record(DEAD, name(1), 1, vector)]);
    let next = scene.write(&[(1, RecordKind::Put)]).remove(0);
    assert_ne!(next.clear().dot.writer, first.clear().dot.writer, "another incarnation");
    assert!(hashes(&held(&scene.store, 1)).contains(&next.hash()));
}

// Fault case 107. `STASH_SEED` replays one round.
#[test]
fn commits_that_race_on_a_name_leave_what_settling_all_of_it_leaves() {
    let owner = Owner::new(1);
    let other = Owner::new(3);
    let first = owner.put(name(1), 1, &[]);
    let second = owner.put(name(1), 2, &[&first]);
    let gone = owner.record(RecordKind::Tombstone, name(1), 3, vector(&[&first, &second]));
    let dead = owner.record(DEAD, name(1), 4, dead_vector(gone.clear()).unwrap());
    let covered = other.record(COVERED, name(1), 1, vector(&[&first]));
    let later = other.put(name(1), 2, &[&gone]);
    let all = [first, second, gone, dead, covered, later];
    let expected = hashes(&settle(&all).keep);
    let seed = std::env::var("STASH_SEED").map(|seed| seed.parse().unwrap());
    let first_seed: u64 = seed.clone().unwrap_or_else(|_| rand::rng().next_u64());
    for seed in (0..if seed.is_ok() { 1 } else { 100 }).map(|at| first_seed.wrapping_add(at)) {
        let (store, name_locks) = (store(Committer::Thread), NameLocks::default());
        let mut rng = StdRng::seed_from_u64(seed);
        let mut parts: [Vec<Record>; 4] = Default::default();
        for record in &all {
            parts[rng.random_range(0..4)].push(record.clone());
        }
        let start = Barrier::new(parts.len());
        std::thread::scope(|scope| {
            let (start, name_locks, store) = (&start, &name_locks, &store);
            for part in &parts {
                scope.spawn(move || {
                    start.wait();
                    for record in part {
                        admit_now(name_locks, store, std::slice::from_ref(record));
                    }
                });
            }
        });
        assert_eq!(hashes(&held(&store, 1)), expected, "replay with STASH_SEED={seed}");
    }
}

// Fault case 24: under two names, so that the turn on a name does not order them.
#[test]
fn two_records_with_one_number_that_come_at_once_raise_the_alarm() {
    let owner = Owner::new(1);
    let twins = [owner.put(name(1), 1, &[]), owner.put(name(2), 1, &[])];
    for round in 0..100 {
        let (store, name_locks) = (store(Committer::Thread), NameLocks::default());
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let (start, name_locks, store) = (&start, &name_locks, &store);
            for twin in &twins {
                scope.spawn(move || {
                    start.wait();
                    admit_now(name_locks, store, std::slice::from_ref(twin));
                });
            }
        });
        assert_eq!(store.rows(rows::ALARM).unwrap().len(), 1, "round {round}");
        assert_eq!(store.dots(&twins[0].clear().dot.writer.to_bytes(), 1).unwrap().len(), 2);
    }
}

/// Damages the entry of a record where it lies.
fn damage(disk: &MemDisk, store: &Store, hash: &RecordHash) {
    let damaged = |store: &Store| store.record(hash.as_bytes()).is_err();
    let log = |(path, _): &(std::path::PathBuf, u64)| path.starts_with("/store/log");
    for (path, len) in disk.files().into_iter().filter(log) {
        for bit in (0..len * 8).step_by(257) {
            disk.flip_bit(&path, bit).unwrap();
            if damaged(store) {
                return;
            }
            disk.flip_bit(&path, bit).unwrap();
        }
    }
    panic!("the record lies nowhere");
}

// Fault case 78: what cannot be read is not taken for something else.
#[test]
fn a_damaged_forget_hides_nothing_and_is_kept_until_it_is_whole() {
    let disk = MemDisk::new(1);
    let options = Options {
        committer: Committer::Inline,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    let store = Store::create(std::path::Path::new("/store"), &options).unwrap();
    let (name_locks, keys) = (NameLocks::default(), Arc::new(NodeKeys::from_seed([9; 32])));
    let (author, roster) = (author(&store, &keys), roster::of_owner(&store, &keys));
    let scene = Scene { author, store, name_locks, roster, keys };
    let old = scene.write(&[(1, RecordKind::Put)]).remove(0);
    let dead = scene.write(&[(1, DEAD)]).remove(0);
    damage(&disk, &scene.store, &dead.hash());
    assert_eq!(held(&scene.store, 1), [], "nothing else is held");
    let new = scene.write(&[(1, RecordKind::Put)]).remove(0);
    assert!(!new.clear().seen.covers(&dead.clear().dot), "as if the forget were a version");
    assert_eq!(hashes(&held(&scene.store, 1)), hashes(std::slice::from_ref(&new)));
    assert!(scene.store.record(dead.hash().as_bytes()).is_err(), "it waits for a good copy");
    admit_now(&scene.name_locks, &scene.store, &[old, dead.clone()]);
    assert_eq!(
        hashes(&held(&scene.store, 1)),
        hashes(&[dead.clone(), new]),
        "the old one has gone"
    );
    let larger = scene.write(&[(1, RecordKind::Tombstone), (1, DEAD)]).pop().unwrap();
    assert_eq!(held(&scene.store, 1), std::slice::from_ref(&larger));
    let row = scene.store.rows(rows::FORGET).unwrap();
    assert_eq!(row.len(), 1, "the smaller one's row has gone with it");
    assert_eq!(row[0].0, rows::forget(larger.hash().as_bytes()));
}
