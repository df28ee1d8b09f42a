//! Times at which work with one member is due: reading its order, comparing all that is held, comparing
//! what is believed of it with what it says.
//!
//! Pure: time since the connection began comes in with every call, what is due comes out.

use std::time::Duration;

/// Time between two comparisons of all that is held with a connected member: 48 bytes if it is the
/// same.
const AUDIT: Duration = Duration::from_secs(600);

/// Longest time between them, while what differs is what there is no room for.
const RARE_AUDIT: Duration = Duration::from_secs(6 * 3_600);

/// What is believed of a member is compared when nothing has changed for so long.
const CALM: Duration = Duration::from_secs(1);

/// And at the latest so long after the first change.
const RESTLESS: Duration = Duration::from_secs(60);

/// Rest after finding out where beliefs differ, in times that it took: it reads much of the index here and there, and a
/// member may say something else each time.
const REST: u32 = 9;

/// Pauses after a failure: twice as long each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The time at which each kind of work with one member is due, since the connection began.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The time at which all that is held is compared next.
    audit: Duration,
    /// From one comparison to the next.
    interval: Duration,
    /// The time at which what is believed is compared next; `None` while nothing has changed.
    beliefs: Option<Duration>,
    /// The time of the first change that no comparison has seen.
    restless: Option<Duration>,
    /// What is believed is not compared before.
    not_before: Duration,
    /// The next rest after a comparison that found nothing wrong, and yet not the same.
    rest: Duration,
    pause: Duration,
}

/// Outcome of comparing what is believed with what the member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is the same.
    Same,
    /// It is not.
    Differs,
    /// So many records were believed to be otherwise.
    Corrected(u64),
    /// It cannot be known yet: the member does not know, or is catching up.
    Unknown,
}

impl Schedule {
    pub(crate) fn new() -> Schedule {
        Schedule {
            audit: Duration::ZERO,
            interval: AUDIT,
            beliefs: Some(Duration::ZERO),
            restless: None,
            not_before: Duration::ZERO,
            rest: CALM,
            pause: PAUSES.0,
        }
    }

    /// True if what is believed of the member is to be compared now.
    pub(crate) fn are_beliefs_due(&self, now: Duration) -> bool {
        self.beliefs.is_some_and(|due| now >= due)
    }

    /// What is believed was compared, which took so long.
    pub(crate) fn believed(&mut self, now: Duration, took: Duration, compared: Compared) {
        if compared == Compared::Differs {
            let first = *self.restless.get_or_insert(now);
            let calm = (now + CALM).min(first + RESTLESS);
            self.beliefs = Some(calm.max(self.not_before));
            return;
        }
        self.restless = None;
        match compared {
            Compared::Same => (self.beliefs, self.rest, self.not_before) = (None, CALM, now),
            Compared::Corrected(records) if records > 0 => {
                self.rest = CALM;
                self.not_before = now + CALM.max(took * REST);
                self.beliefs = Some(self.not_before);
            }
            // What is on its way differs, or it cannot be known yet.
            Compared::Corrected(_) | Compared::Unknown | Compared::Differs => {
                self.rest = (self.rest * 4).min(AUDIT);
                self.not_before = now + self.rest.max(took * REST);
                self.beliefs = Some(self.not_before);
            }
        }
    }

    /// Something calls for a comparison at once.
    pub(crate) fn compare_now(&mut self, now: Duration) {
        self.audit = now;
    }

    pub(crate) fn is_audit_due(&self, now: Duration) -> bool {
        now >= self.audit
    }

    /// A comparison has found so many records that were not here, while there was no room for some
    /// here or there: what there is no room for stays a difference.
    pub(crate) fn differed(&mut self, found: u64, no_room: bool) {
        let in_vain = found == 0 && no_room;
        self.interval = if in_vain { (self.interval * 2).min(RARE_AUDIT) } else { AUDIT };
    }

    /// A comparison has ended.
    pub(crate) fn compared(&mut self, now: Duration) {
        self.audit = now.saturating_add(self.interval);
    }

