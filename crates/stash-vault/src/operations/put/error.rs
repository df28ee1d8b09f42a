//! Errors of a put.

use std::path::PathBuf;

use stash_crypto::chunk::SealError;
use stash_crypto::record::SignError;
use stash_crypto::{Key, Role};
use stash_server::{LedgerError, PutError as UploadError};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::LookupError;
use crate::model::source::NamingError;

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
        /// The disk's error.
        source: std::io::Error,
    },
    /// The input is neither a file nor a directory, or it keeps changing.
    #[error("'{}' was not stored: {why}", path.display())]
    Unfit {
        /// The input.
        path: PathBuf,
        /// The fault.
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
        /// The fault of its name.
        source: NamingError,
    },
    /// A file is stored under the beginning of this key: nothing can lie in it.
    #[error("'{key}' cannot be stored: '{file}' is a file")]
    BelowFile {
        /// The key.
        key: Key,
        /// The file.
        file: Key,
    },
    /// A tree is stored under this key, and a file is to take its place.
    #[error("'{key}' is a tree: a file would take the place of all that is in it")]
    OverTree {
        /// The key.
        key: Key,
    },
    /// Two inputs would be stored under one key.
    #[error("'{}' and '{}' would both be stored as '{key}'", first.display(), second.display())]
    SameKey {
        /// The key.
        key: Key,
        /// An input.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
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
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            PutError::ReadOnly { .. } | PutError::BelowFile { .. } | PutError::OverTree { .. } => {
                Class::Refused
            }
            PutError::Source { .. } | PutError::Unfit { .. } | PutError::Stream(_) => {
                Class::Unreadable
            }
            PutError::Length { .. } => Class::Unreadable,
            PutError::PerProcess { .. }
            | PutError::Name { .. }
            | PutError::SameKey { .. }
            | PutError::TooLarge { .. } => Class::Usage,
            PutError::Lookup(error) => error.class(),
            PutError::Upload(error) => faults::put(error),
            PutError::Engine(error) => faults::engine(error),
            PutError::Seal(_) | PutError::Record(_) => Class::Failed,
            PutError::Cancelled => Class::Cancelled,
        }
    }
}
