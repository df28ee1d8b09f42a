//! Batches that are refused, and what is done before, on a full disk.

use super::Commits;
use super::failure::Failure;
use crate::queue::Job;
use crate::stage::Staging;
use crate::writer::Writer;
use crate::{Batch, CommitError};

impl Commits {
    /// Fails batches that count on a blob that was lost.
    pub(super) fn tell_lost(&self, jobs: &mut Vec<Job>) {
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
        writer: &mut Writer,
        staging: &mut Staging,
        jobs: &mut Vec<Job>,
        failure: &Failure,
    ) -> bool {
        if self.upkeep.remove_doomed() || self.upkeep.remove_waiting(writer) {
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
        !jobs.is_empty() && self.upkeep.spend_ballast()
    }

    pub(super) fn fail_all(&self, staging: Staging, jobs: Vec<Job>, failure: &Failure) {
        let index = self.ground.files.dir.join("index");
        let lost = failure.loss(&index).filter(|_| !self.health.is_read_only());
        self.stage.dropped(&self.ground.files, &self.budget, staging, lost.as_ref());
        if failure.is_full() {
            self.budget.found_full();
        }
        for job in jobs.into_iter().rev() {
            // What it counts on may be lost by the same failure; it need not hear of it twice.
            let _ = job.done.as_ref().map(|_| self.stage.tell_lost(&job.batch));
            self.refuse(job, failure.error());
        }
    }

    fn refuse(&self, job: Job, error: CommitError) {
        self.upkeep.give_back(job.claim);
        job.answer(Err(error));
    }
}
