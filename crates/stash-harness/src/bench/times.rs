//! Times of requests.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::median::rounded;
use crate::report::Report;

/// The time of each request, and of all of them together.
pub(super) struct Times {
    sorted: Vec<Duration>,
    all: Duration,
}

impl Times {
    pub(super) fn new(mut took: Vec<Duration>, all: Duration) -> Self {
        took.sort_unstable();
        Self { sorted: took, all }
    }

    pub(super) fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.all.as_secs_f64()
    }

    /// Milliseconds within which so many percent of the requests were answered.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    pub(super) fn tell(&self, what: &str, of: &str, report: &Report) {
        let (rate, p50, p99) = (self.per_second(), self.percentile(50), self.percentile(99));
        let text = format!("{rate:.0} {of}/s, p50 {p50:.2} ms, p99 {p99:.2} ms");
        report.step(what, &text, self.all);
    }

    pub(super) fn document(&self, rate: &str) -> Value {
        json!({
            rate: rounded(self.per_second()),
            "p50_ms": rounded(self.percentile(50)), "p99_ms": rounded(self.percentile(99)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = |count: u64| {
            let took = (1..=count).rev().map(Duration::from_millis).collect();
            Times::new(took, Duration::from_secs(1))
        };
        let hundred = times(100);
        assert!((hundred.percentile(50) - 50.0).abs() < 1e-9);
        assert!((hundred.percentile(99) - 99.0).abs() < 1e-9);
        assert!((times(1).percentile(99) - 1.0).abs() < 1e-9);
        assert!((hundred.per_second() - 100.0).abs() < 1e-9);
    }
}
