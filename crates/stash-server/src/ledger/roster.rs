//! The members of a stash and their addresses.
//!
//! Membership is the signed member log and nothing else. Who is connected is another question,
//! answered above, by `peers.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use stash_crypto::member::{Announced, Confirmation, SignedAddresses};
use stash_crypto::{
    EntryHash, MemberChange, MemberEntry, MemberLog, NodeId, NoisePublic, Role, StashId,
};
use stash_store::batch::MAX_ROW_VALUE;
use stash_store::{Batch, ReadError, Store};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use crate::ledger::error::RosterError;
use crate::ledger::{cut_lists, rows};
use crate::lock::lock;

/// Entries kept, at most, at which other logs part from the own one: more tell nobody anything.
/// Each takes a message at most.
const MAX_FORKS: usize = 16;

/// The members of one stash.
#[derive(Debug)]
pub(crate) struct Roster {
    state: RwLock<State>,
    changes: watch::Sender<u64>,
    /// Wakes many in the order in which they came, which a watch does not: a schedule of the
    /// simulator is replayed.
    grown: Notify,
    /// Held for reading from the check of a record to the end of its commit, for writing while the
    /// log grows: what was checked by the shorter log is in the store when a cut looks through it.
    growing: RwLock<()>,
    /// Held while records past a cut are set aside: one caller at a time.
    cutting: Mutex<()>,
    /// A record was refused that a longer log may accept.
    refused: AtomicBool,
    /// Entries that other nodes showed since the start and from which on a log parts from the own
    /// one, by their index.
    forks: Mutex<BTreeMap<u64, Vec<u8>>>,
}

#[derive(Debug)]
struct State {
    log: MemberLog,
    addresses: BTreeMap<NodeId, SignedAddresses>,
    confirmed: Option<Confirmation>,
}

/// A member as the roster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub node: NodeId,
    pub noise: NoisePublic,
    pub role: Role,
    pub label: Vec<u8>,
    pub addresses: Vec<Announced>,
    pub lapsed: bool,
}

impl Roster {
    /// Reads the member log and the addresses from the store, verifying every entry again.
    pub(crate) fn open(store: &Store, stash: StashId) -> Result<Roster, RosterError> {
        let mut log = MemberLog::new(stash);
        for bytes in read(store)? {
            push_listed(store, &mut log, &bytes)?;
        }
        cut_lists::tidy(store, &log)?;
        let claims = store.rows(rows::ADDRESS)?.into_iter();
        // An address that does not verify is worth nothing and is asked for again.
        let claims = claims.filter_map(|(_, bytes)| SignedAddresses::decode(&bytes).ok());
        let claims = claims.filter(|claim| claim.verify(&stash).is_ok());
        let addresses = claims.map(|claim| (claim.node, claim)).collect();
        let confirmed = store.row(rows::CONFIRMED)?.and_then(|row| Confirmation::decode(&row).ok());
        let confirmed = confirmed.filter(|told| told.verify(&stash).is_ok());
        let state = RwLock::new(State { log, addresses, confirmed });
        let (growing, cutting) = (RwLock::new(()), Mutex::new(()));
        let (changes, refused) = (watch::Sender::new(0), AtomicBool::new(false));
        let (grown, forks) = (Notify::new(), Mutex::default());
        Ok(Roster { state, changes, grown, growing, cutting, refused, forks })
    }

