//! Times at which members were last connected, and members that say that their chunk files are
//! away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use stash_crypto::NodeId;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::rows;
use crate::lock::lock;
use crate::message::Refusal;
use crate::rpc::AskError;

/// Times are uptimes of this node's store, in seconds.
#[derive(Debug, Default)]
pub(crate) struct LastMet {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    met: BTreeMap<NodeId, u64>,
    /// Members of whom that is not written down yet.
    unwritten: BTreeSet<NodeId>,
    /// Members whose chunk files are away, as they said when they were asked last: they are as good
    /// as not connected.
    away: BTreeSet<NodeId>,
}

impl LastMet {
    /// The times that the store remembers.
    pub(crate) fn load(store: &Store) -> Result<LastMet, ReadError> {
        let met = |(key, value): (Vec<u8>, Vec<u8>)| {
            let node = NodeId::from_bytes(key.strip_prefix(rows::MET)?.try_into().ok()?);
            Some((node, u64::from_le_bytes(value.try_into().ok()?)))
        };
        let met = store.rows(rows::MET)?.into_iter().filter_map(met).collect();
        Ok(LastMet { notes: Mutex::new(Notes { met, ..Notes::default() }) })
    }

    /// A member has just come, is there, or has just gone.
    pub(crate) fn met(&self, node: NodeId, uptime: u64) {
        let mut notes = lock(&self.notes);
        if notes.away.contains(&node) {
            return;
        }
        if notes.met.insert(node, uptime) != Some(uptime) {
            notes.unwritten.insert(node);
        }
    }

    /// A member has answered what it has, or that its chunk files are away. Another error says
    /// nothing.
    pub(crate) fn heard<T>(&self, node: NodeId, answer: &Result<T, AskError>) {
        let away = &mut lock(&self.notes).away;
        match answer {
            Ok(_) => drop(away.remove(&node)),
            Err(AskError::Refused { code: Refusal::Unavailable, .. }) => drop(away.insert(node)),
            Err(_) => {}
        }
    }

    /// The time at which a member was last connected.
    pub(crate) fn of(&self, node: &NodeId) -> Option<u64> {
        lock(&self.notes).met.get(node).copied()
    }

    pub(crate) fn is_away(&self, node: &NodeId) -> bool {
        lock(&self.notes).away.contains(node)
    }

    /// A member was removed.
    pub(crate) fn forget(&self, node: &NodeId) {
        let mut notes = lock(&self.notes);
        notes.met.remove(node);
        notes.unwritten.remove(node);
        notes.away.remove(node);
    }

    /// The rows of what is not written down yet; `None` if there are none.
    pub(crate) fn unwritten(&self) -> Option<Batch> {
        let mut notes = lock(&self.notes);
        let unwritten = std::mem::take(&mut notes.unwritten);
        let met = unwritten.into_iter().filter_map(|node| Some((node, *notes.met.get(&node)?)));
        let batch = met.fold(Batch::new(), |batch, (node, uptime)| {
            batch.row(&[rows::MET, node.as_bytes()].concat(), Some(&uptime.to_le_bytes()))
        });
        (!batch.is_empty()).then_some(batch)
    }
}
