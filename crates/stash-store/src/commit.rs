//! Committing: batches that wait are written together, with one sync.

mod count;
mod group;
mod owner;
mod queue;
mod reclaim;
mod refusal;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::batch::Receipt;
use crate::budget::Claim;
use crate::entry::Place;
use crate::index::{Head, IndexError};
use crate::log::{AppendError, LogWriter};
use crate::recover;
use crate::shared::Shared;
use crate::stage::Staging;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::{Address, Batch, CommitError};

use group::{Built, GroupError};
pub(crate) use owner::CoreLock;
pub(crate) use queue::{Done, Job, Queue};
pub(crate) use reclaim::{Freed, MoveItem, Reclaim};
pub(crate) use refusal::Failure;

/// What only the writer touches.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) log: LogWriter,
    pub(crate) head: Head,
    /// Bytes of log that are not set aside for the durable index yet.
    pub(crate) behind: u64,
    /// Directories of removed files, to be synced before the index forgets that they are to be
    /// removed.
    pub(crate) emptied: BTreeSet<PathBuf>,
    /// Segments that are no longer part of the log, and not removed yet.
    pub(crate) retired: Vec<u64>,
    /// The log says how often the store was opened, this time included.
    pub(crate) counted: bool,
}

impl Core {
    pub(crate) fn new(log: LogWriter, head: Head) -> Core {
        let (emptied, retired) = (BTreeSet::new(), Vec::new());
        Core { log, head, behind: 0, emptied, retired, counted: false }
    }