    /// Changes with every entry and address that is learned.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
        self.grown.notify_waiters();
    }

    /// Ends with the next entry or address that is learned, from when it is first polled or
    /// enabled.
    pub(crate) fn grown(&self) -> Notified<'_> {
        self.grown.notified()
    }

    /// While this lives, the log does not grow: whatever it admits now may be committed. Taken
    /// before any turn on names, and never twice in one thread.
    pub(crate) fn uncut(&self) -> RwLockReadGuard<'_, ()> {
        self.growing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one caller at a time set aside what lies past cuts.
    pub(crate) fn cutting(&self) -> MutexGuard<'_, ()> {
        lock(&self.cutting)
    }

    /// A record was refused that a longer log may accept: it is asked for again when there is one.
    /// After a restart everything is compared in any case.
    pub(crate) fn refused_for_now(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// True if one was refused since the last call.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused.swap(false, Ordering::Relaxed)
    }

    fn read<T>(&self, view: impl FnOnce(&State) -> T) -> T {
        view(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a view of the log.
    pub(crate) fn log<T>(&self, view: impl FnOnce(&MemberLog) -> T) -> T {
        self.read(|state| view(&state.log))
    }

    /// Keeps an entry from which on a log parts from the own one, for those who have not seen it.
    /// False if one is kept of that index already, or enough of all.
    pub(crate) fn note_fork(&self, index: u64, shown: &[u8]) -> bool {
        let mut forks = lock(&self.forks);
        let new = !forks.contains_key(&index) && forks.len() < MAX_FORKS;
        if new {
            forks.insert(index, shown.to_vec());
        }
        new
    }

    /// The entries from which on other logs part from the own one.
    pub(crate) fn forks(&self) -> Vec<Vec<u8>> {
        lock(&self.forks).values().cloned().collect()
    }

    /// The newest confirmation of the member log that this node was told.
    pub(crate) fn confirmed(&self) -> Option<Confirmation> {
        self.read(|state| state.confirmed)
    }

    /// Keeps a confirmation, durably, if it is newer than the one that is known; true if it is. The
    /// caller has verified it.
    pub(crate) fn confirm(&self, store: &Store, told: Confirmation) -> Result<bool, RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.confirmed.is_some_and(|known| !told.is_newer_than(&known)) {
            return Ok(false);
        }
        store.commit(Batch::new().row(rows::CONFIRMED, Some(&told.encode())).even_if_full())?;
        state.confirmed = Some(told);
        Ok(true)
    }

    pub(crate) fn role(&self, node: &NodeId) -> Option<Role> {
        self.log(|log| log.member(node).map(|member| member.role))
    }

    /// The member with this Noise static.
    pub(crate) fn by_noise(&self, noise: &NoisePublic) -> Option<(NodeId, Role)> {
        self.log(|log| log.by_noise(noise).map(|member| (member.identity.node, member.role)))
    }

    /// True if this is the Noise static of a node that was removed.
    pub(crate) fn is_removed(&self, noise: &NoisePublic) -> bool {
        self.log(|log| log.removals().any(|gone| gone.member.identity.noise == *noise))
    }

    /// True if this is the root's Noise static, which members always accept.
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
                lapsed: member.lapsed,
                addresses: state
                    .addresses
                    .get(&member.identity.node)
                    .map(|claim| claim.places.clone())
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

    /// The last entries, encoded: as many as `limit` bytes hold, one at least.
    pub(crate) fn last_entries(&self, limit: usize) -> Vec<Vec<u8>> {
        let mut bytes = 0;
        let fits = |entry: &&MemberEntry| {
            let first = bytes == 0;
            bytes += entry.bytes().len() + 5;
            first || bytes <= limit
        };
        self.log(|log| {
            let last = log.entries().iter().rev().take_while(fits).count();
            log.entries()[log.entries().len() - last..]
                .iter()
                .map(|entry| entry.bytes().to_vec())
                .collect()
        })
    }

    /// Bytes of all entries.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log(|log| log.entries().iter().map(|entry| entry.bytes().len()).sum())
    }

    /// Every signed address of a member, encoded.
    pub(crate) fn claims(&self) -> Vec<Vec<u8>> {
        self.claims_if(|_| true)
    }

    /// The signed addresses of these members, encoded.
    pub(crate) fn claims_of(&self, nodes: &[NodeId]) -> Vec<Vec<u8>> {
        self.claims_if(|node| nodes.contains(node))
    }

    fn claims_if(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<Vec<u8>> {
        self.read(|state| {
            let told = |claim: &&SignedAddresses| {
                state.log.member(&claim.node).is_some() && wanted(&claim.node)
            };
            state.addresses.values().filter(told).map(SignedAddresses::encode).collect()
        })
    }

    /// Appends entries that are new, durably. Entries that are here already must be equal. Returns
    /// how many were new.
    pub(crate) fn extend(&self, store: &Store, entries: &[Vec<u8>]) -> Result<u64, RosterError> {
        let _growing = self.growing.write().unwrap_or_else(PoisonError::into_inner);
        self.grow(store, entries)
    }

    /// Appends what `make` makes of the log as it is, durably; nothing that the log admits is
    /// committed meanwhile.
    pub(crate) fn append<E: From<RosterError>>(
        &self,
        store: &Store,
        make: impl FnOnce(&MemberLog) -> Result<Vec<MemberEntry>, E>,
    ) -> Result<(), E> {
        let _growing = self.growing.write().unwrap_or_else(PoisonError::into_inner);
        let entries = make(&self.log(MemberLog::clone))?;
        let entries: Vec<Vec<u8>> = entries.iter().map(|entry| entry.bytes().to_vec()).collect();
        self.grow(store, &entries)?;
        Ok(())
    }

    fn grow(&self, store: &Store, entries: &[Vec<u8>]) -> Result<u64, RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut log = state.log.clone();
        let mut batch = Batch::new();
        let before = log.len();
        for bytes in entries {
            let len = log.len();
            push_listed(store, &mut log, bytes)?;
            if log.len() > len {
                batch = keep(batch, len, bytes);
                if let Some((row, node)) = log.entries().last().and_then(to_look_through) {
                    let index = len.to_be_bytes();
                    batch = batch.row(&[row, node.as_bytes(), &index].concat(), Some(b""));
                }
            }
        }
        let new = log.len() - before;
        if new > 0 {
            // A member that turned bad may have filled the disk.
            store.commit(batch.even_if_full())?;
            state.log = log;
            self.changed();
        }
        Ok(new)
    }

    /// Checks that an entry would extend the log.
    pub(crate) fn check(&self, entry: &MemberEntry) -> Result<(), RosterError> {
        push(&mut self.log(MemberLog::clone), entry.bytes())
    }

    /// Takes an entry that another batch has just made durable by [`keep`].
    pub(crate) fn admitted(&self, entry: &MemberEntry) -> Result<(), RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        push(&mut state.log, entry.bytes())?;
        self.changed();
        Ok(())
    }

    /// The sequence number with which a node's addresses replace those that are known of it.
    pub(crate) fn next_sequence(&self, node: &NodeId) -> u64 {
        let known = self.read(|state| state.addresses.get(node).map(|claim| claim.sequence));
        known.map_or(1, |known| known.saturating_add(1))
    }

    /// Learns addresses of members: signed by them, newer than what is known, and of members that
    /// may move now. Returns the members whose addresses changed.
    pub(crate) fn learn(
        &self,
        store: &Store,
        claims: &[Vec<u8>],
        may_move: impl Fn(NodeId) -> bool,
    ) -> Result<Vec<NodeId>, RosterError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let stash = state.log.stash();
        let mut batch = Batch::new();
        let mut news = Vec::new();
        for bytes in claims {
            let Ok(claim) = SignedAddresses::decode(bytes) else {
                continue;
            };
            let known = state.addresses.get(&claim.node);
            let newer = known.is_none_or(|known| replaces(&claim, known));
            let member = state.log.member(&claim.node).is_some();
            if !member || !newer || claim.verify(&stash).is_err() {
                continue;
            }
            if !may_move(claim.node) {
                tracing::debug!(peer = %claim.node.short(), "a member moves too often");
                continue;
            }
            batch = batch.row(&rows::address(&claim.node), Some(bytes));
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

/// True if one announcement replaces another of the same node. Two lives of a node may sign two with one
/// sequence: of these, all members keep the same one, and the node is told of it.
fn replaces(one: &SignedAddresses, other: &SignedAddresses) -> bool {
    let order = one.sequence.cmp(&other.sequence);
    order.then_with(|| one.encode().cmp(&other.encode())).is_gt()
}

/// Adds the store rows of a member log entry to a batch.
pub(crate) fn keep(batch: Batch, index: u64, entry: &[u8]) -> Batch {
    let first = [rows::MEMBER, &index.to_be_bytes()].concat();
    entry.chunks(MAX_ROW_VALUE).zip(0u8..).fold(batch, |batch, (bytes, part)| match part {
        0 => batch.row(&first, Some(bytes)),
        part => batch.row(&[&first[..], &[part]].concat(), Some(bytes)),
    })
}

/// The entries in a store, in log order.
fn read(store: &Store) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for (key, bytes) in store.rows(rows::MEMBER)? {
        match entries.last_mut() {
            Some(last) if key.len() > rows::MEMBER.len() + 8 => last.extend(bytes),
            _ => entries.push(bytes),
        }
    }
    Ok(entries)
}

