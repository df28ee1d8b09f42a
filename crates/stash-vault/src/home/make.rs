//! Making the content of a data directory: a new stash, a membership.

use std::path::{Path, PathBuf};

use rand::Rng;
use stash_crypto::keys::{Protection, unwrap};
use stash_crypto::{KeyGrant, Keyring, MemberLog, NetworkKey, NodeKeys, Role, RootSecret, Ticket};
use stash_server::JoinError;
use stash_server::store::{Batch, Options, Store};
use zeroize::Zeroizing;

use super::admission::founding;
use super::directory::{HOME_ROW, Home, binding, enter, open_store};
use super::disk::{self, Lock};
use super::error::HomeError;
use super::members::Members;
use super::opens::Opens;
use super::options::{InitOptions, JoinOptions};
use super::{private, swap};
use crate::blocking::blocking;

impl Home {
    /// Makes a new stash with this node as its founder. Blocking. Refuses a directory that has one.
    pub fn init(directory: &Path, options: InitOptions) -> Result<Home, HomeError> {
        let _lock = prepare(directory)?;
        if directory.join("keyring").exists() || directory.join("store").exists() {
            return Err(HomeError::Exists { directory: directory.to_owned() });
        }
        let root = RootSecret::generate(&mut rand::rng());
        let node = NodeKeys::generate(&mut rand::rng());
        let log = founding(&root, &node, &options.display_name)?;
        let keyring = Keyring {
            node,
            stash: root.stash_id(),
            role: Role::Owner,
            network: vec![root.network_key()],
            read: vec![root.read_root()],
            root: Some(root),
        };
        let made = Made { keyring, log, addresses: Vec::new(), synchronised: true };
        made.settle(directory, &random_id(), options.passphrase.as_ref())
    }

    /// Joins the stash of a ticket. What stands in the directory is replaced if it is a stash of
    /// its own without a record, and kept beside as `replaced-…`; with records it is refused.
    ///
    /// Interrupted, it may be repeated with the same ticket until that expires.
    pub async fn join(
        directory: &Path,
        ticket: &Ticket,
        options: JoinOptions,
    ) -> Result<Home, HomeError> {
        let JoinOptions { display_name, passphrase } = options;
        let id = ticket.id.to_string();
        let pending = directory.join(format!("{JOINING}{id}"));
        let (path, ticket) = (directory.to_owned(), ticket.duplicate());
        let prepared = blocking({
            let (pending, ticket) = (pending.clone(), ticket.duplicate());
            move || {
                let lock = prepare(&path)?;
                check_no_member(&path, &ticket)?;
                check_replaceable(&path)?;
                let (node, are_new) = joining_keys(&pending, &ticket, passphrase.as_ref())?;
                Ok::<_, HomeError>((path, lock, node, are_new, passphrase))
            }
        });
        let (path, lock, node, are_new, passphrase) = prepared.await?;
        let joined = match stash_server::join(&ticket, &node, &display_name).await {
            Ok(joined) => joined,
            Err(error) => {
                if are_new && was_not_asked(&error) {
                    // Nobody has seen these keys, so the next attempt does as well with others.
                    let _left_as_before = blocking(move || disk::remove(&pending)).await;
                }
                return Err(error.into());
            }
        };
        let made = blocking(move || {
            let grant = unwrap(node.wrap_secret(), &ticket.stash, &joined.grant)?;
            let KeyGrant { network, read } = KeyGrant::decode(&grant)?;
            let (stash, role) = (ticket.stash, joined.role);
            let keyring = Keyring { node, stash, role, root: None, network, read };
            let addresses = joined.addresses;
            let made = Made { keyring, log: joined.log, addresses, synchronised: false };
            let home = made.settle(&path, &id, passphrase.as_ref())?;
            disk::remove(&pending).map_err(|source| HomeError::Io { path: pending, source })?;
            remove_others(&path);
            drop(lock);
            Ok(home)
        });
        made.await
    }
}

