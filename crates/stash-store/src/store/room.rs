//! Room of a store: keeping some for what is on its way, and hearing of more.

use super::Store;
use crate::budget::Claim;
use crate::room::Allowance;
use crate::sync::Arc;
use crate::{Quota, Reservation, StageError};

impl Store {
    /// Sets how much the store may take from now on; it is not remembered, see
    /// [`Options::quota`](crate::Options::quota).
    /// What is here stays, also beyond the quota.
    pub fn set_quota(&self, quota: Quota) {
        self.open.budget.set_quota(quota);
    }

    /// Keeps room for a blob of `len` bytes that is still to come from elsewhere, so that nobody
    /// brings bytes which are refused then.
    ///
    /// # Errors
    ///
    /// [`StageError`], as [`Store::stage`] would fail now.
    pub fn reserve(&self, len: u64) -> Result<Reservation, StageError> {
        if let Some(reason) = self.open.health.read_only() {
            return Err(StageError::ReadOnly { reason });
        }
        if !self.open.is_small(len) && self.away().is_some() {
            self.open.ground.look()?;
        }
        let claim = self.open.upkeep.take_room(self.open.claim_of(len), Allowance::None)?;
        Ok(Reservation::new(Arc::clone(&self.open), len, claim))
    }

    /// True if a batch whose records and manifests take so many bytes would find room now.
    pub fn has_room(&self, bytes: u64, allowance: Allowance) -> bool {
        self.open.budget.fits(Claim::of_log(bytes), allowance)
    }

    /// Calls `hook` from now on when there is more room than there was, if something was refused
    /// since it was called last. It must not block, nor use the store: the commit that made the room
    /// is under way. Room that other programs give back is not noticed. There is one hook.
    pub fn on_room(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.open.budget.listen(Box::new(hook));
    }
}
