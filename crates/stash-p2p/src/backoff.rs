//! Pauses between dials.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Doubling pauses between two bounds, each shortened by up to half at random, so that the peers
/// of a node that comes back do not all dial at once. Pure: the generator is an argument.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        full.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Back to the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    // Fault case 98.
    #[test]
    fn pauses_double_up_to_the_bound_and_are_jittered() {
        let (min, max) = (Duration::from_millis(250), Duration::from_secs(30));
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(min, max);
        let mut full = min;
        let mut distinct = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let pause = backoff.pause(&mut rng);
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            distinct.insert(pause.as_nanos());
            full = (full * 2).min(max);
        }
        assert_eq!(distinct.len(), 20);
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= min);
    }
}
