//! What passes over all copies share, and how the repair stands.

use std::collections::BTreeSet;
use std::sync::Mutex;

use stash_crypto::NodeId;
use stash_store::{ReadError, Store};
use tokio::sync::Notify;

use crate::ledger::rows;
use crate::lock::lock;
use crate::upkeep::counts::Copies;

/// How the repair stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// When the last pass that has ended did so, in seconds since 1970.
    pub ended_at: Option<u64>,
    /// What that pass found, if this process made it.
    pub last: Option<Copies>,
    /// Whether a pass is under way.
    pub running: bool,
}

/// What passes of one engine share.
#[derive(Debug)]
pub(crate) struct Repairs {
    pub(crate) alone: tokio::sync::Mutex<()>,
    pub(crate) wake: Notify,
    pub(crate) notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) after: u64,
    pub(crate) last: Option<Copies>,
    /// The members that did not count in the last pass.
    pub(crate) lost: BTreeSet<NodeId>,
    /// The uptime at which the first of what waits for its grace is to be brought back.
    pub(crate) due: Option<u64>,
    /// Damaged chunks that the last pass of this process has taken into account.
    pub(crate) quarantined: u64,
}

impl Notes {
    /// Whether there are damaged chunks that no pass has taken into account.
    pub(crate) fn is_new_damage(&mut self, quarantined: u64) -> bool {
        let new = quarantined > self.quarantined;
        // What is healed since leaves room for new damage to be noticed.
        self.quarantined = self.quarantined.min(quarantined);
        new
    }
}

impl Repairs {
    pub(crate) fn load(store: &Store) -> Result<Repairs, ReadError> {
        let row = store.row(rows::REPAIR)?.unwrap_or_default();
        let number = |at: usize| {
            row.get(at * 8..at * 8 + 8)
                .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        let due = store.rows(rows::DUE)?.iter().filter_map(|(_, value)| rows::due_at(value)).min();
        let (began, ended, after) = (number(0), number(1), number(2));
        let notes = Notes { began, ended, after, due, ..Notes::default() };
        Ok(Repairs {
            alone: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            notes: Mutex::new(notes),
        })
    }

    /// There may be fewer copies than it seemed.
    pub(crate) fn look_again(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn status(&self) -> RepairStatus {
        let notes = lock(&self.notes);
        RepairStatus {
            ended_at: (notes.ended > 0).then_some(notes.ended),
            last: notes.last.clone(),
            running: self.alone.try_lock().is_err(),
        }
    }
}
