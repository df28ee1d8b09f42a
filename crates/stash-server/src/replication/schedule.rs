//! Times at which work with one member is due: reading its order, comparing all that is held,
//! asking what it still lacks.
//!
//! Pure: time since the connection began comes in with every call, what is due comes out.

use std::time::Duration;

/// Time between two comparisons of all that is held with a connected member: 48 bytes if it is the
/// same.
const AUDIT: Duration = Duration::from_secs(600);

/// Longest time between them, while what differs is what there is no room for.
const RARE_AUDIT: Duration = Duration::from_secs(6 * 3_600);

/// From the end of the questions what a member still lacks to the next ones, at least.
const SETTLE: Duration = Duration::from_secs(1);

/// Pauses after a failure: twice as long each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The time at which each kind of work with one member is due, since the connection began.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The time at which all that is held is compared next.
    audit: Duration,
    /// From one comparison to the next.
    interval: Duration,
    /// The time at which the member is asked next what it still lacks.
    settle: Duration,
    /// True while these questions are under way; else they have ended, and the next ones have not
    /// begun.
    is_settling: bool,
    /// True if something may have changed since they began.
    is_unsettled: bool,
    pause: Duration,
}

/// Next question to a member about what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Nothing now.
    None,
    /// About all of it, from the beginning.
    First,
    /// From where the last question ended.
    Next,
}

impl Schedule {
    pub(crate) fn new() -> Schedule {
        Schedule {
            audit: Duration::ZERO,
            interval: AUDIT,
            settle: Duration::ZERO,
            is_settling: false,
            is_unsettled: true,
            pause: PAUSES.0,
        }
    }

    /// A round begins: since somebody has news, or since it is time.
    pub(crate) fn begins(&mut self, now: Duration, has_news: bool) {
        // What came with news may be what the member lacked.
        self.is_unsettled |= has_news || self.is_audit_due(now);
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

    /// All that the member has told was read. Returns what to ask it now.
    pub(crate) fn question(&mut self, now: Duration, is_full: bool) -> Question {
        self.pause = PAUSES.0;
        if now < self.settle {
            return Question::None;
        }
        if is_full {
            // It knows what it lacks; it says so when it has room.
            (self.is_settling, self.is_unsettled) = (false, false);
            self.settle = now.saturating_add(SETTLE);
            return Question::None;
        }
        if self.is_settling {
            return Question::Next;
        }
        self.is_settling = std::mem::take(&mut self.is_unsettled);
        if self.is_settling { Question::First } else { Question::None }
    }

    /// A question was answered; the next one follows after a rest. `None`: the member was asked
    /// about all, or did not answer.
    pub(crate) fn asked(&mut self, now: Duration, rest: Option<Duration>) {
        self.is_settling = rest.is_some();
        self.settle = now.saturating_add(rest.unwrap_or(SETTLE));
    }

    /// The time at which something is due next.
    pub(crate) fn next(&self) -> Duration {
        match self.is_unsettled || self.is_settling {
            true => self.audit.min(self.settle),
            false => self.audit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_round_compares_and_asks_and_then_nothing_is_due_until_the_next_comparison() {
        let mut schedule = Schedule::new();
        schedule.begins(Duration::ZERO, true);
        assert!(schedule.is_audit_due(Duration::ZERO));
        schedule.compared(SECOND);
        assert_eq!(schedule.question(SECOND, false), Question::First);
        schedule.asked(SECOND, Some(3 * SECOND));
        assert_eq!(schedule.next(), 4 * SECOND);
        assert_eq!(schedule.question(3 * SECOND, false), Question::None, "it rests");
        assert_eq!(schedule.question(4 * SECOND, false), Question::Next);
        schedule.asked(4 * SECOND, None);
        assert_eq!(schedule.question(5 * SECOND, false), Question::None, "nothing has changed");
        assert_eq!(schedule.next(), SECOND + AUDIT);
    }

    #[test]
    fn news_are_a_reason_to_ask_again_also_while_questions_are_under_way() {
        let mut schedule = Schedule::new();
        schedule.compared(Duration::ZERO);
        assert_eq!(schedule.question(Duration::ZERO, false), Question::First);
        schedule.begins(Duration::ZERO, true);
        schedule.asked(Duration::ZERO, None);
        assert_eq!(schedule.next(), SETTLE);
        assert_eq!(schedule.question(SETTLE, false), Question::First);
        schedule.asked(SETTLE, None);
        schedule.begins(2 * SETTLE, false);
        assert_eq!(schedule.question(2 * SETTLE, false), Question::None);
    }

    #[test]
    fn a_full_member_is_not_asked_what_it_lacks() {
        let mut schedule = Schedule::new();
        schedule.compared(Duration::ZERO);
        assert_eq!(schedule.question(Duration::ZERO, true), Question::None);
        assert_eq!(schedule.next(), AUDIT);
        schedule.begins(SECOND, true);
        assert_eq!(schedule.question(SECOND, false), Question::First, "it has room again");
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
        schedule.question(Duration::ZERO, false);
        assert_eq!(schedule.failed(SECOND), 3 * SECOND);
    }
}
