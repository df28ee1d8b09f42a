//! Writers who commit all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use stash_store::{Batch, Ref, Store};

use crate::Side;
use crate::measure::histogram::Histogram;
use crate::measure::object::Object;
use crate::measure::{Outcome, rounded};

/// Bytes of a blob, and of the record that names it.
const BLOB: usize = 64 * 1024;
const RECORD: usize = 1024;

/// Threads that each put a blob and a record, wait until both are durable, and go on.
pub(crate) struct Writers<'a> {
    store: &'a Store,
    seed: u64,
    threads: u64,
    next: AtomicU64,
}

impl<'a> Writers<'a> {
    pub(crate) fn new(store: &'a Store, seed: u64, threads: u64) -> Writers<'a> {
        // Beyond what the store was filled with.
        Writers { store, seed, threads, next: AtomicU64::new(1 << 40) }
    }

    /// Writes for as long as `work` takes.
    pub(crate) fn run(&mut self, work: impl FnOnce() -> Outcome<()>) -> Outcome<Side> {
        let done = AtomicBool::new(false);
        let begun = Instant::now();
        let (worked, seconds, histogram) = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.threads).map(|_| scope.spawn(|| self.write(&done))).collect();
            let worked = work();
            done.store(true, Ordering::Relaxed);
            let seconds = begun.elapsed().as_secs_f64();
            let mut sum = Histogram::default();
            for thread in threads {
                let written: Outcome<Histogram> =
                    thread.join().unwrap_or_else(|_| Err("a writer panicked".into()));
                match written {
                    Ok(histogram) => sum.merge(&histogram),
                    Err(error) => return (Err(error), seconds, sum),
                }
            }
            (worked, seconds, sum)
        });
        worked?;
        let (commits, latency) = (histogram.count(), histogram.latency());
        Ok(Side { commits, seconds: rounded(seconds), latency })
    }

    fn write(&self, done: &AtomicBool) -> Outcome<Histogram> {
        let mut histogram = Histogram::default();
        while !done.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(2, Ordering::Relaxed);
            let blob = Object::new(self.seed, n, BLOB).blob();
            let mut record = Object::new(self.seed, n + 1, RECORD).record();
            let address = blob.address();
            record.refs = vec![Ref { address, sealed_len: u32::try_from(BLOB)? }];
            let begun = Instant::now();
            // What is staged may be announced, and collected, before a record names it.
            let lease = self.store.lease();
            lease.add(&[address])?;
            self.store.stage(blob)?;
            self.store.commit(Batch::new().require(address).record(record))?;
            histogram.add(begun.elapsed());
        }
        Ok(histogram)
    }
}
