//! Committing: batches that wait are written together, with one sync.

mod count;
mod failure;
mod figures;
mod group;
mod refusal;
mod run;
pub(crate) mod settle;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::batch::{Freed, Receipt, Reclaim, Step};
use crate::budget::{Budget, Claim};
use crate::ground::Ground;
use crate::health::Health;
use crate::index::{IndexError, State};
use crate::log::Position;
use crate::queue::{Done, Job, Queue};
use crate::stage::Stage;
use crate::sync::{Arc, Mutex, MutexGuard, lock, mpsc};
use crate::upkeep::Upkeep;
use crate::writer::{Writer, WriterLock};
use crate::{Batch, CommitError};
use figures::Figures;

/// Commits batches, on a thread of its own or on that of the caller.
#[derive(Debug)]
pub(crate) struct Commits {
    writer: WriterLock,
    figures: Mutex<Figures>,
    /// Openings of the store in all its life, this one included.
    pub(crate) opens: u64,
    queue: Arc<Queue>,
    upkeep: Arc<Upkeep>,
    health: Arc<Health>,
    budget: Arc<Budget>,
    stage: Arc<Stage>,
    ground: Arc<Ground>,
}

impl Commits {
    pub(crate) fn new(
        ground: &Arc<Ground>,
        stage: &Arc<Stage>,
        health: &Arc<Health>,
        budget: &Arc<Budget>,
        upkeep: &Arc<Upkeep>,
        writer: Writer,
    ) -> Commits {
        Commits {
            figures: Mutex::new(Figures::of(&writer)),
            opens: writer.head.state.opens + u64::from(!ground.options.read_only),
            writer: WriterLock::new(writer),
            queue: Arc::clone(&upkeep.queue),
            upkeep: Arc::clone(upkeep),
            health: Arc::clone(health),
            budget: Arc::clone(budget),
            stage: Arc::clone(stage),
            ground: Arc::clone(ground),
        }
    }

