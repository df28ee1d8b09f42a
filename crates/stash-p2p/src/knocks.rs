//! Limits how often places are dialled at which the remote has never answered.
//!
//! A remote says itself where it is, so it can name a machine that has nothing to do with it. Every
//! node that believes it then knocks there. Pure: the time is an argument.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::candidate::Source;

/// Dials at places without an answer that are made at once: a few rounds over all places of a
/// remote that is starting.
const AT_ONCE: u32 = 32;

/// Interval at which one more is made.
const ONE_MORE: Duration = Duration::from_secs(30);

/// Addresses remembered, so that all get their turn: those of one race, and as many others.
const REMEMBERED: usize = 32;

/// The dials at such places that may still be made, for one remote.
#[derive(Debug, Default)]
pub(crate) struct Knocks {
    told: Allowance,
    heard: Allowance,
    /// Those that were dialled, the last one at the end.
    dialled: VecDeque<SocketAddr>,
    /// Those at which the remote has answered, the last one at the end.
    answered: VecDeque<SocketAddr>,
}

impl Knocks {
    /// True if an address from this source may be dialled now; it counts as dialled then.
    pub(crate) fn may_dial(&mut self, addr: SocketAddr, source: Source, now: Instant) -> bool {
        if !self.is_limited(&addr, source) {
            return true;
        }
        let allowed = match source {
            Source::Given | Source::Met => true,
            Source::Told => self.told.take(now),
            Source::Heard => self.heard.take(now),
        };
        if allowed {
            note(&mut self.dialled, addr);
        }
        allowed
    }

    /// True if dials at an address are counted.
    pub(crate) fn is_limited(&self, addr: &SocketAddr, source: Source) -> bool {
        matches!(source, Source::Told | Source::Heard) && !self.answered.contains(addr)
    }

    /// The remote has answered at an address.
    pub(crate) fn answered(&mut self, addr: SocketAddr) {
        note(&mut self.answered, addr);
    }

    /// The place of an address in the order in which they get their turn when there are not dials
    /// enough for all of them: the one that has waited longest is the first.
    pub(crate) fn turn(&self, addr: &SocketAddr) -> usize {
        self.dialled.iter().position(|other| other == addr).map_or(0, |at| at + 1)
    }

    /// True if so many addresses that were told can all be dialled now.
    pub(crate) fn suffice(&mut self, count: usize, now: Instant) -> bool {
        self.told.refill(now);
        usize::try_from(self.told.left).is_ok_and(|left| left >= count)
    }
}

/// Puts an address at the end of a list, and nowhere else.
fn note(list: &mut VecDeque<SocketAddr>, addr: SocketAddr) {
    list.retain(|other| *other != addr);
    list.push_back(addr);
    if list.len() > REMEMBERED {
        list.pop_front();
    }
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// The time up to which `left` was counted.
    at: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: AT_ONCE, at: None }
    }
}

impl Allowance {
    fn refill(&mut self, now: Instant) {
        let at = *self.at.get_or_insert(now);
        let more = now.saturating_duration_since(at).as_secs() / ONE_MORE.as_secs();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(AT_ONCE);
        self.at = Some(if self.left == AT_ONCE { now } else { at + ONE_MORE * more });
    }

    fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 7979))
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_answered_is_dialled_a_few_times_and_then_seldom() {
        let (mut knocks, start) = (Knocks::default(), Instant::now());
        let mut dials = |secs: u64| {
            let now = start + Duration::from_secs(secs);
            (0..100).filter(|_| knocks.may_dial(addr(1), Source::Told, now)).count()
        };
        assert_eq!(dials(0), 32);
        assert_eq!(dials(29), 0);
        assert_eq!(dials(30), 1);
        assert_eq!(dials(59), 0);
        assert_eq!(dials(3_600 + 30), 32, "they do not add up beyond the first ones");
        let hour = (1..=120).map(|half| dials(3_630 + 30 * half)).sum::<usize>();
        assert_eq!(hour, 120, "two a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_takes_nothing_from_what_was_told() {
        let (mut knocks, now) = (Knocks::default(), Instant::now());
        while knocks.may_dial(addr(1), Source::Heard, now) {}
        assert!(knocks.may_dial(addr(2), Source::Told, now));
        assert!((0..1_000).all(|_| knocks.may_dial(addr(3), Source::Met, now)));
        assert!((0..1_000).all(|_| knocks.may_dial(addr(3), Source::Given, now)));
        knocks.answered(addr(1));
        assert!((0..1_000).all(|_| knocks.may_dial(addr(1), Source::Heard, now)));
        assert!(!knocks.may_dial(addr(4), Source::Heard, now));
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_that_waited_longest_has_its_turn() {
        let (mut knocks, now) = (Knocks::default(), Instant::now());
        for last in [1, 2, 1] {
            assert!(knocks.may_dial(addr(last), Source::Told, now));
        }
        let mut order = [addr(1), addr(2), addr(3)];
        order.sort_by_key(|addr| knocks.turn(addr));
        assert_eq!(order, [addr(3), addr(2), addr(1)]);
    }
}
