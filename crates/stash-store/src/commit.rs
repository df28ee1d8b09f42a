//! Committing: batches that wait are written together, with one sync.

mod group;
mod queue;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::index::{IndexError, State};
use crate::log::{AppendError, LogWriter};
use crate::recover;
use crate::shared::Shared;
use crate::stage::Staging;
use crate::{Address, Batch, CommitError, IoError, Receipt};

use group::{Built, GroupError};
pub(crate) use queue::{Done, Job, Queue};

/// What only the writer touches.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: LogWriter,
    pub(crate) state: State,
    /// Bytes of log that the durable index has not read.
    behind: u64,
    /// Directories of removed files, to be synced before the index forgets that they are to be
    /// removed.
    emptied: BTreeSet<PathBuf>,
}

impl Core {
    pub(crate) fn new(log: LogWriter, state: State) -> Core {
        Core { log, state, behind: 0, emptied: BTreeSet::new() }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A batch with whom to tell.
pub(super) struct Waiting {
    batch: Batch,
    bytes: u64,
    done: Option<Done>,
}

/// Why a whole group failed, in a form that every batch of it can be told.
enum Failure {
    Io(IoError),
    Lost(IoError),
    ReadOnly(String),
    Index(IndexError),
}

impl Failure {
    fn error(&self) -> CommitError {
        match self {
            Failure::Io(error) | Failure::Lost(error) if error.is_full() => {
                CommitError::Full(error.again())
            }
            Failure::Io(error) => CommitError::Io(error.again()),
            Failure::Lost(error) => CommitError::StageFailed { reason: error.to_string() },
            Failure::ReadOnly(reason) => CommitError::ReadOnly { reason: reason.clone() },
            Failure::Index(error) => CommitError::Read(error.clone().into()),
        }
    }
}

fn answer(done: Option<Done>, result: Result<Receipt, CommitError>) {
    if let Some(done) = done {
        done(result);
    }
}

impl Shared {
    /// Commits these batches, and announces what was staged before them.
    pub(crate) fn run(&self, core: &mut Core, mut staging: Staging, jobs: Vec<Job>) {
        let mut jobs: Vec<Waiting> = jobs
            .into_iter()
            .map(|job| Waiting { bytes: job.log_bytes, batch: job.batch, done: job.done })
            .collect();
        if let Some(error) = staging.lost.take() {
            self.fail_all(staging, jobs, &Failure::Lost(error));
            return;
        }
        jobs.reverse();
        while !(jobs.is_empty() && staging.small.is_empty() && staging.ready.is_empty()) {
            if let Some(reason) = self.read_only() {
                self.fail_all(staging, jobs, &Failure::ReadOnly(reason));
                return;
            }
            if let Err(failure) = self.one_group(core, &mut staging, &mut jobs) {
                self.fail_all(staging, jobs, &failure);
                return;
            }
        }
    }

    fn fail_all(&self, staging: Staging, jobs: Vec<Waiting>, failure: &Failure) {
        // After a failed sync, the log may announce these files after all: they stay.
        let undone = self.read_only().is_none();
        self.stage.dropped(&self.files, staging, undone);
        for job in jobs.into_iter().rev() {
            answer(job.done, Err(failure.error()));
        }
    }

    /// Writes as much as belongs into one group. What goes into it is taken from `staging` and
    /// from the end of `jobs`; put back if it fails.
    fn one_group(
        &self,
        core: &mut Core,
        staging: &mut Staging,
        jobs: &mut Vec<Waiting>,
    ) -> Result<(), Failure> {
        let index = self.index();
        let first = group::first_len(staging, jobs.last().map_or(0, |job| job.bytes));
        let group = match core.log.group(first) {
            Ok(group) => group,
            Err(error) => return Err(self.append_failed(error)),
        };
        let mut built = Built::new(group);
        let before = core.log.end;
        let result = index.write(false, |tables| {
            built.fill(self, tables, staging, jobs)?;
            let group = built.take_group();
            if !group.is_empty() {
                core.log.append(group)?;
                built.remove_evicted(self, &mut core.emptied);
            }
            tables.state.position = core.log.end;
            tables.state.next_sequence = core.log.next_sequence;
            tables.put_state()?;
            Ok(tables.state)
        });
        let appended = core.log.end != before;
        let result = match result {
            Ok(state) => Ok(state),
            Err(GroupError::Append(error)) => Err(self.append_failed(error)),
            Err(GroupError::Index(error)) => self.heal(core, error, appended),
        };
        self.stage.evicted(&built.evicting);
        match result {
            Ok(state) => {
                core.behind += core.log.end.offset.saturating_sub(before.offset);
                core.state = state;
                self.publish(core, &built, appended);
                built.answer();
                self.checkpoint_if_due(core);
                Ok(())
            }
            Err(failure) => {
                built.put_back(staging, jobs);
                Err(failure)
            }
        }
    }

    fn publish(&self, core: &Core, built: &Built, appended: bool) {
        self.stage.announced(&built.announced, &built.small_announced());
        self.stage.absolve(&built.quarantined);
        let mut figures = lock(&self.figures);
        figures.state = core.state;
        if core.log.end.segment != figures.end.segment {
            figures.segments += 1;
            figures.full_bytes += figures.end.offset;
        }
        figures.end = core.log.end;
        figures.groups += u64::from(appended);
        figures.batches += built.batches();
    }

    fn append_failed(&self, error: AppendError) -> Failure {
        match error {
            AppendError::Undone(error) => Failure::Io(error),
            AppendError::Broken(error) => {
                self.poison(error.to_string());
                Failure::ReadOnly(error.to_string())
            }
        }
    }

    /// The index failed: opens it again, from its last checkpoint and the log, or makes it anew.
    /// A group that had reached the log is then in it.
    fn heal(&self, core: &Core, error: IndexError, appended: bool) -> Result<State, Failure> {
        tracing::warn!(error = %error.0, "opening the index again");
        self.index().kill();
        let reloaded = recover::reload(&core.log, &self.options);
        let healed = reloaded.map_err(|e| e.to_string()).and_then(|index| {
            let state = index.state().map_err(|e| e.0)?.unwrap_or_default();
            self.replace_index(index);
            Ok(state)
        });
        match healed {
            Ok(state) if appended => Ok(state),
            Ok(_) => Err(Failure::Index(error)),
            Err(again) => {
                let reason = format!("the index is damaged: {}; {again}", error.0);
                self.poison(reason.clone());
                Err(Failure::ReadOnly(reason))
            }
        }
    }

    fn checkpoint_if_due(&self, core: &mut Core) {
        if core.behind >= self.options.checkpoint_bytes {
            self.checkpoint(core);
        }
    }

    /// Makes the index durable. With a full disk, later.
    pub(crate) fn checkpoint(&self, core: &mut Core) {
        let index = self.index();
        if !index.has_room() {
            return;
        }
        let emptied: BTreeSet<PathBuf> = std::mem::take(&mut core.emptied);
        if let Err(error) = self.files.sync_dirs(&emptied) {
            self.poison(error.to_string());
            return;
        }
        core.behind = 0;
        if let Err(error) = index.checkpoint() {
            // The log has everything: open the index again from its last checkpoint.
            if let Err(failure) = self.heal(core, error, true) {
                tracing::warn!(error = %failure.error(), "no checkpoint");
            }
        }
    }

    /// The end of a clean close: everything is durable, and said to be.
    pub(crate) fn seal(&self, core: &mut Core) {
        if self.read_only().is_some() {
            return;
        }
        let Ok(mut group) = core.log.group(crate::log::mark_len()) else {
            return;
        };
        group.mark();
        // A store that is not sealed is recovered like after a crash: nothing is lost.
        if core.log.append(group).is_err() {
            return;
        }
        let (end, next_sequence) = (core.log.end, core.log.next_sequence);
        let stated = self.index().write(false, |tables| {
            tables.state.position = end;
            tables.state.next_sequence = next_sequence;
            tables.put_state()
        });
        if let Err(IndexError(error)) = stated {
            tracing::warn!(%error, "the index was not closed cleanly");
            return;
        }
        self.checkpoint(core);
    }

    /// Tells the index that a blob was found damaged.
    pub(crate) fn note_damage(&self, address: Address) {
        let set_aside = || {
            if self.read_only().is_none() {
                let from = self.files.chunk(&address);
                let name = from.file_name().and_then(|name| name.to_str()).unwrap_or("chunk");
                // A small blob has no file; a missing one is the damage itself.
                let _ = self.files.disk.rename(&from, &self.files.quarantine(name));
            }
        };
        if self.stage.condemn(&address, set_aside) && self.read_only().is_none() {
            let mut batch = Batch::new();
            batch.steps.push(crate::batch::Step::Quarantine(address));
            self.submit(batch, None, false);
        }
    }
}
