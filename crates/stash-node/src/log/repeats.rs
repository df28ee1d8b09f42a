//! Keeps one line of the program from filling the log: beyond so many a minute it is left out, and counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place in the program that are written in a minute: one for each member of a large stash.
const MOST: u64 = 100;

const MINUTE: Duration = Duration::from_secs(60);

/// Lets events through, each place in the program as often as it may. Events for whoever looks for a fault, which nobody writes
/// down all the time, are not counted.
pub(super) struct Repeats {
    start: Instant,
    places: Mutex<HashMap<Identifier, Place>>,
    /// Hears, before a line, how many like it were left out.
    left_out: fn(u64),
}

impl Repeats {
    pub(super) fn new(left_out: fn(u64)) -> Self {
        Self { start: Instant::now(), places: Mutex::default(), left_out }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_default();
        let left_out = place.take(self.start.elapsed());
        drop(places);
        if let Some(left_out @ 1..) = left_out {
            (self.left_out)(left_out);
        }
        left_out.is_some()
    }
}

/// A place in the program that writes lines.
#[derive(Debug, Default)]
struct Place {
    /// The minute that is counted, since the start.
    from: Duration,
    lines: u64,
    left_out: u64,
}

impl Place {
    /// Takes another line. `None` if it is left out, else how many were since the last one.
    fn take(&mut self, now: Duration) -> Option<u64> {
        if now >= self.from + MINUTE {
            (self.from, self.lines) = (now, 0);
        }
        if self.lines >= MOST {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_again_and_again_is_left_out_and_counted_with_the_next_minute() {
        let mut place = Place::default();
        let second = Duration::from_secs(1);
        for at in 0..MOST {
            assert_eq!(place.take(second / 10), Some(0), "{at}");
        }
        for at in 1..60 {
            assert_eq!(place.take(second * at), None);
        }
        assert_eq!(place.take(MINUTE), Some(59));
        assert_eq!(place.take(MINUTE), Some(0));
        // One that comes once a minute is never left out.
        let mut slow = Place::default();
        assert!((0..1_000).all(|minute| slow.take(MINUTE * minute) == Some(0)));
    }
}
