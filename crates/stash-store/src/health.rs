//! Damage that was found in an open store, and whether it may still be written to.

use std::collections::BTreeSet;

use crate::ground::Ground;
use crate::stage::Stage;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::work::Work;

/// Damaged records remembered, 32 bytes each; others are found again when they are read.
const BROKEN: usize = 65_536;

/// Damage that was found in an open store, and whether it may still be written to.
#[derive(Debug)]
pub(crate) struct Health {
    read_only: Mutex<Option<String>>,
    /// Segments that are damaged or missing: compaction saves what is left of them.
    suspects: Mutex<BTreeSet<u64>>,
    /// Records whose stored bytes were found damaged.
    broken: Mutex<BTreeSet<[u8; 32]>>,
    /// See [`crate::Store::losses`]. Counted before the loss can be seen.
    losses: AtomicU64,
    stage: Arc<Stage>,
    work: Arc<Work>,
    ground: Arc<Ground>,
}

impl Health {
    pub(crate) fn new(
        ground: &Arc<Ground>,
        stage: &Arc<Stage>,
        work: &Arc<Work>,
        suspects: BTreeSet<u64>,
    ) -> Health {
        let read_only = ground.options.read_only;
        let read_only = read_only.then(|| "it was opened only to be read".to_owned());
        Health {
            read_only: Mutex::new(read_only),
            suspects: Mutex::new(suspects),
            broken: Mutex::default(),
            losses: AtomicU64::new(0),
            stage: Arc::clone(stage),
            work: Arc::clone(work),
            ground: Arc::clone(ground),
        }
    }

    /// The reason for which the store takes no writes, if there is one.
    pub(crate) fn read_only(&self) -> Option<String> {
        lock(&self.read_only).clone()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        lock(&self.read_only).is_some()
    }

    /// Turns the store read-only, for good; the first reason counts. Wakes all who wait for
    /// something that will not come any more.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(%reason, "the store is read-only from now on");
        lock(&self.read_only).get_or_insert(reason);
        self.stage.notify();
        self.work.notify();
    }

    /// Blobs are leaving, or have been found damaged.
    pub(crate) fn lose(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire) + self.ground.files.chunks.departures()
    }

    /// Notes that a record's stored bytes are damaged, so that the same record can replace them.
    pub(crate) fn note_broken(&self, hash: [u8; 32]) {
        let mut broken = lock(&self.broken);
        if broken.len() < BROKEN {
            broken.insert(hash);
        }
    }

    /// True for a record whose stored bytes are damaged, until it is [`Health::mended`].
    pub(crate) fn is_broken(&self, hash: &[u8; 32]) -> bool {
        lock(&self.broken).contains(hash)
    }

    /// The log has these records anew.
    pub(crate) fn mended(&self, hashes: &BTreeSet<[u8; 32]>) {
        if !hashes.is_empty() {
            lock(&self.broken).retain(|hash| !hashes.contains(hash));
        }
    }

    /// Segments that are damaged or missing, and wait for compaction.
    pub(crate) fn suspects(&self) -> BTreeSet<u64> {
        lock(&self.suspects).clone()
    }

    pub(crate) fn suspect(&self, segment: u64) {
        lock(&self.suspects).insert(segment);
    }

    /// Ends the suspicion against segments that are no longer part of the log.
    pub(crate) fn clear(&self, is_gone: impl Fn(u64) -> bool) {
        lock(&self.suspects).retain(|id| !is_gone(*id));
    }
}
