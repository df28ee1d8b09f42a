//! The gate of this node: the transport asks it who may speak, before it answers a stranger.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::member::{Confirmation, SignedAddresses};
use stash_crypto::{NetworkKey, NoisePublic, StashId, Ticket, TicketId};
use stash_p2p::{
    Attached, Claim, Environment, Gate, GateError, PublicKey, Realm, SharedRealm, StaticSecret,
};
use stash_store::{Batch, Store};

use crate::disk::Disk;
use crate::ledger::roster::Roster;
use crate::ledger::rows;
use crate::ledger::tickets::Guest;
use crate::message::{self, MemberRoom};
use crate::reach;

/// Opens every prologue; a change of the protocol that old nodes cannot speak changes it.
const PROTOCOL: &[u8] = b"stash/1";

/// The version of this program, as the hello tells it.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Data of a node in its hello: enough for the other side to see that it is behind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Entries in the member log.
    pub members: u64,
    /// Hash of the last of them; empty if the sender does not tell.
    #[serde(default)]
    pub head: ByteBuf,
    /// Addresses of the sender, signed by it.
    pub addresses: ByteBuf,
    /// Room of the sender, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<MemberRoom>,
    /// The newest confirmation of the member log that the sender knows; empty if it knows none.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub confirmed: ByteBuf,
    /// The version of the sender's program; empty if it does not tell. For people alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// The address at which the sender sees the receiver; empty if it does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

impl Hello {
    /// The newest confirmation that the sender knows; `None` unless the root signed it.
    pub(crate) fn confirmed(&self, stash: &StashId) -> Option<Confirmation> {
        let confirmed = Confirmation::decode(&self.confirmed).ok()?;
        confirmed.verify(stash).is_ok().then_some(confirmed)
    }
}

/// The gate of one stash.
pub(crate) struct Door {
    me: NoisePublic,
    /// Realm in which the root finds out who listens here. Every member was given its key.
    meeting: Option<Arc<SharedRealm>>,
    label: [u8; 32],
    network: RwLock<Vec<NetworkKey>>,
    stash: StashId,
    roster: Arc<Roster>,
    disk: Disk,
    tickets: RwLock<Vec<(Realm, Guest)>>,
    environment: Environment,
    realms: RwLock<Arc<[Realm]>>,
    own_addresses: RwLock<Vec<u8>>,
    /// Addresses at which this node can be reached, as it says, and those that it listens on.
    reached_at: RwLock<Vec<SocketAddr>>,
    /// Addresses of this machine, with their networks.
    attached: RwLock<Vec<Attached>>,
    room: RwLock<MemberRoom>,
    knocks: Knocks,
}

/// Keeps strangers from filling the log: one line a minute.
#[derive(Default)]
struct Knocks(AtomicU64);

impl Knocks {
    fn may_log(&self, now: u64) -> bool {
        let minute = now / 60 + 1;
        self.0.fetch_max(minute, Ordering::Relaxed) < minute
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.stash.short())
    }
}

impl Door {
    pub(crate) fn new(
        me: NoisePublic,
        (stash, network): (StashId, Vec<NetworkKey>),
        (roster, disk): (Arc<Roster>, Disk),
        environment: Environment,
    ) -> Door {
        let meeting = network.first().filter(|key| key.epoch() == 0).map(|first| {
            let secret = StaticSecret::from_bytes(*first.meeting_static().expose());
            Arc::new(SharedRealm::new(meeting_realm(&stash, first), secret))
        });
        Door {
            me,
            meeting,
            label: *stash.as_bytes(),
            network: RwLock::new(network),
            stash,
            roster,
            disk,
            tickets: RwLock::default(),
            environment,
            realms: RwLock::new(Arc::from([])),
            own_addresses: RwLock::default(),
            reached_at: RwLock::default(),
            attached: RwLock::default(),
            room: RwLock::default(),
            knocks: Knocks::default(),
        }
    }

    /// The realms under which this node dials members, the newest first: one that was away may know
    /// older ones only, and may be in no position to dial anybody itself.
    pub(crate) fn member_realms(&self) -> Vec<Realm> {
        let network = self.network.read().unwrap_or_else(PoisonError::into_inner);
        network.iter().rev().map(|key| member_realm(&self.stash, key)).collect()
    }

    /// Sets the tickets under which somebody may come, and who that is.
    pub(crate) fn open_to(&self, tickets: Vec<(Realm, Guest)>) {
        *self.tickets.write().unwrap_or_else(PoisonError::into_inner) = tickets;
        self.make_realms();
    }

