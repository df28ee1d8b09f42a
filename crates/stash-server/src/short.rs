//! Which records have fewer copies than members: remembered, so that `status` can say so, and made
//! good when the members without a copy are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stash_crypto::{NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, ReadError, Store};

use crate::core::{AskError, Core, lock};
use crate::holding::{self, Holding, PAGE};
use crate::ledger::LedgerError;
use crate::shipment::Shipment;

/// Store rows of records with missing copies, by record hash; the value names the members.
const SHORT: &[u8] = b"short/";

/// Records with missing copies, and the members that lack them.
pub(crate) type Short = BTreeMap<RecordHash, BTreeSet<NodeId>>;

/// The row of one record.
pub(crate) fn row(record: &RecordHash) -> Vec<u8> {
    [SHORT, record.as_bytes()].concat()
}

/// Strikes out records that are not held any more; their rows went with them.
pub(crate) fn forget(core: &Core, dropped: &[RecordHash]) {
    if !dropped.is_empty() {
        let mut short = lock(&core.short);
        for hash in dropped {
            short.remove(hash);
        }
    }
}

/// The records that the store remembers as short.
pub(crate) fn all(store: &Store) -> Result<Short, ReadError> {
    let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
        let hash = RecordHash::from_bytes(key.strip_prefix(SHORT)?.try_into().ok()?);
        Some((hash, value.as_chunks().0.iter().copied().map(NodeId::from_bytes).collect()))
    };
    Ok(store.rows(SHORT)?.into_iter().filter_map(decode).collect())
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
    change(&core, hashes, |nodes| nodes.clone_from(&lacking)).await;
    // One that is connected all the same has passed over them in this node's order.
    for (node, peer) in core.connected().into_iter().filter(|(node, _)| lacking.contains(node)) {
        let core = Arc::clone(&core);
        core.tasks.clone().spawn(async move { settle(&core, node, &peer).await });
    }
}

/// Changes who lacks some records, here and in the store.
async fn change(
    core: &Core,
    hashes: impl Iterator<Item = RecordHash>,
    update: impl Fn(&mut BTreeSet<NodeId>),
) {
    let changed: Vec<(RecordHash, Vec<u8>)> = {
        let mut short = lock(&core.short);
        let change = |hash: RecordHash| {
            let old = short.get(&hash).cloned().unwrap_or_default();
            let mut new = old.clone();
            update(&mut new);
            let bytes = new.iter().flat_map(|node| *node.as_bytes()).collect();
            let differs = new != old;
            if new.is_empty() {
                short.remove(&hash);
            } else {
                short.insert(hash, new);
            }
            differs.then_some((hash, bytes))
        };
        hashes.filter_map(change).collect()
    };
    if changed.is_empty() {
        return;
    }
    let write = move |store: &Store| {
        let hashes: Vec<[u8; 32]> = changed.iter().map(|(hash, _)| *hash.as_bytes()).collect();
        let held = store.has_records(&hashes)?;
        // A forget has taken the others meanwhile: nobody needs a copy any more.
        let (here, gone): (Vec<_>, Vec<_>) =
            changed.into_iter().zip(held).partition(|(_, held)| *held);
        let gone: Vec<RecordHash> = gone.into_iter().map(|((hash, _), _)| hash).collect();
        let batch = here.iter().fold(Batch::new(), |batch, ((hash, nodes), _)| {
            let value = (!nodes.is_empty()).then_some(nodes.as_slice());
            batch.row(&row(hash), value)
        });
        let batch = gone.iter().fold(batch, |batch, hash| batch.row(&row(hash), None));
        store.commit(batch.even_if_full())?;
        Ok::<_, LedgerError>(gone)
    };
    match core.disk.run(write).await {
        Ok(gone) => forget(core, &gone),
        Err(error) => tracing::warn!(%error, "missing copies could not be written down"),
    }
}

/// A node that was removed lacks nothing any more.
pub(crate) async fn part(core: &Core, node: NodeId) {
    let lacks =
        |(hash, nodes): (&RecordHash, &BTreeSet<NodeId>)| nodes.contains(&node).then_some(*hash);
    let hashes: Vec<RecordHash> = lock(&core.short).iter().filter_map(lacks).collect();
    for page in hashes.chunks(PAGE) {
        change(core, page.iter().copied(), |nodes| {
            nodes.remove(&node);
        })
        .await;
    }
}

/// Asks a member about the records that it is known to lack: what it has by now is struck out, and
/// it is told of the rest.
pub(crate) async fn settle(core: &Arc<Core>, node: NodeId, peer: &Peer) {
    let lacks =
        |(hash, nodes): (&RecordHash, &BTreeSet<NodeId>)| nodes.contains(&node).then_some(*hash);
    let hashes: Vec<RecordHash> = lock(&core.short).iter().filter_map(lacks).collect();
    for page in hashes.chunks(PAGE) {
        if let Err(error) = settle_page(core, node, peer, page).await {
            tracing::debug!(peer = %node.short(), %error, "a member does not say what it lacks");
            return;
        }
    }
}

async fn settle_page(
    core: &Arc<Core>,
    node: NodeId,
    peer: &Peer,
    page: &[RecordHash],
) -> Result<(), AskError> {
    let states = holding::there(peer, page).await?;
    let lacks = |state: &Holding| matches!(state, Holding::Absent | Holding::Incomplete);
    let split = |wanted: bool| {
        let pairs = page.iter().zip(&states).filter(move |(_, state)| lacks(state) == wanted);
        pairs.map(|(hash, _)| *hash).collect::<Vec<_>>()
    };
    change(core, split(false).into_iter(), |nodes| {
        nodes.remove(&node);
    })
    .await;
    let lacking = split(true);
    if !lacking.is_empty() {
        holding::tell(peer, &lacking).await;
    }
    Ok(())
}
