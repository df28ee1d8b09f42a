//! Work on the index that waits to be done beside the commits, and those who wait for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::index::Index;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};
use crate::{Address, IoError};

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    nudged: bool,
    closing: bool,
    /// Directories whose names must be durable before what is frozen is.
    pub(crate) emptied: BTreeSet<PathBuf>,
    /// Segments that what is frozen needs no longer.
    pub(crate) retired: Vec<u64>,
    /// Collected blobs whose files are still there: of each collection that runs, those of a step.
    pub(crate) doomed: Vec<Address>,
    /// Retired segments whose files are gone for good.
    pub(crate) gone: Vec<u64>,
    /// The error of the last attempt, where another one may go well.
    pub(crate) failed: Option<IoError>,
    /// Bytes for which a merge of the index waits.
    pub(crate) waits_to_merge: Option<u64>,
    /// An index in which damage was found, for the committer to mend.
    damaged: Option<(Arc<Index>, String)>,
}

/// Work that waits to be done beside the commits, and those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Work {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Work {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Waits until somebody calls [`Work::notify`].
    pub(crate) fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        wait(&self.changed, waiting)
    }

    /// Lets the indexer look whether there is something to do.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_all();
    }

    /// Wakes everybody who waits, to look again. Under the lock, or else somebody who is about to
    /// wait would miss it.
    pub(crate) fn notify(&self) {
        let _waiting = self.lock();
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Waits for something to do; false once there will be nothing more.
    pub(crate) fn take_nudge(&self) -> bool {
        let mut waiting = self.lock();
        while !waiting.nudged && !waiting.closing {
            waiting = self.wait(waiting);
        }
        std::mem::take(&mut waiting.nudged)
    }

    /// The error of the last attempt to write the index, where another one may go well.
    pub(crate) fn failed(&self) -> Option<IoError> {
        self.lock().failed.as_ref().map(IoError::again)
    }

    /// Notes damage that was found in this index.
    pub(crate) fn damaged(&self, index: Arc<Index>, what: String) {
        self.lock().damaged = Some((index, what));
    }

    pub(crate) fn take_damaged(&self) -> Option<(Arc<Index>, String)> {
        self.lock().damaged.take()
    }

    /// Retired segments whose files are gone since this was last asked.
    pub(crate) fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().gone)
    }
}
