#![doc = include_str!("../README.md")]

mod address;
mod batch;
mod blob;
mod commit;
mod disk;
mod entry;
mod error;
mod files;
mod format;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hex;
mod index;
mod log;
mod nest;
mod options;
mod recover;
mod scan;
mod shared;
mod stage;
mod stats;
mod store;

pub use address::{Address, ParseAddressError};
pub use batch::{
    Batch, MAX_BATCH_BYTES, MAX_MANIFEST_REFS, MAX_RECORD_BYTES, MAX_RECORD_REFS, MAX_ROW_KEY,
    MAX_ROW_VALUE, Receipt, RecordEntry, Ref,
};
pub use blob::{Blob, Mismatch};
pub use disk::{DirEntry, Disk, DiskFile, Fault, Lock, MemDisk, OpenMode, RealDisk};
pub use error::{CommitError, IoError, OpenError, ReadError, StageError};
pub use nest::{Nest, NestError, nest};
pub use options::{Committer, MAX_BLOB_BYTES, MAX_SMALL, Options};
pub use stats::{ChunkState, OpenReport, Staged, Stats, StoredRecord};
pub use store::{Row, Store};
