//! The addresses at which other members say that they see this node.
//!
//! Each of them may lie, and what this node tells as its own address everybody dials. So an address counts
//! only if two members say the same, and it is one of the internet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;

use stash_crypto::NodeId;

use crate::lock::lock;
use crate::reach;

/// Members that have to agree.
const AGREE: usize = 2;

/// What members said last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    by: Mutex<BTreeMap<NodeId, IpAddr>>,
}

impl Seen {
    /// A member says at which address it sees this node. True if that changes what counts.
    pub(crate) fn heard(&self, member: NodeId, ip: IpAddr) -> bool {
        let before = self.agreed();
        lock(&self.by).insert(member, ip.to_canonical());
        self.agreed() != before
    }

    /// A member was removed.
    pub(crate) fn forget(&self, member: &NodeId) {
        lock(&self.by).remove(member);
    }

    /// The addresses that count.
    pub(crate) fn agreed(&self) -> Vec<IpAddr> {
        let by = lock(&self.by);
        let mut count: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for ip in by.values().filter(|ip| reach::is_public(ip)) {
            *count.entry(*ip).or_default() += 1;
        }
        let agreed: BTreeSet<IpAddr> =
            count.into_iter().filter(|(_, count)| *count >= AGREE).map(|(ip, _)| ip).collect();
        agreed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_member_alone_cannot_say_where_this_node_is() {
        let seen = Seen::default();
        for round in 0..100 {
            assert!(!seen.heard(node(1), IpAddr::from([203, 0, 113, round])));
            assert_eq!(seen.agreed(), Vec::<IpAddr>::new());
        }
    }

    #[test]
    fn an_address_of_the_internet_counts_once_two_say_so_and_until_one_says_otherwise() {
        let seen = Seen::default();
        assert!(!seen.heard(node(1), ip("203.0.113.7")));
        assert!(seen.heard(node(2), ip("::ffff:203.0.113.7")));
        assert_eq!(seen.agreed(), [ip("203.0.113.7")]);
        assert!(!seen.heard(node(3), ip("192.168.1.2")) && !seen.heard(node(4), ip("192.168.1.2")));
        assert_eq!(seen.agreed(), [ip("203.0.113.7")], "a private one is of no use to others");
        assert!(seen.heard(node(2), ip("198.51.100.1")));
        assert_eq!(seen.agreed(), Vec::<IpAddr>::new());
        seen.heard(node(3), ip("203.0.113.7"));
        seen.forget(&node(3));
        assert_eq!(seen.agreed(), Vec::<IpAddr>::new());
    }
}
