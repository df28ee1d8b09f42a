//! The read keys of a node that may read: one set an epoch, and the key of names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use stash_crypto::member::LabelKeys;
use stash_crypto::record::{MetaKeys, NameKey};
use stash_crypto::{ChunkKeys, Key, NameId, NodeId, NodeKeys, ReadRoot};
use stash_server::Engine;

/// Everything derived from the read roots that a node holds. It grows when the member log begins
/// an epoch: whoever asks for a key that is not here yet has it looked for in the log.
pub(crate) struct ReadKeys {
    name: NameKey,
    epochs: RwLock<Epochs>,
    /// The epoch of the log when it was last looked at.
    seen: AtomicU32,
    log: Option<(Engine, Arc<NodeKeys>)>,
}

struct Epochs {
    /// By ascending epoch. Kept to open what later entries of the log seal with them.
    roots: Vec<ReadRoot>,
    keys: BTreeMap<u32, Arc<EpochKeys>>,
}

/// The keys of one epoch.
#[derive(Debug)]
pub(crate) struct EpochKeys {
    pub(crate) epoch: u32,
    pub(crate) chunks: ChunkKeys,
    pub(crate) meta: MetaKeys,
    pub(crate) labels: LabelKeys,
}

impl EpochKeys {
    fn new(root: &ReadRoot) -> EpochKeys {
        EpochKeys {
            epoch: root.epoch(),
            chunks: root.chunk_keys(),
            meta: root.meta_keys(),
            labels: root.label_keys(),
        }
    }
}

impl std::fmt::Debug for ReadKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadKeys(up to epoch {})", self.latest().epoch)
    }
}

impl ReadKeys {
    /// `None` when the roots lack that of epoch 0, from which names derive: such a node reads
    /// nothing.
    #[cfg(test)]
    pub(crate) fn new(roots: &[ReadRoot]) -> Option<ReadKeys> {
        Self::of(roots.iter().map(ReadRoot::duplicate).collect(), None)
    }

    /// The keys of a running node: those that it was granted, and those of its member log.
    pub(crate) fn follow(
        granted: Vec<ReadRoot>,
        engine: Engine,
        node: Arc<NodeKeys>,
    ) -> Option<ReadKeys> {
        let mut roots = granted;
        roots.extend(in_log(&engine, &node, &roots));
        Self::of(roots, Some((engine, node)))
    }

    fn of(mut roots: Vec<ReadRoot>, log: Option<(Engine, Arc<NodeKeys>)>) -> Option<ReadKeys> {
        roots.sort_by_key(ReadRoot::epoch);
        let name = roots.first().filter(|root| root.epoch() == 0)?.name_key();
        let seen = AtomicU32::new(roots.last()?.epoch());
        let keys = roots.iter().map(|root| (root.epoch(), Arc::new(EpochKeys::new(root))));
        let epochs = RwLock::new(Epochs { keys: keys.collect(), roots });
        Some(ReadKeys { name, epochs, seen, log })
    }

    pub(crate) fn name_id(&self, key: &Key) -> NameId {
        self.name.name_id(key)
    }

    /// The keys of an epoch, `None` if this node was not given them.
    pub(crate) fn epoch(&self, epoch: u32) -> Option<Arc<EpochKeys>> {
        self.look();
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).keys.get(&epoch).cloned()
    }

    /// The keys that new chunks and records are sealed with.
    pub(crate) fn latest(&self) -> Arc<EpochKeys> {
        self.look();
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        let last = epochs.keys.last_key_value();
        Arc::clone(last.expect("there are keys of epoch 0 at least").1)
    }

    /// A member's display name, whichever epoch sealed it.
    pub(crate) fn open_label(&self, label: &[u8], node: &NodeId) -> Option<String> {
        let keys = self.epoch(stash_crypto::member::label_epoch(label)?)?;
        keys.labels.open(label, node).ok()
    }

    /// Takes the keys of epochs that have begun since the last look.
    fn look(&self) {
        let Some((engine, node)) = &self.log else {
            return;
        };
        let epoch = engine.epoch();
        if epoch <= self.seen.load(Ordering::Acquire) {
            return;
        }
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        let new = in_log(engine, node, &epochs.roots);
        for root in new {
            epochs.keys.insert(root.epoch(), Arc::new(EpochKeys::new(&root)));
            epochs.roots.push(root);
        }
        epochs.roots.sort_by_key(ReadRoot::epoch);
        if !epochs.keys.contains_key(&epoch) {
            tracing::warn!(epoch, "the member log holds no read key of this epoch for this node");
        }
        self.seen.fetch_max(epoch, Ordering::Release);
    }
}

fn in_log(engine: &Engine, node: &NodeKeys, held: &[ReadRoot]) -> Vec<ReadRoot> {
    let (me, secret) = (node.node_id(), node.wrap_secret());
    let recipient = (!engine.visits()).then_some(&me);
    engine.member_log().read_roots(recipient, secret, held)
}
