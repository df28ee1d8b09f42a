//! The choice of a peer to ask for a chunk, and of the moment to ask a second one.
//!
//! Pure: what was asked, what came back and the time come in; the next peer comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use stash_crypto::NodeId;
use stash_p2p::Rate;

use crate::rpc::ANSWER;

/// A second peer is asked when the first has not delivered a chunk within this time: long enough
/// that a loaded peer on a slow link is not doubled at once, short enough for a person at a screen.
const HEDGE: Duration = Duration::from_secs(2);

/// Bytes that a node may have asked for at once: the buffers of readers and of catching up.
const ASKED: u64 = 20 << 20;

/// Longest time for a chunk before a second peer is asked. Behind a limit of its own, a node waits
/// for what it asked for before: asking twice would only make the line longer. A peer that sends
/// nothing is given up after [`ANSWER`].
pub(crate) fn patience(down: Option<Rate>) -> Duration {
    down.map_or(HEDGE, |rate| (HEDGE + rate.time(ASKED)).min(ANSWER))
}

/// Load and reputation of the peers that a fetch can draw on.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    peers: BTreeMap<NodeId, Source>,
}

#[derive(Debug, Default)]
struct Source {
    outstanding: u32,
    damaged: u32,
    failed: u32,
    absent: u32,
}

/// The end of a request to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The chunk came and matches its address.
    Delivered,
    /// The peer does not have the chunk.
    NotHere,
    /// The bytes do not match the address.
    Damaged,
    /// The peer went away, refused or was overtaken by another.
    Failed,
}

impl Sources {
    /// Picks the peer to ask among `connected`, leaving out those in `tried`: the one that sent the
    /// fewest damaged chunks, then was late or failed least, then has the fewest requests
    /// outstanding, then lacked the fewest chunks.
    /// Counts the request; [`Sources::answered`] must follow.
    pub(crate) fn pick(&mut self, connected: &[NodeId], tried: &[NodeId]) -> Option<NodeId> {
        let free = connected.iter().filter(|node| !tried.contains(node));
        let best = *free.min_by_key(|node| {
            let source = self.peers.get(node);
            source.map_or((0, 0, 0, 0), |s| (s.damaged, s.failed, s.outstanding, s.absent))
        })?;
        self.peers.entry(best).or_default().outstanding += 1;
        Some(best)
    }

    /// A request to `node` has ended.
    pub(crate) fn answered(&mut self, node: &NodeId, answer: Answer) {
        let source = self.peers.entry(*node).or_default();
        source.outstanding = source.outstanding.saturating_sub(1);
        match answer {
            Answer::Damaged => source.damaged += 1,
            Answer::NotHere => source.absent += 1,
            Answer::Failed => source.failed += 1,
            // A member that delivers again is soon trusted again.
            Answer::Delivered => source.failed /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn requests_spread_over_peers_by_load() {
        let mut sources = Sources::default();
        let peers = [node(1), node(2)];
        let picks: Vec<_> = (0..4).map(|_| sources.pick(&peers, &[]).unwrap()).collect();
        assert_eq!(picks, [node(1), node(2), node(1), node(2)]);
        sources.answered(&node(2), Answer::Delivered);
        assert_eq!(sources.pick(&peers, &[]), Some(node(2)));
    }

    // Fault case 11: whoever served damaged bytes is asked last from then on.
    #[test]
    fn a_peer_that_served_damage_is_asked_last() {
        let mut sources = Sources::default();
        let peers = [node(1), node(2)];
        assert_eq!(sources.pick(&peers, &[]), Some(node(1)));
        sources.answered(&node(1), Answer::Damaged);
        for _ in 0..5 {
            assert_eq!(sources.pick(&peers, &[]), Some(node(2)));
        }
        assert_eq!(sources.pick(&peers, &[node(2)]), Some(node(1)));
    }

    // Fault case 101: a silent peer costs the first chunk a delay, not every chunk.
    #[test]
    fn a_peer_that_was_overtaken_is_asked_after_the_others_until_it_delivers() {
        let mut sources = Sources::default();
        let peers = [node(1), node(2)];
        assert_eq!(sources.pick(&peers, &[]), Some(node(1)));
        sources.answered(&node(1), Answer::Failed);
        assert_eq!(sources.pick(&peers, &[]), Some(node(2)));
        assert_eq!(sources.pick(&peers, &[]), Some(node(2)));
        assert_eq!(sources.pick(&peers, &[node(2)]), Some(node(1)));
        sources.answered(&node(1), Answer::Delivered);
        assert_eq!(sources.pick(&peers, &[]), Some(node(1)));
    }

    // Fault case 100.
    #[test]
    fn a_limited_node_does_not_ask_twice_for_what_is_on_its_way() {
        let patience = |rate| patience(Rate::new(rate).ok());
        assert_eq!(patience(0), HEDGE);
        assert_eq!(patience(2 << 20), HEDGE + Duration::from_secs(10));
        assert_eq!(patience(128 << 10), ANSWER);
    }

    #[test]
    fn a_peer_is_asked_once_for_a_chunk() {
        let mut sources = Sources::default();
        assert_eq!(sources.pick(&[node(1)], &[node(1)]), None);
        assert_eq!(sources.pick(&[], &[]), None);
    }
}
