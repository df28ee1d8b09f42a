//! The error of a disk operation, with what it was and what it was for.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A disk operation that failed, with the path it was for.
#[derive(Debug)]
pub struct IoError {
    /// What was attempted, as a verb: "open", "sync", "rename".
    pub op: &'static str,
    /// The file or directory it was attempted on.
    pub path: PathBuf,
    /// What the disk answered.
    pub source: io::Error,
}

impl IoError {
    /// The error `source` of the operation `op` on `path`.
    pub fn new(op: &'static str, path: &Path, source: io::Error) -> IoError {
        IoError { op, path: path.to_owned(), source }
    }

    /// The same error again, for the next one who has to hear of it.
    #[must_use]
    pub fn again(&self) -> IoError {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        IoError { op: self.op, path: self.path.clone(), source }
    }

    /// True if the disk says that it cannot read what is there: `EIO`.
    pub fn is_unreadable(&self) -> bool {
        self.source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
    }

    /// True if the disk is full (space, inodes or quota).
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.op, self.path.display(), self.source)
    }
}

impl Error for IoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
