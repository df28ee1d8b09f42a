//! One data directory: made, joined, recovered, opened.
//!
//! ```text
//! keyring      the node's keys (mode 0600); its presence says that a stash is here
//! store/       the store; bound to the keyring by a row of its own
//! members      a copy of the member log: with the keyring, enough to take everything back
//! opens        how often the store was opened, as this node noted it
//! names.redb   index of names (owners and readers; rebuildable)
//! tags.redb    T to address (owners; a cache)
//! lock         held while a process uses the directory
//! ```

mod disk;
mod error;
mod examine;
mod make;
mod members;
mod opens;
mod private;
mod recover;
mod swap;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stash_crypto::{Keyring, NodeId, Role, StashId};
use stash_server::store::{Options, Quota, Store};
use stash_server::{Engine, EngineOptions, Environment, Housekeeping, Mode, Traffic};
use zeroize::Zeroizing;

pub(crate) use disk::Lock;
pub use error::HomeError;
pub use examine::{Examined, Rebuilt};
pub(crate) use members::Keeping;
pub(crate) use opens::Opens;
pub use private::is_exposed;
pub use recover::RecoverOptions;

use crate::admission::RootAdmission;
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::index::Binding;
use crate::node::Node;
use crate::retention::Retention;
use crate::vault::{Vault, VaultParts};

/// The store row that binds a store to the keyring beside it.
const HOME_ROW: &[u8] = b"vault/home";

/// A new stash.
#[derive(Debug, Default)]
pub struct InitOptions {
    /// How members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// A membership in somebody's stash.
#[derive(Debug, Default)]
pub struct JoinOptions {
    /// How members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// How a node runs.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where to listen; nowhere if empty: the node then only dials.
    pub listen: Vec<SocketAddr>,
    /// Addresses to tell others instead of those it listens on.
    pub advertise: Vec<SocketAddr>,
    /// How the node keeps its store in order.
    pub housekeeping: Housekeeping,
    /// How much of the disk its store may take.
    pub quota: Quota,
    /// How much of the line it takes.
    pub traffic: Traffic,
    /// What dates the versions that are written here.
    pub clock: Clock,
    /// What it keeps of old versions, if it is an owner.
    pub retention: Retention,
}

/// A data directory with a stash in it, not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    directory: PathBuf,
    stash: StashId,
    node: NodeId,
    role: Role,
}

impl Home {
    /// Whether there is a stash in this directory.
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

    /// Opens the store and starts the node: it serves until [`Node::shutdown`].
    pub async fn open(
        directory: &Path,
        passphrase: Option<Zeroizing<String>>,
        options: RunOptions,
    ) -> Result<Node, HomeError> {
        let directory = directory.to_owned();
        let opened = blocking(move || Opened::open(directory, passphrase)).await?;
        opened.run(options).await
    }
}

/// Takes the directory's lock, and finishes what was interrupted in it.
fn enter(directory: &Path) -> Result<Lock, HomeError> {
    let io = |source| HomeError::Io { path: directory.to_owned(), source };
    let locked = HomeError::Locked { directory: directory.to_owned() };
    let lock = Lock::take(directory).map_err(io)?.ok_or(locked)?;
    swap::finish(directory).map_err(io)?;
    Ok(lock)
}

/// A directory whose parts are open and belong together.
struct Opened {
    directory: PathBuf,
    lock: Lock,
    keyring: Keyring,
    store: Store,
    /// The opens of a store that is not the one that the node left, to be noted once the node has
    /// begun a new incarnation in it.
    doubted: Option<Opens>,
}

