//! What can go wrong.

use std::io;

/// What goes wrong at an operation of a [`MemDisk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation and all later ones fail, until [`MemDisk::restart`].
    PowerCut,
    /// This operation, and as many after it as `times` says, fail with an error of this kind. A
    /// write may have written a part; a sync that fails loses what it was to make durable.
    Error {
        /// The kind of error, such as [`io::ErrorKind::StorageFull`].
        kind: io::ErrorKind,
        /// How many operations fail, this one included.
        times: u64,
    },
}
