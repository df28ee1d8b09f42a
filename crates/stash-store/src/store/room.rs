//! Room of a store: keeping some for what is on its way, and hearing of more.

use super::Store;
use crate::budget::Claim;
use crate::room::Allowance;
use crate::{Blob, Quota, StageError, Staged};

impl Store {
    /// Sets how much the store may take from now on; it is not remembered, see
    /// [`Options::quota`](crate::Options::quota).
    /// What is here stays, also beyond the quota.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.budget.set_quota(quota);
    }

    /// Keeps room for a blob of `len` bytes that is still to come from elsewhere, so that nobody
    /// brings bytes which are refused then.
    ///
    /// # Errors
    ///
    /// [`StageError`], as [`Store::stage`] would fail now.
    pub fn reserve(&self, len: u64) -> Result<Reservation, StageError> {
        if let Some(reason) = self.shared.read_only() {
            return Err(StageError::ReadOnly { reason });
        }
        if !self.is_small(len) && self.away().is_some() {
            self.shared.look()?;
        }
        let claim = self.shared.take_room(self.claim_of(len), Allowance::None)?;
        Ok(Reservation { store: self.clone(), len, claim: Some(claim) })
    }

    /// True if a batch whose records and manifests take so many bytes would find room now.
    pub fn has_room(&self, bytes: u64, allowance: Allowance) -> bool {
        self.shared.budget.fits(Claim::of_log(bytes), allowance)
    }

    /// Calls `hook` from now on when there is more room than there was, if something was refused
    /// since it was called last. It must not block, nor use the store: the commit that made the room
    /// is under way. Room that other programs give back is not noticed. There is one hook.
    pub fn on_room(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.shared.budget.listen(Box::new(hook));
    }
}

/// Room for one blob; given back when it is dropped.
#[derive(Debug)]
#[must_use = "the room is given back at once"]
pub struct Reservation {
    store: Store,
    len: u64,
    claim: Option<Claim>,
}

impl Reservation {
    /// As [`Store::stage`], in the room that was kept. A blob of another length has to find its own.
    ///
    /// # Errors
    ///
    /// As [`Store::stage`].
    pub fn stage(mut self, blob: Blob) -> Result<Staged, StageError> {
        let store = self.store.clone();
        if blob.bytes().len() as u64 != self.len {
            drop(self);
            return store.stage(blob);
        }
        store.stage_in(blob, &mut self.claim)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.store.shared.give_back(claim);
        }
    }
}
