//! Setting records aside: all of them, once, whatever interrupts it.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use stash_crypto::{
    Clear, Cut, Dot, EntryHash, Incarnation, Manifest, MemberChange, MemberEntry, MemberLog,
    NodeKeys, Record, RecordDraft, RecordHash, RecordKind, Role, RootSecret, Vector, Writer,
};
use stash_store::{Batch, Committer, MemDisk, Options, Quota, Store};

use crate::ledger::admit::admit;
use crate::ledger::cuts::{Aside, set_aside, set_aside_count, take_back};
use crate::ledger::error::{LedgerError, RosterError};
use crate::ledger::manifest::Chunks;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::read::records_of;
use crate::ledger::roster::{Roster, of_owner};
use crate::ledger::rows;

/// More than are set aside in one batch, twice.
const RECORDS: u64 = 150;

/// The last that counts.
const LAST: u64 = 10;

fn store() -> Store {
    let disk = Arc::new(MemDisk::new(1));
    let options = Options { committer: Committer::Inline, disk, ..Options::default() };
    Store::create(std::path::Path::new("/store"), &options).unwrap()
}

fn put(keys: &NodeKeys, n: u64) -> Record {
    let root = RootSecret::from_bytes([4; 32]);
    let writer = Writer { node: keys.node_id(), incarnation: Incarnation::from_bytes([5; 8]) };
    let key = stash_crypto::Key::new(&format!("file {n}")).unwrap();
    let clear = Clear {
        stash: root.stash_id(),
        kind: RecordKind::Put,
        name: root.read_root().name_key().name_id(&key),
        dot: Dot { writer, n },
        previous: RecordHash::from_bytes([u8::from(n > 1); 32]),
        height: 1,
        epoch: 0,
        seen: Vector::new(),
        manifest: Manifest::EMPTY,
    };
    let meta = stash_crypto::Meta { inline: Some(vec![]), ..stash_crypto::Meta::new(key, 0) };
    let draft = RecordDraft { clear, meta: Some(meta) };
    draft.sign(keys.signer(), &root.read_root().meta_keys()).unwrap()
}

struct Scene {
    store: Store,
    name_locks: NameLocks,
    roster: Roster,
    keys: NodeKeys,
}

/// A store with all records of an owner.
fn scene() -> Scene {
    let (store, keys, name_locks) = (store(), NodeKeys::from_seed([9; 32]), NameLocks::default());
    let roster = of_owner(&store, &keys);
    let records: Vec<Record> = (1..=RECORDS).map(|n| put(&keys, n)).collect();
    admit(&name_locks, &store, &records, Chunks::Required).unwrap();
    Scene { store, name_locks, roster, keys }
}

/// The entry by which the owner writes no more, after this one.
fn demotion(keys: &NodeKeys, log: &MemberLog) -> MemberEntry {
    let last = put(keys, LAST);
    let incarnation = last.clear().dot.writer.incarnation;
    let cuts = vec![Cut { incarnation, n: LAST, hash: last.hash() }];
    let change = MemberChange::SetRole { node: keys.node_id(), role: Role::Reader, cuts };
    let (root, head): (_, EntryHash) = (RootSecret::from_bytes([4; 32]), log.head());
    MemberEntry::sign(&root.root_signer(), log.len(), head, change).unwrap()
}

impl Scene {
    fn demote(&self) {
        let made = |log: &MemberLog| Ok::<_, RosterError>(vec![demotion(&self.keys, log)]);
        self.roster.append(&self.store, made).unwrap();
    }

    /// The owner gets another role, and no cut.
    fn set_role(&self, role: Role) {
        let change = MemberChange::SetRole { node: self.keys.node_id(), role, cuts: Vec::new() };
        let root = RootSecret::from_bytes([4; 32]).root_signer();
        let made = |log: &MemberLog| {
            let entry = MemberEntry::sign(&root, log.len(), log.head(), change.clone());
            Ok::<_, RosterError>(vec![entry.unwrap()])
        };
        self.roster.append(&self.store, made).unwrap();
    }

    fn take_back(&self) -> usize {
        let mut back = Aside::default();
        take_back(&self.name_locks, &self.store, &self.roster, &mut back).unwrap();
        back.records.len()
    }

    fn set_aside(
        &self,
        doubt: impl Fn(&Store, Batch) -> Result<Batch, LedgerError>,
    ) -> Result<usize, LedgerError> {
        let mut aside = Aside::default();
        set_aside(&self.name_locks, &self.store, &self.roster, doubt, &mut aside)?;
        Ok(aside.records.len())
    }
}

fn sure(_: &Store, batch: Batch) -> Result<Batch, LedgerError> {
    Ok(batch)
}

#[test]
fn records_past_a_cut_leave_the_order_and_are_kept_aside_byte_for_byte() {
    let scene = scene();
    scene.demote();
    let aside = usize::try_from(RECORDS - LAST).unwrap();
    assert_eq!(scene.set_aside(sure).unwrap(), aside);
    assert_eq!(scene.store.record_totals().count, LAST);
    assert_eq!(set_aside_count(&scene.store).unwrap(), RECORDS - LAST);
    let rows = scene.store.rows(b"aside/").unwrap();
    assert_eq!(rows.len(), aside);
    for n in [LAST + 1, RECORDS] {
        let record = put(&scene.keys, n);
        let key = [b"aside/", &record.hash().as_bytes()[..]].concat();
        assert_eq!(scene.store.row(&key).unwrap().as_deref(), Some(record.bytes()), "{n}");
        assert!(records_of(&scene.store, &record.clear().name).unwrap().is_empty());
    }
    let last = put(&scene.keys, LAST);
    assert_eq!(records_of(&scene.store, &last.clear().name).unwrap(), [last]);
    assert!(scene.store.rows(rows::UNCUT).unwrap().is_empty(), "it is done");
    assert_eq!(scene.set_aside(sure).unwrap(), 0);
    assert_eq!(set_aside_count(&scene.store).unwrap(), RECORDS - LAST);
}

