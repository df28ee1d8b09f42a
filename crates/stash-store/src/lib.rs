#![doc = include_str!("../README.md")]

mod address;
mod ballast;
pub mod batch;
mod blob;
mod budget;
pub mod check;
mod chunk_dir;
pub mod collect;
mod commit;
mod compact;
mod crew;
mod entry;
pub mod error;
mod files;
mod finding;
mod format;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod ground;
mod health;
mod hex;
mod index;
mod lease;
mod log;
mod nest;
mod open;
mod options;
mod queue;
mod rebuild;
mod recover;
pub mod room;
mod scan;
pub mod scrub;
mod stage;
mod stats;
mod store;
mod strays;
mod sync;
mod upkeep;
mod work;
mod writer;

pub use address::{Address, ParseAddressError};
pub use batch::{Batch, RecordEntry};
pub use blob::{Blob, Mismatch, Ref};
pub use collect::CollectOptions;
pub use error::{Away, CommitError, IoError, OpenError, ReadError, StageError};
pub use finding::Finding;
pub use lease::{Lease, LeaseError, MAX_LEASED};
pub use nest::{Nest, NestError, nest};
pub use open::staging::Reservation;
pub use options::{Committer, MAX_BLOB_BYTES, MAX_SMALL, Options};
pub use rebuild::RebuildReport;
pub use room::{Quota, Room};
pub use stash_disk as disk;
pub use stash_disk::{Disk, MemDisk, RealDisk};
pub use stats::{
    ChunkState, DamagedRecord, OpenReport, RecordTotals, ScrubProgress, Staged, Stats,
    StoredRecord, Turned, TurnedAt, Wholeness, WriterEnd,
};
pub use store::{Row, Store};