    /// Reads the network keys, the newest last.
    pub(crate) fn with_network<T>(&self, read: impl FnOnce(&[NetworkKey]) -> T) -> T {
        read(&self.network.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes network keys of later epochs. Members that still knock with an older one are let in:
    /// they were away.
    pub(crate) fn learn(&self, keys: Vec<NetworkKey>) {
        let mut network = self.network.write().unwrap_or_else(PoisonError::into_inner);
        let last = network.last().map(NetworkKey::epoch);
        network.extend(keys.into_iter().filter(|key| Some(key.epoch()) > last));
        drop(network);
        self.make_realms();
    }

    /// Builds the list, newest first: a member that is up to date costs one keyed hash.
    fn make_realms(&self) {
        let members = self.member_realms().into_iter();
        let tickets = self.tickets.read().unwrap_or_else(PoisonError::into_inner);
        let realms: Arc<[Realm]> =
            members.chain(tickets.iter().map(|(realm, _)| realm.clone())).collect();
        *self.realms.write().unwrap_or_else(PoisonError::into_inner) = realms;
    }

    /// True if `remote` may come under a ticket: the node that used it, or, while it is good and
    /// unused, any node but one that was removed.
    fn is_guest(&self, realm: &[u8; 32], remote: &NoisePublic) -> bool {
        let tickets = self.tickets.read().unwrap_or_else(PoisonError::into_inner);
        let guest = tickets.iter().find(|(ticket, _)| ticket.label == *realm);
        match guest.map(|(_, guest)| *guest) {
            Some(Guest::Anybody { until }) => {
                self.environment.seconds() < until && !self.roster.is_removed(remote)
            }
            Some(Guest::Only(node)) => {
                self.roster.by_noise(remote).is_some_and(|(member, _)| member == node)
            }
            Some(Guest::Nobody) | None => false,
        }
    }

    /// This node's own addresses, as hello tells them.
    pub(crate) fn own_addresses(&self) -> Vec<u8> {
        self.own_addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the addresses of this machine.
    pub(crate) fn is_attached(&self, attached: Vec<Attached>) {
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = attached;
    }

    /// The addresses of this machine.
    pub(crate) fn attached(&self) -> Vec<Attached> {
        self.attached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what hello says of this node's own addresses.
    pub(crate) fn answers_at(&self, claim: &SignedAddresses, listen: &[SocketAddr]) {
        let own = claim.places.iter().filter_map(|one| one.place.address());
        let own = own.chain(listen.iter().copied()).collect();
        *self.reached_at.write().unwrap_or_else(PoisonError::into_inner) = own;
        let claim = claim.encode();
        *self.own_addresses.write().unwrap_or_else(PoisonError::into_inner) = claim;
    }
}

impl Door {
    /// Sets what hello says of this node's room.
    pub(crate) fn has_room(&self, room: MemberRoom) {
        *self.room.write().unwrap_or_else(PoisonError::into_inner) = room;
    }

    /// The room that members were told last.
    pub(crate) fn room(&self) -> MemberRoom {
        *self.room.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The realm of members under one network key.
pub(crate) fn member_realm(stash: &StashId, key: &NetworkKey) -> Realm {
    Realm {
        label: *stash.as_bytes(),
        prologue: prologue(stash, b"peer"),
        tag_key: key.peer_tag_key(),
        psk: *key.peer_psk(),
    }
}

/// The realm of one ticket. Its label is the ticket id and 16 zero bytes.
pub(crate) fn join_realm(ticket: &Ticket) -> Realm {
    let mut label = [0; 32];
    label[..16].copy_from_slice(ticket.id.as_bytes());
    Realm {
        label,
        prologue: prologue(&ticket.stash, b"join"),
        tag_key: ticket.join_tag_key(),
        psk: *ticket.join_psk(),
    }
}

/// The ticket id in a join realm's label; `None` for the members' realm.
pub(crate) fn ticket_of(label: &[u8; 32], stash: &StashId) -> Option<TicketId> {
    if label == stash.as_bytes() {
        return None;
    }
    label.first_chunk::<16>().map(|id| TicketId::from_bytes(*id))
}

pub(crate) fn prologue(stash: &StashId, purpose: &[u8; 4]) -> Vec<u8> {
    [PROTOCOL, stash.as_bytes(), purpose].concat()
}

pub(crate) fn noise(key: &PublicKey) -> NoisePublic {
    NoisePublic::from_bytes(*key.as_bytes())
}

pub(crate) fn public(key: &NoisePublic) -> PublicKey {
    PublicKey::from_bytes(*key.as_bytes())
}

fn counter(store: &Store, prefix: &[u8], remote: &PublicKey) -> Option<u64> {
    // An unreadable counter reads as "none"; `raise` and `next_counter` then fail on the write.
    let bytes = store.row(&[prefix, remote.as_bytes()].concat()).ok()??;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn keep(store: &Store, prefix: &[u8], remote: &PublicKey, value: u64) -> Result<(), GateError> {
    let key = [prefix, remote.as_bytes()].concat();
    let batch = Batch::new().row(&key, Some(&value.to_le_bytes()));
    store.commit(batch).map(drop).map_err(GateError::new)
}

impl Gate for Door {
    fn realms(&self) -> Arc<[Realm]> {
        Arc::clone(&self.realms.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn shared(&self) -> Option<Arc<SharedRealm>> {
        self.meeting.clone()
    }

    fn admit(&self, claim: Claim) -> BoxFuture<'_, bool> {
        let remote = noise(&claim.remote);
        let expected = if claim.realm == self.label {
            self.roster.by_noise(&remote).is_some() || self.roster.is_root(&remote)
        } else if is_meeting(&claim.realm) {
            self.roster.is_root(&remote)
        } else {
            self.is_guest(&claim.realm, &remote)
        };
        let admitted = remote != self.me && expected;
        if !admitted && self.knocks.may_log(self.environment.seconds()) {
            tracing::info!(remote = %remote.short(), "a node that is no member knocked");
        }
        std::future::ready(admitted).boxed()
    }

    /// A holder of a ticket is a guest: a join may be asked for again, and then changes nothing.
    /// The root is no guest: it is to hear in the hello who answers it.
    fn is_for_guests(&self, realm: &[u8; 32]) -> bool {
        *realm != self.label && !is_meeting(realm)
    }

    fn floor(&self, remote: &PublicKey) -> u64 {
        counter(self.disk.store(), rows::COUNTER_IN, remote).unwrap_or(0)
    }

    fn raise(&self, remote: PublicKey, value: u64) -> BoxFuture<'_, Result<(), GateError>> {
        let work = move |store: &Store| {
            let floor = counter(store, rows::COUNTER_IN, &remote).unwrap_or(0);
            if value > floor { keep(store, rows::COUNTER_IN, &remote, value) } else { Ok(()) }
        };
        self.disk.run(work).boxed()
    }

    fn next_counter(
        &self,
        remote: PublicKey,
        now_micros: u64,
    ) -> BoxFuture<'_, Result<u64, GateError>> {
        let work = move |store: &Store| {
            let last = counter(store, rows::COUNTER_OUT, &remote);
            let next = last.map_or(now_micros, |last| now_micros.max(last.saturating_add(1)));
            keep(store, rows::COUNTER_OUT, &remote, next).map(|()| next)
        };
        self.disk.run(work).boxed()
    }

    fn may_dial(&self, addr: &SocketAddr) -> bool {
        let own = self.reached_at.read().unwrap_or_else(PoisonError::into_inner);
        reach::may_dial(addr, &own)
    }

    fn is_near(&self, addr: &SocketAddr) -> bool {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        reach::is_near(&addr.ip(), &attached)
    }

    fn hello(&self, _remote: &PublicKey, seen: SocketAddr) -> Bytes {
        let addresses = self.own_addresses();
        let (members, head) = self.roster.log(|log| (log.len(), log.head()));
        let head = ByteBuf::from(head.as_bytes().to_vec());
        let confirmed = self.roster.confirmed().map(|told| told.encode()).unwrap_or_default();
        let (addresses, confirmed) = (ByteBuf::from(addresses), ByteBuf::from(confirmed));
        let (program, seen) = (PROGRAM.to_owned(), seen.to_string());
        let room = Some(self.room());
        message::encode(&Hello { members, head, addresses, room, confirmed, program, seen })
    }
}

/// Names the realm on this node; no id of a stash or a ticket has these bytes.
const LABEL: [u8; 32] = *b"stash: who listens at an address";

/// The realm in which members answer under the key that they share.
pub(crate) fn meeting_realm(stash: &StashId, first: &NetworkKey) -> Realm {
    let Realm { tag_key, psk, .. } = member_realm(stash, first);
    let prologue = prologue(stash, b"meet");
    Realm { label: LABEL, prologue, tag_key, psk }
}

/// True if a label is that of the meeting realm.
pub(crate) fn is_meeting(label: &[u8; 32]) -> bool {
    *label == LABEL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knocks_are_logged_once_a_minute() {
        let knocks = Knocks::default();
        let logged: Vec<bool> = [0, 1, 59, 60, 61, 200].map(|now| knocks.may_log(now)).into();
        assert_eq!(logged, [true, false, false, true, false, true]);
    }
}
