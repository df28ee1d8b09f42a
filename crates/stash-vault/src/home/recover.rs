//! Bringing a stash back by the recovery text, or reading it by that alone.

use std::net::SocketAddr;
use std::path::Path;

use stash_crypto::{
    JoinRequest, KeyGrant, Keyring, MemberLog, NodeKeys, RecoveryText, Role, RootSecret, StashId,
};
use stash_server::members::{Life, Recovered, Sought, Survey, member_log, survey};
use stash_server::store::{Options, Store};
use stash_server::{Environment, StartError};
use zeroize::Zeroizing;

use super::admission::{AdmitError, NO_TICKET, entry, root_keys};
use super::directory::{Home, open_store, read_keyring, store_path};
use super::disk::Lock;
use super::error::HomeError;
use super::make::{Made, absolute, check_replaceable, prepare, random_id};
use super::opens::Opens;
use crate::blocking::blocking;

/// A stash whose owners were lost.
#[derive(Debug, Default)]
pub struct RecoverOptions {
    /// The name by which members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring; of a directory that visits already, opens it.
    pub passphrase: Option<Zeroizing<String>>,
    /// Where members listen, beside those that the text names.
    pub at: Vec<SocketAddr>,
    /// The members that do not answer are gone for good: sign although most are silent.
    pub alone: bool,
}

impl Home {
    /// Becomes an owner, and holds the root secret, by the recovery text: also when every owner is lost.
    /// Asks all members that can be found, for up to a minute, and signs its own admission only if those
    /// that answer agree and are more than half of the members that have not lapsed. Refuses a directory
    /// that has a stash with records, unless this node [visits](Home::visit) there.
    pub async fn recover(
        directory: &Path,
        text: &RecoveryText,
        options: RecoverOptions,
    ) -> Result<(Home, Life), HomeError> {
        let RecoverOptions { display_name, passphrase, at, alone } = options;
        let (place, passphrase) = Place::enter(directory, &text.root, passphrase).await?;
        let (root, me) = (text.root.duplicate(), place.node.node_id());
        let request = JoinRequest::sign(&place.node, &root.stash_id(), NO_TICKET, &display_name)
            .map_err(AdmitError::from)?;
        let asked = ask(text, &at, place.held()).await?;
        let agreed = asked.agreed(alone)?;
        // The keys are kept from here on: what is signed and not written down, the next attempt finds.
        let place = place.keep(root.duplicate(), agreed, passphrase).await?;
        let admit = |log: &MemberLog| Ok(entry(&root, log, &request, Role::Owner)?);
        let recovered = asked.sign(&me, alone, admit).await?;
        let life = recovered.life.clone();
        let home = blocking(move || {
            place.learn(&recovered)?;
            Ok::<_, HomeError>(place.home(recovered.log.stash(), Role::Owner))
        });
        Ok((home.await?, life))
    }

    /// Reads the stash in the name of the root, with any member that answers, and signs nothing: what a
    /// member has is shown and fetched, and no member learns of this node. It stays so until
    /// [`Home::recover`] is called on the same directory.
    pub async fn visit(
        directory: &Path,
        text: &RecoveryText,
        options: RecoverOptions,
    ) -> Result<(Home, Life), HomeError> {
        let RecoverOptions { passphrase, at, .. } = options;
        let (place, passphrase) = Place::enter(directory, &text.root, passphrase).await?;
        let recovered = ask(text, &at, place.held()).await?.read().await?;
        let (root, life) = (text.root.duplicate(), recovered.life.clone());
        let stash = root.stash_id();
        let place = place.keep(root, recovered, passphrase).await?;
        Ok((place.home(stash, Role::Reader), life))
    }

    /// Asks members for the member log, of every life that the root secret has had: the most
    /// shown first. Signs and writes nothing.
    pub async fn lives(text: &RecoveryText, at: &[SocketAddr]) -> Result<Vec<Life>, HomeError> {
        Ok(ask(text, at, None).await?.lives())
    }
}

async fn ask(
    text: &RecoveryText,
    at: &[SocketAddr],
    held: Option<MemberLog>,
) -> Result<Survey, HomeError> {
    let (root, network) = (text.root.noise_static(), text.root.network_key());
    let sought = Sought {
        environment: Environment::default(),
        root: &root,
        stash: text.root.stash_id(),
        network: &network,
        members: &text.members,
        at,
        held,
    };
    Ok(survey(sought).await?)
}

