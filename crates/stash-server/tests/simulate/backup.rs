//! Disks that lose what they have: new ones, and older copies put back.

use std::collections::BTreeSet;

use rand::RngExt;
use stash_crypto::{Address, NameId, Record, RecordHash};
use stash_server::Wait;
use stash_server::store::{MemDisk, Store};
use tokio::time::Instant;

use crate::machine::{Machine, Opens, SMALL, Stop};
use crate::model::{held, here};
use crate::network::lock;
use crate::operation::Content;
use crate::world::World;

/// The state of a disk as it was.
pub(crate) struct Backup {
    disk: MemDisk,
    /// Number of times that the machine had been started.
    starts: u64,
    /// The node's note of its opens.
    opens: Option<Opens>,
    disks: u32,
    /// Records that it had written.
    written: BTreeSet<RecordHash>,
    /// Records that it held.
    records: BTreeSet<RecordHash>,
}

impl World {
    /// A disk loses what it has: notes what no other disk has. All others are started, so that each
    /// says what it has; whether that could be.
    pub(crate) async fn harm(&mut self, at: usize) -> bool {
        self.notice();
        for other in self.others(at) {
            if self.machines[other].running.is_none() && self.start(other).await.is_err() {
                return false;
            }
        }
        let others = self.others(at);
        if others.iter().any(|other| self.machines[*other].up().is_none()) {
            return false;
        }
        if !self.is_told_without(at) {
            return false;
        }
        self.watch();
        self.note_losses(at);
        self.seen.retain(|(node, _), _| *node != at);
        self.current_since.remove(&at);
        self.disks[at] += 1;
        if at == self.founder {
            self.put_back = Some((Instant::now(), true));
        }
        true
    }

    /// All members but one.
    pub(crate) fn others(&self, at: usize) -> Vec<usize> {
        (0..self.machines.len()).filter(|other| *other != at && self.is_member(*other)).collect()
    }

    /// Notes what is lost if a machine is: what no other member that runs has.
    pub(crate) fn note_losses(&mut self, at: usize) {
        let mut model = lock(&self.model);
        let running =
            |other: &usize| self.machines[*other].up().is_some() && self.hollow != Some(*other);
        let others: Vec<usize> = self.others(at).into_iter().filter(running).collect();
        let elsewhere: BTreeSet<RecordHash> = self
            .seen
            .iter()
            .filter(|((node, _), _)| others.contains(node))
            .flat_map(|(_, held)| held.iter().copied())
            .collect();
        // What a cache has may be gone a moment later, and whoever proved it may be the one that is lost.
        let copies = |one: &&Machine| one.up().is_some_and(|up| up.engine.cache().is_none());
        let others = others.iter().map(|other| &self.machines[*other]).filter(copies);
        let others: Vec<(&Machine, &Store)> =
            others.filter_map(|one| Some((one, &one.up()?.store))).collect();
        for (hash, known) in &mut model.records {
            known.lost |= !elsewhere.contains(hash);
        }
        let (chunks, names): (Vec<Address>, _) =
            (model.chunks.keys().copied().collect(), self.names());
        let mut safe = vec![false; chunks.len()];
        for (machine, store) in others {
            // What no record there names may be collected there.
            let (named, files) = (named(store, &names), machine.chunk_files());
            for ((safe, here), chunk) in safe.iter_mut().zip(here(store, &chunks)).zip(&chunks) {
                let is_file = model.chunks.get(chunk).is_some_and(|one| one.sealed_len >= SMALL);
                // What was dropped below the store is not there, whatever the store says.
                let is_there = !is_file || files.contains_key(chunk);
                *safe |= here && is_there && named.contains(chunk);
            }
        }
        for (chunk, safe) in chunks.iter().zip(safe) {
            if !safe || model.evicting.get(chunk).is_some_and(|times| *times > 0) {
                model.lost_chunks.insert(*chunk);
            }
        }
    }

    /// The disk of a machine is replaced by an empty one.
    pub(crate) async fn wipe(&mut self, at: usize) {
        if self.harm(at).await {
            self.stop(at, Stop::Power);
            let seed = self.random.random();
            self.machines[at].wipe(seed);
            self.trace.line(&format!("node {at} has an empty disk"));
        }
    }

