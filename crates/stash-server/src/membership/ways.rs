//! Places at which a member is dialled beside those that it names now: what the user of this node
//! says, and where the member has answered before. With them, two members find each other again when
//! one of them has moved and nobody could tell the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use stash_crypto::NodeId;
use stash_crypto::member::{Announced, MAX_ADDRESSES, Place};
use stash_p2p::{Candidate, Source};
use stash_store::{Batch, CommitError, ReadError, Store};

use crate::ledger::rows;
use crate::lock::lock;
use crate::reach::candidate;

/// Addresses remembered of a member at which it has answered.
const ANSWERED: usize = 4;

/// Seconds after which it is written down anew that a member has answered at an address: the time says
/// how old it is, to a day.
const AGAIN: u64 = 24 * 3_600;

/// What is known of all members.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// Held from a look at what is known of a member until the change of it is durable.
    writing: Mutex<()>,
    of: Mutex<BTreeMap<NodeId, Known>>,
}

/// What is known of one member; also the value of its row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// Places that the user named.
    given: Vec<String>,
    /// Addresses at which it answered, the last one first.
    answered: Vec<Answered>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answered {
    address: SocketAddr,
    /// When it last did, in seconds since 1970.
    at: u64,
}

impl Known {
    fn given(&self) -> Vec<Place> {
        self.given.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Notes an answer. True if it is to be written down.
    fn answered(&mut self, address: SocketAddr, now: u64) -> bool {
        if let [first, ..] = &self.answered[..]
            && first.address == address
            && now.abs_diff(first.at) < AGAIN
        {
            return false;
        }
        self.answered.retain(|other| other.address != address);
        self.answered.insert(0, Answered { address, at: now });
        self.answered.truncate(ANSWERED);
        true
    }
}

impl Ways {
    /// What the store remembers. A row that cannot be read is worth nothing.
    pub(crate) fn load(store: &Store) -> Result<Ways, ReadError> {
        let known = |(key, value): (Vec<u8>, Vec<u8>)| {
            let node = NodeId::from_bytes(key.strip_prefix(rows::WAY)?.try_into().ok()?);
            Some((node, rmp_serde::from_slice(&value).ok()?))
        };
        let of = store.rows(rows::WAY)?.into_iter().filter_map(known).collect();
        Ok(Ways { writing: Mutex::default(), of: Mutex::new(of) })
    }

    fn of(&self, node: &NodeId) -> Known {
        lock(&self.of).get(node).cloned().unwrap_or_default()
    }

    /// The places that the user named.
    pub(crate) fn given(&self, node: &NodeId) -> Vec<Place> {
        self.of(node).given()
    }

    /// All places of a member: those that the user named, those at which it answered, those at which it is heard on the local
    /// network, those that it names.
    pub(crate) fn candidates(
        &self,
        node: &NodeId,
        heard: &[SocketAddr],
        named: &[Announced],
    ) -> Vec<Candidate> {
        let known = self.of(node);
        let given = known.given().into_iter().map(|place| (place, Source::Given));
        let mut answered: Vec<SocketAddr> =
            known.answered.iter().map(|answered| answered.address).collect();
        // In an order that stays when the same addresses answer in turn.
        answered.sort_unstable();
        let answered = answered.into_iter().map(|addr| (addr.into(), Source::Met));
        let heard = heard.iter().map(|addr| ((*addr).into(), Source::Heard));
        let told = named.iter().map(|one| (one.place.clone(), Source::Told));
        let mut seen = BTreeSet::new();
        let all = given.chain(answered).chain(heard).chain(told);
        let all = all.filter(|(place, _)| seen.insert(place.clone()));
        all.map(|(place, source)| candidate(&place, source)).collect()
    }

    /// Sets the places that the user named, durably.
    pub(crate) fn give(
        &self,
        store: &Store,
        node: NodeId,
        places: &[Place],
    ) -> Result<(), CommitError> {
        let _writing = lock(&self.writing);
        let given = places.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
        self.keep(store, node, Known { given, ..self.of(&node) })
    }

    /// Notes, durably, that a member answered at an address. False if that was known.
    pub(crate) fn met(
        &self,
        store: &Store,
        node: NodeId,
        address: SocketAddr,
        now: u64,
    ) -> Result<bool, CommitError> {
        let _writing = lock(&self.writing);
        let mut known = self.of(&node);
        let new = known.answered(address, now);
        if new {
            self.keep(store, node, known)?;
        }
        Ok(new)
    }

    fn keep(&self, store: &Store, node: NodeId, known: Known) -> Result<(), CommitError> {
        let row = rmp_serde::to_vec_named(&known).expect("a map of plain values");
        store.commit(Batch::new().row(&rows::way(&node), Some(&row)).even_if_full())?;
        lock(&self.of).insert(node, known);
        Ok(())
    }

    /// A member was removed.
    pub(crate) fn forget(&self, node: &NodeId) {
        lock(&self.of).remove(node);
    }
}

#[cfg(test)]
mod tests {
    use stash_crypto::member::AddressKind;

    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 7979))
    }

    #[test]
    fn what_the_user_named_goes_first_and_nothing_is_dialled_twice() {
        let (ways, node) = (Ways::default(), NodeId::from_bytes([1; 32]));
        let mut known = Known { given: vec!["nas.example.org:1".into()], ..Known::default() };
        assert!(known.answered(addr(3), 7) && known.answered(addr(1), 8));
        lock(&ways.of).insert(node, known);
        let named =
            [1, 2].map(|last| Announced { kind: AddressKind::Lan, place: addr(last).into() });
        let dialled = ways.candidates(&node, &[addr(3), addr(4)], &named).into_iter();
        let dialled: Vec<_> = dialled.map(|one| (one.way.to_string(), one.source)).collect();
        let wanted = [
            ("nas.example.org:1", Source::Given),
            ("192.0.2.1:7979", Source::Met),
            ("192.0.2.3:7979", Source::Met),
            ("192.0.2.4:7979", Source::Heard),
            ("192.0.2.2:7979", Source::Told),
        ];
        assert_eq!(dialled, wanted.map(|(way, source)| (way.to_owned(), source)));
    }

    #[test]
    fn an_answer_is_written_down_once_a_day_and_the_last_four_addresses_stay() {
        let mut known = Known::default();
        assert!(known.answered(addr(1), 1_000));
        assert!(!known.answered(addr(1), 1_000 + AGAIN - 1));
        assert!(known.answered(addr(1), 1_000 + AGAIN));
        assert!((2..=6).all(|last| known.answered(addr(last), 1_000)));
        let kept: Vec<_> = known.answered.iter().map(|one| one.address).collect();
        assert_eq!(kept, [6, 5, 4, 3].map(addr));
    }
}
