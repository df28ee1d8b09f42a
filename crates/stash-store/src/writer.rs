//! The writer of the log, and which thread has it.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use crate::Address;
use crate::index::Head;
use crate::log::LogWriter;
use crate::sync::{Arc, Mutex, MutexGuard, lock, thread};

/// State that only the one who writes touches: the end of the log, and what the index has of it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: LogWriter,
    pub(crate) head: Head,
    /// Bytes of log that are not set aside for the durable index yet.
    pub(crate) behind: u64,
    /// Directories of removed files, to be synced before the index forgets that they are to be
    /// removed.
    pub(crate) emptied: BTreeSet<PathBuf>,
    /// Segments that are no longer part of the log, and not removed yet.
    pub(crate) retired: Vec<u64>,
    /// The log says how often the store was opened, this time included.
    pub(crate) counted: bool,
    /// The piece of work of `commit/settle.rs` that was done last.
    pub(crate) settled: Vec<u8>,
    /// The manifest that was read for it.
    pub(crate) manifest: Option<(Address, Arc<[Address]>)>,
}

impl Writer {
    pub(crate) fn new(log: LogWriter, head: Head) -> Writer {
        let (emptied, retired) = (BTreeSet::new(), Vec::new());
        let (counted, settled, manifest) = (false, Vec::new(), None);
        Writer { log, head, behind: 0, emptied, retired, counted, settled, manifest }
    }

    /// Segments that are part of the log.
    pub(crate) fn live_segments(&self) -> BTreeSet<u64> {
        let ids = self.log.segments.keys();
        ids.copied().filter(|id| !self.head.usage.is_retired(*id)).collect()
    }

    /// Bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log.full_bytes + self.log.end.offset
    }
}

/// A lock that can say whether the calling thread has it, without trying it: who finds a lock that
/// is only tried taken would leave its batch to somebody who does not look for one.
#[derive(Debug)]
pub(crate) struct WriterLock {
    writer: Mutex<Writer>,
    owner: Mutex<Option<thread::ThreadId>>,
}

impl WriterLock {
    pub(crate) fn new(writer: Writer) -> WriterLock {
        WriterLock { writer: Mutex::new(writer), owner: Mutex::new(None) }
    }

    pub(crate) fn lock(&self) -> WriterGuard<'_> {
        self.owned(lock(&self.writer))
    }

    /// `None` if somebody has it, or panicked while having it.
    pub(crate) fn try_lock(&self) -> Option<WriterGuard<'_>> {
        Some(self.owned(self.writer.try_lock().ok()?))
    }

    /// True if the calling thread has it.
    pub(crate) fn is_mine(&self) -> bool {
        *lock(&self.owner) == Some(thread::current().id())
    }

    fn owned<'a>(&'a self, writer: MutexGuard<'a, Writer>) -> WriterGuard<'a> {
        *lock(&self.owner) = Some(thread::current().id());
        WriterGuard { owner: &self.owner, writer }
    }
}

#[derive(Debug)]
pub(crate) struct WriterGuard<'a> {
    owner: &'a Mutex<Option<thread::ThreadId>>,
    writer: MutexGuard<'a, Writer>,
}

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        // Before the writer is given up: the next owner's name must stay.
        *lock(self.owner) = None;
    }
}

impl Deref for WriterGuard<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for WriterGuard<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}