/// The node that writes no more from this entry on, or writes again, and the row that says so.
fn to_look_through(entry: &MemberEntry) -> Option<(&'static [u8], NodeId)> {
    match entry.change() {
        MemberChange::Remove { node, .. } | MemberChange::Cuts { node, .. } => {
            Some((rows::UNCUT, *node))
        }
        MemberChange::SetRole { node, role, .. } => {
            Some((if role.writes() { rows::REGAINED } else { rows::UNCUT }, *node))
        }
        _ => None,
    }
}

fn push(log: &mut MemberLog, bytes: &[u8]) -> Result<(), RosterError> {
    let index = log.len();
    let entry =
        MemberEntry::decode(bytes).map_err(|source| RosterError::Malformed { index, source })?;
    log.push(entry).map_err(|source| RosterError::Entry { index, source })
}

/// As [`push`], with the list that the entry names, if it is durable.
fn push_listed(store: &Store, log: &mut MemberLog, bytes: &[u8]) -> Result<(), RosterError> {
    let pushed = push(log, bytes);
    let missing = pushed.as_ref().err().and_then(cut_lists::missing);
    let Some(list) = missing.map(|(list, _)| cut_lists::load(store, &list)).transpose()?.flatten()
    else {
        return pushed;
    };
    log.know(list);
    push(log, bytes)
}

