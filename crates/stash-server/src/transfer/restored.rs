//! State of a node whose numbers another life has used as well: it was restored from a copy, or
//! cloned. `other_lives.rs` notices it.
//!
//! A number names one record only as long as it is used once. When records show that this node's
//! numbers were used elsewhere, it goes on under a new incarnation. A version that it wrote since
//! the two lives diverged may be hidden by one whose author had seen the other record of the same
//! number, and the other way round. So after the next full exchange, versions that are hidden
//! without having been seen are written again: under new numbers, with the `seen` that they had
//! before the lives diverged.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::{NodeId, Record, Writer};
use stash_store::{ReadError, Store};
use tokio::sync::watch;

use crate::ledger::LedgerError;
use crate::ledger::incarnation::pasts;
use crate::lock::lock;

/// Tells its listeners that versions may have to be written again.
#[derive(Debug)]
pub(crate) struct Restored {
    /// True if something came since the last look that may make a difference.
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

    /// Records were taken in: some may hide what this node wrote in one of its lives, or be hidden
    /// by it.
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

    /// Records that had been set aside count again.
    pub(crate) fn regained(&self) {
        lock(&self.one_life).clear();
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Runs `find` for a writer that is not known to have had one life; `None` from it says that it
    /// had one. Records that come meanwhile are looked at the next time.
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
