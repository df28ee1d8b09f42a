//! What the bringing of chunks waits for when there was no room.

use std::sync::Mutex;
use std::time::Duration;

use stash_store::Store;
use stash_store::room::Allowance;
use tokio::time::Instant;

use crate::lock::lock;

/// When to try again what the disk did not take though there seemed to be room.
const AGAIN: Duration = Duration::from_secs(3_600);

/// What is waited for when a pass ended for want of room.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Option<Want>>);

#[derive(Clone, Copy, Debug)]
struct Want {
    /// Bytes of the chunk that found no room.
    len: u64,
    /// Whether asking tells if there is room for it: a disk may refuse what it seemed to have room for.
    asks: bool,
    /// It is tried again then in any case.
    until: Instant,
}

impl Waits {
    /// There is more room than there was.
    pub(crate) fn grew(&self) {
        lock(&self.0).iter_mut().for_each(|want| want.asks = true);
    }

    /// There is no room for a chunk of this length.
    pub(crate) fn note(&self, len: u64, asks: bool) {
        *lock(&self.0) = Some(Want { len, asks, until: Instant::now() + AGAIN });
    }

    pub(crate) fn some(&self) -> bool {
        lock(&self.0).is_some()
    }

    pub(crate) fn end(&self) {
        *lock(&self.0) = None;
    }

    /// Whether it is of use to begin.
    pub(crate) fn is_over(&self, store: &Store) -> bool {
        let want = *lock(&self.0);
        want.is_none_or(|Want { len, asks, until }| {
            Instant::now() >= until || asks && store.has_room(len, Allowance::None)
        })
    }
}
