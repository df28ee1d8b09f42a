//! Batches that wait for the committer.

use crate::batch::Receipt;
use crate::budget::Claim;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::{Batch, CommitError};

/// The callback that hears the outcome of a batch.
pub(crate) type Done = Box<dyn FnOnce(Result<Receipt, CommitError>) + Send>;

/// A batch that waits.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    /// Bytes that it takes in the log, its mark included.
    pub(crate) log_bytes: u64,
    /// The room that it was granted.
    pub(crate) claim: Claim,
    /// Files of blobs that had been taken in when it came; see [`crate::stage::Stage::ticket`].
    pub(crate) ticket: u64,
    pub(crate) done: Option<Done>,
}

impl Job {
    /// Tells how it went, if somebody waits for that.
    pub(crate) fn answer(self, result: Result<Receipt, CommitError>) {
        if let Some(done) = self.done {
            done(result);
        }
    }
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    bytes: u64,
    /// Set when what is staged should be announced soon, though nobody waits for it.
    nudged: bool,
    closing: bool,
}

/// Batches that wait for the committer, bounded in bytes and number.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        wait(&self.changed, state)
    }

    /// Adds a batch; with `wait`, once there is room for it.
    pub(crate) fn push(&self, job: Job, max_bytes: u64, max_jobs: usize, wait: bool) {
        let mut state = self.lock();
        while wait
            && !state.jobs.is_empty()
            && (state.jobs.len() >= max_jobs || state.bytes + job.log_bytes > max_bytes)
        {
            state = self.wait(state);
        }
        state.bytes += job.log_bytes;
        state.jobs.push(job);
        self.changed.notify_all();
    }

    pub(crate) fn nudge(&self) {
        let mut state = self.lock();
        if !state.nudged {
            state.nudged = true;
            self.changed.notify_all();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    /// True if nothing waits, and the store is not being closed.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.jobs.is_empty() && !state.nudged && !state.closing
    }

    /// True if the store is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Everything that waits now, in order.
    pub(crate) fn take_now(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.bytes = 0;
        self.changed.notify_all();
        std::mem::take(&mut state.jobs)
    }

    /// Everything that waits, in order; waits until something does, or somebody nudges. `None` once the
    /// queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.nudged {
            if state.closing {
                return None;
            }
            state = self.wait(state);
        }
        state.bytes = 0;
        state.nudged = false;
        self.changed.notify_all();
        Some(std::mem::take(&mut state.jobs))
    }
}
