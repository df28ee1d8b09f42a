//! Work of the store itself, which its batches carry: to get room back, and to say again what is so.

use crate::Address;
use crate::entry::{MOVED_PREFIX, Op, Place, entry_len};

/// Work on what nothing needs any more. Every condition is checked again in the group itself,
/// under the lock under which batches check theirs.
#[derive(Debug, Clone)]
pub(crate) enum Reclaim {
    /// Gives up blobs that nothing needs.
    Collect { addresses: Vec<Address> },
    /// Ends some references of a manifest that was given up.
    Unref { manifest: Address, first: u32, last: bool, addresses: Vec<Address> },
    /// Writes entries of an old segment again.
    Move { items: Vec<MoveItem> },
    /// Writes anew what the index still knows of entries that are damaged.
    Salvage { ops: Vec<(Op, Place)> },
    /// Says of files that lie in their places that they are here, unless the log says so.
    Announce { files: Vec<(Address, u32)> },
    /// The file of a blob lies in its place, and is right: it is here again, if it was found damaged,
    /// or if nothing is known of it and something names it.
    TakeBack { address: Address, len: u32 },
    /// A segment is no longer part of the log.
    Retire { segment: u64, floor: u64 },
    /// The store has been open for so many seconds, in all its life.
    Uptime(u64),
}

/// An entry of an old segment.
#[derive(Debug, Clone)]
pub(crate) struct MoveItem {
    pub(crate) op: Op,
    pub(crate) sequence: u64,
    pub(crate) place: Place,
    /// Bytes behind the fields that `op` has: of a record or a blob.
    pub(crate) payload: Vec<u8>,
}

impl MoveItem {
    pub(crate) fn log_bytes(&self) -> u64 {
        entry_len(u64::from(MOVED_PREFIX) + self.op.body_len(self.payload.len()))
    }
}

/// Counts of the store's own work: of what was given up, and of what was written again for that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) chunks: u64,
    pub(crate) file_bytes: u64,
    pub(crate) moved_bytes: u64,
}

impl Reclaim {
    /// True if there is more room once it is done, or the work that it belongs to.
    pub(crate) fn gives_back(&self) -> bool {
        match self {
            Reclaim::Collect { .. } | Reclaim::Unref { .. } | Reclaim::Retire { .. } => true,
            Reclaim::Move { .. } | Reclaim::Salvage { .. } => true,
            Reclaim::Announce { .. } | Reclaim::TakeBack { .. } | Reclaim::Uptime(_) => false,
        }
    }

    /// True if it is right only while the directory of the files of blobs is there.
    pub(crate) fn is_about_files(&self) -> bool {
        matches!(self, Reclaim::Collect { .. } | Reclaim::TakeBack { .. })
    }

    /// Bytes of log that it takes at most.
    pub(crate) fn log_bytes(&self) -> u64 {
        match self {
            Reclaim::Collect { addresses } => addresses.len() as u64 * entry_len(36),
            Reclaim::Unref { addresses, .. } => entry_len(44 + addresses.len() as u64 * 32),
            Reclaim::Move { items } => items.iter().map(MoveItem::log_bytes).sum(),
            Reclaim::Salvage { ops } => ops.iter().map(|(op, _)| entry_len(op.body_len(0))).sum(),
            Reclaim::Announce { files } => files.len() as u64 * entry_len(36),
            Reclaim::TakeBack { .. } => entry_len(36),
            Reclaim::Retire { .. } => entry_len(16) + 2 * entry_len(8),
            Reclaim::Uptime(_) => entry_len(8),
        }
    }
}
