//! When a node asks and speaks on one link. Pure: time and chance are arguments.
//!
//! After a start, and whenever something has changed, it does both a few times, ever more seldom. Then it asks now and then, and speaks
//! when it is asked, at most once a second (RFC 6762, sections 5.2, 6 and 8.3).

use std::time::Duration;

use tokio::time::Instant;

/// Pauses after the first times. What was lost once is said again soon.
const FIRST: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Pause between two questions later. Nobody is forgotten for one that is lost: announcements hold twice as long.
const LATER: Duration = Duration::from_secs(100);

/// The shortest time between two announcements on a link, however often somebody asks.
const APART: Duration = Duration::from_secs(1);

/// Time in which this node's own question comes back to it.
const ECHO: Duration = Duration::from_millis(100);

/// Pause after something could not be sent, and times that this is tried: an IPv6 address is of no use for the first seconds, in which
/// the machine looks whether another one has it.
const RETRY: Duration = Duration::from_millis(250);
const RETRIES: u32 = 12;

/// What is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Who is there?
    Question,
    /// I am here.
    Announcement,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    question: Series,
    announcement: Series,
    /// When something was last announced.
    said: Option<Instant>,
    /// Until when a question from this machine is taken for its own.
    echo: Option<Instant>,
    /// Times that something is still tried soon again.
    retries: u32,
}

#[derive(Debug)]
struct Series {
    done: usize,
    due: Option<Instant>,
}

impl Series {
    fn begin(now: Instant) -> Series {
        Series { done: 0, due: Some(now) }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// One was sent. The next one of the first few comes by itself.
    fn sent(&mut self, now: Instant, later: Option<Duration>) {
        let pause = FIRST.get(self.done).copied().or(later);
        self.done += 1;
        self.due = pause.map(|pause| now + pause);
    }
}

impl Schedule {
    /// Begins to ask and to speak at once.
    pub(crate) fn begin(now: Instant) -> Schedule {
        let (question, announcement) = (Series::begin(now), Series::begin(now));
        Schedule { question, announcement, said: None, echo: None, retries: RETRIES }
    }

    /// What is said has changed.
    pub(crate) fn speak_anew(&mut self, now: Instant) {
        self.announcement = Series::begin(now);
    }

    /// Somebody asked, perhaps this machine. `jitter` keeps those who answer from doing so at once.
    pub(crate) fn handle_question(
        &mut self,
        now: Instant,
        (who, mine, knows): (bool, bool, bool),
        own_machine: bool,
        jitter: Duration,
    ) {
        if own_machine && who && self.echo.take().is_some_and(|until| now <= until) {
            return;
        }
        if who && !knows && self.question.done > FIRST.len() {
            // All answers to it are heard here, too.
            self.question.due = Some(now + LATER + jitter);
        }
        if mine {
            let due = (now + jitter).max(self.said.map_or(now, |said| said + APART));
            let sooner = self.announcement.due.is_some_and(|at| at <= due);
            if !sooner {
                self.announcement.due = Some(due);
            }
        }
    }

    /// What is to be said now, if anything; it counts as said.
    pub(crate) fn poll(&mut self, now: Instant, jitter: Duration) -> Option<Say> {
        if self.announcement.is_due(now) {
            self.announcement.sent(now, None);
            self.said = Some(now);
            return Some(Say::Announcement);
        }
        if self.question.is_due(now) {
            self.question.sent(now, Some(LATER + jitter));
            self.echo = Some(now + ECHO);
            return Some(Say::Question);
        }
        None
    }

    /// It could not be sent: it is tried soon again, for a while.
    pub(crate) fn failed(&mut self, say: Say, now: Instant) {
        let series = match say {
            Say::Question => &mut self.question,
            Say::Announcement => &mut self.announcement,
        };
        if let Some(left) = self.retries.checked_sub(1) {
            self.retries = left;
            series.done = series.done.saturating_sub(1);
            series.due = Some(now + RETRY);
        }
    }

