//! Writing what waits, group by group.

use super::Commits;
use super::failure::Failure;
use super::group::{self, Built, GroupError};
use crate::budget::Claim;
use crate::index::IndexError;
use crate::log::AppendError;
use crate::queue::Job;
use crate::recover;
use crate::stage::Staging;
use crate::writer::Writer;

impl Commits {
    /// Commits these batches, and announces what was staged before them.
    pub(super) fn run(&self, writer: &mut Writer, mut staging: Staging, mut jobs: Vec<Job>) {
        // The next one last.
        jobs.reverse();
        self.tell_lost(&mut jobs);
        while !(jobs.is_empty() && staging.is_empty()) {
            if let Some(reason) = self.health.read_only() {
                self.fail_all(staging, jobs, &Failure::ReadOnly(reason));
                return;
            }
            let Err(failure) = self.one_group(writer, &mut staging, &mut jobs) else {
                continue;
            };
            if !(failure.is_full() && self.make_way(writer, &mut staging, &mut jobs, &failure)) {
                self.fail_all(staging, jobs, &failure);
                return;
            }
        }
    }

    /// Writes as much as belongs into one group. What goes into it is taken from `staging` and
    /// from the end of `jobs`; put back if it fails.
    fn one_group(
        &self,
        writer: &mut Writer,
        staging: &mut Staging,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Failure> {
        self.forget_gone(writer);
        if let Some(error) = self.upkeep.index_full() {
            return Err(Failure::Io(error));
        }
        self.count_open(writer)?;
        let index = self.ground.index();
        let first = group::first_len(staging, jobs.last().map_or(0, |job| job.log_bytes));
        let group = match writer.log.group(first) {
            Ok(group) => group,
            Err(error) => return Err(self.append_failed(error)),
        };
        let mut built = Built::new(&self.ground, &self.stage, &self.health, group);
        let before = writer.log.end;
        let Writer { log, head, emptied, .. } = writer;
        let result = index.write(head, |tables| {
            built.fill(tables, staging, jobs)?;
            let group = built.take_group();
            if !group.is_empty() {
                log.append(group)?;
                built.remove_files(emptied);
            }
            tables.state.position = log.end;
            tables.state.next_sequence = log.next_sequence;
            Ok(())
        });
        self.stage.evicted(&built.leaving);
        match result {
            Ok(()) => {
                let appended = writer.log.end != before;
                writer.behind += writer.log.end.offset.saturating_sub(before.offset);
                self.publish(writer, &built, appended);
                writer.retired.append(&mut built.retired);
                self.ground.files.forget_damaged(&built.whole_again);
                self.upkeep.doom(std::mem::take(&mut built.doomed));
                built.answer();
                self.upkeep.checkpoint_if_due(writer);
                Ok(())
            }
            Err(error) => {
                self.stage.evicted(&built.doomed);
                built.put_back(staging, jobs);
                Err(match error {
                    GroupError::Append(error) => self.append_failed(error),
                    GroupError::Index(error) => match self.heal(writer, &error) {
                        Ok(()) => Failure::Index(error),
                        Err(failure) => failure,
                    },
                })
            }
        }
    }

    fn publish(&self, writer: &Writer, built: &Built<'_>, appended: bool) {
        self.upkeep.give_back(built.granted_in_vain());
        self.reckon(writer, built.claims(&self.budget));
        self.stage.announced(&built.announced(), &built.small_announced());
        self.stage.absolve(&built.quarantined);
        self.health.mended(&built.mended);
        let mut figures = self.figures();
        if !built.retired.is_empty() {
            figures.log = writer.live_segments();
            self.health.clear(|id| writer.head.usage.is_retired(id));
        }
        figures.groups += u64::from(appended);
        figures.batches += built.batches();
    }

    /// Forgets segments whose files are gone.
    pub(crate) fn forget_gone(&self, writer: &mut Writer) {
        let gone = self.upkeep.work.take_gone();
        if gone.is_empty() {
            return;
        }
        for id in gone {
            writer.log.forget(id);
        }
        self.reckon(writer, (Claim::default(), Claim::default()));
    }

    /// The figures after a group; what was granted to it, in the log and in files, is used.
    pub(super) fn reckon(&self, writer: &Writer, (in_log, in_files): (Claim, Claim)) {
        self.budget.wrote(in_log);
        let (file_bytes, log_bytes) = (writer.head.state.file_bytes, writer.log_bytes());
        self.budget.settle(file_bytes, log_bytes, in_log.plus(in_files));
        self.figures().follow(writer);
    }

    pub(super) fn append_failed(&self, error: AppendError) -> Failure {
        match error {
            AppendError::Undone(error) => Failure::Io(error),
            AppendError::Broken(error) => {
                self.health.poison(error.to_string());
                Failure::ReadOnly(error.to_string())
            }
        }
    }

    /// The index is damaged: makes it anew from the log.
    pub(super) fn heal(&self, writer: &mut Writer, error: &IndexError) -> Result<(), Failure> {
        tracing::warn!(error = %error.0, "rebuilding the index from the log");
        let _one = self.upkeep.hold();
        match recover::reload(&writer.log, &self.ground.options) {
            Ok((index, head, damage)) => {
                self.figures().note_damage(damage);
                self.ground.replace_index(index);
                // It was the old one that could not be written.
                self.upkeep.work.lock().failed = None;
                writer.head = head;
                writer.behind = 0;
                Ok(())
            }
            Err(again) => {
                let reason = format!("the index is damaged: {}; {again}", error.0);
                self.health.poison(reason.clone());
                Err(Failure::ReadOnly(reason))
            }
        }
    }

    /// The end of a clean close: everything is durable, and said to be.
    pub(super) fn seal(&self, writer: &mut Writer) {
        // Where the opening could not be written down, nothing was: there is no end to mark.
        if self.health.read_only().is_some() || !writer.counted {
            return;
        }
        match self.write_alone(writer, None) {
            Ok(()) => self.upkeep.checkpoint(writer),
            // A store that is not sealed is recovered like after a crash: nothing is lost.
            Err(GroupError::Append(_)) => {}
            Err(GroupError::Index(IndexError(error))) => {
                tracing::warn!(%error, "the index was not closed cleanly");
            }
        }
    }
}
