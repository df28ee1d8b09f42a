//! How much of the bytes each member keeps, by its own signed word: everything, or so many bytes.
//!
//! Whoever keeps less than everything is a cache: it has every record and the manifests, drops bytes that it does not
//! use, and is no copy of anything.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stash_crypto::NodeId;

use crate::lock::lock;

/// Everything.
pub(crate) const ALL: u64 = u64::MAX;

/// How much of the bytes each member keeps.
#[derive(Debug)]
pub(crate) struct Keeps {
    own: u64,
    said: Mutex<BTreeMap<NodeId, u64>>,
}

impl Keeps {
    /// What this node keeps, and what others said last.
    pub(crate) fn new(own: u64, said: BTreeMap<NodeId, u64>) -> Keeps {
        Keeps { own, said: Mutex::new(said) }
    }

    /// Bytes that this node keeps; [`ALL`] if everything.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// True if this node keeps less than everything.
    pub(crate) fn is_cache(&self) -> bool {
        self.own != ALL
    }

    /// A member says how much it keeps. True if it was a cache and is none any more, or the other way around.
    pub(crate) fn says(&self, node: NodeId, keep: u64) -> bool {
        let before = lock(&self.said).insert(node, keep).unwrap_or(ALL);
        (before == ALL) != (keep == ALL)
    }

    /// True if another member keeps everything, or has never said that it does not.
    pub(crate) fn keeps_all(&self, node: &NodeId) -> bool {
        lock(&self.said).get(node).is_none_or(|keep| *keep == ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_not_said_otherwise_keeps_everything() {
        let node = NodeId::from_bytes([1; 32]);
        let keeps = Keeps::new(0, BTreeMap::new());
        assert!(keeps.is_cache() && keeps.keeps_all(&node));
        assert!(!keeps.says(node, ALL));
        assert!(keeps.says(node, 5) && !keeps.keeps_all(&node));
        assert!(!keeps.says(node, 7));
        assert!(keeps.says(node, ALL) && keeps.keeps_all(&node));
    }
}
