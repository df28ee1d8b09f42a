//! Why a data directory could not be made, joined, recovered or opened.

use std::io;
use std::path::PathBuf;

use stash_crypto::NodeId;
use stash_crypto::keys::{KeyringError, WrapError};
use stash_crypto::member::GrantError;
use stash_server::members::RecoverError;
use stash_server::store::{CommitError, OpenError, ReadError};
use stash_server::{JoinError, StartError};
use thiserror::Error;

use super::admission::AdmitError;
use crate::class::Class;
use crate::faults;

/// Why a data directory could not be used. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, Error)]
pub enum HomeError {
    /// There is no stash in this directory.
    #[error("there is no stash in '{}'", directory.display())]
    NoStash {
        /// The directory.
        directory: PathBuf,
    },
    /// There is a stash in this directory already.
    #[error("there is a stash in '{}' already", directory.display())]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
    /// Another process uses the directory.
    #[error("another process uses '{}'", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// A keyring without its store: a disk that is not mounted, or a directory that was emptied.
    #[error("the keyring is here, but its store '{}' is missing", path.display())]
    StoreMissing {
        /// Where the store should be.
        path: PathBuf,
    },
    /// A store without its keyring.
    #[error("the store is here, but its keyring '{}' is missing", path.display())]
    KeyringMissing {
        /// Where the keyring should be.
        path: PathBuf,
    },
    /// The store beside the keyring belongs to another node: directories were mixed up.
    #[error("this keyring is of node {}, but the store beside it belongs to {}",
        expected.short(), found.map_or("no node".to_owned(), |node| format!("node {}", node.short())))]
    WrongStore {
        /// The keyring's node.
        expected: NodeId,
        /// The store's node, if it says.
        found: Option<NodeId>,
    },
    /// The keyring cannot be read: it is damaged, or the passphrase is missing or wrong.
    #[error("'{}': {source}", path.display())]
    Keyring {
        /// The keyring file.
        path: PathBuf,
        /// The fault.
        source: KeyringError,
    },
    /// Others can read the keys, and the file system does not let that be changed.
    #[error("'{}' can be read by other users of this machine (mode {mode:o}), and stays so", path.display())]
    Exposed {
        /// The keyring file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The disk failed, or the process may not use the directory.
    #[error("cannot use '{}': {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new store cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The node cannot start: a port is taken, or the member log is damaged.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The vault cannot be opened.
    #[error("the vault cannot be opened: {0}")]
    Vault(String),
    /// The directory holds a stash with files: joining would leave them behind.
    #[error("'{}' holds a stash with {records} records", directory.display())]
    HasRecords {
        /// The directory.
        directory: PathBuf,
        /// Records in it.
        records: u64,
    },
    /// The directory's node is one of the ticket's stash: it has used the ticket itself, or needs none.
    #[error("'{}' holds a node of that stash already", directory.display())]
    Joined {
        /// The directory.
        directory: PathBuf,
    },
    /// The stash did not admit this node, or no member answered.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The stash was not brought back.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The keys in the welcome were not wrapped to this node. The inviter is at fault.
    #[error("the keys in the welcome do not open: {0}")]
    Wrap(#[from] WrapError),
    /// The keys in the welcome are malformed. The inviter is at fault.
    #[error("the keys in the welcome are malformed: {0}")]
    Grant(#[from] GrantError),
    /// The member entry cannot be made: usually a display name that is too long.
    #[error(transparent)]
    Admit(#[from] AdmitError),
}

impl HomeError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            HomeError::NoStash { .. }
            | HomeError::StoreMissing { .. }
            | HomeError::KeyringMissing { .. } => Class::NoStore,
            HomeError::Exists { .. }
            | HomeError::Exposed { .. }
            | HomeError::WrongStore { .. }
            | HomeError::Joined { .. }
            | HomeError::HasRecords { .. } => Class::Refused,
            HomeError::Locked { .. } => Class::Locked,
            HomeError::Keyring { source, .. } => keyring(source),
            HomeError::Io { source, .. } => Class::of_io(source, Class::Failed),
            HomeError::Store(error) => faults::open(error),
            HomeError::Read(_) | HomeError::Vault(_) => Class::Failed,
            HomeError::Commit(error) => faults::commit(error),
            HomeError::Start(error) => faults::start(error),
            HomeError::Join(error) => faults::join(error),
            HomeError::Recover(error) => faults::recover(error),
            HomeError::Wrap(_) | HomeError::Grant(_) => Class::Integrity,
            HomeError::Admit(_) => Class::Usage,
        }
    }
}

fn keyring(error: &KeyringError) -> Class {
    match error {
        KeyringError::NeedsPassphrase | KeyringError::WrongPassphrase => Class::Passphrase,
        KeyringError::Version { .. } | KeyringError::Memory { .. } => Class::Failed,
        _ => Class::Integrity,
    }
}
