//! An error type for each operation. Each variant says who is at fault and what changed.

use std::io;
use std::path::PathBuf;

use crate::Address;
use crate::room::Shortage;
pub use stash_disk::IoError;

/// The directory of the files of blobs is not there, is another store's, or cannot be read. Nothing is
/// lost by it: blobs in the log are read, all others wait until it is back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the directory {} is away: {why}", dir.display())]
pub struct Away {
    /// The directory.
    pub dir: PathBuf,
    /// The thing that was found in its place.
    pub why: String,
}

/// True if the disk says that it cannot read what is there.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// True if a file or directory that was open is not what the file system has under its name any more.
pub(crate) fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::STALE.raw_os_error())
}

/// A link, a directory or something else is where a file should be.
pub(crate) fn is_misplaced(error: &io::Error) -> bool {
    let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let kinds =
        [io::ErrorKind::NotADirectory, io::ErrorKind::IsADirectory, io::ErrorKind::InvalidInput];
    link || kinds.contains(&error.kind())
}

/// True for errors of a directory that is not there to be synced: none of a sync.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_stale(error) || is_misplaced(error)
}

/// Why a directory could not be opened, made into a store, or rebuilt. What was in it still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory is missing or has no FORMAT file: perhaps a disk that is not mounted. A
    /// store is never made without being asked for.
    #[error("there is no store at {}: the directory has no FORMAT file", dir.display())]
    NoStore {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// [`crate::Store::create`] on a directory that has a store, or other files, in it.
    #[error("{} is not empty: {found} is in it", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// A name that was found in it.
        found: String,
    },
    /// Another process, or another [`crate::Store`] in this one, has it open.
    #[error("the store at {} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by a newer program, with something this one cannot read.
    #[error(
        "the store at {} needs a newer program: {what}; update this one, or use the one that wrote it", dir.display()
    )]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// The version or feature that is unknown here.
        what: String,
    },
    /// A file that the store cannot do without is damaged, and the log cannot replace it.
    #[error("{what}")]
    Damaged {
        /// Which file, and what is wrong with it.
        what: String,
    },
    /// The directory holds another store than [`crate::Options::expect_store`] names.
    #[error("the store here is {}, not {}", crate::hex::encode(got), crate::hex::encode(expected))]
    WrongStore {
        /// The store id that was asked for.
        expected: [u8; 16],
        /// The store id found.
        got: [u8; 16],
    },
    /// A rebuilt store could not be asked what it has. Rebuild it again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A rebuilt store could not take in a file that it found. It is as it was when that happened:
    /// make room, and rebuild it again.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The disk failed, or refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Why a blob was not taken. It is not visible, and leaves nothing behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The disk is full. The store works on, and takes blobs again once there is room.
    #[error("the disk is full: {0}")]
    Full(IoError),
    /// The blob would bring the store above [`crate::Quota::hard`], or leave less of the disk than
    /// the reserve. Put it again once there is room, or the quota is higher.
    #[error(transparent)]
    NoRoom(#[from] Shortage),
    /// The store takes no more writes; see [`crate::Stats::read_only`].
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// The fault that turned it read-only.
        reason: String,
    },
    /// A blob of more than [`crate::MAX_BLOB_BYTES`].
    #[error("a blob of {len} bytes is longer than the limit of {}", crate::MAX_BLOB_BYTES)]
    TooLarge {
        /// Its length in bytes.
        len: u64,
    },
    /// The directory that the blob belongs into is away. Stage it again once it is back.
    #[error(transparent)]
    Away(#[from] Away),
    /// The index could not say whether the blob is here already.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Io(IoError),
}

impl StageError {
    /// True if there was no room: the disk is full, or quota or reserve forbid more.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_) | Self::NoRoom(_))
    }
}

/// Why a batch was not committed. Nothing of it is visible, now or after a restart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A required blob is not here. Stage it, and commit again.
    #[error("chunk {address} is not here")]
    MissingChunk {
        /// The blob that is missing.
        address: Address,
    },
    /// Some blob has left the store since [`crate::Batch::none_lost_since`]: require those that
    /// matter again.
    #[error("chunks have left the store meanwhile")]
    Lost,
    /// The batch relies on blobs, or gives some up, whose directory is away. Commit it again once it
    /// is back.
    #[error(transparent)]
    Away(#[from] Away),
    /// A record that [`crate::Batch::evict_known`] does not list names a blob to evict. Look again who
    /// names it.
    #[error("record {} names chunk {address}, too", crate::hex::encode(&record[..5]))]
    Named {
        /// The blob.
        address: Address,
        /// A record that names it.
        record: [u8; 32],
    },
    /// Some step is longer than its limit allows. The caller is at fault.
    #[error("{what} has {len} bytes or entries, more than the limit of {limit}")]
    TooLarge {
        /// Which part of the batch.
        what: &'static str,
        /// Its length.
        len: u64,
        /// The greatest length.
        limit: u64,
    },
    /// The disk is full. The store works on, and commits again once there is room.
    #[error("the disk is full: {0}")]
    Full(IoError),
    /// A batch with records or manifests would bring the store above [`crate::Quota::hard`], or leave
    /// less of the disk than the reserve. Commit it again once there is room, or the quota is higher.
    #[error(transparent)]
    NoRoom(#[from] Shortage),
    /// The store takes no more writes; see [`crate::Stats::read_only`]. If the reason is a sync
    /// that failed during this very commit, whether the batch survives a restart is unknown.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// The fault that turned it read-only.
        reason: String,
    },
    /// A blob that this batch names, or that was staged before this flush, could not be made
    /// durable. Stage it, and commit again.
    #[error("a staged chunk was lost: {reason}")]
    StageFailed {
        /// The fault that lost it.
        reason: String,
    },
    /// The index could not answer or take the change. The store is read-only until it is opened
    /// again, which rebuilds the index.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed, but not in a sync.
    #[error(transparent)]
    Io(IoError),
}

impl CommitError {
    /// True if there was no room: the disk is full, or quota or reserve forbid more.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_) | Self::NoRoom(_))
    }
}

/// Why something could not be read. Never a wrong answer instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The stored bytes are not what the address names, or are gone. The blob has been
    /// quarantined: it counts as not here, and can be staged again.
    #[error("chunk {address} is damaged: {what}")]
    Damaged {
        /// The blob.
        address: Address,
        /// The fault.
        what: String,
    },
    /// A record's entry in the log is damaged. Fetch the record from elsewhere.
    #[error("record {} is damaged: {what}", crate::hex::encode(&hash[..5]))]
    RecordDamaged {
        /// The record.
        hash: [u8; 32],
        /// The fault.
        what: String,
    },
    /// The directory of the files of blobs is away: whether the blob is there is not known, and
    /// nothing has changed. Ask again once it is back.
    #[error(transparent)]
    Away(#[from] Away),
    /// The index is damaged. The next open rebuilds it from the log.
    #[error("the index is damaged: {what}; it is rebuilt when the store is opened again")]
    Index {
        /// The fault.
        what: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Why scrubbing could not go on. What it found so far is kept; try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrubError {
    /// The index, or a blob that was damaged a moment ago, could not be asked.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed in another way than by not reading what is there.
    #[error(transparent)]
    Io(IoError),
}

/// Why a collection stopped. What it did until then stays done; begin another one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The store could not be asked.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be changed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] IoError),
}