    /// When there is next something to be said.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.question.due, self.announcement.due].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const JITTER: Duration = Duration::from_millis(20);
    const WHO: (bool, bool, bool) = (true, true, false);

    /// Seconds at which something is said in so many seconds, as long as nobody asks.
    fn alone(schedule: &mut Schedule, start: Instant, seconds: u32) -> Vec<(u64, Say)> {
        let mut said = Vec::new();
        while let Some(next) = schedule.next().filter(|next| *next <= start + SECOND * seconds) {
            while let Some(say) = schedule.poll(next, JITTER) {
                said.push(((next - start).as_secs(), say));
            }
        }
        said
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_and_speaks_a_few_times_and_then_asks_now_and_then() {
        let start = Instant::now();
        let mut schedule = Schedule::begin(start);
        let said = alone(&mut schedule, start, 320);
        let at = |wanted| -> Vec<u64> {
            said.iter().filter(|(_, say)| *say == wanted).map(|(at, _)| *at).collect()
        };
        assert_eq!(at(Say::Announcement), [0, 1, 3, 7]);
        assert_eq!(at(Say::Question), [0, 1, 3, 7, 107, 207, 307]);
        schedule.speak_anew(start + SECOND * 320);
        let said = alone(&mut schedule, start + SECOND * 320, 10);
        assert_eq!(said.len(), 4, "{said:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_sent_yet_is_tried_for_a_few_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::begin(start);
        let (mut tries, mut now) = (0, start);
        while now < start + SECOND * 60 {
            while let Some(say) = schedule.poll(now, JITTER) {
                schedule.failed(say, now);
                tries += 1;
            }
            now = schedule.next().unwrap();
        }
        assert!((RETRIES..RETRIES + 10).contains(&tries), "{tries}");
        let mut schedule = Schedule::begin(start);
        assert_eq!(schedule.poll(start, JITTER), Some(Say::Announcement));
        schedule.failed(Say::Announcement, start);
        assert_eq!(schedule.poll(start, JITTER), Some(Say::Question));
        assert_eq!(schedule.next(), Some(start + RETRY));
        let said = alone(&mut schedule, start, 10);
        let announced = said.iter().filter(|(_, say)| *say == Say::Announcement).count();
        assert_eq!(announced, 4, "none of them is left out: {said:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_questions_is_answered_once_a_second() {
        let start = Instant::now();
        let mut schedule = Schedule::begin(start);
        alone(&mut schedule, start, 8);
        let mut said = Vec::new();
        for milli in 10_000..20_000 {
            let now = start + Duration::from_millis(milli);
            schedule.handle_question(now, WHO, false, JITTER);
            said.extend(schedule.poll(now, JITTER));
        }
        assert!((9..=11).contains(&said.len()), "{said:?}");
        assert!(said.iter().all(|say| *say == Say::Announcement), "it need not ask itself");
        let next = schedule.next().unwrap();
        schedule.handle_question(next, (true, false, true), false, JITTER);
        assert_eq!(schedule.next(), Some(next), "an asker that knows some postpones nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_soon_and_ones_own_is_not() {
        let start = Instant::now();
        let mut schedule = Schedule::begin(start);
        alone(&mut schedule, start, 8);
        let asked = schedule.next().unwrap();
        assert_eq!(schedule.poll(asked, JITTER), Some(Say::Question));
        schedule.handle_question(asked + JITTER, WHO, true, JITTER);
        assert_eq!(schedule.poll(asked + SECOND, JITTER), None, "that was its own");
        // One of another node on the same machine.
        schedule.handle_question(asked + SECOND, WHO, true, JITTER);
        assert_eq!(schedule.poll(asked + SECOND, JITTER), None);
        assert_eq!(schedule.poll(asked + SECOND + JITTER, JITTER), Some(Say::Announcement));
    }
}
