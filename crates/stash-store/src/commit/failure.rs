//! Why a whole group failed.

use std::io;
use std::path::Path;

use crate::index::IndexError;
use crate::{CommitError, IoError};

/// Why a whole group failed, in a form that every batch of it can be told.
pub(super) enum Failure {
    Io(IoError),
    ReadOnly(String),
    Index(IndexError),
}

impl Failure {
    pub(super) fn error(&self) -> CommitError {
        match self {
            Failure::Io(error) if error.is_full() => CommitError::Full(error.again()),
            Failure::Io(error) => CommitError::Io(error.again()),
            Failure::ReadOnly(reason) => CommitError::ReadOnly { reason: reason.clone() },
            Failure::Index(error) => CommitError::Read(error.clone().into()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Failure::Io(error) if error.is_full())
    }

    /// Why what was staged is lost by it, in a store with this `index` that still takes writes. `None`
    /// if it may have been kept: after a failed sync, the log may announce it after all.
    pub(super) fn loss(&self, index: &Path) -> Option<IoError> {
        match self {
            Failure::Io(error) => Some(error.again()),
            Failure::ReadOnly(_) => None,
            Failure::Index(error) => {
                let source = io::Error::other(error.0.clone());
                Some(IoError::new("change", index, source))
            }
        }
    }
}
