//! Writing the index down, beside the commits.

mod room;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::ballast::Ballast;
use crate::budget::{Budget, Claim};
use crate::ground::Ground;
use crate::health::Health;
use crate::index::TreeError;
use crate::queue::Queue;
use crate::stage::Stage;
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::work::Work;
use crate::writer::Writer;
use crate::{Address, IoError};

/// Memory that changes of the index may take while they cannot be written, in multiples of
/// [`crate::Options::memory_bytes`]: then callers wait, or are refused if the disk is full, or fails.
const BACKLOG: u64 = 4;
/// Runs of the index up to which more are written beside a merge; twenty are usual. Every look-up asks the
/// filters of all.
const RUNS: u64 = 64;
/// Files removed before those who wait to stage one of them are told.
const REMOVED: usize = 16;

/// Writes the index down, removes files that nothing needs any more, and keeps the ballast.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) work: Arc<Work>,
    /// Held by the one thread that writes files of the index.
    writing: Mutex<()>,
    /// Held by the one thread that removes files of collected blobs. Taken after `writing`.
    removing: Mutex<()>,
    /// Segments that a collection is writing again: each for one collection at a time.
    compacting: Mutex<BTreeSet<u64>>,
    ballast: Ballast,
    budget: Arc<Budget>,
    /// Of the committer, which mends the index.
    pub(crate) queue: Arc<Queue>,
    health: Arc<Health>,
    stage: Arc<Stage>,
    ground: Arc<Ground>,
}

impl Upkeep {
    pub(crate) fn new(
        ground: &Arc<Ground>,
        stage: &Arc<Stage>,
        health: &Arc<Health>,
        budget: &Arc<Budget>,
        work: Arc<Work>,
    ) -> Upkeep {
        Upkeep {
            work,
            writing: Mutex::default(),
            removing: Mutex::default(),
            compacting: Mutex::default(),
            ballast: Ballast::find(&ground.files, ground.options.ballast_bytes),
            budget: Arc::clone(budget),
            queue: Arc::default(),
            health: Arc::clone(health),
            stage: Arc::clone(stage),
            ground: Arc::clone(ground),
        }
    }