impl Opened {
    fn open(
        directory: PathBuf,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Opened, HomeError> {
        if !directory.is_dir() {
            return Err(HomeError::NoStash { directory });
        }
        let lock = enter(&directory)?;
        private::shut(&directory)?;
        let keyring = read_keyring(&directory, passphrase.as_ref())?;
        make::replace_lost_store(&directory, &keyring)?;
        let store = open_store(&directory)?;
        check_binding(&store, &keyring)?;
        let io = |source| HomeError::Io { path: directory.clone(), source };
        let now = Opens { store: store.store_id(), count: store.opens() };
        let follows = now.follows(Opens::read(&directory).map_err(io)?);
        let noted = if follows { now } else { now.in_doubt() };
        noted.write(&directory).map_err(io)?;
        if !follows {
            tracing::warn!("the store is not as this node left it: taking a new incarnation");
        }
        Ok(Opened { directory, lock, keyring, store, doubted: (!follows).then_some(now) })
    }

    async fn run(self, options: RunOptions) -> Result<Node, HomeError> {
        let Opened { directory, lock, keyring, store, doubted } = self;
        store.set_quota(options.quota);
        let recovered = recover::keys(&store, &keyring).await?;
        let Keyring { node, stash, root, network, read, .. } = keyring;
        let (visits, network, read) = match recovered {
            Some(recover::RootKeys { visits, grant }) => (visits, grant.network, grant.read),
            None => (false, network, read),
        };
        // A visitor speaks for the root, and signs nothing.
        let speaker = root.as_ref().filter(|_| visits);
        let node = Arc::new(match speaker {
            Some(root) => root.visitor(node),
            None => node,
        });
        let store_id = store.store_id();
        let last_sequence = store.last_sequence();
        let admission = root
            .as_ref()
            .filter(|_| !visits)
            .map(|root| Arc::new(RootAdmission::new(root)) as Arc<dyn stash_server::Admission>);
        let engine = Engine::start(EngineOptions {
            store,
            keys: Arc::clone(&node),
            stash,
            network,
            listen: options.listen,
            advertise: options.advertise,
            admission,
            fresh_writer: doubted.is_some(),
            housekeeping: options.housekeeping,
            traffic: options.traffic,
            mode: Mode::Threads,
            environment: Environment::default(),
        })
        .await?;
        if let Some(now) = doubted {
            let path = directory.clone();
            if let Err(error) = blocking(move || now.write(&path)).await {
                tracing::warn!(%error, "the next start will take a new incarnation once more");
            }
        }
        // The member log has the last word, on the role and on the keys of later epochs.
        let (vault, tail) = if engine.role().reads() {
            let for_vault = engine.clone();
            let aside = engine.set_aside_count()?;
            let binding = Binding { store: store_id, stash, aside };
            let (path, handle) = (directory.clone(), tokio::runtime::Handle::current());
            let opened = blocking(move || {
                let _runtime = handle.enter();
                Vault::open(VaultParts {
                    engine: for_vault,
                    node,
                    roots: read,
                    directory: &path,
                    binding,
                    last_sequence,
                    clock: options.clock,
                    retention: options.retention,
                })
            })
            .await;
            let (vault, tail) = opened.map_err(|error| HomeError::Vault(error.to_string()))?;
            (Some(vault), Some(tail))
        } else {
            // What it could read stays read, but no names lie about where nobody may read them.
            let path = directory.clone();
            if let Err(error) = blocking(move || swap::remove_caches(&path)).await {
                tracing::warn!(%error, "the index of names could not be removed");
            }
            (None, None)
        };
        let members = members::keep(engine.clone(), &directory).await;
        Ok(Node::new(engine, vault, tail, root, (directory, lock), members))
    }
}

fn read_keyring(
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

fn open_store(directory: &Path) -> Result<Store, HomeError> {
    Store::open(&store_path(directory)?, &Options::default()).map_err(HomeError::from)
}

/// Where the store lies. Without any file of its own it is missing: a disk that is not mounted.
fn store_path(directory: &Path) -> Result<PathBuf, HomeError> {
    let path = directory.join("store");
    let here = ["FORMAT", "log"].iter().any(|name| path.join(name).exists());
    if here { Ok(path) } else { Err(HomeError::StoreMissing { path }) }
}

fn binding(keyring: &Keyring) -> Vec<u8> {
    [&keyring.node.node_id().as_bytes()[..], keyring.stash.as_bytes()].concat()
}

/// Refuses a store that belongs to another node or stash: two directories were mixed up.
fn check_binding(store: &Store, keyring: &Keyring) -> Result<(), HomeError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    // Fault case 114. Found by the simulator, seed 13481.
    #[test]
    fn a_restored_store_stays_in_doubt_until_a_start_has_ended() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, copy) = (temp.path().join("node"), temp.path().join("copy"));
        let options = InitOptions { display_name: "founder".into(), passphrase: None };
        Home::init(&dir, options).unwrap();
        let opened = || Opened::open(dir.clone(), None).unwrap();
        assert!(opened().doubted.is_none());
        copy_all(&dir.join("store"), &copy);
        assert!(opened().doubted.is_none());
        std::fs::remove_dir_all(dir.join("store")).unwrap();
        std::fs::rename(&copy, dir.join("store")).unwrap();
        // Each of these is a start that fails before the engine runs.
        for _ in 0..4 {
            let doubted = opened().doubted;
            assert!(doubted.is_some());
        }
        let now = opened().doubted.unwrap();
        now.write(&dir).unwrap();
        assert!(opened().doubted.is_none());
    }

    fn copy_all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_all(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}