/// For tests: the roster of a stash, whose root secret is [4; 32], that has one owner.
#[cfg(test)]
pub(crate) fn of_owner(store: &Store, keys: &stash_crypto::NodeKeys) -> Roster {
    use stash_crypto::member::change_members;
    use stash_crypto::{JoinRequest, RootSecret, TicketId};

    let root = RootSecret::from_bytes([4; 32]);
    let (stash, ticket) = (root.stash_id(), TicketId::from_bytes([0; 16]));
    let request = JoinRequest::sign(keys, &stash, ticket, "").expect("an empty name");
    let roster = Roster::open(store, stash).expect("an empty log");
    let told = MemberChange::Root { noise: root.noise_static().public(), wrap: root.wrap_public() };
    let founder = MemberChange::Admit {
        identity: request.identity,
        role: Role::Owner,
        ticket,
        label: Vec::new(),
        node_signature: request.signature,
    };
    for change in [told, founder] {
        let made = |log: &MemberLog| {
            let made = change_members(log, &root, change, &mut rand::rng());
            Ok::<_, RosterError>(made.expect("the log takes it"))
        };
        roster.append(store, made).expect("the store takes it");
    }
    roster
}

/// True if this entry is the last of the log's first `length` ones. Then all before it are there as
/// well: each names the one before it.
pub(crate) fn holds(log: &MemberLog, length: u64, head: &EntryHash) -> bool {
    let last = length.checked_sub(1).and_then(|last| usize::try_from(last).ok());
    match last {
        None => true,
        Some(last) => log.entries().get(last).is_some_and(|entry| entry.hash() == *head),
    }
}
