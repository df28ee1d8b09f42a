//! Flags of the chunks that evictions under way want to drop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use stash_crypto::{Address, NodeId};

use crate::lock::lock;

/// Members that an eviction has asked.
type Asked = Mutex<BTreeSet<NodeId>>;

/// Chunks with the evicting flag raised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evicting(Arc<Mutex<BTreeMap<Address, Arc<Asked>>>>);

impl Evicting {
    /// Raises the flag of all of these chunks; `None` if that of one is raised already.
    pub(crate) fn raise(&self, chunks: &BTreeSet<Address>) -> Option<Flag> {
        let mut evicting = lock(&self.0);
        if chunks.iter().any(|chunk| evicting.contains_key(chunk)) {
            return None;
        }
        let asked = Arc::new(Asked::default());
        evicting.extend(chunks.iter().map(|chunk| (*chunk, Arc::clone(&asked))));
        let chunks = chunks.iter().copied().collect();
        Some(Flag { evicting: self.clone(), chunks, asked })
    }

    pub(crate) fn is_raised(&self, chunk: &Address) -> bool {
        lock(&self.0).contains_key(chunk)
    }

    /// True if this node is asked to prove that it has the chunk, and so must not get it from here.
    pub(crate) fn asks(&self, node: &NodeId, chunk: &Address) -> bool {
        let asked = lock(&self.0).get(chunk).cloned();
        asked.is_some_and(|asked| lock(&asked).contains(node))
    }
}

/// The evicting flag of some chunks; dropping it takes it down.
pub(crate) struct Flag {
    evicting: Evicting,
    pub(crate) chunks: Vec<Address>,
    asked: Arc<Asked>,
}

impl Flag {
    /// From now on this node gets none of the chunks from here.
    pub(crate) fn asks(&self, node: NodeId) {
        lock(&self.asked).insert(node);
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        let mut evicting = lock(&self.evicting.0);
        self.chunks.iter().for_each(|chunk| {
            evicting.remove(chunk);
        });
    }
}
