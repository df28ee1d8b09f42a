//! Where members were heard on the local network, and until when that holds. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::time::Instant;

/// Addresses kept of a member. One with cable and Wi-Fi, each with both families, is heard at four.
const ADDRESSES: usize = 4;

/// The longest that an announcement is believed, whatever it says itself.
const LONGEST: Duration = Duration::from_secs(3600);

/// Where members were heard. It holds members alone, and a few addresses of each: whatever else is said leaves nothing here.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    of: BTreeMap<NodeId, Vec<Place>>,
}

#[derive(Debug)]
struct Place {
    address: SocketAddr,
    /// The name of the instance that said so: it changes with each start of the node, and each hour.
    instance: Vec<u8>,
    until: Instant,
}

/// What an announcement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing: the same was said before.
    None,
    /// The member says the same address under another name: it has been started again, or the hour is another.
    Name,
    /// There is an address that was not there before.
    Address,
}

impl Heard {
    /// A member was heard at an address, for so long. If there are too many of it, the one goes that would have ended first.
    pub(crate) fn learn(
        &mut self,
        node: NodeId,
        (address, instance): (SocketAddr, Vec<u8>),
        life: Duration,
        now: Instant,
    ) -> News {
        let until = now + life.min(LONGEST);
        let places = self.of.entry(node).or_default();
        if let Some(known) = places.iter_mut().find(|known| known.address == address) {
            let news = if known.instance == instance { News::None } else { News::Name };
            (known.instance, known.until) = (instance, until);
            return news;
        }
        places.push(Place { address, instance, until });
        if places.len() > ADDRESSES {
            let first = (0..ADDRESSES).min_by_key(|at| places[*at].until);
            places.swap_remove(first.expect("there are some"));
        }
        News::Address
    }

    /// A member takes back what it said under a name.
    pub(crate) fn goodbye(&mut self, node: &NodeId, address: SocketAddr, instance: &[u8]) {
        self.keep(node, |place| place.address != address || place.instance != instance);
    }

    /// Forgets what was not said again in time. True if there was any.
    pub(crate) fn age(&mut self, now: Instant) -> bool {
        let count = |of: &BTreeMap<NodeId, Vec<Place>>| of.values().map(Vec::len).sum::<usize>();
        let before = count(&self.of);
        self.of.retain(|_, places| {
            places.retain(|place| place.until > now);
            !places.is_empty()
        });
        count(&self.of) < before
    }

    /// When the next of them ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.of.values().flatten().map(|place| place.until).min()
    }

    /// The addresses at which a member was heard, in an order that does not change.
    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        let places = self.of.get(node).map_or(&[][..], Vec::as_slice);
        let mut addresses: Vec<_> = places.iter().map(|place| place.address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// True if a member was heard at this address of a machine, whatever the port.
    pub(crate) fn is_at(&self, node: &NodeId, ip: &IpAddr) -> bool {
        self.addresses(node).iter().any(|address| address.ip() == *ip)
    }

    /// A node is no member any more.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.of.remove(node);
    }

    /// Forgets all: nobody listens any more.
    pub(crate) fn clear(&mut self) {
        self.of.clear();
    }

    fn keep(&mut self, node: &NodeId, keep: impl FnMut(&Place) -> bool) {
        if let Some(places) = self.of.get_mut(node) {
            places.retain(keep);
            if places.is_empty() {
                self.of.remove(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, last], 7979))
    }

    fn said(last: u8, name: &str) -> (SocketAddr, Vec<u8>) {
        (addr(last), name.as_bytes().to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_forgotten_unless_it_is_said_again() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        assert_eq!(heard.learn(node(1), said(1, "a"), MINUTE, start), News::Address);
        assert_eq!(heard.next_end(), Some(start + MINUTE));
        let later = start + MINUTE / 2;
        assert_eq!(heard.learn(node(1), said(1, "a"), MINUTE, later), News::None);
        assert!(!heard.age(start + MINUTE));
        assert_eq!(heard.addresses(&node(1)), [addr(1)]);
        assert!(heard.age(later + MINUTE));
        assert_eq!(heard.addresses(&node(1)), []);
        assert_eq!(heard.next_end(), None);
        heard.learn(node(1), said(1, "a"), MINUTE * 1_000, start);
        assert_eq!(heard.next_end(), Some(start + LONGEST), "nobody is believed for days");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_name_is_news_and_a_goodbye_counts_under_the_name_that_it_says() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        heard.learn(node(1), said(1, "hour 1"), MINUTE, now);
        assert_eq!(heard.learn(node(1), said(1, "hour 2"), MINUTE, now), News::Name);
        heard.goodbye(&node(1), addr(1), b"hour 1");
        assert!(heard.is_at(&node(1), &addr(1).ip()), "it was taken back under its old name");
        heard.goodbye(&node(2), addr(1), b"hour 2");
        heard.goodbye(&node(1), addr(2), b"hour 2");
        assert_eq!(heard.addresses(&node(1)), [addr(1)]);
        heard.goodbye(&node(1), addr(1), b"hour 2");
        assert!(heard.of.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_member_that_is_said_to_be_everywhere_a_few_addresses_are_kept() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        heard.learn(node(1), said(250, "true"), MINUTE * 2, now);
        for last in 0..200 {
            heard.learn(node(1), said(last, "false"), MINUTE, now);
        }
        assert_eq!(heard.addresses(&node(1)).len(), ADDRESSES);
        assert!(heard.is_at(&node(1), &addr(250).ip()), "those that would have ended first went");
        assert!(heard.is_at(&node(1), &addr(199).ip()));
        heard.forget(&node(1));
        assert_eq!(heard.addresses(&node(1)), []);
    }
}
