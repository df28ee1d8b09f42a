//! Records that members lack: noted when a put ends, struck out when the members have them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stash_crypto::{NodeId, Record, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::message::HOLDING_PAGE;
use crate::transfer::Transfer;
use crate::transfer::shipment::Shipment;
use crate::transfer::under_replicated::nodes;

/// Questions that a member is asked at once, while most of what it is asked about is there: what it
/// has then goes in one commit.
pub(crate) const QUESTIONS: usize = 8;

/// Waits until no target of a shipment can still report, then writes down what is missing, or
/// strikes out what no longer is.
pub(crate) async fn watch(transfer: Arc<Transfer>, shipment: Arc<Shipment>, lanes: Vec<NodeId>) {
    let tally = shipment.until(|tally| tally.closed()).await;
    for node in &lanes {
        transfer.in_flight.remove(node, shipment.records());
    }
    let lacking: BTreeSet<NodeId> = tally.without().into_iter().map(|(node, _)| node).collect();
    let hashes = shipment.records().iter().map(Record::hash);
    // Mostly nobody lacks anything, and nothing has to be struck out.
    if !lacking.is_empty() || transfer.under_replicated.some.load(Ordering::Relaxed) {
        let (lacking, shared) = (lacking.clone(), Arc::clone(&transfer));
        let update = move |nodes: &mut BTreeSet<NodeId>| {
            // Whoever was removed since the put began, or has lapsed, lacks nothing.
            let counted: BTreeSet<NodeId> = shared.core.counted().collect();
            *nodes = lacking.intersection(&counted).copied().collect();
        };
        if let Err(error) = change(&transfer, hashes.collect(), update).await {
            tracing::warn!(%error, "missing copies could not be written down");
        }
    }
    // One that is connected all the same has passed over them in this node's order.
    for follower in lacking.iter().filter_map(|node| transfer.core.peers.follower(node)) {
        follower.news();
    }
}

/// Changes who lacks some records.
async fn change(
    transfer: &Arc<Transfer>,
    hashes: Vec<RecordHash>,
    update: impl Fn(&mut BTreeSet<NodeId>) + Send + 'static,
) -> Result<(), LedgerError> {
    let shared = Arc::clone(transfer);
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
    transfer.core.disk.run(write).await
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

    /// The records among the next `limit` that somebody lacks, which may be none; `None` after the
    /// last.
    pub(crate) async fn next(
        &mut self,
        transfer: &Transfer,
        limit: usize,
    ) -> Result<Option<Vec<RecordHash>>, ReadError> {
        if !transfer.under_replicated.some.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let after = self.after.clone();
        let rows = transfer
            .core
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
pub(crate) async fn part(
    transfer: &Arc<Transfer>,
    nodes: BTreeSet<NodeId>,
) -> Result<(), LedgerError> {
    let mut lacked = Lacked::by(nodes);
    while let Some(page) = lacked.next(transfer, QUESTIONS * HOLDING_PAGE).await? {
        strike(transfer, &lacked.nodes, page).await?;
    }
    Ok(())
}

pub(crate) async fn strike(
    transfer: &Arc<Transfer>,
    who: &BTreeSet<NodeId>,
    hashes: Vec<RecordHash>,
) -> Result<(), LedgerError> {
    if hashes.is_empty() {
        return Ok(());
    }
    let who = who.clone();
    change(transfer, hashes, move |nodes| nodes.retain(|node| !who.contains(node))).await
}
