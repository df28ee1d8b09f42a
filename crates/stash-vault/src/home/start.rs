//! Opening a data directory: its parts are checked against each other, then its node serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stash_crypto::Keyring;
use stash_server::store::Store;
use stash_server::{Engine, EngineOptions, Environment, Mode};
use zeroize::Zeroizing;

use super::admission::RootAdmission;
use super::directory::{Home, check_binding, enter, open_store, read_keyring};
use super::disk::Lock;
use super::error::HomeError;
use super::node::Node;
use super::opens::Opens;
use super::options::RunOptions;
use super::{make, members, private, recover, swap};
use crate::blocking::blocking;
use crate::index::Binding;
use crate::vault::{Vault, VaultParts};

impl Home {
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
        let doubted = Opens::note(&directory, &store)?;
        if doubted.is_some() {
            tracing::warn!("the store is not as this node left it: taking a new incarnation");
        }
        Ok(Opened { directory, lock, keyring, store, doubted })
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
            discovery: options.discovery,
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
                    quota: options.quota,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::InitOptions;

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
