//! Records that have fewer copies than members: remembered, so that `status` can say so, and made
//! good when the members without a copy are there.
//!
//! They stand in the store and nowhere else: while a member is away, it may be every record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use stash_crypto::{NodeId, RecordHash};
use stash_store::{ReadError, Store};

use crate::ledger::rows;

/// Records with missing copies that a status counts.
const COUNTED: usize = 10_000;

/// State beside the rows.
#[derive(Debug)]
pub(crate) struct UnderReplicated {
    /// Reading a row and writing it is one step.
    pub(crate) turn: Mutex<()>,
    /// False if there are no rows, and so nothing to look up.
    pub(crate) some: AtomicBool,
}

impl UnderReplicated {
    pub(crate) fn load(store: &Store) -> Result<UnderReplicated, ReadError> {
        let some = !store.rows_after(rows::UNDER_REPLICATED, &[], 1)?.is_empty();
        Ok(UnderReplicated { turn: Mutex::new(()), some: AtomicBool::new(some) })
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
