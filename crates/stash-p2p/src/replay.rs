//! The replay window: which counters of one member were used already.

use std::collections::HashMap;

use crate::PublicKey;
use crate::limits::REPLAY_WINDOW;

/// Remembers the last [`REPLAY_WINDOW`] accepted counters of one member, and that everything at or
/// below a floor was used. Pure: who owns it decides when a counter counts.
///
/// Counters are microseconds as a rule, so a window over a *range* of numbers would be a
/// millisecond wide; this one is over accepted counters, and tolerates first messages that
/// overtake one another by any time.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    floor: u64,
    /// Ascending, all above the floor, at most [`REPLAY_WINDOW`].
    seen: Vec<u64>,
}

impl ReplayWindow {
    /// A window after a start: everything up to the durable `floor` counts as used.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self { floor, seen: Vec::new() }
    }

    /// Marks `counter` as used. `false`: it was used before, or may have been; nothing changed.
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter <= self.floor {
            return false;
        }
        let Err(at) = self.seen.binary_search(&counter) else {
            return false;
        };
        if self.seen.len() == REPLAY_WINDOW {
            if at == 0 {
                // Below all that is remembered: it cannot be told from an old one.
                return false;
            }
            self.floor = self.seen.remove(0);
            self.seen.insert(at - 1, counter);
        } else {
            self.seen.insert(at, counter);
        }
        true
    }

    /// The highest counter accepted, or the floor.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.seen.last().copied().unwrap_or(self.floor)
    }
}

/// The windows of many initiators, up to a number: beyond it the least recent is dropped.
#[derive(Debug)]
pub(crate) struct Windows {
    most: usize,
    clock: u64,
    windows: HashMap<PublicKey, (u64, ReplayWindow)>,
}

impl Windows {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, clock: 0, windows: HashMap::new() }
    }

    pub(crate) fn knows(&self, remote: &PublicKey) -> bool {
        self.windows.contains_key(remote)
    }

    /// Marks a counter as used; `false` if it may have been used before. The floor counts for an
    /// initiator that is not known.
    pub(crate) fn accept(&mut self, remote: &PublicKey, counter: u64, floor: u64) -> bool {
        self.clock += 1;
        if !self.knows(remote) && self.windows.len() >= self.most {
            let oldest = self.windows.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(remote, _)| *remote) {
                self.windows.remove(&oldest);
            }
        }
        let fresh = || (self.clock, ReplayWindow::new(floor));
        let (used, window) = self.windows.entry(*remote).or_insert_with(fresh);
        *used = self.clock;
        window.accept(counter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    // Fault case 6.
    #[test]
    fn a_counter_is_accepted_once_however_many_follow() {
        let mut window = ReplayWindow::new(0);
        assert!(window.accept(500));
        assert!(!window.accept(500));
        for counter in 1..=2000 {
            assert!(window.accept(1000 + counter));
            assert!(!window.accept(500), "after {counter} more");
        }
    }

    #[test]
    fn a_window_after_a_restart_refuses_all_up_to_the_floor() {
        let mut window = ReplayWindow::new(0);
        assert!(window.accept(10));
        assert!(window.accept(7));
        let mut after = ReplayWindow::new(window.highest());
        for counter in 0..=10 {
            assert!(!after.accept(counter));
        }
        assert!(after.accept(11));
    }

    #[test]
    fn messages_may_overtake_one_another() {
        let mut window = ReplayWindow::new(0);
        assert!(window.accept(1_000_000));
        assert!(window.accept(3));
        assert!(!window.accept(0));
    }

    proptest! {
        #[test]
        fn no_counter_is_ever_accepted_twice(counters in prop::collection::vec(0_u64..3000, 0..4000)) {
            let (mut window, mut used) = (ReplayWindow::new(5), BTreeSet::new());
            for counter in counters {
                let fresh = counter > 5 && !used.contains(&counter);
                if window.accept(counter) {
                    prop_assert!(fresh);
                    used.insert(counter);
                } else if fresh {
                    // Refused although new: only below a full window.
                    let above = used.range(counter..).count();
                    prop_assert!(above >= REPLAY_WINDOW);
                }
            }
        }
    }
}