    /// The figures, as of the last group.
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        lock(&self.figures)
    }

    /// Lets the committer look whether there is something to do.
    pub(crate) fn nudge(&self) {
        self.queue.nudge();
    }

    /// Lets the committer end once nothing waits any more.
    pub(crate) fn end(&self) {
        self.queue.close();
    }

    /// Commits a batch, and waits for it.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| {
            // The receiver waits just below.
            let _ = sender.send(result);
        };
        self.submit(batch, Some(Box::new(done)), true);
        receiver.recv().unwrap_or_else(|_| {
            let reason = self.health.read_only();
            let reason = reason.unwrap_or_else(|| "the committer has stopped".to_owned());
            Err(CommitError::ReadOnly { reason })
        })
    }

    /// Hands a batch to the committer, whoever that is.
    pub(crate) fn submit(&self, batch: Batch, done: Option<Done>, wait: bool) {
        match self.admit(&batch) {
            Ok((log_bytes, claim)) => {
                let options = &self.ground.options;
                let ticket = self.stage.ticket();
                let job = Job { batch, log_bytes, claim, ticket, done };
                self.queue.push(job, options.queue_bytes, options.queue_ops, wait);
                if self.ground.is_inline() {
                    self.serve_inline();
                }
            }
            Err(error) => {
                if let Some(done) = done {
                    done(Err(error));
                }
            }
        }
    }

    /// Bytes of log that a batch takes, and the room that it was granted.
    fn admit(&self, batch: &Batch) -> Result<(u64, Claim), CommitError> {
        let log_bytes = batch.log_bytes()?;
        if !batch.takes_room() {
            return Ok((log_bytes, Claim::default()));
        }
        let claim = Claim::of_log(batch.room_taken(log_bytes));
        Ok((log_bytes, self.upkeep.take_room(claim, batch.allowance())?))
    }

    /// Commits work of the store's own.
    pub(crate) fn reclaim(&self, work: Reclaim) -> Result<Freed, CommitError> {
        self.commit(Batch::of_store(Step::Reclaim(work))).map(|receipt| receipt.freed)
    }

    /// Runs `f` with the writer, and then serves those who found it taken meanwhile.
    pub(crate) fn with_writer<T>(&self, f: impl FnOnce(&mut Writer) -> T) -> T {
        let value = f(&mut self.writer.lock());
        if self.ground.is_inline() {
            self.serve_inline();
        }
        value
    }

    /// True if the calling thread commits: then it cannot wait for a commit.
    pub(crate) fn is_committer(&self) -> bool {
        self.writer.is_mine()
    }

    /// Segments that are part of the log, missing ones included, and where the log ends.
    pub(crate) fn log_now(&self) -> (BTreeSet<u64>, Position) {
        let (mut log, end) = {
            let figures = self.figures();
            (figures.log.clone(), figures.state.position)
        };
        log.extend(self.health.suspects());
        (log, end)
    }

    /// Serves all that waits, also what was added meanwhile by another thread, or by a callback, that
    /// found the writer taken.
    fn serve_inline(&self) {
        while !self.queue.is_empty() {
            let Some(mut writer) = self.writer.try_lock() else {
                return;
            };
            let jobs = self.queue.take_now();
            self.serve(&mut writer, jobs);
            drop(writer);
            self.settle_inline();
        }
    }

    /// The sums, once every group whose changes can be seen in the index is counted in.
    pub(crate) fn settled_state(&self) -> State {
        // Who writes a group has the writer until the sums say so.
        drop(self.writer.lock());
        if self.ground.is_inline() {
            self.serve_inline();
        }
        self.figures().state
    }

    /// Makes durable what is staged, on the calling thread.
    pub(crate) fn flush_inline(&self) {
        self.submit(Batch::new(), None, false);
    }

    fn serve(&self, writer: &mut Writer, jobs: Vec<Job>) {
        // It may have been made anew since: that takes minutes, in which others meet the same damage.
        if let Some((index, what)) = self.upkeep.work.take_damaged()
            && Arc::ptr_eq(&index, &self.ground.index())
        {
            // Why it could not be mended stands in the log, and in the answers from now on.
            let _ = self.heal(writer, &IndexError(what));
        }
        if self.ground.is_inline() {
            self.flush_all_files();
        }
        let staging = self.stage.take();
        self.run(writer, staging, jobs);
    }

    fn flush_all_files(&self) {
        while self.stage.has_files() {
            let refused = self.health.is_read_only();
            if let Err(error) = self.stage.flush_files(&self.ground.files, &self.budget, refused) {
                self.health.poison(error.to_string());
            }
            if self.stage.is_awaited() {
                self.queue.nudge();
            }
        }
    }

    /// The flusher's thread: makes staged files durable as they come.
    pub(crate) fn flusher(&self) {
        let run = || {
            while self.stage.wait_for_files() {
                self.flush_all_files();
            }
        };
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.health.poison("the flusher panicked".to_owned());
            // Batches may wait for what it had.
            self.queue.nudge();
        }
    }

    /// The committer's thread: takes all batches that wait, commits those whose blobs have come, and looks
    /// again. The others are not waited for: they may be large, and somebody else's.
    pub(crate) fn committer(&self) {
        let mut waiting: Vec<Job> = Vec::new();
        self.settle_meanwhile();
        while let Some(jobs) = self.queue.take() {
            waiting.extend(jobs);
            // Beyond the bounds of the queue, those that come must wait as well.
            let (options, bytes) =
                (&self.ground.options, waiting.iter().map(|job| job.log_bytes).sum::<u64>());
            if waiting.len() >= options.queue_ops || bytes >= options.queue_bytes {
                self.stage.wait_for(|| self.health.is_read_only());
            }
            let ready = match self.health.is_read_only() {
                true => std::mem::take(&mut waiting),
                false => self.stage.take_ready(&mut waiting),
            };
            let mut writer = self.writer.lock();
            if catch_unwind(AssertUnwindSafe(|| self.serve(&mut writer, ready))).is_err() {
                self.health.poison("the committer panicked".to_owned());
            }
            drop(writer);
            self.settle_meanwhile();
        }
        self.stage.close();
        self.stage.wait_for(|| self.health.is_read_only());
        self.serve(&mut self.writer.lock(), waiting);
        self.ground.index().stop_merging();
        self.upkeep.work.close();
        self.close();
    }

    /// Finds out which records are whole until somebody waits for a commit: a step at least.
    fn settle_meanwhile(&self) {
        match catch_unwind(AssertUnwindSafe(|| self.settle_until_wanted())) {
            // What is left when the store is closed waits in the index.
            Ok(left) if left && !self.queue.is_closing() => self.nudge(),
            Ok(_) => {}
            Err(_) => self.health.poison("the committer panicked".to_owned()),
        }
    }

    /// Does what remains to be done when nobody uses the store any more.
    pub(crate) fn close(&self) {
        let mut writer = self.writer.lock();
        self.serve(&mut writer, Vec::new());
        self.seal(&mut writer);
    }
}
