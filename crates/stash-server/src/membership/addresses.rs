//! Addresses that members say they have, and the choice of those that this node dials.
//!
//! A member signs its own addresses, and nobody else vouches for them: it may name any host and
//! port. So limits hold for what a member may make others do: how often it may move, which
//! addresses are dialled at all, and that a node dials again only when something has changed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::time::Instant;

use crate::lock::lock;
use crate::meter::Meter;

/// Addresses of a member that are dialled: one that is at home in several networks has a few.
const DIALLED: usize = 8;

/// Moves of one member that are taken at once: a node that is started again and again while
/// somebody sets it up. Each is written down here, and passed on to every connected member.
const MOVES: u32 = 8;

/// Interval at which more moves are taken, one each time.
const MOVE: Duration = Duration::from_secs(60);

/// Announcements of one member that are looked at at once: as many as there are when 64 members
/// that were away come together.
const ANNOUNCEMENTS: u32 = 64;

/// Interval at which more announcements are looked at, one each time: each may have some hundred
/// signatures to verify.
const ANNOUNCEMENT: Duration = Duration::from_millis(125);

/// State for the addresses of members, beside the addresses themselves.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Limits how often the addresses of a member change.
    moves: Meter,
    /// Limits how often a member announces something.
    announcements: Meter,
    /// Addresses and number of network keys by which each member was last dialled.
    dialled: Mutex<BTreeMap<NodeId, (Vec<SocketAddr>, usize)>>,
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses {
            moves: Meter::new(MOVE, MOVES),
            announcements: Meter::new(ANNOUNCEMENT, ANNOUNCEMENTS),
            dialled: Mutex::default(),
        }
    }
}

impl Addresses {
    /// True if a member's new addresses are taken now; if not, they come with what is told later.
    pub(crate) fn may_move(&self, member: NodeId) -> bool {
        self.moves.take(member, Instant::now())
    }

    /// Time that an announcement of a member has to wait before it is looked at.
    pub(crate) fn announced(&self, member: NodeId) -> Duration {
        self.announcements.wait(member, Instant::now())
    }

    /// Notes by what a member is dialled; true if that is new.
    pub(crate) fn is_news(&self, member: NodeId, addresses: &[SocketAddr], keys: usize) -> bool {
        let now = (addresses.to_vec(), keys);
        let mut dialled = lock(&self.dialled);
        let is_news = dialled.get(&member) != Some(&now);
        dialled.insert(member, now);
        is_news
    }
}

/// The addresses of a member that are dialled by a node which can itself be reached at `own`.
pub(crate) fn dialled(claimed: &[SocketAddr], own: &[SocketAddr]) -> Vec<SocketAddr> {
    claimed.iter().filter(|addr| may_dial(addr, own)).take(DIALLED).copied().collect()
}

/// Addresses that mean another machine to each node, or one of its own, are dialled only by a node
/// that has such ones itself: else a member could make others knock at doors that are open to them
/// alone.
fn may_dial(addr: &SocketAddr, own: &[SocketAddr]) -> bool {
    let ip = addr.ip().to_canonical();
    let nowhere = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let near = [is_loopback, is_link_local];
    let is_ours = |of_kind: fn(&IpAddr) -> bool| own.iter().any(|own| of_kind(&own.ip()));
    let is_near = near.into_iter().any(|of_kind| of_kind(&ip) && !is_ours(of_kind));
    addr.port() != 0 && !nowhere && !ip.is_multicast() && !is_near
}

fn is_loopback(ip: &IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_nobodys_address_is_not_dialled() {
        let claimed = all(&[
            "0.0.0.0:9",
            "0.1.2.3:9",
            "[::]:9",
            "255.255.255.255:9",
            "224.0.0.1:9",
            "[ff02::1]:9",
            "192.0.2.1:0",
        ]);
        assert_eq!(dialled(&claimed, &all(&["127.0.0.1:1", "169.254.1.1:1"])), []);
    }

    #[test]
    fn loopback_and_link_local_are_dialled_by_whoever_has_such_an_address() {
        let loopback = all(&["127.0.0.1:9", "127.8.8.8:9", "[::1]:9", "[::ffff:127.0.0.1]:9"]);
        let link_local = all(&["169.254.7.7:9", "[fe80::1]:9"]);
        let claimed = [loopback.clone(), link_local.clone()].concat();
        assert_eq!(dialled(&claimed, &all(&["192.0.2.1:7979", "0.0.0.0:7979"])), []);
        assert_eq!(dialled(&claimed, &all(&["127.0.0.1:7979"])), loopback);
        assert_eq!(dialled(&claimed, &all(&["[fe80::2]:7979"])), link_local);
    }

    #[test]
    fn other_addresses_are_dialled_up_to_eight() {
        let claimed = all(&["10.0.0.1:1", "[2001:db8::1]:1", "192.168.1.1:1", "203.0.113.1:1"]);
        assert_eq!(dialled(&claimed, &[]), claimed);
        assert_eq!(dialled(&claimed.repeat(3), &[]).len(), DIALLED);
    }

    #[test]
    fn a_member_is_dialled_anew_only_when_something_has_changed() {
        let (addresses, node) = (Addresses::default(), NodeId::from_bytes([1; 32]));
        let one = all(&["10.0.0.1:1"]);
        assert!(addresses.is_news(node, &one, 1));
        assert!(!addresses.is_news(node, &one, 1));
        assert!(addresses.is_news(node, &one, 2), "there is a new network key");
        assert!(addresses.is_news(node, &all(&["10.0.0.2:1"]), 2));
    }
}
