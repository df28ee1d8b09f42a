//! Epochs of keys: how the log hands them out, and how the next one begins.
//!
//! Epoch 0 derives from the root secret and is granted with an admission. Every later epoch is an
//! entry of the member log, with fresh keys wrapped to each member that may have them. So a member
//! that was away finds the keys that it missed in the log.

use std::collections::BTreeMap;

use rand::CryptoRng;
use thiserror::Error;

use crate::ids::{NodeId, WrapPublic};
use crate::keys::node::WrapSecret;
use crate::keys::secret::{NetworkKey, ReadRoot, RootSecret};
use crate::keys::wrap::{WrapError, unwrap, wrap};
use crate::member::change::{EntryError, EpochWrap, MAX_WRAPS, MemberChange, WrapKind};
use crate::member::entry::MemberEntry;
use crate::member::grant::{GrantError, KeyGrant};
use crate::member::identity::Role;
use crate::member::log::{MemberError, MemberLog};

/// Why the next epoch cannot begin. Nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EpochError {
    /// The log was told no key to which the root's copy is wrapped. Its founder is at fault.
    #[error("the member log does not tell the root's keys")]
    NoRoot,
    /// The root cannot open its own copy of the read root of this epoch. The signer of that epoch
    /// is at fault.
    #[error("the read root of epoch {epoch} is not to be had from the member log")]
    NoReadRoot {
        /// The epoch.
        epoch: u32,
    },
    /// More members than one entry can wrap keys to.
    #[error("{count} keys to wrap, the limit is {MAX_WRAPS}")]
    TooMany {
        /// Wraps needed.
        count: usize,
    },
    /// A member's public key cannot be wrapped to.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The keys have no encoding.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// Why the root cannot make a change. Nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The change has no encoding, or is too long for one entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The log does not let it stand: the caller asks for what makes no sense.
    #[error(transparent)]
    Log(#[from] MemberError),
    /// The epoch that it calls for cannot begin.
    #[error(transparent)]
    Epoch(#[from] EpochError),
}

/// Wraps to the root in the entry of an epoch: a network key, and a read root.
const TO_ROOT: usize = 2;

/// Wraps to a member in the entry of an epoch.
fn wraps_to(role: Role) -> usize {
    if role.reads() { 2 } else { 1 }
}

impl MemberLog {
    /// True if the next epoch could begin with one more member in this role. Its entry has room for
    /// [`MAX_WRAPS`] keys: two for the root, two for each member that reads, and one for each
    /// keeper.
    pub fn has_room_for(&self, role: Role) -> bool {
        let taken: usize = self.members().map(|member| wraps_to(member.role)).sum();
        TO_ROOT + taken + wraps_to(role) <= MAX_WRAPS
    }

    /// The network keys that the log wraps to a node, or to the root (`None`), by ascending epoch.
    /// Those that do not open are left out.
    pub fn network_keys(&self, to: Option<&NodeId>, secret: &WrapSecret) -> Vec<NetworkKey> {
        let opened = self.wrapped(to, secret, WrapKind::Network);
        opened.into_iter().flat_map(|grant| grant.network).collect()
    }

    /// The read roots that the log gives to a node, or to the root (`None`), besides those that it
    /// `held`, by ascending epoch: those wrapped to it, and those that they open in turn.
    pub fn read_roots(
        &self,
        to: Option<&NodeId>,
        secret: &WrapSecret,
        held: &[ReadRoot],
    ) -> Vec<ReadRoot> {
        let wrapped = self.wrapped(to, secret, WrapKind::Read);
        let wrapped = wrapped.into_iter().flat_map(|grant| grant.read);
        let all = held.iter().map(ReadRoot::duplicate).chain(wrapped);
        let mut roots: BTreeMap<u32, ReadRoot> = all.map(|root| (root.epoch(), root)).collect();
        for (epoch, previous) in self.previous_roots().rev() {
            let older = roots.get(&epoch).and_then(|root| root.open_previous(previous).ok());
            if let Some(older) = older {
                roots.entry(older.epoch()).or_insert(older);
            }
        }
        let new = |epoch: &u32| held.iter().all(|root| root.epoch() != *epoch);
        roots.into_iter().filter(|(epoch, _)| new(epoch)).map(|(_, root)| root).collect()
    }

    fn previous_roots(&self) -> impl DoubleEndedIterator<Item = (u32, &[u8])> {
        self.entries().iter().filter_map(|entry| match entry.change() {
            MemberChange::Epoch { epoch, previous_read, .. } => Some((*epoch, &previous_read[..])),
            _ => None,
        })
    }

    /// The keys that epochs wrap to this recipient. A grant counts only if it holds one key, of the
    /// kind and epoch of its place in the log.
    fn wrapped(&self, to: Option<&NodeId>, secret: &WrapSecret, kind: WrapKind) -> Vec<KeyGrant> {
        let mut grants = Vec::new();
        for entry in self.entries() {
            let MemberChange::Epoch { epoch, wraps, .. } = entry.change() else {
                continue;
            };
            let mine = wraps.iter().find(|wrap| wrap.to.as_ref() == to && wrap.kind == kind);
            let plain = mine.and_then(|mine| unwrap(secret, &self.stash(), &mine.sealed).ok());
            let grant = plain.and_then(|plain| KeyGrant::decode(&plain).ok());
            grants.extend(grant.filter(|grant| is_key_of(grant, *epoch, kind)));
        }
        grants
    }
}

fn is_key_of(grant: &KeyGrant, epoch: u32, kind: WrapKind) -> bool {
    match (kind, &grant.network[..], &grant.read[..]) {
        (WrapKind::Network, [key], []) => key.epoch() == epoch,
        (WrapKind::Read, [], [root]) => root.epoch() == epoch,
        _ => false,
    }
}

/// Begins the next epoch for the members of this log: fresh keys, wrapped to each by its role, and
/// to the root.
pub fn next_epoch(
    log: &MemberLog,
    root: &RootSecret,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<MemberChange, EpochError> {
    let current = log.epoch();
    let secret = root.wrap_secret();
    let mut roots = log.read_roots(None, &secret, &[root.read_root()]);
    let previous = match current {
        0 => root.read_root(),
        _ => roots.pop().filter(|last| last.epoch() == current).ok_or(lost(current))?,
    };
    let epoch = current.checked_add(1).ok_or(lost(current))?;
    let (network, read) = (NetworkKey::generate(epoch, rng), ReadRoot::generate(epoch, rng));
    let previous_read = read.seal_previous(&previous);
    let network = KeyGrant { network: vec![network], read: vec![] }.encode()?;
    let read = KeyGrant { network: vec![], read: vec![read] }.encode()?;
    let mut seal = |to: Option<NodeId>, key: &WrapPublic, kind: WrapKind, plain: &[u8]| {
        let sealed = wrap(key, &log.stash(), plain, rng)?;
        Ok::<_, EpochError>(EpochWrap { to, kind, sealed })
    };
    let to_root = log.root_wrap().ok_or(EpochError::NoRoot)?;
    let mut wraps = vec![
        seal(None, to_root, WrapKind::Network, &network)?,
        seal(None, to_root, WrapKind::Read, &read)?,
    ];
    for member in log.members() {
        let (to, key) = (Some(member.identity.node), &member.identity.wrap);
        wraps.push(seal(to, key, WrapKind::Network, &network)?);
        if member.role.reads() {
            wraps.push(seal(to, key, WrapKind::Read, &read)?);
        }
    }
    if wraps.len() > MAX_WRAPS {
        return Err(EpochError::TooMany { count: wraps.len() });
    }
    wraps.sort_by_key(EpochWrap::order);
    Ok(MemberChange::Epoch { epoch, previous_read, wraps })
}

/// The entry that makes a change at the end of this log, and the entry of the next epoch if the
/// change calls for one: a removal does, and a role that gives reading or takes it away.
pub fn change_members(
    log: &MemberLog,
    root: &RootSecret,
    change: MemberChange,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Vec<MemberEntry>, ChangeError> {
    let begins = match &change {
        MemberChange::Remove { .. } => true,
        MemberChange::SetRole { node, role, .. } => {
            log.member(node).is_some_and(|member| member.role.reads() != role.reads())
        }
        _ => false,
    };
    let (mut log, signer) = (log.clone(), root.root_signer());
    let entry = MemberEntry::sign(&signer, log.len(), log.head(), change)?;
    log.push(entry.clone())?;
    let mut entries = vec![entry];
    if begins {
        let epoch = next_epoch(&log, root, rng)?;
        entries.push(MemberEntry::sign(&signer, log.len(), log.head(), epoch)?);
    }
    Ok(entries)
}

fn lost(epoch: u32) -> EpochError {
    EpochError::NoReadRoot { epoch }
}
