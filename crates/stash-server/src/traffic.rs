//! How much of the line a node takes: all of it together, and what nobody waits for.

use std::sync::Mutex;

use stash_p2p::{Bandwidth, Bucket, Rate};
use tokio::time::{Instant, sleep_until};

use crate::core::lock;

/// The limits of a node. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// For everything that goes between this node and others.
    pub bandwidth: Bandwidth,
    /// For chunks that this node lacks and nobody waits for: catching up and repair. What they take
    /// counts for `bandwidth` as well.
    pub background_down: Option<Rate>,
}

/// The account of what is brought in the background.
#[derive(Debug)]
pub(crate) struct Background {
    bucket: Mutex<Bucket>,
    start: Instant,
}

impl Background {
    pub(crate) fn new(rate: Option<Rate>) -> Background {
        Background { bucket: Mutex::new(Bucket::new(rate)), start: Instant::now() }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        lock(&self.bucket).rate()
    }

    /// Waits until so many bytes may be asked for, behind all that was to be asked for before.
    pub(crate) async fn turn(&self, bytes: u64) {
        let paid = lock(&self.bucket).pay(self.start.elapsed(), bytes);
        sleep_until(self.start + paid).await;
    }
}
