//! Which records have fewer copies than members: remembered, so that `status` can say so, and made
//! good when the members without a copy are there.
//!
//! What is remembered stands in the store and nowhere else: while a member is away, it may be every
//! record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::try_join_all;
use stash_crypto::{NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, ReadError, Store};
use tokio::time::Instant;

use crate::core::{AskError, Core, lock};
use crate::holding::{self, PAGE};
use crate::lapse;
use crate::ledger::LedgerError;
use crate::shipment::Shipment;

/// Store rows of records with missing copies, by record hash; the value names the members.
const SHORT: &[u8] = b"short/";

/// Records with missing copies that a status counts.
const COUNTED: usize = 10_000;

/// Questions that a member is asked at once, while most of what it is asked about is there: what it has
/// then goes in one commit.
const QUESTIONS: usize = 8;

/// How much longer than a question took the rest after it is, when the member lacks most of what it was
/// asked about: it looks up every chunk, and will be asked again.
const REST: u32 = 10;

/// What goes with the rows.
#[derive(Debug)]
pub(crate) struct Short {
    /// Reading a row and writing it is one step.
    turn: Mutex<()>,
    /// Whether there may be rows at all: mostly there are none, and nothing to look up.
    some: AtomicBool,
}

impl Short {
    pub(crate) fn load(store: &Store) -> Result<Short, ReadError> {
        let some = !store.rows_after(SHORT, &[], 1)?.is_empty();
        Ok(Short { turn: Mutex::new(()), some: AtomicBool::new(some) })
    }
}

/// The row of one record.
pub(crate) fn row(record: &RecordHash) -> Vec<u8> {
    [SHORT, record.as_bytes()].concat()
}

/// How many records have missing copies; at most 10,000 are counted.
pub(crate) fn count(store: &Store) -> Result<u64, ReadError> {
    Ok(store.rows_after(SHORT, &[], COUNTED)?.len() as u64)
}

/// How many records each member is known to lack; at most 10,000 records are looked at.
pub(crate) fn count_by_member(store: &Store) -> Result<BTreeMap<NodeId, u64>, ReadError> {
    let mut counts = BTreeMap::new();
    for (_, value) in store.rows_after(SHORT, &[], COUNTED)? {
        nodes(&value).into_iter().for_each(|node| *counts.entry(node).or_default() += 1);
    }
    Ok(counts)
}

/// The members that lack a record, as far as this node knows.
pub(crate) fn without(store: &Store, record: &RecordHash) -> Result<BTreeSet<NodeId>, ReadError> {
    Ok(nodes(&store.row(&row(record))?.unwrap_or_default()))
}

fn nodes(value: &[u8]) -> BTreeSet<NodeId> {
    value.as_chunks().0.iter().copied().map(NodeId::from_bytes).collect()
}

