//! Storing files, trees and streams.

mod batch;
mod draft;
mod large;
mod run;
mod small;
mod spare;
mod stream;
mod tally;
mod walk;

use std::path::{Path, PathBuf};

use stash_crypto::chunk::SealError;
use stash_crypto::record::SignError;
use stash_crypto::{Key, NodeId, Role};
use stash_server::{LedgerError, PutError as UploadError, Wait};
use thiserror::Error;

pub(crate) use draft::{Content, forget, write};
pub(crate) use tally::Tally;

use crate::class::Class;
use crate::faults;
use crate::lookup::LookupError;
use crate::progress::Progress;
use crate::source::NamingError;
use crate::vault::Vault;

/// How to store.
#[derive(Clone, Copy, Debug)]
pub struct PutOptions {
    /// How many copies to wait for.
    pub wait: Wait,
    /// Files that are read and sealed at once; 0 for as many as the machine has cores.
    pub jobs: usize,
}

impl Default for PutOptions {
    fn default() -> PutOptions {
        PutOptions { wait: Wait::Quorum, jobs: 0 }
    }
}

impl PutOptions {
    fn jobs(&self) -> usize {
        match self.jobs {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            jobs => jobs,
        }
    }
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// The key of the file, or of the root of the tree.
    pub key: Key,
    /// Files stored, those that were there unchanged included.
    pub files: u64,
    /// Their bytes of plaintext.
    pub bytes: u64,
    /// Files for which a record was written.
    pub new_records: u64,
    /// Files that were there already, equal in content and meta: nothing was written for them.
    pub unchanged: u64,
    /// What was left out, and why: links, special files, names that are no keys, and files that
    /// cannot be read or changed while they were.
    pub skipped: Vec<(PathBuf, String)>,
    /// The fewest members that have any of the new records; 0 if there are none.
    pub copies: usize,
    /// Members that should have them, this node included; 0 if there are no new records.
    pub wanted: usize,
    /// Whether the copies fell below what [`PutOptions::wait`] asked for.
    pub short: bool,
    /// Members that do not have all of it yet, and why.
    pub missing: Vec<(NodeId, String)>,
}

/// Why nothing, or not all, was stored. Files stored before the error stay; the others are not
/// visible, in no part.
#[derive(Debug, Error)]
pub enum PutError {
    /// A reader or keeper cannot write.
    #[error("this node is a {role}: it cannot write")]
    ReadOnly {
        /// The node's role.
        role: Role,
    },
    /// The input cannot be read.
    #[error("cannot read '{}': {source}", path.display())]
    Source {
        /// The input.
        path: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The input is neither a file nor a directory, or it keeps changing.
    #[error("'{}' was not stored: {why}", path.display())]
    Unfit {
        /// The input.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The path names an open file of a process, or one by way of it: to each process another.
    #[error("'{}' is another file to each process", path.display())]
    PerProcess {
        /// The input.
        path: PathBuf,
    },
    /// The input has no name that can be a key.
    #[error("'{}' has no name that can be a key: {source}", path.display())]
    Name {
        /// The input.
        path: PathBuf,
        /// What is wrong with its name.
        source: NamingError,
    },
    /// The stream failed before its end. Nothing was stored.
    #[error("the input ended with an error: {0}")]
    Stream(std::io::Error),
    /// The stream was not as long as was said. Nothing was stored.
    #[error("the input has {got} bytes, {expected} were announced")]
    Length {
        /// Bytes announced.
        expected: u64,
        /// Bytes read, at least.
        got: u64,
    },
    /// More chunks than a manifest can name.
    #[error("a file of {chunks} chunks is too large")]
    TooLarge {
        /// The chunks that it would have.
        chunks: u64,
    },
    /// Looking at the version that is stored failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Storing or sending failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// A chunk could not be sealed: a defect of this program.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A record could not be written: a defect of this program.
    #[error(transparent)]
    Record(#[from] SignError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl PutError {
    /// What it means to the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            PutError::ReadOnly { .. } => Class::Refused,
            PutError::Source { .. } | PutError::Unfit { .. } | PutError::Stream(_) => {
                Class::Unreadable
            }
            PutError::Length { .. } => Class::Unreadable,
            PutError::PerProcess { .. } | PutError::Name { .. } | PutError::TooLarge { .. } => {
                Class::Usage
            }
            PutError::Lookup(error) => error.class(),
            PutError::Upload(error) => faults::put(error),
            PutError::Engine(error) => faults::engine(error),
            PutError::Seal(_) | PutError::Record(_) => Class::Failed,
            PutError::Cancelled => Class::Cancelled,
        }
    }
}

impl Vault {
    /// Stores a file or a tree. The key is the base name of the canonical path, or `as_key`; below
    /// a directory, that and the relative path. Links and special files are left out and reported.
    /// What is equal to the version that is stored writes nothing.
    pub async fn put_path(
        &self,
        source: &Path,
        as_key: Option<Key>,
        options: PutOptions,
        progress: &Progress,
    ) -> Result<PutReport, PutError> {
        let work = run::put_path(self, source, as_key, options, progress);
        let cancelled = progress.token().cancelled();
        tokio::select! {
            biased;
            () = cancelled => Err(PutError::Cancelled),
            report = Box::pin(work) => report,
        }
    }
}
