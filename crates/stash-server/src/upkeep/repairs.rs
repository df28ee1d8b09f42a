//! The state that passes over all copies share, and the status of the repair.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use stash_crypto::NodeId;
use stash_store::{ReadError, Store};
use tokio::sync::{MutexGuard, Notify};

use crate::ledger::rows;
use crate::lock::lock;
use crate::upkeep::counts::Copies;

/// Status of the repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// Time at which the last pass that has ended did so, in seconds since 1970.
    pub ended_at: Option<u64>,
    /// Copies that this pass found, if this process made it.
    pub last: Option<Copies>,
    /// True if a pass is under way.
    pub running: bool,
}

/// The state that the passes of one engine share.
#[derive(Debug)]
pub(crate) struct Repairs {
    pub(crate) alone: tokio::sync::Mutex<()>,
    pub(crate) wake: Notify,
    /// People who wait to repair: the pass under way gives way.
    waiting: AtomicU32,
    /// Somebody waits.
    pub(crate) asked: Notify,
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

/// Facts that decide if copies are to be counted, beside the notes of the last pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// Seconds since 1970.
    pub(crate) seconds: u64,
    /// Seconds for which the node has run.
    pub(crate) uptime: u64,
    /// Damaged chunks.
    pub(crate) quarantined: u64,
    /// The members whose copies do not count.
    pub(crate) lost: &'a BTreeSet<NodeId>,
    /// From the begin of one pass to the begin of the next, in seconds.
    pub(crate) interval: u64,
}

impl Notes {
    /// Seconds until a pass is due, if nothing happens before: an interval after the last one
    /// began, or when the first of what waits for its grace is to be brought back.
    pub(crate) fn due_in(&self, seconds: u64, uptime: u64, interval: u64) -> u64 {
        // A clock that was turned back is no reason to wait for years.
        if self.ended == 0 || self.began > seconds {
            return 0;
        }
        let pass = self.began.saturating_add(interval).saturating_sub(seconds);
        self.due.map_or(pass, |due| pass.min(due.saturating_sub(uptime)))
    }

    /// True if a pass is due. New damage makes one due: the process that met it may have been
    /// killed before it was healed, or may have had no way to say so.
    pub(crate) fn is_due(&mut self, moment: Moment<'_>) -> bool {
        let Moment { seconds, uptime, quarantined, lost, interval } = moment;
        let is_new_damage = self.is_new_damage(quarantined);
        is_new_damage || *lost != self.lost || self.due_in(seconds, uptime, interval) == 0
    }

    /// True if there are damaged chunks that no pass has taken into account.
    fn is_new_damage(&mut self, quarantined: u64) -> bool {
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
            waiting: AtomicU32::new(0),
            asked: Notify::new(),
            notes: Mutex::new(notes),
        })
    }

    /// Has the pass that the node makes by itself end, and waits for it.
    pub(crate) async fn alone_soon(&self) -> MutexGuard<'_, ()> {
        let _waits = Waits::new(self);
        self.alone.lock().await
    }

    /// True if somebody waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
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

/// Counts somebody who waits.
struct Waits<'a>(&'a Repairs);

impl Waits<'_> {
    fn new(repairs: &Repairs) -> Waits<'_> {
        repairs.waiting.fetch_add(1, Ordering::Relaxed);
        repairs.asked.notify_waiters();
        Waits(repairs)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use stash_store::{Committer, MemDisk, Options};

    #[test]
    fn damage_that_no_pass_has_seen_makes_one_due() {
        let mut notes = Notes::default();
        assert!(!notes.is_new_damage(0));
        assert!(notes.is_new_damage(2), "an earlier process left it");
        notes.quarantined = 2;
        assert!(!notes.is_new_damage(2), "nobody has it whole: there is no use in looking again");
        assert!(!notes.is_new_damage(1));
        assert!(notes.is_new_damage(2), "one was healed, and another one came");
    }

    #[test]
    fn a_pass_is_due_an_interval_after_the_last_or_when_a_grace_ends_or_a_member_is_lost() {
        let nobody = BTreeSet::new();
        let somebody = BTreeSet::from([NodeId::from_bytes([1; 32])]);
        let at =
            |seconds, uptime, lost| Moment { seconds, uptime, quarantined: 0, lost, interval: 100 };
        let mut notes = Notes::default();
        assert!(notes.is_due(at(5, 0, &nobody)), "none has ended");
        (notes.began, notes.ended) = (1_000, 1_010);
        assert!(!notes.is_due(at(1_099, 0, &nobody)));
        assert_eq!(notes.due_in(1_099, 0, 100), 1);
        assert!(notes.is_due(at(1_100, 0, &nobody)));
        assert!(notes.is_due(at(999, 0, &nobody)), "the clock was turned back");
        assert!(notes.is_due(at(1_001, 0, &somebody)));
        notes.lost = somebody.clone();
        assert!(!notes.is_due(at(1_001, 0, &somebody)));
        assert!(notes.is_due(at(1_001, 0, &nobody)), "it is back");
        notes.due = Some(50);
        assert!(!notes.is_due(at(1_001, 49, &somebody)));
        assert_eq!(notes.due_in(1_001, 49, 100), 1);
        assert!(notes.is_due(at(1_001, 50, &somebody)));
    }

    #[tokio::test]
    async fn whoever_asks_ends_the_pass_that_the_node_makes_by_itself() {
        let disk = Arc::new(MemDisk::new(1));
        let options = Options { committer: Committer::Inline, disk, ..Options::default() };
        let store = Store::create(std::path::Path::new("/store"), &options).unwrap();
        let repairs = Repairs::load(&store).unwrap();
        let (alone, asked) = (repairs.alone.lock().await, repairs.asked.notified());
        assert!(!repairs.is_waited_for());
        let quiet = async {
            // As in its rest between two pages.
            asked.await;
            assert!(repairs.is_waited_for());
            drop(alone);
        };
        let (theirs, ()) = tokio::join!(repairs.alone_soon(), quiet);
        assert!(!repairs.is_waited_for());
        drop(theirs);
    }
}
