//! Errors of a get.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use stash_crypto::chunk::OpenError;
use stash_crypto::{ChunkRef, Key, RecordHash};
use stash_server::{FetchError, LedgerError};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::LookupError;
use crate::model::version_id::VersionId;

/// Why a file did not come back. No part of it is visible under its name. Of a tree, what was written before
/// stays.
#[derive(Debug, Error)]
pub enum GetError {
    /// No such file.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A chunk is neither here nor with any reachable member, or is damaged everywhere.
    #[error("the bytes of '{key}' are not to be had: {source}")]
    Fetch {
        /// The file.
        key: Key,
        /// The missing part.
        source: FetchError,
    },
    /// The same of a version that is not the head: its bytes may be nowhere any more.
    #[error(
        "the bytes of version {} of '{key}' are not to be had: {source}",
        VersionId::short(version)
    )]
    OldVersion {
        /// The file.
        key: Key,
        /// The version.
        version: RecordHash,
        /// The missing part.
        source: FetchError,
    },
    /// A chunk is not what an owner of this stash sealed.
    #[error("chunk {} of '{key}' does not open: {source}", chunk.address.short())]
    Chunk {
        /// The file.
        key: Key,
        /// The chunk.
        chunk: ChunkRef,
        /// The fault.
        source: OpenError,
    },
    /// The record names other chunks than its sealed part says: its author is at fault.
    #[error("the manifest of '{key}' does not fit its size of {size} bytes")]
    Manifest {
        /// The file.
        key: Key,
        /// The size that the sealed part states.
        size: u64,
    },
    /// The padding of a chunk is not zero: its author is at fault.
    #[error("chunk {} of '{key}' has a padding that is not zero", chunk.address.short())]
    Padding {
        /// The file.
        key: Key,
        /// The chunk.
        chunk: ChunkRef,
    },
    /// The range lies beyond the end of the file.
    #[error("the file has {size} bytes: a range cannot begin at {begin}")]
    Range {
        /// Where the range begins.
        begin: u64,
        /// The size of the file.
        size: u64,
    },
    /// Another file or link is at the output already, and was not to be replaced.
    #[error("'{}' exists already, and is another one", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// A directory has no bytes.
    #[error("'{key}' is a directory")]
    IsTree {
        /// The name.
        key: Key,
    },
    /// A symbolic link has a target, and no bytes of its own.
    #[error("'{key}' is a symbolic link")]
    IsLink {
        /// The name.
        key: Key,
    },
    /// The output is a directory, and a file is to be written.
    #[error("'{}' is a directory", path.display())]
    IsDirectory {
        /// The output.
        path: PathBuf,
    },
    /// A directory, pipe, socket or device has the name of a file that is to be written. None of them
    /// is ever replaced.
    #[error("'{}' is {what}, and is not replaced", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// A file or link below which other names lie, as an owner left them: a directory has its place.
    #[error("'{key}' is no directory, and other names lie below it: they have its place")]
    Covered {
        /// The file or link.
        key: Key,
    },
    /// Two of the names that were asked for would be written to one place.
    #[error("'{first}' and '{second}' would both be written to '{}'", output.display())]
    SameOutput {
        /// The first of them.
        first: String,
        /// The other.
        second: String,
        /// The place, below the output.
        output: PathBuf,
    },
    /// Everything was asked for, without a place to put it.
    #[error("name the directory to write everything into")]
    NoOutput,
    /// A component of the path below the output is a link or no directory: what is written through
    /// it would land elsewhere.
    #[error("'{}' is no directory of the output", path.display())]
    Unsafe {
        /// The component.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("cannot write '{}': {source}", path.display())]
    Output {
        /// The output.
        path: PathBuf,
        /// The disk's error.
        source: std::io::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl GetError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            GetError::Lookup(error) => error.class(),
            GetError::Fetch { source, .. } | GetError::OldVersion { source, .. } => {
                faults::fetch(source)
            }
            GetError::Chunk { .. } | GetError::Manifest { .. } | GetError::Padding { .. } => {
                Class::Integrity
            }
            GetError::Range { .. }
            | GetError::IsDirectory { .. }
            | GetError::IsTree { .. }
            | GetError::IsLink { .. }
            | GetError::SameOutput { .. }
            | GetError::NoOutput => Class::Usage,
            GetError::Exists { .. }
            | GetError::Occupied { .. }
            | GetError::Covered { .. }
            | GetError::Unsafe { .. } => Class::Refused,
            GetError::Output { source, .. } => Class::of_io(source, Class::Failed),
            GetError::Engine(error) => faults::engine(error),
            GetError::Cancelled => Class::Cancelled,
        }
    }

    /// True if the rest of a tree would not come back either: the caller or the node stops, the index of
    /// names does not answer, or the disk takes nothing.
    pub(super) fn ends_all(&self) -> bool {
        match self {
            GetError::Cancelled
            | GetError::Fetch { source: FetchError::Stopping, .. }
            | GetError::Lookup(LookupError::IndexBehind | LookupError::Index { .. }) => true,
            GetError::Output { source, .. } => matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        }
    }

    pub(crate) fn output(path: &Path, source: impl Into<std::io::Error>) -> GetError {
        GetError::Output { path: path.to_owned(), source: source.into() }
    }
}
