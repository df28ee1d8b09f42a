//! Writing down that the store was opened once more, before anything else is written.

use crate::budget::Claim;
use crate::entry::{Op, entry_len};
use crate::index::IndexError;
use crate::log::mark_len;
use crate::shared::Shared;

use super::{Core, Failure};

impl Shared {
    /// Counts this opening. On a full disk that waits until there is something to write and room
    /// for it; for anything else that stands in the way, the store can only be read.
    pub(crate) fn count_this_open(&self) {
        if self.read_only().is_some() {
            return;
        }
        let mut core = self.core.lock();
        let mut counted = self.count_open(&mut core);
        if matches!(&counted, Err(failure) if failure.is_full()) && self.spend_ballast() {
            counted = self.count_open(&mut core);
        }
        match counted {
            Ok(()) => {}
            Err(Failure::Io(error)) if error.is_full() => {
                tracing::warn!(%error, "the store was opened on a full disk");
            }
            Err(Failure::Io(error)) => {
                self.poison(format!("it could not be opened for writing: {error}"));
            }
            // It says why already.
            Err(Failure::ReadOnly(_) | Failure::Index(_)) => {}
        }
    }

    pub(super) fn count_open(&self, core: &mut Core) -> Result<(), Failure> {
        if core.counted {
            return Ok(());
        }
        let Core { log, head, .. } = core;
        let op = Op::Open { opens: self.opens };
        let group = log.group(entry_len(8) + mark_len());
        let mut group = group.map_err(|error| self.append_failed(error))?;
        let (_, place) = group.push(&op, &[]);
        let (_, mark) = group.mark();
        log.append(group).map_err(|error| self.append_failed(error))?;
        let noted = self.index().write(head, |tables| {
            tables.apply(&op, 0, place)?;
            tables.dead(&mark);
            tables.state.position = log.end;
            tables.state.next_sequence = log.next_sequence;
            Ok::<_, IndexError>(())
        });
        if let Err(error) = noted {
            self.heal(core, &error)?;
        }
        core.counted = true;
        self.reckon(core, (Claim::default(), Claim::default()));
        Ok(())
    }
}
