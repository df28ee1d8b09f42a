//! The bytes that may go in one direction, and the time at which they may. No clock: time since
//! some start is an argument.
//!
//! Bytes are paid for after they went: [`Bucket::pay`] returns the time at which they are paid for
//! at the rate, and the payer waits until then. Payments queue up in the order in which they came.
//! So all who share a bucket share its rate evenly, and none holds a part that it does not use.

use std::time::Duration;

use crate::frame::Class;
use crate::limits::{DATA_FRAME, Rate};

/// Longest time that a pause saves up: a timer that fires late costs nothing, an idle minute gives
/// no burst.
const BURST: Duration = Duration::from_millis(50);
/// Time by which urgent bytes run ahead of the rate before they wait, too. With [`BURST`] it is
/// less than a tenth of five seconds.
const RESERVE: Duration = Duration::from_millis(400);

/// The account of one direction. Within any `t` seconds, bytes worth at most `t` seconds and a
/// twentieth are paid in time, besides one payment of each payer.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Option<Rate>,
    /// The time at which all that went is paid for.
    paid: Duration,
}

impl Bucket {
    /// An account that nothing was paid into.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, paid: Duration::ZERO }
    }

    /// The rate now in force.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Changes the rate. What went and is not paid for yet is owed at the new one.
    pub fn set(&mut self, now: Duration, rate: Option<Rate>) {
        let debt = self.paid.saturating_sub(now);
        if let (Some(old), Some(new)) = (self.rate, rate) {
            self.paid = now + new.time(old.bytes(debt)).min(MAX_DEBT);
        } else {
            self.paid = now;
        }
        self.rate = rate;
    }

    /// Pays for bytes that went; returns when they are paid for. The payer lets nothing more go
    /// until then.
    pub fn pay(&mut self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.rate else {
            return now;
        };
        let from = self.paid.max(now.saturating_sub(BURST));
        self.paid = from + rate.time(bytes).min(MAX_DEBT);
        self.paid
    }
}

/// No payment counts for more than this, so that sums of times stay finite.
const MAX_DEBT: Duration = Duration::from_secs(1 << 20);

/// The time from which urgent bytes may go, if others wait until `free`.
pub(crate) fn urgent(free: Duration) -> Duration {
    free.saturating_sub(RESERVE)
}

/// The bytes that one call of the connection machine may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// For all streams together.
    pub(crate) bytes: usize,
    /// True if streams of [`Class::Bulk`] may take part.
    pub(crate) bulk: bool,
    /// The longest payload of a data frame.
    pub(crate) frame: usize,
}

impl Room {
    /// Room for `bytes` of any streams.
    pub(crate) const fn of(bytes: usize) -> Self {
        Self { bytes, bulk: true, frame: DATA_FRAME }
    }

    /// The room under a rate at `now`, for a connection that has to wait until `free`.
    pub(crate) fn at(rate: Rate, now: Duration, free: Duration) -> Self {
        let turn = rate.turn();
        let bytes = if now >= urgent(free) { turn } else { 0 };
        Self { bytes, bulk: now >= free, frame: turn.min(DATA_FRAME) }
    }

