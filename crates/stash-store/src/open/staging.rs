//! Handing blobs over.

use super::Open;
use crate::budget::Claim;
use crate::room::Allowance;
use crate::stage::Admission;
use crate::sync::Arc;
use crate::{Address, Blob, MAX_BLOB_BYTES, ReadError, StageError, Staged};

impl Open {
    /// Room that a blob of so many bytes takes.
    pub(crate) fn claim_of(&self, len: u64) -> Claim {
        match self.is_small(len) {
            true => Claim::of_small(len),
            false => self.budget.claim_of_file(len),
        }
    }

    pub(crate) fn is_small(&self, len: u64) -> bool {
        len < u64::from(self.ground.options.small.min(crate::MAX_SMALL))
    }

    /// Stages in room that is `kept` for it, which is taken then, or in some that is to be found.
    pub(crate) fn stage_in(
        &self,
        blob: Blob,
        kept: &mut Option<Claim>,
    ) -> Result<Staged, StageError> {
        let (address, len) = (blob.address(), blob.bytes().len() as u64);
        if len > MAX_BLOB_BYTES {
            return Err(StageError::TooLarge { len });
        }
        let sealed_len = u32::try_from(len).map_err(|_| StageError::TooLarge { len })?;
        if !self.is_small(len) {
            // Before it is asked what is there, or written what would have no place.
            self.ground.look()?;
        }
        match self.admit(address, len)? {
            Admission::Present => return Ok(Staged::Present),
            Admission::Refused => {
                let reason = self.health.read_only().unwrap_or_default();
                return Err(StageError::ReadOnly { reason });
            }
            Admission::Go | Admission::NoRoom => {}
        }
        let options = &self.ground.options;
        let claim = self.claim_of(len);
        if kept.take().is_none()
            && let Err(shortage) = self.upkeep.take_room(claim, Allowance::None)
        {
            self.stage.withdraw(&address, len);
            return Err(shortage.into());
        }
        if self.is_small(len) {
            if self.stage.take_small(blob, options.queue_bytes) && !self.ground.is_inline() {
                self.commits.nudge();
            }
            return Ok(Staged::New);
        }
        let files = &self.ground.files;
        let written = match sealed_len < options.direct {
            true => files.write_tmp(blob.bytes()),
            false => files.write_direct(blob.bytes()),
        };
        self.budget.wrote(claim);
        match written {
            Ok((tmp, file)) => {
                drop(blob);
                // Or else, where the disk keeps it in memory, a gigabyte waits for the commit.
                file.start_writeback();
                self.stage.take_file(address, sealed_len, tmp, file);
                Ok(Staged::New)
            }
            Err(error) => {
                self.budget.release(claim);
                self.budget.found_full();
                self.stage.withdraw(&address, len);
                Err(if error.is_full() { StageError::Full(error) } else { StageError::Io(error) })
            }
        }
    }

    fn admit(&self, address: Address, len: u64) -> Result<Admission, ReadError> {
        let wait = !self.ground.is_inline();
        let refused = || self.health.is_read_only();
        let row = || self.ground.index().chunk(&address).map_err(ReadError::from);
        loop {
            let limit = self.ground.options.queue_bytes;
            match self.stage.admit(address, len, limit, wait, refused, row)? {
                Admission::NoRoom => self.commits.flush_inline(),
                admission => return Ok(admission),
            }
        }
    }
}

/// Room for one blob; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the room is given back at once"]
pub struct Reservation {
    open: Arc<Open>,
    len: u64,
    claim: Option<Claim>,
}

impl Reservation {
    pub(crate) fn new(open: Arc<Open>, len: u64, claim: Claim) -> Reservation {
        Reservation { open, len, claim: Some(claim) }
    }

    /// As [`crate::Store::stage`], in the room that was kept. A blob of another length has to find its own.
    ///
    /// # Errors
    ///
    /// As [`crate::Store::stage`].
    pub fn stage(mut self, blob: Blob) -> Result<Staged, StageError> {
        let open = Arc::clone(&self.open);
        if blob.bytes().len() as u64 != self.len {
            drop(self);
            return open.stage_in(blob, &mut None);
        }
        open.stage_in(blob, &mut self.claim)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.open.upkeep.give_back(claim);
        }
    }
}
