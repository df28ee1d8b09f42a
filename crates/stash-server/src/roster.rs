//! Who belongs to the stash and where members can be reached.
//!
//! Membership is the signed member log and nothing else. Who is connected is another question,
//! answered by [`crate::engine`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use stash_crypto::{
    EntryError, MemberEntry, MemberError, MemberLog, NodeId, NoisePublic, Role, SignedAddresses,
    StashId,
};
use stash_store::{Batch, CommitError, ReadError, Store};
use tokio::sync::watch;

/// Store rows of the member log, by index.
const MEMBER: &[u8] = b"member/";
/// Store rows of members' signed addresses, by node id.
const ADDRESS: &[u8] = b"address/";

/// The members of one stash.
#[derive(Debug)]
pub(crate) struct Roster {
    state: RwLock<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    log: MemberLog,
    addresses: BTreeMap<NodeId, SignedAddresses>,
}

/// One member as the roster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub node: NodeId,
    pub noise: NoisePublic,
    pub role: Role,
    pub label: Vec<u8>,
    pub addresses: Vec<SocketAddr>,
}

/// The roster in the store cannot be used, or a change to it cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// An entry of the member log is malformed: whoever sent it is at fault.
    #[error("member log entry {index} is malformed: {source}")]
    Malformed {
        /// Where it would stand in the log.
        index: u64,
        /// What is wrong with it.
        source: EntryError,
    },
    /// An entry does not extend the log; a fork is an alarm.
    #[error("member log entry {index}: {source}")]
    Entry {
        /// Position in the log.
        index: u64,
        /// What is wrong with it.
        source: MemberError,
    },
}

impl Roster {
    /// Reads the member log and the addresses from the store, verifying every entry again.
    pub(crate) fn open(store: &Store, stash: StashId) -> Result<Roster, RosterError> {
        let mut log = MemberLog::new(stash);
        for (_, bytes) in store.rows(MEMBER)? {
            push(&mut log, &bytes)?;
        }
        let claims = store.rows(ADDRESS)?.into_iter();
        // An address that does not verify is worth nothing and is asked for again.
        let claims = claims.filter_map(|(_, bytes)| SignedAddresses::decode(&bytes).ok());
        let claims = claims.filter(|claim| claim.verify(&stash).is_ok());
        let addresses = claims.map(|claim| (claim.node, claim)).collect();
        let changes = watch::Sender::new(0);
        Ok(Roster { state: RwLock::new(State { log, addresses }), changes })
    }

    /// Changes with every entry and address that is learned.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn read<T>(&self, view: impl FnOnce(&State) -> T) -> T {
        view(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a view of the log.
    pub(crate) fn log<T>(&self, view: impl FnOnce(&MemberLog) -> T) -> T {
        self.read(|state| view(&state.log))
    }

    pub(crate) fn role(&self, node: &NodeId) -> Option<Role> {
        self.log(|log| log.member(node).map(|member| member.role))
    }

    /// The member with this Noise static.
    pub(crate) fn by_noise(&self, noise: &NoisePublic) -> Option<(NodeId, Role)> {
        self.log(|log| log.by_noise(noise).map(|member| (member.identity.node, member.role)))
    }

    /// Whether this is the root's Noise static, which members always accept.
    pub(crate) fn is_root(&self, noise: &NoisePublic) -> bool {
        self.log(|log| log.root_noise() == Some(noise))
    }

    pub(crate) fn members(&self) -> Vec<Known> {
        self.read(|state| {
            let known = |member: &stash_crypto::Member| Known {
                node: member.identity.node,
                noise: member.identity.noise,
                role: member.role,
                label: member.label.clone(),
                addresses: state
                    .addresses
                    .get(&member.identity.node)
                    .map(|claim| claim.addresses.clone())
                    .unwrap_or_default(),
            };
            state.log.members().map(known).collect()
        })
    }

    /// Entries from an index on, encoded.
    pub(crate) fn entries(&self, from: u64) -> Vec<Vec<u8>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.log(|log| {
            log.entries().iter().skip(from).map(|entry| entry.bytes().to_vec()).collect()
        })
    }

    /// Every signed address, encoded.
    pub(crate) fn claims(&self) -> Vec<Vec<u8>> {
        self.read(|state| state.addresses.values().map(SignedAddresses::encode).collect())
    }

    /// Appends entries that are new, durably. Entries that are here already must be equal. Returns
    /// how many were new.
    pub(crate) fn extend(&self, store: &Store, entries: &[Vec<u8>]) -> Result<u64, RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut log = state.log.clone();
        let mut batch = Batch::new();
        let before = log.len();
        for bytes in entries {
            let len = log.len();
            push(&mut log, bytes)?;
            if log.len() > len {
                batch = batch.row(&row(len), Some(bytes));
            }
        }
        let new = log.len() - before;
        if new > 0 {
            store.commit(batch)?;
            state.log = log;
            self.changed();
        }
        Ok(new)
    }

    /// Whether an entry would extend the log.
    pub(crate) fn check(&self, entry: &MemberEntry) -> Result<(), RosterError> {
        push(&mut self.log(MemberLog::clone), entry.bytes())
    }

    /// Takes an entry that another batch has just made durable under [`row`].
    pub(crate) fn admitted(&self, entry: &MemberEntry) -> Result<(), RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        push(&mut state.log, entry.bytes())?;
        self.changed();
        Ok(())
    }

    /// Learns addresses of members: signed by them, newer than what is known. Returns the members
    /// whose addresses changed.
    pub(crate) fn learn(
        &self,
        store: &Store,
        claims: &[Vec<u8>],
    ) -> Result<Vec<NodeId>, RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let stash = state.log.stash();
        let mut batch = Batch::new();
        let mut news = Vec::new();
        for bytes in claims {
            let Ok(claim) = SignedAddresses::decode(bytes) else {
                continue;
            };
            let known = state.addresses.get(&claim.node).map_or(0, |known| known.sequence);
            let member = state.log.member(&claim.node).is_some();
            if !member || claim.sequence <= known || claim.verify(&stash).is_err() {
                continue;
            }
            batch = batch.row(&address_row(&claim.node), Some(bytes));
            news.push(claim);
        }
        if news.is_empty() {
            return Ok(Vec::new());
        }
        store.commit(batch)?;
        let changed = news.iter().map(|claim| claim.node).collect();
        state.addresses.extend(news.into_iter().map(|claim| (claim.node, claim)));
        self.changed();
        Ok(changed)
    }
}

/// The store row of a member log entry.
pub(crate) fn row(index: u64) -> Vec<u8> {
    [MEMBER, &index.to_be_bytes()].concat()
}

/// The store row of a member's signed addresses.
pub(crate) fn address_row(node: &NodeId) -> Vec<u8> {
    [ADDRESS, node.as_bytes()].concat()
}

fn push(log: &mut MemberLog, bytes: &[u8]) -> Result<(), RosterError> {
    let index = log.len();
    let entry =
        MemberEntry::decode(bytes).map_err(|source| RosterError::Malformed { index, source })?;
    log.push(entry).map_err(|source| RosterError::Entry { index, source })
}
