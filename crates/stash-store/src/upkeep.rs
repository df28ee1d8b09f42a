//! Writing the index down, beside the commits.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::budget::Claim;
use crate::commit::{Core, lock};
use crate::index::TreeError;
use crate::shared::Shared;
use crate::sync::{Condvar, Mutex, PoisonError};
use crate::{Address, IoError};

/// Memory that changes of the index may take while they cannot be written, in multiples of
/// [`crate::Options::memory_bytes`]: then callers wait, or are refused if the disk is full.
const BACKLOG: u64 = 4;
/// Runs of the index up to which more are written beside a merge; twenty are usual. Every look-up asks the
/// filters of all.
const RUNS: u64 = 64;
/// Files removed before those who wait to stage one of them are told.
const REMOVED: usize = 16;

#[derive(Debug, Default)]
struct State {
    nudged: bool,
    closing: bool,
    /// Directories whose names must be durable before what is frozen is.
    emptied: BTreeSet<PathBuf>,
    /// Segments that what is frozen needs no longer.
    retired: Vec<u64>,
    /// Collected blobs whose files are still there: of each collection that runs, those of a step.
    doomed: Vec<Address>,
    /// Retired segments whose files are gone for good.
    gone: Vec<u64>,
    /// The last attempt found no room.
    full: Option<IoError>,
    /// Bytes for which a merge of the index waits.
    waits_to_merge: Option<u64>,
    /// Damage in the index, for the committer to mend.
    damaged: Option<String>,
}

/// What waits to be written down, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    state: Mutex<State>,
    changed: Condvar,
    /// One at a time writes files of the index.
    pub(crate) writing: Mutex<()>,
    /// One at a time removes files of collected blobs. Taken after `writing`.
    removing: Mutex<()>,
}

impl Upkeep {
    /// Lets the indexer look whether there is something to do.
    pub(crate) fn nudge(&self) {
        lock(&self.state).nudged = true;
        self.changed.notify_all();
    }

    /// Wakes everybody who waits, to look again. Under the lock, or else somebody who is about to
    /// wait would miss it.
    pub(crate) fn notify(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closing = true;
        self.changed.notify_all();
    }

    /// Waits for something to do; false once there will be nothing more.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.nudged && !state.closing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.nudged)
    }

    /// The last attempt to write the index found no room.
    pub(crate) fn full(&self) -> Option<IoError> {
        lock(&self.state).full.as_ref().map(IoError::again)
    }

    pub(crate) fn damaged(&self, what: String) {
        lock(&self.state).damaged.get_or_insert(what);
    }

    pub(crate) fn take_damaged(&self) -> Option<String> {
        lock(&self.state).damaged.take()
    }

    /// Retired segments whose files are gone since this was last asked.
    pub(crate) fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.state).gone)
    }
}