#[test]
fn what_was_set_aside_of_an_owner_comes_back_once_it_is_one_again() {
    let scene = scene();
    // Of its records nobody knew when it became a reader: no cut names them.
    scene.set_role(Role::Reader);
    assert_eq!(scene.set_aside(sure).unwrap() as u64, RECORDS);
    assert_eq!((scene.take_back(), scene.store.record_totals().count), (0, 0));
    scene.set_role(Role::Owner);
    assert_eq!(scene.take_back() as u64, RECORDS);
    assert_eq!(scene.store.record_totals().count, RECORDS);
    for n in [1, RECORDS] {
        let record = put(&scene.keys, n);
        assert_eq!(records_of(&scene.store, &record.clear().name).unwrap(), [record], "{n}");
    }
    for rows in [rows::REGAINED, b"aside/"] {
        assert!(scene.store.rows(rows).unwrap().is_empty(), "it is done");
    }
    assert_eq!(scene.take_back(), 0);
}

#[test]
fn what_lies_past_a_cut_stays_aside_when_its_author_is_an_owner_again() {
    let scene = scene();
    scene.demote();
    scene.set_aside(sure).unwrap();
    scene.set_role(Role::Owner);
    assert_eq!((scene.take_back(), scene.store.record_totals().count), (0, LAST));
    assert_eq!(scene.store.rows(b"aside/").unwrap().len() as u64, RECORDS - LAST);
}

#[test]
fn a_full_store_takes_back_later() {
    let scene = scene();
    scene.set_role(Role::Reader);
    scene.set_aside(sure).unwrap();
    scene.set_role(Role::Owner);
    let full = Quota { hard: Some(1), ..Quota::default() };
    scene.store.set_quota(full);
    assert!((scene.take_back() as u64) < RECORDS, "no room");
    scene.store.set_quota(Quota::default());
    scene.take_back();
    assert_eq!(scene.store.record_totals().count, RECORDS);
}

#[test]
fn what_was_interrupted_anywhere_is_finished_at_the_next_start() {
    for fails_at in [1, 2, 3] {
        let scene = scene();
        scene.demote();
        let calls = std::cell::Cell::new(0);
        let fails = |_: &Store, batch: Batch| {
            calls.set(calls.get() + 1);
            let reason = "a crash".to_owned();
            let crash = LedgerError::Damaged { sequence: 0, reason };
            if calls.get() == fails_at { Err(crash) } else { Ok(batch) }
        };
        assert!(scene.set_aside(fails).is_err());
        assert_eq!(scene.store.rows(rows::UNCUT).unwrap().len(), 1, "it is still to be done");
        let again = Roster::open(&scene.store, RootSecret::from_bytes([4; 32]).stash_id());
        let scene = Scene { roster: again.unwrap(), ..scene };
        scene.set_aside(sure).unwrap();
        assert_eq!(scene.store.record_totals().count, LAST);
        assert_eq!(set_aside_count(&scene.store).unwrap(), RECORDS - LAST, "each is counted once");
    }
}

#[test]
fn of_two_records_at_the_cut_the_one_that_it_names_stays() {
    let scene = scene();
    let mut clear = put(&scene.keys, LAST).clear().clone();
    clear.height = 7;
    let root = RootSecret::from_bytes([4; 32]);
    let key = stash_crypto::Key::new(&format!("file {LAST}")).unwrap();
    let meta = stash_crypto::Meta { inline: Some(vec![]), ..stash_crypto::Meta::new(key, 0) };
    let draft = RecordDraft { clear, meta: Some(meta) };
    let twin = draft.sign(scene.keys.signer(), &root.read_root().meta_keys()).unwrap();
    let twins = std::slice::from_ref(&twin);
    admit(&scene.name_locks, &scene.store, twins, Chunks::Required).unwrap();
    scene.demote();
    let aside = usize::try_from(RECORDS - LAST).unwrap();
    assert_eq!(scene.set_aside(sure).unwrap(), aside + 1);
    let held = records_of(&scene.store, &twin.clear().name).unwrap();
    assert_eq!(held, [put(&scene.keys, LAST)]);
}

// Fault case 108: what was checked by the old log is committed before the new one is looked by.
#[test]
fn the_log_does_not_grow_between_the_check_of_a_record_and_its_commit() {
    let scene = Arc::new(scene());
    let uncut = scene.roster.uncut();
    let (done, grown) = channel();
    let other = Arc::clone(&scene);
    let growing = std::thread::spawn(move || {
        other.demote();
        done.send(()).unwrap();
    });
    assert_eq!(grown.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
    drop(uncut);
    grown.recv_timeout(Duration::from_secs(20)).unwrap();
    growing.join().unwrap();
}