/// A directory that is locked, and the node that it is for.
struct Place {
    path: std::path::PathBuf,
    lock: Lock,
    node: NodeKeys,
    /// The log by which this node visits there, if it does: what it has fetched stays.
    visits: Option<MemberLog>,
}

/// The log by which the node of this directory visits the stash, if it does: it holds the root secret
/// and was never a member.
fn visited(path: &Path, keyring: &Keyring, stash: StashId) -> Result<Option<MemberLog>, HomeError> {
    if keyring.root.is_none() || keyring.stash != stash {
        return Ok(None);
    }
    let options = Options { read_only: true, ..Options::default() };
    let store = Store::open(&store_path(path)?, &options)?;
    let log = member_log(&store, stash).map_err(StartError::from)?;
    Ok(visits(&log, keyring).then_some(log))
}

/// The keys that a node with the root secret reads in the member log of its store.
pub(super) struct RootKeys {
    /// It was never a member.
    pub(super) visits: bool,
    /// The keys of every epoch. Those that began before its admission are wrapped to the root alone.
    pub(super) grant: KeyGrant,
}

/// The keys of a node that holds the root secret; `None` of any other one.
pub(super) async fn keys(store: &Store, keyring: &Keyring) -> Result<Option<RootKeys>, HomeError> {
    let Some(root) = &keyring.root else {
        return Ok(None);
    };
    let (store, stash) = (store.clone(), keyring.stash);
    let log = blocking(move || member_log(&store, stash)).await.map_err(StartError::from)?;
    Ok(Some(RootKeys { visits: visits(&log, keyring), grant: root_keys(root, &log) }))
}

/// True if a node with these keys is a visitor to this log.
fn visits(log: &MemberLog, keyring: &Keyring) -> bool {
    let me = keyring.node.node_id();
    keyring.root.is_some() && log.member(&me).is_none() && log.removal(&me).is_none()
}

impl Place {
    fn held(&self) -> Option<MemberLog> {
        self.visits.clone()
    }

    async fn enter(
        directory: &Path,
        root: &RootSecret,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<(Place, Option<Zeroizing<String>>), HomeError> {
        let (path, stash) = (directory.to_owned(), root.stash_id());
        blocking(move || {
            let lock = prepare(&path)?;
            if path.join("keyring").exists() {
                let keyring = read_keyring(&path, passphrase.as_ref())?;
                let log = visited(&path, &keyring, stash)?;
                if log.is_some() {
                    let node = keyring.node;
                    return Ok((Place { path, lock, node, visits: log }, passphrase));
                }
            }
            check_replaceable(&path)?;
            let node = NodeKeys::generate(&mut rand::rng());
            Ok::<_, HomeError>((Place { path, lock, node, visits: None }, passphrase))
        })
        .await
    }

    /// Lets the directory hold this node as a visitor that follows the log that was found.
    async fn keep(
        self,
        root: RootSecret,
        found: Recovered,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Place, HomeError> {
        let keep = move || {
            if self.visits.is_some() {
                self.learn(&found)?;
                return Ok(self);
            }
            let Place { path, lock, node, .. } = self;
            let KeyGrant { network, read } = root_keys(&root, &found.log);
            let (stash, role) = (root.stash_id(), Role::Owner);
            let keys = node.duplicate();
            let keyring = Keyring { node: keys, stash, role, root: Some(root), network, read };
            let Recovered { log, addresses, .. } = found;
            let visits = Some(log.clone());
            let made = Made { keyring, log, addresses, synchronised: false };
            made.settle(&path, &random_id(), passphrase.as_ref())?;
            Ok::<_, HomeError>(Place { path, lock, node, visits })
        };
        blocking(keep).await
    }

    /// Writes what was found of the log into the store of a visitor. One that is shown another life of the
    /// root goes on by the first.
    fn learn(&self, found: &Recovered) -> Result<(), HomeError> {
        let store = open_store(&self.path)?;
        let held = self.visits.as_ref().map_or(&[][..], MemberLog::entries);
        if found.log.entries().starts_with(held) {
            stash_server::found(&store, &found.log, &found.addresses, false)?;
        }
        Opens::note(&self.path, &store).map(|_| ())
    }

    fn home(&self, stash: StashId, role: Role) -> Home {
        Home { directory: absolute(&self.path), stash, node: self.node.node_id(), role }
    }
}
