//! Reasons why an index cannot be used.

use stash_runs::TreeError;
use stash_runs::disk::IoError;
use thiserror::Error;

/// Reasons why an index gave no answer, or could not be written.
#[derive(Debug, Error)]
pub(crate) enum IndexFault {
    /// It contradicts itself, or does not belong here. It begins anew.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// The disk failed, so that what is in the files is not known. It begins anew.
    #[error("the index cannot be used: {0}")]
    Io(IoError),
    /// The disk took no more: it is full, or refuses to write. The index is as it was, and is written
    /// once there is room.
    #[error("the index cannot be used: {0}")]
    Waits(IoError),
}

impl IndexFault {
    pub(crate) fn damaged(what: &str) -> IndexFault {
        IndexFault::Damaged(what.to_owned())
    }

    /// The fault of who wrote: what the disk refuses leaves the files as they were.
    pub(crate) fn writing(error: TreeError) -> IndexFault {
        match error {
            TreeError::Full(error) => IndexFault::Waits(error),
            TreeError::Io(error) if !error.is_unreadable() => IndexFault::Waits(error),
            error => error.into(),
        }
    }
}

/// The fault of who read.
impl From<TreeError> for IndexFault {
    fn from(error: TreeError) -> IndexFault {
        match error {
            TreeError::Damaged(what) => IndexFault::Damaged(what),
            TreeError::Full(error) | TreeError::Io(error) | TreeError::Sync(error) => {
                IndexFault::Io(error)
            }
        }
    }
}

impl From<IoError> for IndexFault {
    fn from(error: IoError) -> IndexFault {
        IndexFault::Io(error)
    }
}

/// Reasons why the index gave no answer.
#[derive(Debug, Error)]
pub(crate) enum IndexError {
    /// It was damaged and is being built again: ask again once it has caught up.
    #[error("the index of names was damaged and is being built again")]
    Rebuilding,
    /// Neither it nor a new one can be used: the disk is at fault.
    #[error("the index of names cannot be used: {0}")]
    Unusable(IndexFault),
}

impl IndexError {
    /// The fault that it stands for.
    pub(crate) fn into_fault(self) -> IndexFault {
        match self {
            IndexError::Rebuilding => IndexFault::damaged("it begins anew"),
            IndexError::Unusable(fault) => fault,
        }
    }
}