/// Waits until no target of a shipment can still report, then writes down what is missing, or
/// strikes out what no longer is.
pub(crate) async fn watch(core: Arc<Core>, shipment: Arc<Shipment>, lanes: Vec<NodeId>) {
    let tally = shipment.until(|tally| tally.closed()).await;
    for node in &lanes {
        core.flying.remove(node, shipment.records());
    }
    let lacking: BTreeSet<NodeId> = tally.without().into_iter().map(|(node, _)| node).collect();
    let hashes = shipment.records().iter().map(Record::hash);
    // Mostly nobody lacks anything, and nothing has to be struck out.
    if !lacking.is_empty() || core.short.some.load(Ordering::Relaxed) {
        let (lacking, shared) = (lacking.clone(), Arc::clone(&core));
        let update = move |nodes: &mut BTreeSet<NodeId>| {
            // Whoever was removed since the put began, or has lapsed, lacks nothing.
            let counted: BTreeSet<NodeId> = lapse::counted(&shared).collect();
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
        let _turn = lock(&shared.short.turn);
        let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
        let (mut batch, mut some) = (Batch::new(), false);
        for (hash, held) in hashes.iter().zip(store.has_records(&raw)?) {
            let old = store.row(&row(hash))?;
            let mut new = nodes(old.as_deref().unwrap_or_default());
            update(&mut new);
            let value: Vec<u8> = new.iter().flat_map(|node| *node.as_bytes()).collect();
            // Of one that a forget has taken meanwhile, nobody needs a copy any more.
            let value = Some(value).filter(|value| held && !value.is_empty());
            some |= value.is_some();
            if value != old {
                batch = batch.row(&row(hash), value.as_deref());
            }
        }
        if some {
            shared.short.some.store(true, Ordering::Relaxed);
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
struct Lacked {
    nodes: BTreeSet<NodeId>,
    after: Vec<u8>,
}

impl Lacked {
    fn by(nodes: BTreeSet<NodeId>) -> Lacked {
        Lacked { nodes, after: Vec::new() }
    }

    /// Those among the next `limit` that somebody lacks, which may be none; `None` after the last.
    async fn next(
        &mut self,
        core: &Core,
        limit: usize,
    ) -> Result<Option<Vec<RecordHash>>, ReadError> {
        if !core.short.some.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let after = self.after.clone();
        let rows = core.disk.run(move |store| store.rows_after(SHORT, &after, limit)).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        self.after.clone_from(last);
        let rows = rows.iter().filter(|(_, value)| !nodes(value).is_disjoint(&self.nodes));
        let hash = |key: &Vec<u8>| key.strip_prefix(SHORT)?.try_into().ok();
        Ok(Some(rows.filter_map(|(key, _)| hash(key).map(RecordHash::from_bytes)).collect()))
    }
}

/// Nodes that were removed, or have lapsed, lack nothing any more.
pub(crate) async fn part(core: &Arc<Core>, nodes: BTreeSet<NodeId>) -> Result<(), ReadError> {
    let mut lacked = Lacked::by(nodes);
    while let Some(page) = lacked.next(core, QUESTIONS * PAGE).await? {
        strike(core, &lacked.nodes, page).await;
    }
    Ok(())
}

async fn strike(core: &Arc<Core>, who: &BTreeSet<NodeId>, hashes: Vec<RecordHash>) {
    if !hashes.is_empty() {
        let who = who.clone();
        change(core, hashes, move |nodes| nodes.retain(|node| !who.contains(node))).await;
    }
}

/// Asks a member about the records that it is known to lack: what it has by now is struck out, and it
/// is told of the rest. In steps, each so short that nothing else that is to be done with the member
/// waits for it.
#[derive(Debug)]
pub(crate) struct Settling {
    lacked: Lacked,
    /// Questions of the next step.
    questions: usize,
}

/// What is to follow a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another step, after a rest.
    Rest(Duration),
    /// Nothing: the member was asked about all of them.
    Ended,
}

impl Settling {
    pub(crate) fn with(node: NodeId) -> Settling {
        Settling { lacked: Lacked::by(BTreeSet::from([node])), questions: 1 }
    }

    pub(crate) async fn step(&mut self, core: &Arc<Core>, peer: &Peer) -> Result<Next, AskError> {
        let begun = Instant::now();
        let page = self.lacked.next(core, self.questions * PAGE).await;
        let Some(page) = page.map_err(|error| AskError::Gone(error.to_string()))? else {
            return Ok(Next::Ended);
        };
        let asked = page.chunks(PAGE).map(|some| holding::there(peer, some));
        let states = try_join_all(asked).await?.concat();
        let split = |wanted: bool| {
            let pairs =
                page.iter().zip(&states).filter(move |(_, state)| state.is_lacking() == wanted);
            pairs.map(|(hash, _)| *hash).collect::<Vec<_>>()
        };
        let lacking = split(true);
        strike(core, &self.lacked.nodes, split(false)).await;
        if !lacking.is_empty() {
            holding::tell(peer, &lacking).await;
        }
        Ok(Next::Rest(self.rest(page.len(), lacking.len(), begun.elapsed())))
    }

    /// What is struck out is never asked about again, so that it may take half of the time; other
    /// questions may have to be asked many times.
    fn rest(&mut self, asked: usize, lacking: usize, took: Duration) -> Duration {
        if lacking * 2 > asked {
            self.questions = 1;
            return took * REST;
        }
        self.questions = (self.questions * 2).min(QUESTIONS);
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_grow_while_a_member_has_most_and_are_few_and_rare_while_it_lacks_most() {
        let took = Duration::from_millis(20);
        let mut settling = Settling::with(NodeId::from_bytes([1; 32]));
        let mut rest = |asked, lacking| (settling.rest(asked, lacking, took), settling.questions);
        assert_eq!(rest(PAGE, 0), (took, 2));
        assert_eq!(rest(2 * PAGE, PAGE), (took, 4));
        assert_eq!(rest(4 * PAGE, 2 * PAGE + 1), (took * REST, 1));
        for questions in [2, 4, 8, QUESTIONS, QUESTIONS] {
            assert_eq!(rest(PAGE, 1), (took, questions));
        }
        assert_eq!(rest(0, 0), (took, QUESTIONS), "what others lack is passed over quickly");
    }
}
