//! Trust in the wall clock, where a wrong time would delete something.
//!
//! Nothing here is ordered by a clock, but retention counts age by it, and a clock that jumps ahead
//! by a year makes everything old. So it is compared with the time that the store was open. A clock
//! that jumps while the node runs is not believed for a day. Of a node that was off for longer than a day nobody
//! knows if its clock has jumped: then it has to run evenly for a while, and what it ran evenly before counts as
//! well, so that a machine which is off most of the week comes to a day in the end (decision 0057).

use std::time::Duration;

use stash_store::{ReadError, Store};

use crate::ledger::rows;

/// The wall clock may move by so much against the uptime between two looks and is still believed:
/// so long is a node off in a day.
pub const JUMP: Duration = Duration::from_secs(24 * 3_600);

/// Uptime for which the clock must run evenly before it is believed, at first and after a jump.
pub const PROBATION: Duration = Duration::from_secs(24 * 3_600);

/// Uptime for which the clock must run evenly after the node was off for longer than a day, whatever it ran before: by
/// then whoever sets clocks by the network has set this one.
const SETTLED: Duration = Duration::from_secs(4 * 3600);

/// The wall clock as last seen, since when it runs evenly, and when work last relied on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockTrust {
    wall: i64,
    uptime: u64,
    even_since: u64,
    used: i64,
    /// Openings of the store in all its life, at the last look.
    opens: u64,
    /// Seconds for which the clock ran evenly before the times in which the node was off.
    before: u64,
}

impl ClockTrust {
    /// Looks at the clock: `wall` is in seconds since 1970, `uptime` the seconds that this store
    /// has been open in all its life, `opens` the number of its openings.
    #[must_use]
    pub fn look(last: Option<ClockTrust>, wall: i64, uptime: u64, opens: u64) -> ClockTrust {
        let fresh = ClockTrust { wall, uptime, even_since: uptime, used: 0, opens, before: 0 };
        let Some(last) = last else {
            return fresh;
        };
        let walked = i128::from(wall) - i128::from(last.wall);
        // A crash may cost some minutes of the uptime.
        let ran = i128::from(uptime) - i128::from(last.uptime);
        let jumped = (walked - ran).unsigned_abs() > u128::from(JUMP.as_secs());
        let (even_since, before) = match jumped {
            false => (last.even_since.min(uptime), last.before),
            // It was off, as far as anybody can tell.
            true if opens != last.opens && walked > ran => {
                let even = last.uptime.saturating_sub(last.even_since).saturating_add(last.before);
                (uptime, even.min(PROBATION.as_secs()))
            }
            true => (uptime, 0),
        };
        ClockTrust { even_since, before, used: last.used, ..fresh }
    }

    /// Time that the store must still be open until the clock is believed; `None` once it is.
    #[must_use]
    pub fn waits(&self) -> Option<Duration> {
        let even = Duration::from_secs(self.uptime - self.even_since);
        let left = PROBATION.saturating_sub(even).saturating_sub(Duration::from_secs(self.before));
        let settles = if self.before > 0 { SETTLED.saturating_sub(even) } else { Duration::ZERO };
        Some(left.max(settles)).filter(|left| !left.is_zero())
    }

    /// True if work relied on it within this time, by its own count, and not in the future.
    #[must_use]
    pub fn used_within(&self, time: Duration) -> bool {
        let ago = u64::try_from(self.wall.saturating_sub(self.used));
        ago.is_ok_and(|ago| ago < time.as_secs())
    }

