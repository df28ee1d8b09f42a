//! Writing down that the store was opened once more, before anything else is written.

use crate::budget::Claim;
use crate::entry::{Op, entry_len};
use crate::log::mark_len;
use crate::writer::Writer;

use super::Commits;
use super::failure::Failure;
use super::group::GroupError;

impl Commits {
    /// Counts this opening. On a full disk that waits until there is something to write and room
    /// for it; for anything else that stands in the way, the store can only be read.
    pub(crate) fn count_this_open(&self) {
        if self.health.is_read_only() {
            return;
        }
        let mut writer = self.writer.lock();
        let mut counted = self.count_open(&mut writer);
        if matches!(&counted, Err(failure) if failure.is_full()) && self.upkeep.spend_ballast() {
            counted = self.count_open(&mut writer);
        }
        match counted {
            Ok(()) => {}
            Err(Failure::Io(error)) if error.is_full() => {
                tracing::warn!(%error, "the store was opened on a full disk");
            }
            Err(Failure::Io(error)) => {
                self.health.poison(format!("it could not be opened for writing: {error}"));
            }
            // It says why already.
            Err(Failure::ReadOnly(_) | Failure::Index(_)) => {}
        }
    }

    pub(super) fn count_open(&self, writer: &mut Writer) -> Result<(), Failure> {
        if writer.counted {
            return Ok(());
        }
        match self.write_alone(writer, Some(&Op::Open { opens: self.opens })) {
            Ok(()) => {}
            Err(GroupError::Append(error)) => return Err(self.append_failed(error)),
            Err(GroupError::Index(error)) => self.heal(writer, &error)?,
        }
        writer.counted = true;
        self.reckon(writer, (Claim::default(), Claim::default()));
        Ok(())
    }

    /// Writes a mark, and an entry before it if there is one, as a group of their own.
    pub(super) fn write_alone(
        &self,
        writer: &mut Writer,
        op: Option<&Op>,
    ) -> Result<(), GroupError> {
        let Writer { log, head, .. } = writer;
        let mut group = log.group(op.map_or(0, |op| entry_len(op.body_len(0))) + mark_len())?;
        let entry = op.map(|op| (op, group.push(op, &[])));
        let (_, mark) = group.mark();
        log.append(group)?;
        self.ground.index().write(head, |tables| {
            if let Some((op, (sequence, place))) = entry {
                tables.apply(op, sequence, place)?;
            }
            tables.dead(&mark);
            tables.state.position = log.end;
            tables.state.next_sequence = log.next_sequence;
            Ok(())
        })
    }
}
