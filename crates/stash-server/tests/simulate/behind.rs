//! The founder is put back to before its last change of members, and all that it reaches then is a
//! member that has not heard of that change.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use crate::world::World;

/// Changes among members are tried so often.
const ATTEMPTS: usize = 4;

impl World {
    pub(crate) async fn put_back_among_the_stale(&mut self) {
        let others = self.others(self.founder);
        if others.len() < 2 {
            return;
        }
        let (founder, behind) = (self.founder, others[self.below(others.len())]);
        self.back_up(founder);
        self.cut_off(behind);
        let before = self.log.len();
        for _ in 0..ATTEMPTS {
            if self.log.len() == before {
                self.change_member().await;
            }
        }
        if self.log.len() == before {
            return;
        }
        self.pause(30).await;
        let disks = self.disks[founder];
        match self.below(2) {
            0 => self.restore(founder).await,
            _ => self.wipe(founder).await,
        }
        if self.disks[founder] == disks || !self.is_member(behind) {
            return;
        }
        self.cut_off(founder);
        self.common.switch.open(founder, behind);
        self.trace.line(&format!("node {founder} reaches node {behind} alone"));
        // If it does not start, it is tried again.
        let _ = self.start(founder).await;
        for _ in 0..ATTEMPTS {
            self.pause(20).await;
            self.change_member().await;
        }
    }

    async fn pause(&mut self, longest: u64) {
        let seconds = self.random.random_range(1..=longest);
        sleep(Duration::from_secs(seconds)).await;
        self.notice();
    }
}