    /// The member could not be read. Returns when to try again.
    pub(crate) fn failed(&mut self, now: Duration) -> Duration {
        self.pause = (self.pause * 2).min(PAUSES.1);
        now.saturating_add(self.pause)
    }

    /// All that the member has told was read.
    pub(crate) fn read(&mut self) {
        self.pause = PAUSES.0;
    }

    /// The time at which something is due next.
    pub(crate) fn next(&self) -> Duration {
        self.beliefs.map_or(self.audit, |beliefs| self.audit.min(beliefs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_round_compares_all_and_then_nothing_is_due_until_the_next_comparison() {
        let mut schedule = Schedule::new();
        assert!(schedule.is_audit_due(Duration::ZERO));
        assert!(schedule.are_beliefs_due(Duration::ZERO));
        schedule.compared(SECOND);
        schedule.believed(SECOND, Duration::ZERO, Compared::Same);
        assert_eq!(schedule.next(), SECOND + AUDIT);
        assert!(!schedule.are_beliefs_due(SECOND + AUDIT));
    }

    #[test]
    fn beliefs_that_differ_are_looked_into_when_it_is_calm_and_at_the_latest_after_a_minute() {
        let mut schedule = Schedule::new();
        schedule.compared(Duration::ZERO);
        schedule.believed(Duration::ZERO, Duration::ZERO, Compared::Same);
        assert_eq!(schedule.next(), AUDIT);
        for half in 2..200 {
            schedule.believed(SECOND * half / 2, Duration::ZERO, Compared::Differs);
            let calm = (SECOND * half / 2 + CALM).min(SECOND + RESTLESS);
            assert_eq!(schedule.next(), calm);
        }
        assert!(schedule.are_beliefs_due(SECOND + RESTLESS));
        schedule.believed(SECOND + RESTLESS, Duration::ZERO, Compared::Corrected(3));
        assert_eq!(schedule.next(), SECOND + RESTLESS + CALM, "was that all?");
        schedule.believed(3 * RESTLESS, 2 * SECOND, Compared::Corrected(3));
        schedule.believed(3 * RESTLESS, Duration::ZERO, Compared::Differs);
        assert_eq!(schedule.next(), 3 * RESTLESS + 18 * SECOND, "that took long");
    }

    #[test]
    fn beliefs_that_differ_by_what_is_on_its_way_are_looked_into_ever_more_rarely() {
        let mut schedule = Schedule::new();
        schedule.compared(Duration::ZERO);
        let (mut now, mut rests) = (Duration::ZERO, Vec::new());
        for compared in [Compared::Unknown; 3].into_iter().chain([Compared::Corrected(0); 3]) {
            schedule.believed(now, Duration::ZERO, compared);
            schedule.believed(now, Duration::ZERO, Compared::Differs);
            rests.push((schedule.next() - now).as_secs());
            now = schedule.next();
            schedule.compared(now);
        }
        assert_eq!(rests, [4, 16, 64, 256, 600, 600]);
        schedule.believed(now, Duration::ZERO, Compared::Same);
        schedule.believed(now, Duration::ZERO, Compared::Differs);
        assert_eq!(schedule.next(), now + CALM);
    }

    #[test]
    fn comparing_in_vain_becomes_rare_and_what_it_finds_makes_it_frequent_again() {
        let mut schedule = Schedule::new();
        let mut next = |found, no_room| {
            schedule.differed(found, no_room);
            schedule.compared(Duration::ZERO);
            schedule.audit
        };
        assert_eq!([next(0, false), next(0, true), next(0, true)], [AUDIT, 2 * AUDIT, 4 * AUDIT]);
        for _ in 0..8 {
            next(0, true);
        }
        assert_eq!([next(0, true), next(1, true)], [RARE_AUDIT, AUDIT]);
        schedule.compare_now(SECOND);
        assert!(schedule.is_audit_due(SECOND));
    }

    #[test]
    fn pauses_after_failures_grow_up_to_a_minute_and_end_with_the_first_success() {
        let mut schedule = Schedule::new();
        let pauses: Vec<u64> = (0..7).map(|_| schedule.failed(Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        schedule.read();
        assert_eq!(schedule.failed(SECOND), 3 * SECOND);
    }
}
