//! Nodes that hold the root secret: the one that founded the stash, and one more for each recovery.
//! Two of them that run can sign two different continuations of the member log; a node that sees
//! both raises an alarm.

use std::collections::BTreeSet;
use std::sync::Arc;

use stash_crypto::{MemberChange, MemberLog, NodeId, Role, TicketId};
use stash_store::{Batch, Store};

use crate::ledger::{self, LedgerError, rows};
use crate::membership::Membership;

/// Alarms about a founder that runs beside a later one, by its node id.
const TWICE: &[u8] = b"founders/";

/// The alarm of a node that reads in the log that it is no member any more.
const REMOVED: &[u8] = b"removed";

/// The members that hold the root secret, in the order in which they came to it: owners that were
/// admitted without a ticket.
pub(crate) fn holders(log: &MemberLog) -> Vec<NodeId> {
    let mut holders = admitted_by_root(log);
    holders.retain(|node| log.member(node).is_some());
    holders
}

/// All nodes that ever were admitted as owners without a ticket.
fn admitted_by_root(log: &MemberLog) -> Vec<NodeId> {
    let by_root = log.entries().iter().filter_map(|entry| match entry.change() {
        MemberChange::Admit { identity, ticket, role: Role::Owner, .. }
            if *ticket == TicketId::from_bytes([0; 16]) =>
        {
            Some(identity.node)
        }
        _ => None,
    });
    by_root.collect()
}

/// True if more than one node was ever given the root secret.
pub(crate) fn may_concern(membership: &Membership) -> bool {
    membership.core.roster.log(|log| admitted_by_root(log).len() > 1)
}

/// Raises the alarm about every founder that runs although another one came after it, and takes
/// back what a removal has settled.
pub(crate) async fn look(membership: &Arc<Membership>) {
    let (ever, holders, removed_at) = membership.core.roster.log(|log| {
        let removed_at = log.removal(&membership.core.me).map(|removal| removal.removed_at);
        (admitted_by_root(log).len(), holders(log), removed_at)
    });
    if ever < 2 && removed_at.is_none() {
        return;
    }
    let runs = |node: &NodeId| {
        *node == membership.core.me && !membership.core.visits
            || membership.core.peer(node).is_some()
    };
    let (last, before) = match holders.split_last() {
        Some((last, before)) => (Some(*last), before.to_vec()),
        None => (None, Vec::new()),
    };
    let running: BTreeSet<NodeId> = before.iter().copied().filter(runs).collect();
    let work = move |store: &Store| {
        let mut batch = Batch::new();
        for (row, _) in store.rows(&[rows::ALARM, TWICE].concat())? {
            let about = row.last_chunk::<32>().map(|node| NodeId::from_bytes(*node));
            if about.is_none_or(|node| !before.contains(&node)) {
                batch = batch.row(&row, None);
            }
        }
        for node in running {
            let key = [TWICE, node.as_bytes()].concat();
            if store.row(&[rows::ALARM, &key].concat())?.is_none() {
                batch = ledger::alarm(batch, &key, &twice(&node, last));
            }
        }
        if let Some(index) = removed_at
            && store.row(&[rows::ALARM, REMOVED].concat())?.is_none()
        {
            let text = format!(
                "this node is no member any more since entry {index} of the member log: no member \
                 answers it, and what is put here stays here"
            );
            batch = ledger::alarm(batch, REMOVED, &text);
        }
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
        Ok::<_, LedgerError>(())
    };
    if let Err(error) = membership.core.disk.run(work).await {
        tracing::error!(%error, "that two nodes hold the root secret is not shown");
    }
}

fn twice(node: &NodeId, last: Option<NodeId>) -> String {
    let last = last.map(|last| last.short()).unwrap_or_default();
    format!(
        "node {} runs, and {last} took its place by the recovery text: both hold the root secret, and the \
         member log parts if both change members. Stop one for good and remove it: stash peer remove NAME",
        node.short(),
    )
}