pub(super) fn random_id() -> String {
    format!("{:016x}", rand::rng().next_u64())
}

/// Makes the directory if need be and enters it.
pub(super) fn prepare(directory: &Path) -> Result<Lock, HomeError> {
    let io = |source| HomeError::Io { path: directory.to_owned(), source };
    disk::make_directory(directory).map_err(io)?;
    let lock = enter(directory)?;
    private::shut(directory)?;
    Ok(lock)
}

/// Only nothing, or a stash without a record, may be replaced.
pub(super) fn check_replaceable(directory: &Path) -> Result<(), HomeError> {
    if !directory.join("keyring").exists() && !directory.join("store").exists() {
        return Ok(());
    }
    let store = open_store(directory)?;
    // Or the next start would take the store for another one than the node has left.
    Opens::note(directory, &store)?;
    match store.stats().records {
        0 => Ok(()),
        records => Err(HomeError::HasRecords { directory: directory.to_owned(), records }),
    }
}

/// Refuses a ticket of the stash whose member this directory's node is: it has used the ticket itself, or needs none.
fn check_no_member(directory: &Path, ticket: &Ticket) -> Result<(), HomeError> {
    if !directory.join("keyring").exists() || !directory.join("store").exists() {
        return Ok(());
    }
    let store = open_store(directory)?;
    Opens::note(directory, &store)?;
    let home = store.row(HOME_ROW)?;
    match home.as_deref().and_then(|row| row.split_first_chunk::<32>()) {
        Some((_, stash)) if stash == ticket.stash.as_bytes() => {
            Err(HomeError::Joined { directory: directory.to_owned() })
        }
        _ => Ok(()),
    }
}

/// True if an attempt to join failed before the inviter can have seen the keys of the joiner in a request.
fn was_not_asked(error: &JoinError) -> bool {
    matches!(error, JoinError::NoAnswer(_) | JoinError::Name(_) | JoinError::Bind(_))
}

/// Removes keys of other attempts to join: this directory has a member's keys now, and those lead nowhere.
fn remove_others(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(JOINING)
            && let Err(error) = disk::remove(&entry.path())
        {
            tracing::debug!(%error, "the keys of an earlier attempt to join stay");
        }
    }
}

/// Begins the names of files with the keys of a join under way.
const JOINING: &str = "joining-";

