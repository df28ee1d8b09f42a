//! A limit on how often each member may do something that costs others.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::time::Instant;

use crate::lock::lock;

/// So many at once, and then one an interval: the rate algorithm of virtual scheduling (ITU-T
/// I.371), which needs one moment a member.
#[derive(Debug)]
pub(crate) struct Meter {
    interval: Duration,
    burst: u32,
    /// Time at which each member would be through with what it did, at the rate alone.
    due: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Meter {
    pub(crate) fn new(interval: Duration, burst: u32) -> Meter {
        Meter { interval, burst, due: Mutex::default() }
    }

    /// Counts one more of a member, whatever it did before; returns how long that one has to wait.
    pub(crate) fn wait(&self, member: NodeId, now: Instant) -> Duration {
        let mut due = lock(&self.due);
        let at = self.begin(&mut due, member, now);
        due.insert(member, at + self.interval);
        (at - now).saturating_sub(self.interval * (self.burst - 1))
    }

    /// Counts one more of a member if it need not wait; true if it was counted.
    pub(crate) fn take(&self, member: NodeId, now: Instant) -> bool {
        let mut due = lock(&self.due);
        let at = self.begin(&mut due, member, now);
        let may = at - now <= self.interval * (self.burst - 1);
        if may {
            due.insert(member, at + self.interval);
        }
        may
    }

    /// The time at which a member is through with what it did before.
    fn begin(&self, due: &mut BTreeMap<NodeId, Instant>, member: NodeId, now: Instant) -> Instant {
        // Of whoever is through, nothing needs to be known.
        due.retain(|_, at| *at > now);
        due.get(&member).copied().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn a_member_may_do_some_at_once_and_then_one_an_interval() {
        let (meter, begun) = (Meter::new(SECOND, 3), Instant::now());
        let taken = |n, at: u32| meter.take(node(n), begun + SECOND * at);
        let at_once: Vec<bool> = (0..5).map(|_| taken(1, 0)).collect();
        assert_eq!(at_once, [true, true, true, false, false]);
        assert!(taken(2, 0), "what another one does is its own affair");
        let later: Vec<bool> = (1..5).map(|second| taken(1, second)).collect();
        assert_eq!(later, [true; 4]);
        assert!(!taken(1, 4));
        let rested: Vec<bool> = (0..4).map(|_| taken(1, 100)).collect();
        assert_eq!(rested, [true, true, true, false], "no more than the burst is saved up");
    }

    #[test]
    fn whoever_does_more_waits_longer() {
        let (meter, now) = (Meter::new(SECOND, 2), Instant::now());
        let waits: Vec<u64> = (0..5).map(|_| meter.wait(node(1), now).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2, 3]);
    }
}