    /// The same after work that relied on the clock has ended now.
    pub(crate) fn after_use(self) -> ClockTrust {
        ClockTrust { used: self.wall, ..self }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let ClockTrust { wall, uptime, even_since, used, opens, before } = self;
        let [wall, used] = [wall, used].map(i64::to_le_bytes);
        let [uptime, even_since, opens, before] =
            [uptime, even_since, opens, before].map(u64::to_le_bytes);
        [wall, uptime, even_since, used, opens, before].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<ClockTrust> {
        let (words, []) = row.as_chunks::<8>() else {
            return None;
        };
        let (&[wall, uptime, even_since, used], rest) = words.split_first_chunk()?;
        // Versions before 0057 have no more than these.
        let (opens, before) = match rest {
            [] => (0, 0),
            [opens, before] => (u64::from_le_bytes(*opens), u64::from_le_bytes(*before)),
            _ => return None,
        };
        let (uptime, even_since) = (u64::from_le_bytes(uptime), u64::from_le_bytes(even_since));
        let even_since = even_since.min(uptime);
        let [wall, used] = [wall, used].map(i64::from_le_bytes);
        Some(ClockTrust { wall, uptime, even_since, used, opens, before })
    }
}

/// A time that has certainly come, in seconds since 1970: what the wall clock says, if it is
/// believed beside what was seen of it last, or what it said when it was believed then. 0 if it
/// never was.
pub(crate) fn certain(store: &Store, wall: u64, uptime: u64) -> Result<u64, ReadError> {
    let Some(last) = store.row(rows::CLOCK)?.and_then(|row| ClockTrust::decode(&row)) else {
        return Ok(0);
    };
    let wall = i64::try_from(wall).unwrap_or(i64::MAX);
    let now = ClockTrust::look(Some(last), wall, uptime, store.opens());
    let believed = [last, now].into_iter().filter(|look| look.waits().is_none());
    let times = believed.map(|look| u64::try_from(look.wall).unwrap_or(0));
    Ok(times.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    const START: i64 = 1_800_000_000;

    /// Looks at the clock at these times: wall and uptime in hours. What it says at each.
    fn looks(hours: &[(i64, u64)]) -> Vec<bool> {
        let hours: Vec<_> = hours.iter().map(|(wall, uptime)| (*wall, *uptime, 1)).collect();
        looks_of(&hours)
    }

    /// The same, with the opening in which each look is taken.
    fn looks_of(hours: &[(i64, u64, u64)]) -> Vec<bool> {
        let mut last = None;
        let one = |&(wall, uptime, opens): &(i64, u64, u64)| {
            let trust = ClockTrust::look(last, START + wall * 3_600, uptime * 3_600, opens);
            last = Some(ClockTrust::decode(&trust.encode()).unwrap());
            trust.waits().is_none()
        };
        hours.iter().map(one).collect()
    }

    #[test]
    fn a_clock_is_believed_once_the_node_ran_for_a_day_beside_it() {
        assert_eq!(
            looks(&[(0, 0), (12, 12), (23, 23), (24, 24), (90, 90)]),
            [false, false, false, true, true]
        );
    }

    #[test]
    fn a_node_that_is_off_at_night_goes_on_believing_its_clock() {
        let days: Vec<_> =
            (0..30u32).map(|day| (i64::from(day) * 24, u64::from(day) * 8)).collect();
        let believed = looks(&days);
        assert_eq!(believed.iter().position(|now| *now), Some(3));
        assert!(believed[3..].iter().all(|now| *now));
    }

    // Fault case 85.
    #[test]
    fn a_clock_that_jumps_is_not_believed_until_it_has_run_evenly_for_a_day() {
        for jump in [365 * 24, 25, -25, -365 * 24, -24 * 30_000] {
            let at = |hours: i64, uptime| (hours + jump, uptime);
            let times = [(0, 0), (24, 24), at(25, 25), at(48, 48), at(49, 49), at(60, 60)];
            let expected = [false, true, false, false, true, true];
            assert_eq!(looks(&times), expected, "{jump} hours");
        }
        let back = [(0, 0), (24, 24), (24 * 365, 25), (26, 26), (49, 49), (50, 50)];
        assert_eq!(looks(&back), [false, true, false, false, false, true], "there and back");
    }

    #[test]
    fn a_node_that_was_off_for_a_week_is_believed_again_after_four_hours() {
        let off = [(0, 0, 1), (24, 24, 1), (192, 24, 2), (195, 27, 2), (196, 28, 2)];
        assert_eq!(looks_of(&off), [false, true, false, false, true]);
    }

    #[test]
    fn a_machine_that_runs_at_weekends_comes_to_a_day_in_the_end() {
        let weekend = |week: i64, run: u64| {
            let saturday = week * 168;
            let days = [(saturday, run, 2), (saturday + 24, run + 10, 3)];
            days.map(|(at, run, opens)| {
                let opens = opens + 2 * u64::try_from(week).unwrap();
                [(at, run, opens), (at + 5, run + 5, opens), (at + 10, run + 10, opens)]
            })
        };
        let all: Vec<_> = (0..4u32)
            .flat_map(|week| weekend(week.into(), u64::from(week) * 20).concat())
            .collect();
        let believed = looks_of(&all);
        assert!(!believed[..6].contains(&true), "twenty hours are no day");
        assert_eq!(believed[6..12], [false, true, true, true, true, true]);
        assert_eq!(believed[12..18], [false, true, true, true, true, true], "and so each week");
    }

    // Fault case 85: what was summed up does not help a clock that jumps while the node runs, or backwards.
    #[test]
    fn a_jump_that_is_no_time_off_takes_all_that_was_summed_up() {
        let jumps = [(0, 0, 1), (24, 24, 1), (9_000, 25, 1), (9_004, 29, 1), (9_200, 29, 2)];
        assert_eq!(looks_of(&jumps), [false, true, false, false, false]);
        let more = [&jumps[..], &[(9_204, 33, 2), (9_224, 53, 2)]].concat();
        assert_eq!(looks_of(&more)[5..], [false, true], "four hours before, and twenty since");
        let back = [(0, 0, 1), (24, 24, 1), (-9_000, 24, 2), (-8_996, 28, 2), (-8_976, 48, 2)];
        assert_eq!(looks_of(&back), [false, true, false, false, true]);
    }

    #[test]
    fn what_versions_before_wrote_is_read() {
        let words = [START, 90_000, 0, 7].map(i64::to_le_bytes).concat();
        let old = ClockTrust::decode(&words).unwrap();
        assert_eq!((old.waits(), old.opens, old.before, old.used), (None, 0, 0, 7));
        assert_eq!(ClockTrust::decode(&old.encode()), Some(old));
        assert_eq!(ClockTrust::decode(&words[..24]), None);
        assert_eq!(ClockTrust::decode(&[&words[..], &[0; 8]].concat()), None);
    }

    #[test]
    fn an_uptime_that_a_crash_took_back_is_no_jump() {
        assert_eq!(looks(&[(0, 0), (30, 30), (31, 29), (32, 30)]), [false, true, true, true]);
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_time() {
        for (wall, uptime) in [(i64::MIN, u64::MAX), (i64::MAX, 0), (0, u64::MAX)] {
            let last = ClockTrust::look(None, -wall.saturating_add(1), 0, 1);
            let trust = ClockTrust::look(Some(last), wall, uptime, 2);
            assert_eq!(ClockTrust::decode(&trust.encode()), Some(trust));
        }
        assert_eq!(ClockTrust::decode(b"short"), None);
    }

    #[test]
    fn work_that_relied_on_the_clock_is_due_again_after_its_time() {
        let trust = ClockTrust::look(None, START, 0, 1);
        let day = Duration::from_secs(24 * 3_600);
        assert!(!trust.used_within(day), "never");
        assert!(ClockTrust { used: START - 10, ..trust }.used_within(day));
        assert!(!ClockTrust { used: START - DAY, ..trust }.used_within(day));
        assert!(!ClockTrust { used: START + DAY, ..trust }.used_within(day), "in the future");
    }
}
