//! Room for what is stored: what is granted, and the ballast for when there is none.

use super::Upkeep;
use crate::budget::Claim;
use crate::room::{Allowance, Shortage};

impl Upkeep {
    /// Takes room for what a caller wants to store. The ballast is made again when the disk says
    /// that it has some.
    pub(crate) fn take_room(&self, claim: Claim, allowance: Allowance) -> Result<Claim, Shortage> {
        let (granted, asked) = self.budget.take(claim, allowance)?;
        if asked && self.ballast.is_missing() {
            if self.ground.is_inline() {
                self.keep_ballast();
            } else {
                self.work.nudge();
            }
        }
        Ok(granted)
    }

    /// Gives back room that was taken and will not be used.
    pub(crate) fn give_back(&self, claim: Claim) {
        self.budget.wrote(claim);
        self.budget.release(claim);
    }

    /// Makes the ballast, if it is missing and there is room for it.
    pub(crate) fn keep_ballast(&self) {
        let wanted = self.ballast.is_missing() && !self.health.is_read_only();
        if !wanted || !self.budget.has_left(self.ballast.needs(&self.ground.files)) {
            return;
        }
        match self.ballast.make(&self.ground.files) {
            Ok(()) => self.budget.set_spent(Claim::default()),
            Err(error) => tracing::warn!(%error, "there is no ballast"),
        }
    }

    /// Gives the room of the ballast to what must be written. False if there was none.
    pub(crate) fn spend_ballast(&self) -> bool {
        let given = self.ballast.give(&self.ground.files);
        if given {
            self.budget.set_spent(self.ballast.claim(&self.ground.files));
        }
        given
    }
}
