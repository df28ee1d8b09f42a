//! Limits on the line: for all that a node sends and receives, and for what nobody waits for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stash_p2p::{Bandwidth, Bucket, Rate};
use tokio::time::{Instant, sleep_until};

use crate::lock::lock;

/// The limits of a node. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Limit for everything that goes between this node and others.
    pub bandwidth: Bandwidth,
    /// Limit for chunks that this node lacks and nobody waits for: catching up and repair. What
    /// they take counts for `bandwidth` as well.
    pub background_down: Option<Rate>,
}

/// Bytes of chunks and records that came from members to be kept here, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicated {
    /// All that came.
    pub came: u64,
    /// Bytes that the store took, or had.
    pub kept: u64,
}

/// The account of what is brought in the background.
#[derive(Debug)]
pub(crate) struct Background {
    bucket: Mutex<Bucket>,
    start: Instant,
    came: AtomicU64,
    kept: AtomicU64,
}

impl Background {
    pub(crate) fn new(rate: Option<Rate>) -> Background {
        let (bucket, start) = (Mutex::new(Bucket::new(rate)), Instant::now());
        Background { bucket, start, came: AtomicU64::default(), kept: AtomicU64::default() }
    }

    /// So many bytes came to be kept.
    pub(crate) fn came(&self, bytes: usize) {
        self.came.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many of them were.
    pub(crate) fn kept(&self, bytes: usize) {
        self.kept.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn replicated(&self) -> Replicated {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Replicated { kept: now(&self.kept), came: now(&self.came) }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        lock(&self.bucket).rate()
    }

    /// What is asked for from now on waits as this rate says.
    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        lock(&self.bucket).set(self.start.elapsed(), rate);
    }

    /// Waits until so many bytes may be asked for, behind all that was to be asked for before.
    pub(crate) async fn turn(&self, bytes: u64) {
        let paid = lock(&self.bucket).pay(self.start.elapsed(), bytes);
        sleep_until(self.start + paid).await;
    }
}
