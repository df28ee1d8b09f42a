//! Limits on the addresses that members say they have.
//!
//! A member signs its own addresses, and nobody else vouches for them: it may name any host and
//! port. So limits hold for what a member may make others do: how often it may move, and that a node
//! dials again only when something has changed. Which addresses are dialled at all, the crate's
//! `reach` says, and how often, `stash-p2p` does.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::NodeId;
use stash_p2p::Candidate;
use tokio::time::Instant;

use crate::lock::lock;
use crate::meter::Meter;

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
    /// Places and number of network keys by which each member was last dialled.
    dialled: Mutex<BTreeMap<NodeId, (Vec<Candidate>, usize)>>,
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
    pub(crate) fn is_news(&self, member: NodeId, places: &[Candidate], keys: usize) -> bool {
        let now = (places.to_vec(), keys);
        let mut dialled = lock(&self.dialled);
        let is_news = dialled.get(&member) != Some(&now);
        dialled.insert(member, now);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn all(addresses: &[&str]) -> Vec<Candidate> {
        addresses.iter().map(|addr| Candidate::from(addr.parse::<SocketAddr>().unwrap())).collect()
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
