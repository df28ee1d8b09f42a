//! Times at which the duties of the housekeeping are due.
//!
//! Pure: time since the start comes in with every call, the next duty comes out.

use std::time::Duration;

use crate::keeps::ALL;

/// Time between two notes of how long the node has run: a crash loses as much of a chunk's grace.
pub(crate) const UPTIME: Duration = Duration::from_secs(600);

/// Time between two attempts to heal what no member had before.
const HEAL: Duration = Duration::from_secs(600);

/// A node that has just started has better things to do than to collect or to scrub.
const SETTLE: Duration = Duration::from_secs(60);

/// Time until a collection begins that saves what is left of a damaged part of the log.
const SOON: Duration = Duration::from_secs(60);

/// Share of the disk's time that a collection takes, in percent: it ends long before the next one
/// is due, and nobody notices it.
const COLLECT_SHARE: u8 = 20;

/// Share of the disk's time that scrubbing takes at most, unless the setting says more, in percent.
const MOST_SCRUB_SHARE: u8 = 20;

/// Settings by which a node keeps its store in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Housekeeping {
    /// Time from the end of one collection to the next.
    pub gc_interval: Duration,
    /// Time for which no record may have named a chunk before it is collected, while the node ran.
    pub gc_grace: Duration,
    /// Share of the disk's time that scrubbing takes, in percent, at most 100; more, up to 20, if a pass would not end
    /// within `scrub_interval` otherwise. With 0 the node scrubs only when it is asked to.
    pub scrub_share: u8,
    /// Time from the start of one pass over everything to the start of the next, at least.
    pub scrub_interval: Duration,
    /// Time from the start of one count of all copies to the start of the next, at most: events
    /// that may have cost copies begin one sooner.
    pub repair_interval: Duration,
    /// Time for which a member that is away still counts as a copy, and for which fewer copies than
    /// wanted are borne before bytes that were given up here are brought back; time that the node
    /// ran.
    pub repair_grace: Duration,
    /// Time after which the founder says that a member has lapsed which it has not met: that member
    /// does not count as a copy until it is back; time that the founder ran.
    pub repair_lapse: Duration,
    /// Copies that others should have of bytes that were given up here. With fewer than two, they
    /// are brought back without any grace.
    pub repair_copies: u64,
    /// Time between two challenges to each connected member.
    pub challenge_interval: Duration,
    /// Bytes of chunks that this node keeps; `u64::MAX` for everything. With less it is a cache: no copy of anything.
    pub keep: u64,
}

impl Default for Housekeeping {
    fn default() -> Housekeeping {
        Housekeeping {
            gc_interval: Duration::from_secs(3_600),
            gc_grace: Duration::from_secs(24 * 3_600),
            scrub_share: 2,
            scrub_interval: Duration::from_secs(7 * 24 * 3_600),
            repair_interval: Duration::from_secs(24 * 3_600),
            repair_grace: Duration::from_secs(24 * 3_600),
            repair_lapse: Duration::from_secs(90 * 24 * 3_600),
            repair_copies: 2,
            challenge_interval: Duration::from_secs(300),
            keep: ALL,
        }
    }
}

/// A kind of work that is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Duty {
    /// Note how long the node has run.
    Uptime,
    /// Fetch what was found damaged.
    Heal,
    /// A step of a collection.
    Collect,
    /// A step of a pass.
    Scrub,
}

impl Duty {
    pub(crate) const ALL: [Duty; 4] = [Duty::Uptime, Duty::Heal, Duty::Collect, Duty::Scrub];

    /// Its name in the list of background tasks.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Duty::Uptime => "uptime",
            Duty::Heal => "heal",
            Duty::Collect => "gc",
            Duty::Scrub => "scrub",
        }
    }
}

/// Time between two notes of the uptime. A grace ends with the note after it, so a short one wants them more often.
fn noted(options: &Housekeeping) -> Duration {
    UPTIME.min(options.gc_grace).max(NOTED)
}

/// Notes of the uptime are no closer than this: each is a commit.
const NOTED: Duration = Duration::from_secs(10);

/// The time at which each duty is due, since the start.
#[derive(Debug)]
pub(crate) struct Schedule {
    options: Housekeeping,
    uptime: Duration,
    heal: Duration,
    collect: Duration,
    scrub: Duration,
    /// Time at which the pass under way began, if it began here.
    pass: Option<Duration>,
    /// Steps of the pass under way since it began, or since the start: bytes that they read, and the time they took.
    scrubbed: (u64, Duration),
}

