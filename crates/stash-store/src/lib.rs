#![doc = include_str!("../README.md")]

mod address;
mod adopt;
mod ballast;
mod batch;
mod blob;
mod budget;
mod check;
mod chunk_dir;
mod collect;
mod commit;
mod compact;
mod disk;
mod entry;
mod error;
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
mod room;
mod scan;
mod scrub;
mod shared;
mod stage;
mod stats;
mod store;
mod strays;
mod sync;
mod upkeep;

pub use address::{Address, ParseAddressError};
pub use batch::{
    Batch, MAX_BATCH_BYTES, MAX_MANIFEST_REFS, MAX_RECORD_BYTES, MAX_RECORD_REFS, MAX_ROW_KEY,
    MAX_ROW_VALUE, Receipt, RecordEntry, Ref,
};
pub use blob::{Blob, Mismatch};
pub use check::{CheckReport, LISTED, Listed, Stray, WrongSum};
pub use chunk_dir::Away;
pub use collect::{CollectError, CollectOptions, Collectable, Collected, Collector};
pub use disk::{
    DirEntry, Disk, DiskFile, Fault, Identity, Lock, MemDisk, OpenMode, Part, RealDisk, Space,
    Survival,
};
pub use error::{CommitError, IoError, OpenError, ReadError, ScrubError, StageError};
pub use finding::Finding;
pub use lease::{Lease, LeaseError, MAX_LEASED};
pub use nest::{Nest, NestError, nest};
pub use options::{Committer, MAX_BLOB_BYTES, MAX_SMALL, Options};
pub use rebuild::RebuildReport;
pub use room::{Allowance, Quota, Resource, Room, Shortage};
pub use scrub::{Scrubbed, Scrubber};
pub use stats::{
    ChunkState, DamagedRecord, OpenReport, RecordTotals, ScrubProgress, Staged, Stats, StoredRecord,
};
pub use store::{Reservation, Row, Store, WriterEnd};