/// The keys of an interrupted join with the same ticket, or new ones (and true): the ticket is bound to the
/// keys that used it first.
fn joining_keys(
    pending: &Path,
    ticket: &Ticket,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<(NodeKeys, bool), HomeError> {
    let io = |source| HomeError::Io { path: pending.to_owned(), source };
    if let Some(bytes) = disk::read(pending).map_err(io)? {
        let passphrase = passphrase.map(|passphrase| passphrase.as_bytes());
        let kept = Keyring::decode(&bytes, passphrase);
        return kept
            .map(|keyring| (keyring.node, false))
            .map_err(|source| HomeError::Keyring { path: pending.to_owned(), source });
    }
    let node = NodeKeys::generate(&mut rand::rng());
    let keyring = Keyring {
        node: node.duplicate(),
        stash: ticket.stash,
        role: Role::Keeper,
        root: None,
        // A keyring has a network key. The real one comes with the welcome.
        network: vec![NetworkKey::from_parts(0, [0; 32])],
        read: Vec::new(),
    };
    write_keyring(pending, &keyring, passphrase)?;
    Ok((node, true))
}

fn write_keyring(
    path: &Path,
    keyring: &Keyring,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<(), HomeError> {
    let protection = match passphrase {
        Some(passphrase) => Protection::Passphrase(passphrase.as_bytes()),
        None => Protection::None,
    };
    let bytes = keyring
        .encode(&protection, &mut rand::rng())
        .map_err(|source| HomeError::Keyring { path: path.to_owned(), source })?;
    disk::write(path, &bytes).map_err(|source| HomeError::Io { path: path.to_owned(), source })
}

/// A stash that is about to be written.
pub(super) struct Made {
    pub(super) keyring: Keyring,
    pub(super) log: MemberLog,
    pub(super) addresses: Vec<Vec<u8>>,
    pub(super) synchronised: bool,
}

impl Made {
    /// Writes everything beside what is there, then lets it take its place.
    pub(super) fn settle(
        self,
        directory: &Path,
        id: &str,
        passphrase: Option<&Zeroizing<String>>,
    ) -> Result<Home, HomeError> {
        let nursery = swap::nursery(directory, id);
        let io = |source| HomeError::Io { path: nursery.clone(), source };
        if nursery.exists() {
            // Left by an attempt that was interrupted before it was decided.
            std::fs::remove_dir_all(&nursery).map_err(io)?;
        }
        disk::make_directory(&nursery).map_err(io)?;
        write_store(&nursery, &self.keyring, &self.log, &self.addresses, self.synchronised)?;
        write_keyring(&nursery.join("keyring"), &self.keyring, passphrase)?;
        disk::sync_directory(&nursery).map_err(io)?;
        swap::begin(directory, id)
            .map_err(|source| HomeError::Io { path: directory.to_owned(), source })?;
        Ok(Home {
            directory: absolute(directory),
            stash: self.keyring.stash,
            node: self.keyring.node.node_id(),
            role: self.keyring.role,
        })
    }
}

/// A new store with what its node has to know of the members, and the count of its opens.
fn write_store(
    nursery: &Path,
    keyring: &Keyring,
    log: &MemberLog,
    addresses: &[Vec<u8>],
    synchronised: bool,
) -> Result<(), HomeError> {
    let store = Store::create(&nursery.join("store"), &Options::default())?;
    stash_server::found(&store, log, addresses, synchronised)?;
    store.commit(Batch::new().row(HOME_ROW, Some(&binding(keyring))))?;
    let opens = Opens { store: store.store_id(), count: store.opens() };
    opens.write(nursery).map_err(|source| HomeError::Io { path: nursery.to_owned(), source })
}

/// Makes a new store where the old one is gone for good: neither it nor the count of its opens is
/// there, and the copy of the member log says where everything can be had. A store whose opens were
/// counted may lie on a disk that is not mounted.
pub(super) fn replace_lost_store(directory: &Path, keyring: &Keyring) -> Result<(), HomeError> {
    let io = |source| HomeError::Io { path: directory.to_owned(), source };
    let store = directory.join("store");
    if store.try_exists().map_err(io)? || Opens::exists(directory).map_err(io)? {
        return Ok(());
    }
    let Some(Members { log, addresses }) = Members::read(directory, keyring.stash).map_err(io)?
    else {
        return Ok(());
    };
    tracing::warn!("the store is gone: everything is taken back from the other members");
    let nursery = directory.join("store-new");
    if nursery.exists() {
        // Left by a start that was interrupted.
        std::fs::remove_dir_all(&nursery).map_err(io)?;
    }
    disk::make_directory(&nursery).map_err(io)?;
    write_store(&nursery, keyring, &log, &addresses, false)?;
    // The opens stay behind: to its node this store is not the one that it left.
    std::fs::rename(nursery.join("store"), &store).map_err(io)?;
    disk::sync_directory(directory).map_err(io)?;
    std::fs::remove_dir_all(&nursery).map_err(io)
}

pub(super) fn absolute(directory: &Path) -> PathBuf {
    std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_only_looked_into_is_still_the_one_that_its_node_left() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Home::init(&data, InitOptions::default()).unwrap();
        check_replaceable(&data).unwrap();
        let store = open_store(&data).unwrap();
        assert_eq!(Opens::note(&data, &store).unwrap(), None);
        // One that is in doubt stays so.
        drop(store);
        std::fs::remove_file(data.join("opens")).unwrap();
        check_replaceable(&data).unwrap();
        assert!(Opens::note(&data, &open_store(&data).unwrap()).unwrap().is_some());
    }
}
