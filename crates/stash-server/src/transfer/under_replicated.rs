//! Which records have fewer copies than members: remembered, so that `status` can say so, and made
//! good when the members without a copy are there.
//!
//! What is remembered stands in the store and nowhere else: while a member is away, it may be every
//! record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stash_crypto::{NodeId, Record, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::core::{self, Core};
use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::message::HOLDING_PAGE;
use crate::transfer::shipment::Shipment;

/// Records with missing copies that a status counts.
const COUNTED: usize = 10_000;

/// Questions that a member is asked at once, while most of what it is asked about is there: what it has
/// then goes in one commit.
pub(crate) const QUESTIONS: usize = 8;

/// What goes with the rows.
#[derive(Debug)]
pub(crate) struct UnderReplicated {
    /// Reading a row and writing it is one step.
    turn: Mutex<()>,
    /// Whether there may be rows at all: mostly there are none, and nothing to look up.
    some: AtomicBool,
}

impl UnderReplicated {
    pub(crate) fn load(store: &Store) -> Result<UnderReplicated, ReadError> {
        let some = !store.rows_after(rows::UNDER_REPLICATED, &[], 1)?.is_empty();
        Ok(UnderReplicated { turn: Mutex::new(()), some: AtomicBool::new(some) })
    }
}

/// How many records have missing copies; at most 10,000 are counted.
pub(crate) fn count(store: &Store) -> Result<u64, ReadError> {
    Ok(store.rows_after(rows::UNDER_REPLICATED, &[], COUNTED)?.len() as u64)
}

/// How many records each member is known to lack; at most 10,000 records are looked at.
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

fn nodes(value: &[u8]) -> BTreeSet<NodeId> {
    value.as_chunks().0.iter().copied().map(NodeId::from_bytes).collect()
}

/// Waits until no target of a shipment can still report, then writes down what is missing, or
/// strikes out what no longer is.
pub(crate) async fn watch(core: Arc<Core>, shipment: Arc<Shipment>, lanes: Vec<NodeId>) {
    let tally = shipment.until(|tally| tally.closed()).await;
    for node in &lanes {
        core.in_flight.remove(node, shipment.records());
    }
    let lacking: BTreeSet<NodeId> = tally.without().into_iter().map(|(node, _)| node).collect();
    let hashes = shipment.records().iter().map(Record::hash);
    // Mostly nobody lacks anything, and nothing has to be struck out.
    if !lacking.is_empty() || core.under_replicated.some.load(Ordering::Relaxed) {
        let (lacking, shared) = (lacking.clone(), Arc::clone(&core));
        let update = move |nodes: &mut BTreeSet<NodeId>| {
            // Whoever was removed since the put began, or has lapsed, lacks nothing.
            let counted: BTreeSet<NodeId> = core::counted(&shared).collect();
            *nodes = lacking.intersection(&counted).copied().collect();
        };
        change(&core, hashes.collect(), update).await;
    }
    // One that is connected all the same has passed over them in this node's order.
    let followers = lock(&core.news);
    for follower in lacking.iter().filter_map(|node| followers.get(node)) {
        follower.news();
    }
}

/// Changes who lacks some records.
async fn change(
    core: &Arc<Core>,
    hashes: Vec<RecordHash>,
    update: impl Fn(&mut BTreeSet<NodeId>) + Send + 'static,
) {
    let shared = Arc::clone(core);
    let write = move |store: &Store| {
        let _turn = lock(&shared.under_replicated.turn);
        let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
        let (mut batch, mut some) = (Batch::new(), false);
        for (hash, held) in hashes.iter().zip(store.has_records(&raw)?) {
            let old = store.row(&rows::under_replicated(hash))?;
            let mut new = nodes(old.as_deref().unwrap_or_default());
            update(&mut new);
            let value: Vec<u8> = new.iter().flat_map(|node| *node.as_bytes()).collect();
            // Of one that a forget has taken meanwhile, nobody needs a copy any more.
            let value = Some(value).filter(|value| held && !value.is_empty());
            some |= value.is_some();
            if value != old {
                batch = batch.row(&rows::under_replicated(hash), value.as_deref());
            }
        }
        if some {
            shared.under_replicated.some.store(true, Ordering::Relaxed);
        }
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
        Ok::<_, LedgerError>(())
    };
    if let Err(error) = core.disk.run(write).await {
        tracing::warn!(%error, "missing copies could not be written down");
    }
}

/// Goes through the records that any of some members are known to lack, some at a time.
#[derive(Debug)]
pub(crate) struct Lacked {
    pub(crate) nodes: BTreeSet<NodeId>,
    after: Vec<u8>,
}

impl Lacked {
    pub(crate) fn by(nodes: BTreeSet<NodeId>) -> Lacked {
        Lacked { nodes, after: Vec::new() }
    }

    /// Those among the next `limit` that somebody lacks, which may be none; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        core: &Core,
        limit: usize,
    ) -> Result<Option<Vec<RecordHash>>, ReadError> {
        if !core.under_replicated.some.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let after = self.after.clone();
        let rows = core
            .disk
            .run(move |store| store.rows_after(rows::UNDER_REPLICATED, &after, limit))
            .await?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        self.after.clone_from(last);
        let rows = rows.iter().filter(|(_, value)| !nodes(value).is_disjoint(&self.nodes));
        let hash = |key: &Vec<u8>| key.strip_prefix(rows::UNDER_REPLICATED)?.try_into().ok();
        Ok(Some(rows.filter_map(|(key, _)| hash(key).map(RecordHash::from_bytes)).collect()))
    }
}

/// Nodes that were removed, or have lapsed, lack nothing any more.
pub(crate) async fn part(core: &Arc<Core>, nodes: BTreeSet<NodeId>) -> Result<(), ReadError> {
    let mut lacked = Lacked::by(nodes);
    while let Some(page) = lacked.next(core, QUESTIONS * HOLDING_PAGE).await? {
        strike(core, &lacked.nodes, page).await;
    }
    Ok(())
}

pub(crate) async fn strike(core: &Arc<Core>, who: &BTreeSet<NodeId>, hashes: Vec<RecordHash>) {
    if !hashes.is_empty() {
        let who = who.clone();
        change(core, hashes, move |nodes| nodes.retain(|node| !who.contains(node))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::replication::backlog::{REST, Settling};

    #[test]
    fn questions_grow_while_a_member_has_most_and_are_few_and_rare_while_it_lacks_most() {
        let took = Duration::from_millis(20);
        let mut settling = Settling::with(NodeId::from_bytes([1; 32]));
        let mut rest = |asked, lacking| (settling.rest(asked, lacking, took), settling.questions);
        assert_eq!(rest(HOLDING_PAGE, 0), (took, 2));
        assert_eq!(rest(2 * HOLDING_PAGE, HOLDING_PAGE), (took, 4));
        assert_eq!(rest(4 * HOLDING_PAGE, 2 * HOLDING_PAGE + 1), (took * REST, 1));
        for questions in [2, 4, 8, QUESTIONS, QUESTIONS] {
            assert_eq!(rest(HOLDING_PAGE, 1), (took, questions));
        }
        assert_eq!(rest(0, 0), (took, QUESTIONS), "what others lack is passed over quickly");
    }
}
