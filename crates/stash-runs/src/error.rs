//! Why a tree fails.

use std::io;
use std::path::Path;

use stash_disk::IoError;

/// Reasons why a tree cannot answer, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A tag does not match, or a file is missing or short: the disk is at fault. Nothing it says
    /// can be used; wipe it and build it again.
    #[error("{0}")]
    Damaged(String),
    /// There was no room. The tree is as it was; try again once there is some.
    #[error("the disk is full: {0}")]
    Full(IoError),
    /// The disk could not read or write. The tree is as it was.
    #[error(transparent)]
    Io(IoError),
    /// A sync failed, so what is durable is not known. The tree answers, and writes no more.
    #[error(transparent)]
    Sync(IoError),
}

impl From<IoError> for TreeError {
    fn from(error: IoError) -> TreeError {
        if error.is_full() { TreeError::Full(error) } else { TreeError::Io(error) }
    }
}

/// The error of a read. That a file ends early, or is not there, is damage.
pub(crate) fn read_failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            TreeError::Damaged(format!("{} is too short", path.display()))
        }
        io::ErrorKind::NotFound => TreeError::Damaged(format!("{} is missing", path.display())),
        _ => TreeError::Io(IoError::new(op, path, error)),
    }
}

pub(crate) fn write_failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    move |error| IoError::new(op, path, error).into()
}

/// The error of the sync of a file, or of names, that nothing relies on yet: a full disk is as good as
/// before.
pub(crate) fn new_file_failed(
    op: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> TreeError {
    move |error| {
        let error = IoError::new(op, path, error);
        if error.is_full() { TreeError::Full(error) } else { TreeError::Sync(error) }
    }
}

pub(crate) fn sync_failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    move |error| TreeError::Sync(IoError::new(op, path, error))
}
