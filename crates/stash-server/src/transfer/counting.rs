//! Whose copies count.
//!
//! All that counts copies or waits for them asks here: the tally of a put and what it writes down as missing, the
//! provers of an evict, what is in danger among the wanted, the count of all copies, and whether the stash is safe.

use std::collections::BTreeMap;

use stash_crypto::NodeId;

use crate::ledger::roster::Known;
use crate::transfer::Transfer;

/// The reason for people why a cache is no copy.
pub(crate) const CACHE: &str = "keeps less than all";

/// The reason for people why a member in doubt is no copy.
pub(crate) const IN_DOUBT: &str = "in doubt: it did not show what it said it had";

/// The worth of a member's copies to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It should have everything, and what it says it has counts.
    Counts,
    /// It should have everything, and did not show what it said it had: it counts as nobody.
    InDoubt,
    /// It is not expected to have anything: it has lapsed, and is not connected.
    NotExpected,
    /// It keeps less than everything, by its own word: what it has today may be gone tomorrow.
    Cache,
}

/// The standing of every member, as it is now. Doubt is this node's own.
#[derive(Clone, Debug)]
pub(crate) struct Counting(BTreeMap<NodeId, Standing>);

impl Counting {
    pub(crate) fn now(transfer: &Transfer) -> Counting {
        let (core, doubted) = (&transfer.core, transfer.suspects.doubted());
        let standing = |member: Known| {
            let is_here = member.node == core.me || core.peer(&member.node).is_some();
            let is_cache = match member.node == core.me {
                true => core.keeps.is_cache(),
                false => !core.keeps.keeps_all(&member.node),
            };
            let standing = judge(member.lapsed, is_here, doubted.contains(&member.node));
            (member.node, if is_cache { Standing::Cache } else { standing })
        };
        Counting(core.roster.members().into_iter().map(standing).collect())
    }

    /// The standing of a node; `None` if it is no member.
    pub(crate) fn of(&self, node: &NodeId) -> Option<Standing> {
        self.0.get(node).copied()
    }

    /// The members that should have a copy of everything; this node is one of them, unless it is a cache.
    pub(crate) fn expected(&self) -> impl Iterator<Item = NodeId> + '_ {
        let is_expected =
            |standing: &Standing| matches!(standing, Standing::Counts | Standing::InDoubt);
        self.0.iter().filter(move |(_, standing)| is_expected(standing)).map(|(node, _)| *node)
    }

    /// The members that keep less than everything.
    pub(crate) fn caches(&self) -> impl Iterator<Item = NodeId> + '_ {
        let caches = self.0.iter().filter(|(_, standing)| **standing == Standing::Cache);
        caches.map(|(node, _)| *node)
    }

    /// True if what a node says that it has counts as a copy.
    pub(crate) fn counts(&self, node: &NodeId) -> bool {
        self.of(node) == Some(Standing::Counts)
    }

    /// The members that count as nobody, whatever they say, each with the reason.
    pub(crate) fn uncounted(&self) -> impl Iterator<Item = (NodeId, &'static str)> + '_ {
        let reason = |standing: &Standing| match standing {
            Standing::InDoubt => Some(IN_DOUBT),
            Standing::Cache => Some(CACHE),
            Standing::Counts | Standing::NotExpected => None,
        };
        self.0.iter().filter_map(move |(node, standing)| Some((*node, reason(standing)?)))
    }
}

fn judge(has_lapsed: bool, is_here: bool, is_doubted: bool) -> Standing {
    match () {
        () if has_lapsed && !is_here => Standing::NotExpected,
        () if is_doubted => Standing::InDoubt,
        () => Standing::Counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_unless_it_is_in_doubt_or_has_lapsed_and_is_away() {
        assert_eq!(judge(false, true, false), Standing::Counts);
        assert_eq!(judge(false, false, false), Standing::Counts, "what it had when it was here");
        assert_eq!(judge(true, true, false), Standing::Counts, "it is back");
        assert_eq!(judge(true, false, false), Standing::NotExpected);
        assert_eq!(judge(true, false, true), Standing::NotExpected);
        assert_eq!(judge(false, true, true), Standing::InDoubt);
        assert_eq!(judge(false, false, true), Standing::InDoubt);
        assert_eq!(judge(true, true, true), Standing::InDoubt);
    }

    #[test]
    fn whoever_is_in_doubt_should_have_everything_and_counts_as_nobody() {
        let node = |n| NodeId::from_bytes([n; 32]);
        let standings =
            [Standing::Counts, Standing::InDoubt, Standing::NotExpected, Standing::Cache];
        let members = (1..).map(node).zip(standings).collect();
        let counting = Counting(members);
        assert_eq!(counting.expected().collect::<Vec<_>>(), [node(1), node(2)]);
        let uncounted = counting.uncounted().collect::<Vec<_>>();
        assert_eq!(uncounted, [(node(2), IN_DOUBT), (node(4), CACHE)]);
        assert_eq!(counting.caches().collect::<Vec<_>>(), [node(4)]);
        let counts = [1, 2, 3, 4, 5].map(|n| counting.counts(&node(n)));
        assert_eq!(counts, [true, false, false, false, false], "the last is no member");
    }
}