    /// Segments that are part of the log.
    pub(crate) fn live_segments(&self) -> BTreeSet<u64> {
        let ids = self.log.segments.keys();
        ids.copied().filter(|id| !self.head.usage.is_retired(*id)).collect()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A batch with whom to tell.
pub(super) struct Waiting {
    batch: Batch,
    bytes: u64,
    claim: Claim,
    done: Option<Done>,
}

fn answer(done: Option<Done>, result: Result<Receipt, CommitError>) {
    if let Some(done) = done {
        done(result);
    }
}

impl Shared {
    /// Commits these batches, and announces what was staged before them.
    pub(crate) fn run(&self, core: &mut Core, mut staging: Staging, jobs: Vec<Job>) {
        let waiting = |job: Job| {
            let Job { batch, log_bytes, claim, done } = job;
            Waiting { batch, bytes: log_bytes, claim, done }
        };
        let mut jobs: Vec<Waiting> = jobs.into_iter().rev().map(waiting).collect();
        self.tell_lost(&mut jobs);
        while !(jobs.is_empty() && staging.is_empty()) {
            if let Some(reason) = self.read_only() {
                self.fail_all(staging, jobs, &Failure::ReadOnly(reason));
                return;
            }
            let Err(failure) = self.one_group(core, &mut staging, &mut jobs) else {
                continue;
            };
            if !(failure.is_full() && self.make_way(core, &mut staging, &mut jobs, &failure)) {
                self.fail_all(staging, jobs, &failure);
                return;
            }
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
        self.forget_gone(core);
        if let Some(error) = self.index_full() {
            return Err(Failure::Io(error));
        }
        self.count_open(core)?;
        let index = self.index();
        let first = group::first_len(staging, jobs.last().map_or(0, |job| job.bytes));
        let group = match core.log.group(first) {
            Ok(group) => group,
            Err(error) => return Err(self.append_failed(error)),
        };
        let mut built = Built::new(group);
        let before = core.log.end;
        let Core { log, head, emptied, .. } = core;
        let result = index.write(head, |tables| {
            built.fill(self, tables, staging, jobs)?;
            let group = built.take_group();
            if !group.is_empty() {
                log.append(group)?;
                built.remove_files(self, emptied);
            }
            tables.state.position = log.end;
            tables.state.next_sequence = log.next_sequence;
            Ok(())
        });
        self.stage.evicted(&built.leaving);
        match result {
            Ok(()) => {
                let appended = core.log.end != before;
                core.behind += core.log.end.offset.saturating_sub(before.offset);
                self.publish(core, &built, appended);
                core.retired.append(&mut built.retired);
                self.doom(std::mem::take(&mut built.doomed));
                built.answer();
                self.checkpoint_if_due(core);
                Ok(())
            }
            Err(error) => {
                self.stage.evicted(&built.doomed);
                built.put_back(staging, jobs);
                Err(match error {
                    GroupError::Append(error) => self.append_failed(error),
                    GroupError::Index(error) => match self.heal(core, &error) {
                        Ok(()) => Failure::Index(error),
                        Err(failure) => failure,
                    },
                })
            }
        }
    }

    fn publish(&self, core: &Core, built: &Built, appended: bool) {
        self.reckon(core, built.claims(&self.budget));
        self.stage.announced(&built.announced, &built.small_announced());
        self.stage.absolve(&built.quarantined);
        let mut figures = lock(&self.figures);
        if !built.retired.is_empty() {
            figures.log = core.live_segments();
            lock(&self.suspects).retain(|id| !core.head.usage.is_retired(*id));
        }
        figures.groups += u64::from(appended);
        figures.batches += built.batches();
    }

    /// Forgets segments whose files are gone.
    pub(crate) fn forget_gone(&self, core: &mut Core) {
        let gone = self.upkeep.take_gone();
        if gone.is_empty() {
            return;
        }
        for id in gone {
            core.log.forget(id);
        }
        self.reckon(core, (Claim::default(), Claim::default()));
    }

    /// The figures after a group; what was granted to it, in the log and in files, is used.
    fn reckon(&self, core: &Core, (in_log, in_files): (Claim, Claim)) {
        self.budget.wrote(in_log);
        let log_bytes = core.log.full_bytes + core.log.end.offset;
        self.budget.settle(core.head.state.file_bytes, log_bytes, in_log.plus(in_files));
        let mut figures = lock(&self.figures);
        figures.state = core.head.state;
        figures.segments = core.log.segments.len() as u64;
        figures.log_bytes = log_bytes;
        if !figures.log.contains(&core.log.end.segment) {
            figures.log = core.live_segments();
        }
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

    /// The index is damaged: makes it anew from the log.
    pub(crate) fn heal(&self, core: &mut Core, error: &IndexError) -> Result<(), Failure> {
        tracing::warn!(error = %error.0, "rebuilding the index from the log");
        let _one = lock(&self.upkeep.writing);
        match recover::reload(&core.log, &self.options) {
            Ok((index, head, damage)) => {
                self.note_log_damage(damage);
                self.replace_index(index);
                core.head = head;
                core.behind = 0;
                Ok(())
            }
            Err(again) => {
                let reason = format!("the index is damaged: {}; {again}", error.0);
                self.poison(reason.clone());
                Err(Failure::ReadOnly(reason))
            }
        }
    }

    /// The end of a clean close: everything is durable, and said to be.
    pub(crate) fn seal(&self, core: &mut Core) {
        // Where the opening could not be written down, nothing was: there is no end to mark.
        if self.read_only().is_some() || !core.counted {
            return;
        }
        let Ok(mut group) = core.log.group(crate::log::mark_len()) else {
            return;
        };
        let (_, mark) = group.mark();
        // A store that is not sealed is recovered like after a crash: nothing is lost.
        if core.log.append(group).is_err() {
            return;
        }
        let Core { log, head, .. } = core;
        let stated = self.index().write(head, |tables| {
            tables.dead(&mark);
            tables.state.position = log.end;
            tables.state.next_sequence = log.next_sequence;
            Ok::<_, IndexError>(())
        });
        if let Err(IndexError(error)) = stated {
            tracing::warn!(%error, "the index was not closed cleanly");
            return;
        }
        self.checkpoint(core);
    }

    /// Tells the index that a blob was found damaged which it has at `place`. Nothing happens if it
    /// has another copy by now.
    pub(crate) fn note_damage(&self, address: Address, place: Place) {
        let is_there = || {
            let row = self.index().chunk(&address);
            row.is_ok_and(|row| row.is_some_and(|row| row.is_here() && row.place() == place))
        };
        let set_aside = || {
            if self.read_only().is_none() {
                let from = self.files.chunk(&address);
                let name = from.file_name().and_then(|name| name.to_str()).unwrap_or("chunk");
                // A small blob has no file; a missing one is the damage itself.
                let _ = self.files.disk.rename(&from, &self.files.quarantine(name));
            }
        };
        let condemned = self.stage.condemn(&address, place, is_there, set_aside);
        if condemned {
            self.lose();
        }
        if condemned && self.read_only().is_none() {
            let mut batch = Batch::new();
            batch.steps.push(crate::batch::Step::Quarantine { address, place });
            self.submit(batch, None, false);
        }
    }
}
