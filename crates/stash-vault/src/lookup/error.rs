//! Errors of a lookup.

use stash_crypto::Key;
use stash_crypto::record::KeyError;
use stash_server::LedgerError;
use thiserror::Error;

use crate::class::Class;
use crate::faults;

/// Why a file was not found. Nothing was changed.
#[derive(Debug, Error)]
pub enum LookupError {
    /// No file has this name, and nothing lies under it.
    #[error("nothing is stored under '{name}'")]
    NotFound {
        /// The name or prefix that was asked for.
        name: String,
    },
    /// The text can be no key.
    #[error("'{name}' is no key: {source}")]
    Key {
        /// The text given.
        name: String,
        /// The fault.
        source: KeyError,
    },
    /// Every record of this name was set aside: somebody changed them.
    #[error("the records of '{key}' are not authentic and were set aside")]
    SetAside {
        /// The key that was asked for.
        key: Key,
    },
    /// No version of this name has this id.
    #[error("'{key}' has no version {version}")]
    NoVersion {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// Several versions of this name begin with these digits.
    #[error("several versions of '{key}' begin with {version}")]
    ManyVersions {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// The version is a removal, and so has no content.
    #[error("version {version} of '{key}' is a removal: it has no content")]
    Removal {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// The index of names has not caught up with the records within a minute: ask again.
    #[error("the index of names is still being built")]
    IndexBehind,
    /// The disk does not let the index of names be used.
    #[error("the index of names cannot be used: {why}")]
    Index {
        /// The error of the disk or the index.
        why: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
}

impl LookupError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            LookupError::NotFound { .. }
            | LookupError::NoVersion { .. }
            | LookupError::Removal { .. } => Class::NotFound,
            LookupError::Key { .. } | LookupError::ManyVersions { .. } => Class::Usage,
            LookupError::SetAside { .. } => Class::Integrity,
            LookupError::IndexBehind => Class::Temporary,
            LookupError::Index { .. } => Class::Failed,
            LookupError::Engine(error) => faults::engine(error),
        }
    }
}

pub(crate) fn bad_key(name: &str) -> impl FnOnce(KeyError) -> LookupError + '_ {
    move |source| LookupError::Key { name: name.to_owned(), source }
}
