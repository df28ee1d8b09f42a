//! Waits for room, after a pass over wanted chunks ended for want of it.

use std::sync::Mutex;
use std::time::Duration;

use stash_store::Store;
use stash_store::room::Allowance;
use tokio::time::Instant;

use crate::lock::lock;

/// Time until the disk is tried again, if it refused a chunk though there seemed to be room.
const AGAIN: Duration = Duration::from_secs(3_600);

/// The room that is waited for, if a pass ended for want of it.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Option<Want>>);

#[derive(Clone, Copy, Debug)]
struct Want {
    /// Bytes of the chunk that found no room.
    len: u64,
    /// True if the store can tell that there is room for it: a disk may refuse what it seemed to
    /// have room for.
    asks: bool,
    /// The time at which it is tried again in any case.
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

    /// True if a new pass may find room.
    pub(crate) fn is_over(&self, store: &Store) -> bool {
        let want = *lock(&self.0);
        want.is_none_or(|Want { len, asks, until }| {
            Instant::now() >= until || asks && store.has_room(len, Allowance::None)
        })
    }
}
