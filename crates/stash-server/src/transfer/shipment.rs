//! A batch of records on its way to all targets, shared by the lanes and by those who wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_crypto::{NodeId, Record};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lock::lock;
use crate::transfer::tally::{Own, STALL, Tally, Wait};

/// Time at which an upload last moved: a put gives up only when nothing has for [`STALL`].
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Instant>);

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress(Mutex::new(Instant::now()))
    }

    pub(crate) fn made(&self) {
        *lock(&self.0) = Instant::now();
    }

    pub(crate) fn idle(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}

/// A batch of records and the count of its copies.
#[derive(Debug)]
pub(crate) struct Shipment {
    records: Vec<Record>,
    state: Mutex<State>,
    changed: Notify,
    progress: Arc<Progress>,
}

#[derive(Debug)]
struct State {
    tally: Tally,
    /// Records stored so far, by target.
    parts: BTreeMap<NodeId, usize>,
}

impl Shipment {
    /// A shipment that this node has stored and all other targets have not.
    pub(crate) fn new(
        records: Vec<Record>,
        wait: Wait,
        own: Own,
        targets: impl IntoIterator<Item = NodeId>,
        progress: Arc<Progress>,
    ) -> Shipment {
        let tally = Tally::begun(wait, own, targets);
        let state = Mutex::new(State { tally, parts: BTreeMap::new() });
        Shipment { records, state, changed: Notify::new(), progress }
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// A target has stored `count` more of the records; with the last of them it counts as a copy.
    pub(crate) fn stored(&self, node: &NodeId, count: usize) {
        let mut state = lock(&self.state);
        let part = state.parts.entry(*node).or_default();
        *part += count;
        if *part >= self.records.len() {
            state.tally.stored(node);
        }
        drop(state);
        self.progress.made();
        self.changed.notify_waiters();
    }

    pub(crate) fn missing(&self, node: &NodeId, reason: &str) {
        lock(&self.state).tally.missing(node, reason);
        self.changed.notify_waiters();
    }

    /// A copy of the count as it stands.
    pub(crate) fn tally(&self) -> Tally {
        lock(&self.state).tally.clone()
    }

    /// Waits until `done` holds of the count or nothing has moved for [`STALL`].
    pub(crate) async fn until(&self, done: impl Fn(&Tally) -> bool) -> Tally {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            let tally = self.tally();
            let idle = self.progress.idle();
            if done(&tally) || tally.answers(idle) && idle >= STALL {
                return tally;
            }
            let _ = tokio::time::timeout(STALL.saturating_sub(idle), changed).await;
        }
    }
}
