//! The bytes of a node that keeps less than everything: which of them were used lately, and whether what is too much can
//! be dropped.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::{Address, ChunkRef};
use stash_store::Store;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::keeps::ALL;
use crate::ledger::at;
use crate::lock::lock;
use crate::transfer::tally::STALL;

/// Chunks remembered as used, by eight bytes each. With more, all that were remembered before are old.
const REMEMBERED: usize = 1 << 18;

/// Bytes that puts may bring beyond what is kept while room is made.
const SLACK: u64 = 64 << 20;

/// Interval at which a put that waits for room looks again.
const LOOK: Duration = Duration::from_secs(1);

/// A put whose bytes do not move waits for room no longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was left when nothing more could go: manifests, and what no record names yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) bytes: u64,
    /// Records up to there were looked at: later ones may name what could not go.
    pub(crate) sequence: u64,
}

/// Outcome of the last time that room was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// What was left, if nothing more could go.
    pub(crate) floor: Option<Floor>,
    /// The reason why bytes that are too much are still here.
    pub(crate) stuck: Option<String>,
}

/// This node holds more than it keeps, and may not drop it: a put would make it worse. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node keeps {keep} bytes, has {bytes}, and can drop none of them: {why}")]
pub struct OverKeep {
    /// Bytes that it keeps.
    pub keep: u64,
    /// Bytes that it has.
    pub bytes: u64,
    /// The reason why none may go.
    pub why: String,
}

/// The bytes at a node that keeps less than everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheView {
    /// Bytes of chunks that it keeps.
    pub keep: u64,
    /// Bytes of chunks that it has.
    pub bytes: u64,
    /// The reason why it has more than it keeps, if it could not be dropped.
    pub stuck: Option<String>,
}

/// The bytes of a node that keeps less than everything, and who uses them.
#[derive(Debug)]
pub(crate) struct Cache {
    keep: u64,
    used: Mutex<HashSet<[u8; 8]>>,
    pub(crate) made: watch::Sender<Made>,
    /// There may be too much, or some of it may go now.
    pub(crate) wake: Notify,
}

impl Cache {
    pub(crate) fn new(keep: u64) -> Cache {
        Cache { keep, used: Mutex::default(), made: watch::Sender::default(), wake: Notify::new() }
    }

    /// A chunk was used: it is among the last that go.
    pub(crate) fn used(&self, chunk: &Address) {
        if self.keep == ALL {
            return;
        }
        let mut used = lock(&self.used);
        if used.len() >= REMEMBERED {
            used.clear();
        }
        used.insert(mark(chunk));
    }

    /// True if a chunk was used since this was asked last.
    pub(crate) fn was_used(&self, chunk: &Address) -> bool {
        lock(&self.used).remove(&mark(chunk))
    }

    /// Bytes that this node keeps and has, and why it cannot drop what is too much; `None` if it keeps everything.
    pub(crate) fn view(&self, store: &Store) -> Option<CacheView> {
        let (keep, bytes) = (self.keep, store.blob_bytes());
        let stuck = self.made.borrow().stuck.clone().filter(|_| bytes > keep);
        (keep != ALL).then_some(CacheView { keep, bytes, stuck })
    }

    /// True if a chunk that comes is kept: there is room for it, or a record is about to name it.
    pub(crate) fn keeps(&self, store: &Store, chunk: &ChunkRef) -> bool {
        let bytes = store.blob_bytes().saturating_add(chunk.sealed_len.into());
        let keeps = self.keep == ALL || bytes <= self.keep || store.is_leased(&at(&chunk.address));
        if !keeps {
            // What was not used for longer makes room for the next one.
            self.wake.notify_one();
        }
        keeps
    }

    /// Waits until there is room for a put: until enough was dropped of what others have proven, or nothing can be that is
    /// not its own. `idle` says for how long nothing of the put has moved.
    pub(crate) async fn room_for_a_put(
        &self,
        store: &Store,
        idle: impl Fn() -> Duration,
    ) -> Result<(), OverKeep> {
        if self.keep == ALL {
            return Ok(());
        }
        let mut made = self.made.subscribe();
        loop {
            let bytes = store.blob_bytes();
            if bytes <= self.keep.saturating_add(SLACK) {
                return Ok(());
            }
            self.wake.notify_one();
            let Made { floor, stuck } = made.borrow_and_update().clone();
            // What is left is on its way from here.
            if floor.is_some_and(|floor| bytes <= floor.bytes.saturating_add(SLACK)) {
                return Ok(());
            }
            let why = match stuck {
                Some(why) if idle() >= STALL => why,
                None if idle() >= PATIENCE => "it takes too long".to_owned(),
                _ => {
                    let _looks_again_anyway = timeout(LOOK, made.changed()).await;
                    continue;
                }
            };
            return Err(OverKeep { keep: self.keep, bytes, why });
        }
    }
}

fn mark(chunk: &Address) -> [u8; 8] {
    *chunk.as_bytes().first_chunk().expect("32 bytes have a first 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_spared_once() {
        let cache = Cache::new(1 << 20);
        let chunk = Address::from_bytes([7; 32]);
        assert!(!cache.was_used(&chunk));
        cache.used(&chunk);
        assert!(cache.was_used(&chunk));
        assert!(!cache.was_used(&chunk));
    }

    #[test]
    fn a_node_that_keeps_everything_remembers_nothing() {
        let cache = Cache::new(ALL);
        let chunk = Address::from_bytes([7; 32]);
        cache.used(&chunk);
        assert!(!cache.was_used(&chunk));
    }
}