impl Schedule {
    /// `collected` and `scrubbed` say how long ago the last collection ended and the last pass
    /// began, as far as anybody knows.
    pub(crate) fn new(
        options: Housekeeping,
        collected: Option<Duration>,
        scrubbed: Option<Duration>,
    ) -> Schedule {
        let left = |interval: Duration, ago: Option<Duration>| {
            ago.map_or(SETTLE, |ago| interval.saturating_sub(ago).max(SETTLE))
        };
        let collect = left(options.gc_interval, collected);
        let scrub = match options.scrub_share {
            0 => Duration::MAX,
            _ => left(options.scrub_interval, scrubbed),
        };
        let scrubbed = (0, Duration::ZERO);
        let uptime = noted(&options);
        Schedule { options, uptime, heal: SETTLE, collect, scrub, pass: None, scrubbed }
    }

    /// The time at which each duty is due.
    pub(crate) fn all(&self) -> [(Duration, Duty); 4] {
        [
            (self.uptime, Duty::Uptime),
            (self.heal, Duty::Heal),
            (self.collect, Duty::Collect),
            (self.scrub, Duty::Scrub),
        ]
    }

    /// The duty that is due next, and when.
    pub(crate) fn next(&self) -> (Duration, Duty) {
        self.all().into_iter().min_by_key(|(at, _)| *at).expect("there are four")
    }

    /// The store takes no writes, or somebody else is at it.
    pub(crate) fn put_off(&mut self, duty: Duty, now: Duration) {
        match duty {
            Duty::Uptime => self.uptime = now.saturating_add(noted(&self.options)),
            Duty::Heal => self.heal = now.saturating_add(HEAL),
            Duty::Collect => self.collect = now.saturating_add(UPTIME),
            Duty::Scrub => self.scrub = now.saturating_add(UPTIME),
        }
    }

    /// Damage was found: somebody may have it whole.
    pub(crate) fn damaged(&mut self, now: Duration) {
        self.heal = self.heal.min(now);
    }

    /// A part of the log is damaged: what lies around it is to be moved.
    pub(crate) fn log_damaged(&mut self, now: Duration) {
        self.collect = self.collect.min(now.saturating_add(SOON));
    }

    /// A step of a collection took so long.
    pub(crate) fn collect_step(&mut self, now: Duration, took: Duration) {
        self.collect = now.saturating_add(pause(took, COLLECT_SHARE));
    }

    /// A collection has ended.
    pub(crate) fn collected(&mut self, now: Duration) {
        self.collect = now.saturating_add(self.options.gc_interval);
    }

    /// A step of a pass took so long; it read so many bytes, and so many are left. True if it was the first one.
    pub(crate) fn scrub_step(
        &mut self,
        now: Duration,
        took: Duration,
        (read, left): (u64, u64),
    ) -> bool {
        let first = self.pass.is_none();
        let began = *self.pass.get_or_insert(now);
        self.scrubbed = (self.scrubbed.0 + read, self.scrubbed.1 + took);
        let share = self.scrub_share(now.saturating_sub(began), left);
        self.scrub = now.saturating_add(pause(took, share));
        first
    }

    /// The share with which a pass that has gone on for a while, and has so many bytes left, ends within its
    /// interval.
    fn scrub_share(&self, gone: Duration, left: u64) -> u8 {
        let (read, took) = self.scrubbed;
        let work = took.as_millis().saturating_mul(left.into()) / u128::from(read.max(1));
        let time = self.options.scrub_interval.saturating_sub(gone).as_millis().max(1_000);
        let needed = work.saturating_mul(100).div_ceil(time);
        let needed = u8::try_from(needed).unwrap_or(u8::MAX).min(MOST_SCRUB_SHARE);
        self.options.scrub_share.max(needed)
    }

    /// A pass has ended.
    pub(crate) fn pass_ended(&mut self, now: Duration) {
        let began = self.pass.take().unwrap_or(now);
        self.scrubbed = (0, Duration::ZERO);
        self.scrub = began.saturating_add(self.options.scrub_interval).max(now);
    }
}

