#![doc = include_str!("../README.md")]

mod address;
mod adopt;
mod ballast;
pub mod batch;
mod blob;
mod budget;
pub mod check;
mod chunk_dir;
pub mod collect;
mod commit;
mod compact;
mod entry;
pub mod error;
mod files;
mod finding;
mod format;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hex;
mod index;
mod lease;
mod log;
mod nest;
mod options;
mod rebuild;
mod recover;
pub mod room;
mod scan;
pub mod scrub;
mod shared;
mod stage;
mod stats;
mod store;
mod strays;
mod sync;
mod upkeep;

pub use address::{Address, ParseAddressError};
pub use batch::{Batch, RecordEntry, Ref};
pub use blob::{Blob, Mismatch};
pub use chunk_dir::Away;
pub use collect::CollectOptions;
pub use error::{CommitError, IoError, OpenError, ReadError, StageError};
pub use finding::Finding;
pub use lease::{Lease, LeaseError, MAX_LEASED};
pub use nest::{Nest, NestError, nest};
pub use options::{Committer, MAX_BLOB_BYTES, MAX_SMALL, Options};
pub use rebuild::RebuildReport;
pub use room::{Quota, Room};
pub use stash_disk as disk;
pub use stash_disk::{Disk, MemDisk, RealDisk};
pub use stats::{
    ChunkState, DamagedRecord, OpenReport, RecordTotals, ScrubProgress, Staged, Stats, StoredRecord,
};
pub use store::{Reservation, Row, Store, WriterEnd};
