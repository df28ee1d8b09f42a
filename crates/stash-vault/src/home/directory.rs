//! A data directory with a stash in it, and reading its parts.

use std::io;
use std::path::{Path, PathBuf};

use stash_crypto::{Keyring, NodeId, Role, StashId};
use stash_server::store::{Options, Store};
use zeroize::Zeroizing;

use super::disk::{self, Lock};
use super::error::HomeError;
use super::swap;

/// The store row that binds a store to the keyring beside it.
pub(super) const HOME_ROW: &[u8] = b"vault/home";

/// A data directory with a stash in it, not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub(super) directory: PathBuf,
    pub(super) stash: StashId,
    pub(super) node: NodeId,
    pub(super) role: Role,
}

impl Home {
    /// True if there is a stash in this directory.
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        directory.join("keyring").exists() || swap::pending(directory)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The stash.
    #[must_use]
    pub fn stash_id(&self) -> StashId {
        self.stash
    }

    /// The node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// The node's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}

/// Takes the directory's lock, and finishes what was interrupted in it.
pub(super) fn enter(directory: &Path) -> Result<Lock, HomeError> {
    let io = |source| HomeError::Io { path: directory.to_owned(), source };
    let locked = HomeError::Locked { directory: directory.to_owned() };
    let lock = Lock::take(directory).map_err(io)?.ok_or(locked)?;
    swap::finish(directory).map_err(io)?;
    Ok(lock)
}

/// The same for whoever only looks: on a file system that cannot be written, nothing is finished. `None` if it has
/// no lock either, so that no node can ever have served it there.
pub(super) fn enter_to_look(directory: &Path) -> Result<Option<Lock>, HomeError> {
    match enter(directory) {
        Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
        }
        entered => return entered.map(Some),
    }
    match Lock::take_unwritten(directory) {
        Ok(None) => Err(HomeError::Locked { directory: directory.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        taken => taken.map_err(|source| HomeError::Io { path: directory.to_owned(), source }),
    }
}

pub(super) fn read_keyring(
    directory: &Path,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<Keyring, HomeError> {
    let path = directory.join("keyring");
    let bytes = disk::read(&path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
    let Some(bytes) = bytes else {
        return Err(match directory.join("store").exists() {
            true => HomeError::KeyringMissing { path },
            false => HomeError::NoStash { directory: directory.to_owned() },
        });
    };
    let passphrase = passphrase.map(|passphrase| passphrase.as_bytes());
    Keyring::decode(&bytes, passphrase).map_err(|source| HomeError::Keyring { path, source })
}

pub(super) fn open_store(directory: &Path) -> Result<Store, HomeError> {
    Store::open(&store_path(directory)?, &Options::default()).map_err(HomeError::from)
}

/// Where the store lies. Without any file of its own it is missing: a disk that is not mounted.
pub(super) fn store_path(directory: &Path) -> Result<PathBuf, HomeError> {
    let path = directory.join("store");
    let here = ["FORMAT", "log"].iter().any(|name| path.join(name).exists());
    if here { Ok(path) } else { Err(HomeError::StoreMissing { path }) }
}

pub(super) fn binding(keyring: &Keyring) -> Vec<u8> {
    [&keyring.node.node_id().as_bytes()[..], keyring.stash.as_bytes()].concat()
}

/// Refuses a store that belongs to another node or stash: two directories were mixed up.
pub(super) fn check_binding(store: &Store, keyring: &Keyring) -> Result<(), HomeError> {
    match store.row(HOME_ROW)? {
        Some(row) if row == binding(keyring) => Ok(()),
        row => {
            let node = row.and_then(|row| row.first_chunk::<32>().copied());
            Err(HomeError::WrongStore {
                expected: keyring.node.node_id(),
                found: node.map(NodeId::from_bytes),
            })
        }
    }
}