impl Shared {
    /// The indexer's thread: writes what was set aside, and merges.
    pub(crate) fn indexer(&self) {
        let run = || {
            while self.upkeep.wait() {
                self.remove_doomed();
                self.write_index();
            }
        };
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.poison("the indexer panicked".to_owned());
        }
    }

    /// Sets changes of the index aside to be written, once there are enough of them.
    pub(crate) fn checkpoint_if_due(&self, core: &mut Core) {
        let index = self.index();
        let memory = self.options.memory_bytes;
        if core.behind < self.options.checkpoint_bytes && index.waiting_bytes() < memory {
            return;
        }
        self.set_aside(core);
        if self.is_inline() {
            self.write_index();
            return;
        }
        self.upkeep.nudge();
        if index.waiting_bytes() < BACKLOG * memory {
            return;
        }
        let mut state = lock(&self.upkeep.state);
        while index.is_frozen() && state.full.is_none() && self.read_only().is_none() {
            state = self.upkeep.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sets changes aside; false, and nothing is done, while older ones are still waiting.
    pub(crate) fn set_aside(&self, core: &mut Core) -> bool {
        // Changes and what goes with them in one step, or else whoever writes them down takes one
        // without the other.
        let mut state = lock(&self.upkeep.state);
        let frozen = self.index().freeze(&core.head);
        if frozen {
            core.behind = 0;
            state.emptied.append(&mut core.emptied);
            state.retired.append(&mut core.retired);
        }
        frozen
    }

    /// True if no more changes of the index may be kept in memory.
    fn is_behind(&self) -> bool {
        self.index().waiting_bytes() >= BACKLOG * self.options.memory_bytes
    }

    /// Why no more changes of the index can be kept in memory, if so. Tries to write them again,
    /// since there may be room meanwhile; with threads, who asks next has the benefit.
    pub(crate) fn index_full(&self) -> Option<IoError> {
        let full = self.upkeep.full()?;
        if !self.is_behind() {
            return None;
        }
        if self.is_inline() {
            self.write_index();
            return self.upkeep.full();
        }
        self.upkeep.nudge();
        Some(full)
    }

    /// Makes the ballast, if it is missing and there is room for it.
    pub(crate) fn keep_ballast(&self) {
        let wanted = self.ballast.is_missing() && self.read_only().is_none();
        if !wanted || !self.budget.has_left(self.ballast.needs(&self.files)) {
            return;
        }
        match self.ballast.make(&self.files) {
            Ok(()) => self.budget.set_spent(Claim::default()),
            Err(error) => tracing::warn!(%error, "there is no ballast"),
        }
    }

    /// Gives the room of the ballast to what must be written. False if there was none.
    pub(crate) fn spend_ballast(&self) -> bool {
        let given = self.ballast.give(&self.files);
        if given {
            self.budget.set_spent(self.ballast.claim(&self.files));
        }
        given
    }

    /// Writes what was set aside, and merges as far as that is due. What cannot be written now
    /// stays in memory.
    pub(crate) fn write_index(&self) {
        let _one = lock(&self.upkeep.writing);
        if self.read_only().is_none() {
            let written = self.write_frozen().and_then(|()| {
                let index = self.index();
                while self.may_merge() && index.merge(&|| self.write_meanwhile())? {}
                Ok(())
            });
            match written {
                Ok(()) => self.keep_ballast(),
                Err(TreeError::Full(error) | TreeError::Io(error)) => {
                    tracing::warn!(%error, "the index could not be written");
                }
                Err(TreeError::Sync(error)) => self.poison(error.to_string()),
                Err(TreeError::Damaged(what)) => {
                    self.upkeep.damaged(what);
                    self.queue.nudge();
                }
            }
            self.budget.set_index(self.index().stats().disk_bytes);
        }
        self.upkeep.notify();
    }

    /// True if there is room for the next merge above the reserve: one that fills the disk takes the room of
    /// the log, and ends with nothing. Without, there are more runs, until there is room.
    fn may_merge(&self) -> bool {
        let Some(bytes) = self.index().merge_bytes() else {
            return true;
        };
        let room = self.budget.leaves_reserve(Claim::of_log(bytes));
        let waited = std::mem::replace(
            &mut lock(&self.upkeep.state).waits_to_merge,
            (!room).then_some(bytes),
        );
        if !room && waited.is_none() {
            tracing::warn!(bytes, "a merge of the index waits for room above the reserve");
        }
        room
    }

    /// Bytes for which a merge of the index waits.
    pub(crate) fn waits_to_merge(&self) -> Option<u64> {
        lock(&self.upkeep.state).waits_to_merge
    }

    /// Writes what was set aside while runs are merged: callers would wait for the whole merge, once
    /// memory is full.
    fn write_meanwhile(&self) -> Result<(), TreeError> {
        let index = self.index();
        if !index.is_frozen() || index.stats().runs >= RUNS {
            return Ok(());
        }
        let written = self.write_frozen();
        self.upkeep.notify();
        written
    }

    fn write_frozen(&self) -> Result<(), TreeError> {
        if !self.index().is_frozen() {
            return Ok(());
        }
        // Once the index on disk says that they are gone, nobody looks for their files any more.
        self.remove_doomed();
        let (mut emptied, mut retired) = {
            let mut state = lock(&self.upkeep.state);
            (std::mem::take(&mut state.emptied), std::mem::take(&mut state.retired))
        };
        let synced = self.files.sync_emptied(&emptied).map_err(|error| match error.is_full() {
            // They are still to be synced: what they had is named by nobody.
            true => TreeError::Full(error),
            false => TreeError::Sync(error),
        });
        let mut written = synced.and_then(|()| self.index().checkpoint());
        // The ballast is for the log, unless memory takes no more changes, or room comes of it.
        let is_worth_it = self.is_behind() || !retired.is_empty();
        if matches!(written, Err(TreeError::Full(_))) && is_worth_it && self.spend_ballast() {
            written = self.index().checkpoint();
        }
        let mut state = lock(&self.upkeep.state);
        if let Err(error) = written {
            // Still frozen: it is for the next attempt.
            state.emptied.append(&mut emptied);
            state.retired.append(&mut retired);
            if let TreeError::Full(error) = &error {
                state.full = Some(error.again());
            }
            return Err(error);
        }
        state.full = None;
        drop(state);
        self.remove_retired(&retired)
    }

    /// The log says durably, and the index visibly, that these are gone: their files go next. Not
    /// in the group, which is written in less time than the files of one step of a collection take.
    pub(crate) fn doom(&self, mut addresses: Vec<Address>) {
        if addresses.is_empty() {
            return;
        }
        lock(&self.upkeep.state).doomed.append(&mut addresses);
        if self.is_inline() {
            // Whoever is told next may want to stage one of them, on this thread.
            self.remove_doomed();
        } else {
            self.upkeep.nudge();
        }
    }

    /// Removes the files of blobs that were collected. False if there were none.
    pub(crate) fn remove_doomed(&self) -> bool {
        let _one = lock(&self.upkeep.removing);
        let mut any = false;
        loop {
            let doomed: Vec<Address> = {
                let mut state = lock(&self.upkeep.state);
                let n = state.doomed.len().min(REMOVED);
                state.doomed.drain(..n).collect()
            };
            if doomed.is_empty() {
                return any;
            }
            let dirs: Vec<PathBuf> = doomed.iter().filter_map(|a| self.remove_file(a)).collect();
            lock(&self.upkeep.state).emptied.extend(dirs);
            self.stage.evicted(&doomed);
            any = true;
        }
    }

    /// Removes the file of a blob that is gone: the directory to be synced for it.
    pub(crate) fn remove_file(&self, address: &Address) -> Option<PathBuf> {
        let path = self.files.chunk(address);
        if let Err(error) = self.files.disk.remove(&path) {
            // Invisible already; only its room is not free.
            tracing::warn!(%address, %error, "the file of a chunk that is gone stays");
            return None;
        }
        path.parent().map(Path::to_owned)
    }

    /// Removes segments that neither the log nor the index on disk needs.
    fn remove_retired(&self, retired: &[u64]) -> Result<(), TreeError> {
        if retired.is_empty() {
            return Ok(());
        }
        let paths = retired.iter().map(|id| self.files.segment(*id));
        // Before they are removed: some file systems give a file that is open another name instead.
        retired.iter().for_each(|id| self.segments.forget(*id));
        // What is not removed now, the next open removes.
        self.files.remove_durably(paths).map_err(TreeError::Io)?;
        // And now that nobody can open them any more: an open file keeps its room.
        retired.iter().for_each(|id| self.segments.forget(*id));
        lock(&self.upkeep.state).gone.extend(retired);
        Ok(())
    }

    /// Writes the index, if segments wait for that to be removed. True if any were.
    pub(crate) fn remove_waiting(&self, core: &mut Core) -> bool {
        // Whoever writes it now may be removing them.
        drop(lock(&self.upkeep.writing));
        if core.retired.is_empty() && lock(&self.upkeep.state).retired.is_empty() {
            return !lock(&self.upkeep.state).gone.is_empty();
        }
        self.checkpoint(core);
        !lock(&self.upkeep.state).gone.is_empty()
    }

    /// Makes everything in the index durable: at the end.
    pub(crate) fn checkpoint(&self, core: &mut Core) {
        // What was set aside before goes first.
        self.write_index();
        if self.set_aside(core) {
            self.write_index();
        }
    }
}
