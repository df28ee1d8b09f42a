//! Latencies in little memory, so that counting them does not show in the peak that is measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets for each doubling: a percentile is at most 1/32 too high.
const FINE: u64 = 32;
/// Enough for any `u64`: one bucket for each nanosecond below 32, then 32 for each doubling.
const BUCKETS: usize = 60 * 32;

/// Counts waits by how long they took.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], max: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.max = self.max.max(nanos);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, others) in self.counts.iter_mut().zip(&other.counts) {
            *mine += others;
        }
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn latency(&self) -> Latency {
        let micros = |nanos: u64| super::rounded(nanos as f64 / 1000.0);
        Latency {
            p50_us: micros(self.percentile(50)),
            p99_us: micros(self.percentile(99)),
            max_us: micros(self.max),
        }
    }

    /// The end of the bucket in which the percentile lies.
    fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.counts.iter().sum();
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen * 100 >= all * percent {
                return end_of(index as u64).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < FINE {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let shift = nanos.ilog2() - FINE.ilog2();
    let index = u64::from(shift) * FINE + (nanos >> shift);
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn end_of(index: u64) -> u64 {
    if index < FINE {
        return index;
    }
    let shift = index / FINE - 1;
    let first = (index % FINE + FINE) << shift;
    first + ((1 << shift) - 1)
}
