//! Counts the copies of one batch of records and says when a put may answer.
//!
//! Pure: reports and the passing of time come in, a verdict comes out. The targets are the members
//! that should hold the records, this node included, connected or not.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use stash_crypto::NodeId;

/// A put stops waiting when nothing has come back for this long.
pub const STALL: Duration = Duration::from_secs(30);

/// Number of copies that a put waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The copy of this node.
    Local,
    /// This node's copy and one other.
    One,
    /// More than half of the targets, this node included.
    Quorum,
    /// Every target.
    All,
}

impl Wait {
    /// The number of copies asked for when `targets` members should hold the records.
    #[must_use]
    pub fn copies(self, targets: usize) -> usize {
        match self {
            Wait::Local => 1,
            // A stash of one member has nobody else to wait for.
            Wait::One => targets.min(2),
            Wait::Quorum => targets / 2 + 1,
            Wait::All => targets,
        }
        .max(1)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Local => "local",
            Wait::One => "one",
            Wait::Quorum => "quorum",
            Wait::All => "all",
        })
    }
}

/// The text is none of `local`, `one`, `quorum` and `all`. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no wait: use local, one, quorum or all")]
pub struct UnknownWait(pub String);

impl FromStr for Wait {
    type Err = UnknownWait;
    fn from_str(text: &str) -> Result<Wait, UnknownWait> {
        match text {
            "local" => Ok(Wait::Local),
            "one" => Ok(Wait::One),
            "quorum" => Ok(Wait::Quorum),
            "all" => Ok(Wait::All),
            other => Err(UnknownWait(other.to_owned())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CopyState {
    Outstanding,
    Stored,
    Missing(String),
}

/// What is stored at this node, when a batch is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// A copy: this node is a target.
    Copy(NodeId),
    /// The bytes, for a while: this node keeps less than everything, and is no target.
    Cache,
}

/// The copies of one batch.
#[derive(Clone, Debug)]
pub struct Tally {
    wait: Wait,
    /// The bytes are at this node as well, which is no target.
    is_cached: bool,
    targets: BTreeMap<NodeId, CopyState>,
}

impl Tally {
    /// A tally in which every target is outstanding.
    #[must_use]
    pub fn new(wait: Wait, targets: impl IntoIterator<Item = NodeId>) -> Tally {
        let targets = targets.into_iter().map(|node| (node, CopyState::Outstanding)).collect();
        Tally { wait, is_cached: false, targets }
    }

    /// A tally of what is stored at this node.
    #[must_use]
    pub fn begun(wait: Wait, own: Own, targets: impl IntoIterator<Item = NodeId>) -> Tally {
        let mut tally = Tally::new(wait, targets);
        match own {
            Own::Copy(me) => tally.stored(&me),
            Own::Cache => tally.is_cached = true,
        }
        tally
    }

    /// A target has the whole batch durably. A late report overrules an earlier failure.
    pub fn stored(&mut self, node: &NodeId) {
        if let Some(copy) = self.targets.get_mut(node) {
            *copy = CopyState::Stored;
        }
    }

    /// A target will not report: not connected, refused, or gone. Ignored once it has stored.
    pub fn missing(&mut self, node: &NodeId, reason: impl Into<String>) {
        if let Some(copy) = self.targets.get_mut(node)
            && *copy == CopyState::Outstanding
        {
            *copy = CopyState::Missing(reason.into());
        }
    }

    /// The copy of a target does not count, even if it says that it has stored the batch, and nobody waits for it.
    pub fn discount(&mut self, node: &NodeId, reason: &str) {
        if let Some(copy) = self.targets.get_mut(node) {
            *copy = CopyState::Missing(reason.to_owned());
        }
    }

    /// The batch counts no more, even where it is stored.
    pub fn void(&mut self, reason: &str) {
        for copy in self.targets.values_mut() {
            *copy = CopyState::Missing(reason.to_owned());
        }
    }

    /// Targets that have stored the batch.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.targets.values().filter(|copy| **copy == CopyState::Stored).count()
    }

    /// Targets in all.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.targets.len()
    }

    /// True if the copies reached what `--wait` asks for.
    #[must_use]
    pub fn enough(&self) -> bool {
        let needed = match (self.wait, self.is_cached) {
            (Wait::Local, true) => 0,
            (Wait::One, true) => self.wanted().min(1),
            _ => self.wait.copies(self.wanted()),
        };
        self.copies() >= needed
    }

    /// True if no target can still report.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.targets.values().all(|copy| *copy != CopyState::Outstanding)
    }

    /// True if the put may answer: enough copies, nobody left to wait for, or `idle` (the time
    /// since the last report or sent byte) above [`STALL`].
    #[must_use]
    pub fn answers(&self, idle: Duration) -> bool {
        self.enough() || self.closed() || idle >= STALL
    }

