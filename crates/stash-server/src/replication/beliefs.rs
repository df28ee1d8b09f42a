//! How far this node follows what is whole at members: the state of `believing.rs`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stash_crypto::NodeId;
use stash_store::Store;
use tokio::sync::watch;

use crate::ledger::cursor::Stretches;
use crate::ledger::{LedgerError, progress, rows};
use crate::lock::lock;

/// A position among the changes of what is whole at a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) run: u64,
    pub(crate) after: u64,
}

/// How far this node follows what is whole at members.
#[derive(Debug, Default)]
pub(crate) struct Beliefs {
    table: Mutex<BTreeMap<NodeId, Belief>>,
}

#[derive(Debug, Default)]
struct Belief {
    /// `None` while it is to be compared first.
    position: Option<Position>,
    /// Tells those who wait for a comparison.
    compared: watch::Sender<Times>,
    /// True since it was known last what the member has, until something may be otherwise.
    is_current: bool,
}

/// How often what is believed of a member was compared with what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// With whatever outcome, or none.
    pub(crate) tried: u64,
    /// So that it was known what the member has.
    pub(crate) agreed: u64,
}

impl Beliefs {
    pub(crate) fn position(&self, node: &NodeId) -> Option<Position> {
        lock(&self.table).get(node)?.position
    }

    pub(crate) fn set(&self, node: NodeId, position: Option<Position>) {
        lock(&self.table).entry(node).or_default().position = position;
    }

    pub(crate) fn agree(&self, node: NodeId) {
        let mut table = lock(&self.table);
        let belief = table.entry(node).or_default();
        belief.is_current = true;
        belief.compared.send_modify(|times| times.agreed += 1);
    }

    /// It is not known, or not for sure, what a member has.
    pub(crate) fn doubt(&self, node: NodeId) {
        lock(&self.table).entry(node).or_default().is_current = false;
    }

    pub(crate) fn is_current(&self, node: &NodeId) -> bool {
        lock(&self.table).get(node).is_some_and(|belief| belief.is_current)
    }

    /// What is believed of a member was compared, or could not be.
    pub(crate) fn tried(&self, node: NodeId) {
        let mut table = lock(&self.table);
        table.entry(node).or_default().compared.send_modify(|times| times.tried += 1);
    }

    pub(crate) fn times(&self, node: NodeId) -> watch::Receiver<Times> {
        lock(&self.table).entry(node).or_default().compared.subscribe()
    }

    /// Forgets nodes that are no members.
    pub(crate) fn retain(&self, is_member: impl Fn(&NodeId) -> bool) {
        lock(&self.table).retain(|node, _| is_member(node));
    }
}

/// The sequence number up to which it is known of each record whether a member has it; `None` if of none. Blocking.
pub(crate) fn known_to(
    store: &Store,
    stretches: &Stretches,
    node: &NodeId,
) -> Result<Option<u64>, LedgerError> {
    let row = store.row(&rows::believed(node))?;
    let cursor = row.as_deref().and_then(progress::decode);
    let last = store.last_sequence();
    Ok(cursor.filter(|cursor| stretches.knows(cursor, last)).map(|cursor| cursor.after))
}
