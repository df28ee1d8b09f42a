//! Locks on names: looking at a name's records and changing them is one step.
//!
//! Commits run at once, and one sync of the disk serves many of them, so there is no lock over all:
//! a commit takes its turn on the names that it is about, and only another one on the same names
//! waits. Numbers are entered besides, so that two records with one number are noticed when they
//! come at the same moment, be it under different names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use stash_crypto::{Dot, NameId, Record, RecordHash};

/// The locks of one store.
#[derive(Debug, Default)]
pub(crate) struct NameLocks {
    taken: Mutex<Taken>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    names: BTreeSet<NameId>,
    /// Numbers of records on their way into the store. Several hashes are equivocation.
    dots: BTreeMap<Dot, Vec<RecordHash>>,
}

impl NameLocks {
    /// Waits until nobody else has a turn on any of these names, and takes all of them together, so
    /// that two who want each other's names cannot block each other. The wait is as long as the
    /// commits before take: they wait for the disk and for nothing else. Blocking, and never twice
    /// in one thread.
    pub(crate) fn take(&self, names: BTreeSet<NameId>) -> NameGuard<'_> {
        let mut taken = self.lock();
        while names.iter().any(|name| taken.names.contains(name)) {
            taken = self.ended.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.names.extend(&names);
        drop(taken);
        NameGuard { name_locks: self, names, entered: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn on some names; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct NameGuard<'a> {
    name_locks: &'a NameLocks,
    names: BTreeSet<NameId>,
    entered: Vec<(Dot, RecordHash)>,
}

impl NameGuard<'_> {
    /// Says that this record will be committed. `true` if another one with its number is on its way
    /// as well; whether one is stored is to be looked up after this, since one that has arrived is
    /// not on its way any more.
    pub(crate) fn enter(&mut self, record: &Record) -> bool {
        let (dot, hash) = (record.clear().dot, record.hash());
        debug_assert!(self.names.contains(&record.clear().name), "the turn is on its name");
        let mut taken = self.name_locks.lock();
        let hashes = taken.dots.entry(dot).or_default();
        let twin = hashes.iter().any(|other| *other != hash);
        hashes.push(hash);
        self.entered.push((dot, hash));
        twin
    }
}

impl Drop for NameGuard<'_> {
    fn drop(&mut self) {
        let mut taken = self.name_locks.lock();
        for name in &self.names {
            taken.names.remove(name);
        }
        for (dot, hash) in &self.entered {
            if let Some(hashes) = taken.dots.get_mut(dot) {
                if let Some(at) = hashes.iter().position(|other| other == hash) {
                    hashes.swap_remove(at);
                }
                if hashes.is_empty() {
                    taken.dots.remove(dot);
                }
            }
        }
        drop(taken);
        self.name_locks.ended.notify_all();
    }
}
