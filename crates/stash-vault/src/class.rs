//! Classes of errors: the words that every door shares.

use std::fmt;

/// The class of a failure. Each has one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An internal failure or one without a class of its own.
    Failed,
    /// The request is wrong: a bad key, a directory where a file is meant, a mistyped ticket.
    Usage,
    /// Some of the inputs cannot be read.
    Unreadable,
    /// No file has this name.
    NotFound,
    /// It may work later: a peer does not answer, the node is stopping.
    Temporary,
    /// Something is not what it was signed or sealed as.
    Integrity,
    /// Stored, in fewer copies than asked for.
    Short,
    /// No room on the disk.
    Full,
    /// Refused for safety; nothing was changed.
    Refused,
    /// There is no stash in this directory.
    NoStore,
    /// Another process has the directory.
    Locked,
    /// The passphrase is missing or wrong.
    Passphrase,
    /// The caller cancelled.
    Cancelled,
}

impl Class {
    /// The word for machines, as it stands in JSON errors.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Failed => "failed",
            Class::Usage => "usage",
            Class::Unreadable => "unreadable",
            Class::NotFound => "not_found",
            Class::Temporary => "temporary",
            Class::Integrity => "integrity",
            Class::Short => "short",
            Class::Full => "full",
            Class::Refused => "refused",
            Class::NoStore => "no_store",
            Class::Locked => "locked",
            Class::Passphrase => "passphrase",
            Class::Cancelled => "cancelled",
        }
    }

    /// The class of an I/O error on a path that the caller named, `otherwise` where the error
    /// itself says nothing.
    pub(crate) fn of_io(error: &std::io::Error, otherwise: Class) -> Class {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Class::Full,
            ErrorKind::AlreadyExists => Class::Refused,
            _ => otherwise,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
