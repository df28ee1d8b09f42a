//! The read keys of a node that may read: one set an epoch, and the key of names.

use std::collections::BTreeMap;

use stash_crypto::{ChunkKeys, Key, LabelKeys, MetaKeys, NameId, NameKey, NodeId, ReadRoot};

/// Everything derived from the read roots that a node holds.
#[derive(Debug)]
pub(crate) struct ReadKeys {
    name: NameKey,
    epochs: BTreeMap<u32, EpochKeys>,
    latest: u32,
}

/// The keys of one epoch.
#[derive(Debug)]
pub(crate) struct EpochKeys {
    pub(crate) chunks: ChunkKeys,
    pub(crate) meta: MetaKeys,
    pub(crate) labels: LabelKeys,
}

impl EpochKeys {
    fn new(root: &ReadRoot) -> EpochKeys {
        EpochKeys { chunks: root.chunk_keys(), meta: root.meta_keys(), labels: root.label_keys() }
    }
}

impl ReadKeys {
    /// `None` when the roots lack that of epoch 0, from which names derive: such a node reads
    /// nothing.
    pub(crate) fn new(roots: &[ReadRoot]) -> Option<ReadKeys> {
        let first = roots.iter().find(|root| root.epoch() == 0)?;
        let epochs: BTreeMap<u32, EpochKeys> =
            roots.iter().map(|root| (root.epoch(), EpochKeys::new(root))).collect();
        let latest = *epochs.last_key_value()?.0;
        Some(ReadKeys { name: first.name_key(), epochs, latest })
    }

    pub(crate) fn name_id(&self, key: &Key) -> NameId {
        self.name.name_id(key)
    }

    /// The keys of an epoch, `None` if this node was not given them.
    pub(crate) fn epoch(&self, epoch: u32) -> Option<&EpochKeys> {
        self.epochs.get(&epoch)
    }

    /// The keys that new chunks and records are sealed with.
    pub(crate) fn latest(&self) -> &EpochKeys {
        &self.epochs[&self.latest]
    }

    /// The epoch of [`latest`](Self::latest).
    pub(crate) fn latest_epoch(&self) -> u32 {
        self.latest
    }

    /// A member's display name, whichever epoch sealed it.
    pub(crate) fn open_label(&self, label: &[u8], node: &NodeId) -> Option<String> {
        self.epochs.values().rev().find_map(|keys| keys.labels.open(label, node).ok())
    }
}