    pub(crate) fn back_up(&mut self, at: usize) {
        let machine = &self.machines[at];
        if machine.up().is_some() {
            let disk = machine.disk.fork(self.random.random());
            let records = self.records_on(at, &disk);
            let backup = Backup {
                disk,
                starts: machine.starts(),
                opens: machine.opens,
                disks: self.disks[at],
                written: lock(&self.model).written_by(at, &records),
                records,
            };
            self.backups.insert(at, backup);
            self.trace.line(&format!("node {at} is backed up"));
        }
    }

    /// An old copy of the disk is put back. One of the same run would go unnoticed: the opens that
    /// store and node count agree.
    pub(crate) async fn restore(&mut self, at: usize) {
        let Some(backup) = self.backups.remove(&at) else { return };
        if backup.disks != self.disks[at] {
            return;
        }
        if backup.starts == self.machines[at].starts() {
            self.stop(at, Stop::Kill);
            if self.start(at).await.is_err() {
                return;
            }
        }
        if self.harm(at).await {
            self.stop(at, Stop::Power);
            let seed = self.random.random();
            self.machines[at].restore(&backup.disk, seed);
            self.trace.line(&format!("node {at} is restored"));
        }
    }

    /// A copy of everything that a node has is put back, its note of the opens as well: it cannot
    /// know before it meets somebody.
    pub(crate) async fn rewind(&mut self) {
        let backed_up: Vec<usize> = self.backups.keys().copied().collect();
        if backed_up.is_empty() {
            return;
        }
        let at = backed_up[self.below(backed_up.len())];
        let Some(backup) = self.backups.remove(&at) else { return };
        if backup.disks != self.disks[at] || !self.harm(at).await {
            return;
        }
        self.stop(at, Stop::Power);
        self.went_back(at, &backup);
        let seed = self.random.random();
        self.machines[at].restore(&backup.disk, seed);
        self.machines[at].opens = backup.opens;
        if let Some((_, sees_it)) = self.put_back.as_mut().filter(|_| at == self.founder) {
            *sees_it = false;
        }
        self.trace.line(&format!("node {at} is as it was in its start {}", backup.starts));
        if self.random.random_bool(0.7) {
            self.write_alone(at).await;
        }
    }

    /// The model hears that a machine is as it was.
    fn went_back(&self, at: usize, backup: &Backup) {
        let mut model = lock(&self.model);
        // What only a machine has that was removed reaches nobody.
        let held = backup.records.iter().filter(|_| self.is_member(at));
        for hash in held {
            if let Some(known) = model.records.get_mut(hash) {
                known.lost = false;
            }
        }
        model.parts(at, &backup.written);
    }

    /// A node starts where nobody reaches it, and somebody writes there.
    pub(crate) async fn write_alone(&mut self, at: usize) {
        self.cut_off(at);
        if self.start(at).await.is_err() {
            return;
        }
        for _ in 0..self.random.random_range(1..=3) {
            let key = self.key();
            let content = Content::draw(&mut self.random);
            let tombstone = self.random.random_bool(0.2);
            let Some(hand) = self.hand(at) else { return };
            match tombstone {
                true => hand.remove(key, Wait::Local).await,
                false => hand.put(key, content, Wait::Local).await,
            }
        }
    }

    /// The records that a node holds.
    pub(crate) fn records(&self, at: usize) -> BTreeSet<RecordHash> {
        let Some(running) = self.machines[at].up() else { return BTreeSet::new() };
        self.records_in(&running.store)
    }

    /// Records that a machine holds, and those that a copy of its disk holds: a commit that failed on
    /// a disk without room may have left more there.
    pub(crate) fn records_on(&self, at: usize, copy: &MemDisk) -> BTreeSet<RecordHash> {
        let mut records = self.records(at);
        let store = self.machines[at].store_on(copy);
        records.extend(store.iter().flat_map(|store| self.records_in(store)));
        records
    }

    fn records_in(&self, store: &Store) -> BTreeSet<RecordHash> {
        let names = self.names();
        let records = names.iter().flat_map(|name| held(store, name).unwrap_or_default());
        records.map(|record| record.hash()).collect()
    }
}

/// The chunks that the records of these names in a store name.
fn named(store: &Store, names: &[NameId]) -> BTreeSet<Address> {
    let records = names.iter().flat_map(|name| held(store, name).unwrap_or_default());
    let refs = |record: Record| record.clear().manifest.refs().to_vec();
    records.flat_map(refs).map(|chunk| chunk.address).collect()
}
