//! Dropping what the store keeps about a member once the log has removed it.
//!
//! All of it may be dropped at any time and in any order, so nothing says how far that has come:
//! each start looks again. The counters of handshakes stay; they cost 40 bytes, and keep old
//! messages out.

use std::collections::BTreeSet;
use std::sync::Arc;

use stash_crypto::NodeId;
use stash_store::{Batch, Store};

use crate::ledger::{LedgerError, rows};
use crate::membership::Membership;
use crate::transfer::lacking;

/// Rows about one member each, by its node id.
const ABOUT: [&[u8]; 6] =
    [rows::ADDRESS, rows::CURSOR, rows::MET, rows::SEEN, rows::SUSPECT, rows::WAY];

/// Rows that one commit is about.
const PAGE: usize = 1_024;

/// Drops what is kept about nodes that were removed, beside everything else.
pub(crate) fn clear_away(membership: &Arc<Membership>) {
    let gone: BTreeSet<NodeId> = membership
        .core
        .roster
        .log(|log| log.removals().map(|gone| gone.member.identity.node).collect());
    if gone.is_empty() {
        return;
    }
    let membership = Arc::clone(membership);
    membership.core.tasks.clone().spawn(async move {
        if let Err(error) = clear(&membership, gone).await {
            tracing::warn!(%error, "what is kept about removed members is left until the next start");
        }
    });
}

async fn clear(membership: &Arc<Membership>, gone: BTreeSet<NodeId>) -> Result<(), LedgerError> {
    for node in &gone {
        membership.transfer.suspects.forget(node);
        membership.last_met.forget(node);
        membership.ways.forget(node);
        membership.seen.forget(node);
        membership.discovery.forget(node);
    }
    let nodes: Vec<NodeId> = gone.iter().copied().collect();
    for some in nodes.chunks(PAGE / ABOUT.len()) {
        let some = some.to_vec();
        membership.core.disk.run(move |store| drop_rows(store, &some)).await?;
    }
    lacking::part(&membership.transfer, gone).await?;
    Ok(())
}

fn drop_rows(store: &Store, nodes: &[NodeId]) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    for row in nodes.iter().flat_map(|node| ABOUT.map(|about| [about, node.as_bytes()].concat())) {
        if store.row(&row)?.is_some() {
            batch = batch.row(&row, None);
        }
    }
    commit(store, batch)
}

fn commit(store: &Store, batch: Batch) -> Result<(), LedgerError> {
    if !batch.is_empty() {
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}