/// Rest after a step, so that work takes this share of the time.
fn pause(took: Duration, percent: u8) -> Duration {
    let percent = u32::from(percent.clamp(1, 100));
    took.saturating_mul(100 - percent) / percent
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    const MINUTE: Duration = Duration::from_secs(60);

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    /// When a duty is due.
    fn due(schedule: &mut Schedule, wanted: Duty) -> Duration {
        for _ in 0..10_000 {
            match schedule.next() {
                (at, duty) if duty == wanted => return at,
                (at, duty) => schedule.put_off(duty, at),
            }
        }
        panic!("{wanted:?} is never due");
    }

    #[test]
    fn the_uptime_is_noted_as_often_as_a_short_grace_wants_it() {
        let seconds = Duration::from_secs;
        for (grace, noted) in [(DAY, UPTIME), (seconds(90), seconds(90)), (seconds(2), NOTED)] {
            let options = Housekeeping { gc_grace: grace, ..Housekeeping::default() };
            let mut schedule = Schedule::new(options, None, None);
            assert_eq!(due(&mut schedule, Duty::Uptime), noted, "{grace:?}");
            schedule.put_off(Duty::Uptime, noted);
            assert_eq!(due(&mut schedule, Duty::Uptime), 2 * noted, "{grace:?}");
        }
    }

    #[test]
    fn scrubbing_takes_its_share_of_the_time_and_no_more() {
        let mut schedule = Schedule::new(Housekeeping::default(), None, None);
        let (mut now, mut worked) = (due(&mut schedule, Duty::Scrub), Duration::ZERO);
        let begun = now;
        for step in 1..=200 {
            let took = Duration::from_millis(step);
            now += took;
            worked += took;
            schedule.scrub_step(now, took, (1 << 20, 1 << 20));
            now = schedule.scrub;
        }
        assert_eq!(worked * 50, now - begun);
    }

    // At 50 MiB a second, 1 TiB is 6 hours of work: more than 2 percent of a week.
    #[test]
    fn a_large_store_is_scrubbed_within_the_interval_and_a_huge_one_with_a_fifth_of_the_time() {
        for (tebibytes, days) in [(1, 5..8), (10, 11..14), (100, 115..130)] {
            let mut schedule = Schedule::new(Housekeeping::default(), None, None);
            let (mut now, mut left) = (due(&mut schedule, Duty::Scrub), tebibytes * (1_u64 << 40));
            let (begun, step) = (now, 1_u64 << 33);
            while left > 0 {
                let took = Duration::from_secs(step / (50 << 20));
                left -= step;
                schedule.scrub_step(now + took, took, (step, left));
                now = schedule.scrub;
            }
            let took = (now - begun).as_secs() / DAY.as_secs();
            assert!(days.contains(&took), "{tebibytes} TiB in {took} days");
        }
    }

    #[test]
    fn a_pass_begins_an_interval_after_the_one_before_began() {
        let mut schedule = Schedule::new(Housekeeping::default(), None, None);
        assert!(schedule.scrub_step(HOUR, MINUTE, (1, 0)));
        assert!(!schedule.scrub_step(3 * HOUR, MINUTE, (1, 0)));
        schedule.pass_ended(4 * HOUR);
        assert_eq!(schedule.scrub, HOUR + 7 * DAY);
        assert!(schedule.scrub_step(HOUR + 7 * DAY, MINUTE, (1, 0)));
        schedule.pass_ended(30 * DAY);
        assert_eq!(schedule.scrub, 30 * DAY, "one that took longer is followed at once");
    }

    #[test]
    fn a_restart_neither_begins_a_pass_anew_nor_a_collection_early() {
        let options = Housekeeping::default;
        let mut schedule = Schedule::new(options(), Some(20 * MINUTE), Some(6 * DAY));
        assert_eq!(due(&mut schedule, Duty::Collect), 40 * MINUTE);
        let mut schedule = Schedule::new(options(), Some(20 * MINUTE), Some(6 * DAY));
        assert_eq!(due(&mut schedule, Duty::Scrub), DAY);
        let mut late = Schedule::new(options(), Some(9 * HOUR), Some(90 * DAY));
        assert_eq!(late.next().0, MINUTE);
        assert_eq!(due(&mut late, Duty::Scrub), MINUTE);
    }

    #[test]
    fn without_a_share_the_node_does_not_scrub_by_itself() {
        let options = Housekeeping { scrub_share: 0, ..Housekeeping::default() };
        let mut schedule = Schedule::new(options, None, None);
        for _ in 0..10_000 {
            let (at, duty) = schedule.next();
            assert_ne!(duty, Duty::Scrub);
            schedule.put_off(duty, at);
        }
    }

    #[test]
    fn damage_is_healed_at_once_and_a_damaged_log_is_collected_soon() {
        let mut schedule = Schedule::new(Housekeeping::default(), Some(Duration::ZERO), None);
        schedule.damaged(Duration::from_secs(5));
        assert_eq!(schedule.next(), (Duration::from_secs(5), Duty::Heal));
        schedule.put_off(Duty::Heal, Duration::from_secs(5));
        assert_eq!(schedule.collect, HOUR);
        schedule.log_damaged(2 * MINUTE);
        assert_eq!(schedule.collect, 3 * MINUTE);
        schedule.collected(4 * MINUTE);
        assert_eq!(schedule.collect, 4 * MINUTE + HOUR);
    }
}