    /// The targets without a copy, each with the reason.
    #[must_use]
    pub fn without(&self) -> Vec<(NodeId, String)> {
        let reason = |copy: &CopyState| match copy {
            CopyState::Stored => None,
            CopyState::Outstanding => Some("no answer yet".to_owned()),
            CopyState::Missing(reason) => Some(reason.clone()),
        };
        self.targets.iter().filter_map(|(node, copy)| Some((*node, reason(copy)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn quorum_is_more_than_half_of_all_targets_connected_or_not() {
        for (targets, copies) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (9, 5)] {
            assert_eq!(Wait::Quorum.copies(targets), copies, "{targets} targets");
        }
        assert_eq!(Wait::One.copies(1), 1);
        assert_eq!(Wait::One.copies(3), 2);
        assert_eq!(Wait::All.copies(3), 3);
    }

    #[test]
    fn a_put_answers_when_enough_copies_are_stored() {
        let mut tally = Tally::new(Wait::Quorum, [node(1), node(2), node(3)]);
        tally.stored(&node(1));
        assert!(!tally.answers(Duration::ZERO));
        tally.stored(&node(3));
        assert!(tally.answers(Duration::ZERO) && tally.enough() && !tally.closed());
        assert_eq!(tally.without(), vec![(node(2), "no answer yet".to_owned())]);
    }

    #[test]
    fn a_put_answers_short_when_no_reachable_target_is_outstanding() {
        let mut tally = Tally::new(Wait::All, [node(1), node(2)]);
        tally.stored(&node(1));
        tally.missing(&node(2), "not connected");
        assert!(tally.answers(Duration::ZERO) && !tally.enough());
        assert_eq!(tally.copies(), 1);
    }

    #[test]
    fn a_put_answers_short_after_thirty_seconds_without_progress() {
        let mut tally = Tally::new(Wait::All, [node(1), node(2)]);
        tally.stored(&node(1));
        assert!(!tally.answers(STALL - Duration::from_millis(1)));
        assert!(tally.answers(STALL) && !tally.enough());
    }

    #[test]
    fn a_copy_that_is_not_believed_is_none_and_leaves_the_number_of_targets() {
        let mut tally = Tally::new(Wait::Quorum, [node(1), node(2), node(3)]);
        tally.stored(&node(1));
        tally.stored(&node(2));
        assert!(tally.enough());
        tally.discount(&node(2), "in doubt");
        assert_eq!((tally.copies(), tally.wanted(), tally.enough()), (1, 3, false));
        assert!(!tally.closed(), "the third may still report");
        tally.stored(&node(3));
        assert!(tally.enough());
        assert_eq!(tally.without(), vec![(node(2), "in doubt".to_owned())]);
        let mut all = Tally::new(Wait::All, [node(1), node(2)]);
        all.stored(&node(1));
        all.discount(&node(2), "in doubt");
        assert!(all.closed() && !all.enough(), "nobody waits for it");
    }

    #[test]
    fn a_cache_has_the_bytes_and_is_no_copy() {
        let begun =
            |wait, targets: &[u8]| Tally::begun(wait, Own::Cache, targets.iter().map(|n| node(*n)));
        assert!(begun(Wait::Local, &[2, 3]).enough());
        assert!(begun(Wait::One, &[]).enough(), "there is nobody else");
        let mut one = begun(Wait::One, &[2, 3]);
        let (mut most, mut all) = (begun(Wait::Quorum, &[2, 3]), begun(Wait::All, &[2, 3]));
        for tally in [&mut one, &mut most, &mut all] {
            assert_eq!((tally.copies(), tally.wanted(), tally.enough()), (0, 2, false));
            tally.stored(&node(2));
        }
        assert!(one.enough() && !most.enough() && !all.enough());
        most.stored(&node(3));
        assert!(most.enough());
        let alone = begun(Wait::Quorum, &[]);
        assert!(alone.closed() && !alone.enough(), "nobody keeps everything");
    }

    #[test]
    fn what_counts_no_more_has_no_copies() {
        let mut tally = Tally::new(Wait::One, [node(1), node(2)]);
        tally.stored(&node(1));
        tally.void("set aside");
        assert!(tally.closed() && !tally.enough());
        assert_eq!(tally.copies(), 0);
        assert_eq!(tally.without().len(), 2);
    }

    #[test]
    fn a_late_copy_overrules_a_failure_and_never_the_other_way() {
        let mut tally = Tally::new(Wait::All, [node(1)]);
        tally.missing(&node(1), "cut");
        tally.stored(&node(1));
        tally.missing(&node(1), "cut again");
        assert_eq!((tally.copies(), tally.enough()), (1, true));
        tally.stored(&node(9));
        assert_eq!(tally.copies(), 1, "a stranger's report counts for nothing");
    }
}
