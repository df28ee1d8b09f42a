//! Records that have fewer copies than members: remembered, so that `status` can say so, and made
//! good when the members without a copy are there.
//!
//! They stand in the store and nowhere else: while a member is away, it may be every record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use stash_crypto::{NodeId, RecordHash};
use stash_store::{ReadError, Store};

use crate::ledger::rows;

/// Records with missing copies that a status counts.
const COUNTED: usize = 10_000;

/// Changes the members that lack a record.
type Update = Box<dyn Fn(&mut BTreeSet<NodeId>) + Send + Sync>;

/// A change of who lacks some records.
pub(crate) struct Change {
    pub(crate) hashes: Vec<RecordHash>,
    pub(crate) update: Update,
    /// Set once it is durable.
    pub(crate) is_done: Arc<AtomicBool>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change({} records)", self.hashes.len())
    }
}

/// State beside the rows.
#[derive(Debug)]
pub(crate) struct UnderReplicated {
    /// Held by whoever writes: reading a row and writing it is one step.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Changes that wait for whoever writes next. Each belongs to one that waits for its turn.
    pub(crate) waiting: Mutex<Vec<Change>>,
    /// False if there are no rows, and so nothing to look up.
    pub(crate) some: AtomicBool,
}

impl UnderReplicated {
    pub(crate) fn load(store: &Store) -> Result<UnderReplicated, ReadError> {
        let some = !store.rows_after(rows::UNDER_REPLICATED, &[], 1)?.is_empty();
        let (turn, waiting) = (Arc::default(), Mutex::default());
        Ok(UnderReplicated { turn, waiting, some: AtomicBool::new(some) })
    }
}

/// Number of records with missing copies; at most 10,000 are counted.
pub(crate) fn count(store: &Store) -> Result<u64, ReadError> {
    Ok(store.rows_after(rows::UNDER_REPLICATED, &[], COUNTED)?.len() as u64)
}

/// Number of records that each member is known to lack, among the first 10,000 with missing copies.
pub(crate) fn count_by_member(store: &Store) -> Result<BTreeMap<NodeId, u64>, ReadError> {
    let mut counts = BTreeMap::new();
    for (_, value) in store.rows_after(rows::UNDER_REPLICATED, &[], COUNTED)? {
        nodes(&value).into_iter().for_each(|node| *counts.entry(node).or_default() += 1);
    }
    Ok(counts)
}

/// The members that lack a record, as far as this node knows.
pub(crate) fn without(store: &Store, record: &RecordHash) -> Result<BTreeSet<NodeId>, ReadError> {
    Ok(nodes(&store.row(&rows::under_replicated(record))?.unwrap_or_default()))
}

pub(crate) fn nodes(value: &[u8]) -> BTreeSet<NodeId> {
    value.as_chunks().0.iter().copied().map(NodeId::from_bytes).collect()
}