    /// True if a stream of this class has to wait.
    pub(crate) fn holds(&self, class: Class) -> bool {
        self.bytes == 0 || (class == Class::Bulk && !self.bulk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{MIN_RATE, RateTooLow, WRITE_BATCH};

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes: u64) -> Rate {
        Rate::new(bytes).unwrap()
    }

    /// Payers that let a turn go whenever they may, for a while; what went, with its time.
    fn greedy(rate: Rate, payers: usize, late: &[u64], end: Duration) -> Vec<(Duration, u64)> {
        let mut bucket = Bucket::new(Some(rate));
        let mut free = vec![Duration::ZERO; payers];
        let (mut went, mut late) = (Vec::new(), late.iter().cycle());
        loop {
            let (who, at) = free.iter().enumerate().min_by_key(|(_, at)| **at).unwrap();
            // Timers fire late, never early.
            let now = went.last().map_or(Duration::ZERO, |(at, _)| *at);
            let late = Duration::from_micros(*late.next().unwrap_or(&0));
            let at = if *at <= now { now } else { *at + late };
            if at >= end {
                return went;
            }
            let bytes = rate.turn() as u64;
            free[who] = bucket.pay(at, bytes);
            went.push((at, bytes));
        }
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_rate_and_a_turn_of_each(
            bytes in MIN_RATE..1 << 30,
            payers in 1_usize..12,
            late in proptest::collection::vec(0_u64..20_000, 1..50),
            window in 1_u64..8_000,
        ) {
            let rate = rate(bytes);
            let went = greedy(rate, payers, &late, 8 * SECOND);
            let window = Duration::from_millis(window);
            let most = rate.bytes(window + BURST) + (payers as u64 + 1) * rate.turn() as u64;
            let (mut sum, mut from) = (0, 0);
            for (at, bytes) in &went {
                sum += bytes;
                while went[from].0 + window <= *at {
                    sum -= went[from].1;
                    from += 1;
                }
                prop_assert!(sum <= most, "{sum} bytes within {window:?}, at most {most}");
            }
        }

        #[test]
        fn late_timers_do_not_cost_a_twentieth_of_the_rate(
            bytes in MIN_RATE..64 << 20,
            payers in 1_usize..12,
            late in proptest::collection::vec(0_u64..10_000, 1..50),
        ) {
            let rate = rate(bytes);
            let late: Vec<u64> = late.iter().map(|late| late / payers as u64).collect();
            let sum: u64 = greedy(rate, payers, &late, 5 * SECOND).iter().map(|(_, n)| n).sum();
            prop_assert!(sum >= rate.bytes(5 * SECOND) / 20 * 19, "{sum} of {rate}");
        }
    }

    #[test]
    fn payers_share_evenly() {
        let rate = rate(2 << 20);
        let mut bucket = Bucket::new(Some(rate));
        let (mut free, mut went) = ([Duration::ZERO; 3], [0; 3]);
        while let Some((who, at)) = free.into_iter().enumerate().min_by_key(|(_, at)| *at)
            && at < SECOND
        {
            // One sends whole turns, one halves, one tenths: each what it has, as often as it may.
            let bytes = rate.turn() as u64 / [1, 2, 10][who];
            free[who] = bucket.pay(at, bytes);
            went[who] += 1;
        }
        let [most, least] = [went.iter().max().unwrap(), went.iter().min().unwrap()];
        assert!(most - least <= 1 && *least > 0, "{went:?}");
    }

    #[test]
    fn an_idle_hour_saves_up_a_twentieth_of_a_second() {
        let mut bucket = Bucket::new(Some(rate(1 << 20)));
        let hour = 3600 * SECOND;
        let free = bucket.pay(hour, 1 << 20);
        assert_eq!(free, hour + SECOND - BURST);
    }

    #[test]
    fn urgent_bytes_wait_when_they_have_run_four_tenths_of_a_second_ahead() {
        let rate = rate(1 << 20);
        let mut bucket = Bucket::new(Some(rate));
        let free = bucket.pay(SECOND, rate.bytes(BURST + RESERVE) - 8);
        let held = |now, free| {
            [Class::Control, Class::Bulk].map(|class| Room::at(rate, now, free).holds(class))
        };
        assert_eq!(held(SECOND, free), [false, true]);
        let free = bucket.pay(SECOND, 16);
        assert_eq!(held(SECOND, free), [true, true]);
        assert_eq!(held(free, free), [false, false]);
    }

    #[test]
    fn a_changed_rate_changes_how_long_what_went_is_paid_for() {
        let mut bucket = Bucket::new(Some(rate(1 << 20)));
        bucket.pay(SECOND, 2 << 20);
        bucket.set(SECOND, Some(rate(4 << 20)));
        let free = bucket.pay(SECOND, 0);
        assert!((free - SECOND).abs_diff(SECOND / 2) < BURST, "{free:?}");
        bucket.set(SECOND, None);
        assert_eq!(bucket.pay(SECOND, 1 << 40), SECOND);
        bucket.set(SECOND, Some(rate(1 << 20)));
        assert_eq!(bucket.pay(SECOND, 0), SECOND);
    }

    #[test]
    fn rates_that_would_starve_connections_are_refused() {
        assert_eq!(Rate::new(0), Err(RateTooLow(0)));
        assert_eq!(Rate::new(MIN_RATE - 1), Err(RateTooLow(MIN_RATE - 1)));
        assert_eq!(rate(MIN_RATE).bytes_per_second(), MIN_RATE);
        let absurd = rate(u64::MAX);
        assert_eq!(absurd.bytes(SECOND), u64::MAX);
        assert_eq!(absurd.turn(), WRITE_BATCH);
        let mut bucket = Bucket::new(Some(rate(MIN_RATE)));
        assert!(bucket.pay(SECOND, u64::MAX) > SECOND);
    }
}
