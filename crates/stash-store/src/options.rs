//! Options of making and opening a store.

use crate::disk::Overlay;
use crate::sync::Arc;
use crate::{Disk, Nest, Quota, RealDisk};

/// Bytes of a blob at most: a sealed chunk of 4 MiB and its header, with room.
pub const MAX_BLOB_BYTES: u64 = 8 * 1024 * 1024;
/// The greatest `small`: the index keeps a blob's place in the log, a segment must hold many.
pub const MAX_SMALL: u32 = 1024 * 1024;

/// The thread that writes batches to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Committer {
    /// A thread of the store's own, so that batches that arrive together share one sync.
    #[default]
    Thread,
    /// The thread that calls. No thread is started: for simulators.
    Inline,
}

/// Options of making and opening a store. `Options::default()` is right for most.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path layout of a new store; an existing store keeps its own.
    pub layout: Nest,
    /// Blobs below this many bytes lie in the log, others in files of their own.
    pub small: u32,
    /// Blobs of this many bytes and more go to the disk past the page cache, where it can do that. Below
    /// the default, 512 KiB, that costs more than it saves (decision 0048 has figures).
    pub direct: u32,
    /// Bytes of memory that the index may use to remember what it has read.
    pub cache_bytes: usize,
    /// Bytes of memory for changes of the index that are not in its files yet; up to four times as
    /// much while the disk is slower than the callers. Beyond, callers wait.
    pub memory_bytes: u64,
    /// The thread that writes batches.
    pub committer: Committer,
    /// Bytes that may be staged, or wait in batches, before callers are made to wait.
    pub queue_bytes: u64,
    /// Batches that may wait before callers are made to wait.
    pub queue_ops: usize,
    /// Bytes of a log segment; the store starts a new one when a group does not fit any more.
    pub segment_bytes: u64,
    /// Bytes of log after which the index is made durable; more is faster, and makes opening
    /// after a crash slower.
    pub checkpoint_bytes: u64,
    /// Write nothing: neither what a crash left is cut, nor is the index mended on disk, nor this
    /// opening counted; all that happens in memory, where an index that has to be made anew takes
    /// as much room as it would on disk. Stores may be opened that a newer program has made, if it
    /// allows that. Nothing can be stored. [`crate::Store::rebuild`] only tells what it would do.
    pub read_only: bool,
    /// The room that the store may take, and that it leaves of its disk; see [`crate::Store::set_quota`].
    pub quota: Quota,
    /// Bytes of room that are taken while there is some, so that a disk which other programs have
    /// filled still takes deletions; see [`crate::Batch::even_if_full`]. 0 is none.
    pub ballast_bytes: u64,
    /// Refuse to open any store but this one.
    pub expect_store: Option<[u8; 16]>,
    /// Fixes the random identity of a new store: for simulators. `None` asks the system.
    pub seed: Option<[u8; 32]>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            layout: Nest::default(),
            small: 128 * 1024,
            direct: 512 * 1024,
            cache_bytes: 8 * 1024 * 1024,
            memory_bytes: 8 * 1024 * 1024,
            committer: Committer::Thread,
            queue_bytes: 64 * 1024 * 1024,
            queue_ops: 4096,
            segment_bytes: 64 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
            read_only: false,
            quota: Quota::default(),
            // Some hundred thousand deletions, and one part of the index.
            ballast_bytes: 8 * 1024 * 1024,
            expect_store: None,
            seed: None,
            disk: Arc::new(RealDisk::new()),
        }
    }
}

impl Options {
    /// As they are to be used by what opens a store.
    pub(crate) fn for_opening(&self) -> Options {
        let disk: Arc<dyn Disk> = match self.read_only {
            true => Arc::new(Overlay::new(Arc::clone(&self.disk))),
            false => Arc::clone(&self.disk),
        };
        Options { disk, ..self.clone() }
    }
}
