//! Batches that are refused, and what is done before, on a full disk.

use std::io;

use crate::index::IndexError;
use crate::shared::Shared;
use crate::stage::Staging;
use crate::{Batch, CommitError, IoError};

use super::{Core, Waiting, answer};

/// Why a whole group failed, in a form that every batch of it can be told.
pub(crate) enum Failure {
    Io(IoError),
    ReadOnly(String),
    Index(IndexError),
}

impl Failure {
    fn error(&self) -> CommitError {
        match self {
            Failure::Io(error) if error.is_full() => CommitError::Full(error.again()),
            Failure::Io(error) => CommitError::Io(error.again()),
            Failure::ReadOnly(reason) => CommitError::ReadOnly { reason: reason.clone() },
            Failure::Index(error) => CommitError::Read(error.clone().into()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Failure::Io(error) if error.is_full())
    }

    /// Why what was staged is lost by it. `None` if it may have been kept: after a failed sync,
    /// the log may announce it after all.
    fn loss(&self, shared: &Shared) -> Option<IoError> {
        match self {
            _ if shared.read_only().is_some() => None,
            Failure::Io(error) => Some(error.again()),
            Failure::ReadOnly(_) => None,
            Failure::Index(error) => {
                let source = io::Error::other(error.0.clone());
                Some(IoError::new("change", &shared.files.dir.join("index"), source))
            }
        }
    }
}

impl Shared {
    /// Fails batches that count on a blob that was lost.
    pub(super) fn tell_lost(&self, jobs: &mut Vec<Waiting>) {
        for job in std::mem::take(jobs).into_iter().rev() {
            // Whom nobody waits for, nobody hears.
            let lost = job.done.as_ref().and_then(|_| self.stage.tell_lost(&job.batch));
            match lost {
                None => jobs.push(job),
                Some(error) if error.is_full() => self.refuse(job, CommitError::Full(error)),
                Some(error) => {
                    self.refuse(job, CommitError::StageFailed { reason: error.to_string() });
                }
            }
        }
        jobs.reverse();
    }

    /// The log or its disk is full: fails what takes the most first, so that the rest can be tried
    /// again, at last with the room of the ballast. False if there is nothing more to be done.
    pub(super) fn make_way(
        &self,
        core: &mut Core,
        staging: &mut Staging,
        jobs: &mut Vec<Waiting>,
        failure: &Failure,
    ) -> bool {
        if self.remove_doomed() || self.remove_waiting(core) {
            return true;
        }
        let tiers: [fn(&Batch) -> bool; 2] = [Batch::takes_room, |batch| !batch.is_worth_ballast()];
        for yields in tiers {
            let (failed, rest): (Vec<_>, Vec<_>) =
                std::mem::take(jobs).into_iter().partition(|job| yields(&job.batch));
            *jobs = rest;
            if !(failed.is_empty() && staging.is_empty()) {
                self.fail_all(std::mem::take(staging), failed, failure);
                self.tell_lost(jobs);
                return true;
            }
        }
        !jobs.is_empty() && self.spend_ballast()
    }

    pub(super) fn fail_all(&self, staging: Staging, jobs: Vec<Waiting>, failure: &Failure) {
        let lost = failure.loss(self);
        self.stage.dropped(&self.files, &self.budget, staging, lost.as_ref());
        if failure.is_full() {
            self.budget.found_full();
        }
        for job in jobs.into_iter().rev() {
            // What it counts on may be lost by the same failure; it need not hear of it twice.
            let _ = job.done.as_ref().map(|_| self.stage.tell_lost(&job.batch));
            self.refuse(job, failure.error());
        }
    }

    fn refuse(&self, job: Waiting, error: CommitError) {
        self.give_back(job.claim);
        answer(job.done, Err(error));
    }
}