    /// Keeps everybody from writing files of the index.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.writing)
    }

    /// Takes the right to write a segment again. False if somebody has it.
    pub(crate) fn begin_compacting(&self, segment: u64) -> bool {
        lock(&self.compacting).insert(segment)
    }

    pub(crate) fn end_compacting(&self, segment: u64) {
        lock(&self.compacting).remove(&segment);
    }

    /// The indexer's thread: writes what was set aside, and merges.
    pub(crate) fn indexer(&self) {
        let run = || {
            while self.work.take_nudge() {
                self.remove_doomed();
                self.write_index();
            }
        };
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.health.poison("the indexer panicked".to_owned());
        }
    }

    /// Sets changes of the index aside to be written, once there are enough of them.
    pub(crate) fn checkpoint_if_due(&self, writer: &mut Writer) {
        let index = self.ground.index();
        let memory = self.ground.options.memory_bytes;
        if writer.behind < self.ground.options.checkpoint_bytes && index.waiting_bytes() < memory {
            return;
        }
        self.set_aside(writer);
        if self.ground.is_inline() {
            self.write_index();
            return;
        }
        self.work.nudge();
        if index.waiting_bytes() < BACKLOG * memory {
            return;
        }
        let mut state = self.work.lock();
        while index.is_frozen() && state.failed.is_none() && !self.health.is_read_only() {
            state = self.work.wait(state);
        }
    }

    /// Sets changes aside; false, and nothing is done, while older ones are still waiting.
    pub(crate) fn set_aside(&self, writer: &mut Writer) -> bool {
        // Changes and what goes with them in one step, or else whoever writes them down takes one
        // without the other.
        let mut state = self.work.lock();
        let frozen = self.ground.index().freeze(&writer.head);
        if frozen {
            writer.behind = 0;
            state.emptied.append(&mut writer.emptied);
            state.retired.append(&mut writer.retired);
        }
        frozen
    }

    /// True if no more changes of the index may be kept in memory.
    fn is_behind(&self) -> bool {
        self.ground.index().waiting_bytes() >= BACKLOG * self.ground.options.memory_bytes
    }

    /// Why no more changes of the index can be kept in memory, if so. Tries to write them again,
    /// since there may be room meanwhile, or the disk works; with threads, who asks next has the benefit.
    pub(crate) fn index_full(&self) -> Option<IoError> {
        let failed = self.work.failed()?;
        if !self.is_behind() {
            return None;
        }
        if self.ground.is_inline() {
            self.write_index();
            return self.work.failed();
        }
        self.work.nudge();
        Some(failed)
    }

    /// Writes what was set aside, and merges as far as that is due. What cannot be written now
    /// stays in memory.
    pub(crate) fn write_index(&self) {
        let _one = lock(&self.writing);
        if !self.health.is_read_only() {
            let written = self.write_frozen().and_then(|()| {
                let index = self.ground.index();
                while self.may_merge() && index.merge(&|| self.write_meanwhile())? {}
                Ok(())
            });
            match written {
                Ok(()) => self.keep_ballast(),
                Err(TreeError::Full(error) | TreeError::Io(error)) => {
                    tracing::warn!(%error, "the index could not be written");
                }
                Err(TreeError::Sync(error)) => self.health.poison(error.to_string()),
                Err(TreeError::Damaged(what)) => {
                    self.work.damaged(self.ground.index(), what);
                    self.queue.nudge();
                }
            }
            self.budget.set_index(self.ground.index().stats().disk_bytes);
        }
        self.work.notify();
    }

    /// True if there is room for the next merge above the reserve: one that fills the disk takes the room of
    /// the log, and ends with nothing. Without, there are more runs, until there is room.
    fn may_merge(&self) -> bool {
        let Some(bytes) = self.ground.index().merge_bytes() else {
            return true;
        };
        let room = self.budget.leaves_reserve(Claim::of_log(bytes));
        let waited =
            std::mem::replace(&mut self.work.lock().waits_to_merge, (!room).then_some(bytes));
        if !room && waited.is_none() {
            tracing::warn!(bytes, "a merge of the index waits for room above the reserve");
        }
        room
    }

    /// Bytes for which a merge of the index waits.
    pub(crate) fn waits_to_merge(&self) -> Option<u64> {
        self.work.lock().waits_to_merge
    }

    /// Writes what was set aside while runs are merged: callers would wait for the whole merge, once
    /// memory is full.
    fn write_meanwhile(&self) -> Result<(), TreeError> {
        let index = self.ground.index();
        if !index.is_frozen() || index.stats().runs >= RUNS {
            return Ok(());
        }
        let written = self.write_frozen();
        self.work.notify();
        written
    }

    fn write_frozen(&self) -> Result<(), TreeError> {
        if !self.ground.index().is_frozen() {
            return Ok(());
        }
        // Once the index on disk says that they are gone, nobody looks for their files any more.
        self.remove_doomed();
        let (mut emptied, mut retired) = {
            let mut state = self.work.lock();
            (std::mem::take(&mut state.emptied), std::mem::take(&mut state.retired))
        };
        let synced =
            self.ground.files.sync_emptied(&emptied).map_err(|error| match error.is_full() {
                // They are still to be synced: what they had is named by nobody.
                true => TreeError::Full(error),
                false => TreeError::Sync(error),
            });
        let mut written = synced.and_then(|()| self.ground.index().checkpoint());
        // The ballast is for the log, unless memory takes no more changes, or room comes of it.
        let is_worth_it = self.is_behind() || !retired.is_empty();
        if matches!(written, Err(TreeError::Full(_))) && is_worth_it && self.spend_ballast() {
            written = self.ground.index().checkpoint();
        }
        let mut state = self.work.lock();
        if let Err(error) = written {
            // Still frozen: it is for the next attempt.
            state.emptied.append(&mut emptied);
            state.retired.append(&mut retired);
            if let TreeError::Full(error) | TreeError::Io(error) = &error {
                state.failed = Some(error.again());
            }
            return Err(error);
        }
        state.failed = None;
        drop(state);
        self.remove_retired(&retired)
    }

    /// The log says durably, and the index visibly, that these are gone: their files go next. Not
    /// in the group, which is written in less time than the files of one step of a collection take.
    pub(crate) fn doom(&self, mut addresses: Vec<Address>) {
        if addresses.is_empty() {
            return;
        }
        self.work.lock().doomed.append(&mut addresses);
        if self.ground.is_inline() {
            // Whoever is told next may want to stage one of them, on this thread.
            self.remove_doomed();
        } else {
            self.work.nudge();
        }
    }

    /// Removes the files of blobs that were collected. False if there were none.
    pub(crate) fn remove_doomed(&self) -> bool {
        let _one = lock(&self.removing);
        let mut any = false;
        loop {
            let doomed: Vec<Address> = {
                let mut state = self.work.lock();
                let n = state.doomed.len().min(REMOVED);
                state.doomed.drain(..n).collect()
            };
            if doomed.is_empty() {
                return any;
            }
            let dirs: Vec<PathBuf> =
                doomed.iter().filter_map(|a| self.ground.files.remove_chunk(a)).collect();
            self.work.lock().emptied.extend(dirs);
            self.stage.evicted(&doomed);
            any = true;
        }
    }

    /// Removes segments that neither the log nor the index on disk needs.
    fn remove_retired(&self, retired: &[u64]) -> Result<(), TreeError> {
        if retired.is_empty() {
            return Ok(());
        }
        let paths = retired.iter().map(|id| self.ground.files.segment(*id));
        // Before they are removed: some file systems give a file that is open another name instead.
        retired.iter().for_each(|id| self.ground.segments.forget(*id));
        // What is not removed now, the next open removes.
        self.ground.files.remove_durably(paths).map_err(TreeError::Io)?;
        // And now that nobody can open them any more: an open file keeps its room.
        retired.iter().for_each(|id| self.ground.segments.forget(*id));
        self.work.lock().gone.extend(retired);
        Ok(())
    }

    /// Writes the index, if segments wait for that to be removed. True if any were.
    pub(crate) fn remove_waiting(&self, writer: &mut Writer) -> bool {
        // Whoever writes it now may be removing them.
        drop(lock(&self.writing));
        if writer.retired.is_empty() && self.work.lock().retired.is_empty() {
            return !self.work.lock().gone.is_empty();
        }
        self.checkpoint(writer);
        !self.work.lock().gone.is_empty()
    }

    /// Makes everything in the index durable: at the end.
    pub(crate) fn checkpoint(&self, writer: &mut Writer) {
        // What was set aside before goes first.
        self.write_index();
        if self.set_aside(writer) {
            self.write_index();
        }
    }
}
