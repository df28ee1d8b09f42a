//! The state of a node of which another life has written under its numbers: it was restored from a copy,
//! or it was cloned. `other_lives.rs` notices it.
//!
//! A number says which record is meant only as long as it is used once. Once records show that this
//! node's numbers were used elsewhere, it goes on under a new incarnation. What it had written since
//! the two lives parted may be hidden by what has seen the other record of the same number, and the
//! other way round; so after the next full exchange, what is hidden without having been seen is written
//! again, under new numbers, with the `seen` it had before the lives parted.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{NodeId, Record, Writer};
use stash_store::{ReadError, Store};
use tokio::sync::watch;

use crate::ledger::LedgerError;
use crate::ledger::incarnation::pasts;
use crate::lock::lock;

/// Tells whoever can write versions again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Something came, since that was looked at, that may make a difference.
    pub(crate) changed: AtomicBool,
    pub(crate) told: watch::Sender<u64>,
    /// The incarnations that were given up.
    pub(crate) given_up: Mutex<BTreeSet<Writer>>,
    /// Incarnations of this node that had one life, by all of their records that have come.
    one_life: Mutex<BTreeSet<Writer>>,
}

impl Restored {
    pub(crate) fn load(store: &Store) -> Result<Restored, ReadError> {
        let given_up = pasts(store)?.into_iter().map(|past| past.writer).collect();
        let (changed, told) = (AtomicBool::new(true), watch::Sender::new(0));
        let (given_up, one_life) = (Mutex::new(given_up), Mutex::default());
        Ok(Restored { changed, told, given_up, one_life })
    }

    /// Records were taken in: some may hide what this node wrote in one of its lives, or be hidden by it.
    pub(crate) fn came(&self, records: &[Record], me: NodeId) {
        for record in records.iter().filter(|record| record.clear().dot.writer.node == me) {
            lock(&self.one_life).remove(&record.clear().dot.writer);
        }
        let given_up = lock(&self.given_up);
        let concerns = |record: &Record| {
            let clear = record.clear();
            clear.dot.writer.node == me || given_up.iter().any(|writer| clear.seen.get(writer) > 0)
        };
        if records.iter().any(concerns) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// What had been set aside counts again.
    pub(crate) fn regained(&self) {
        lock(&self.one_life).clear();
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Whether that is still to be found out about a writer, unless `find` says that it had one life. What
    /// comes meanwhile is looked at the next time.
    pub(crate) fn look<T>(
        &self,
        writer: Writer,
        find: impl FnOnce() -> Result<Option<T>, LedgerError>,
    ) -> Result<Option<T>, LedgerError> {
        if !lock(&self.one_life).insert(writer) {
            return Ok(None);
        }
        let found = find();
        if !matches!(found, Ok(None)) {
            lock(&self.one_life).remove(&writer);
        }
        found
    }
}
