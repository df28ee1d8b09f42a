//! The state that collections and scrubs share, and the status of the housekeeping.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_store::collect::Collectable;
use stash_store::{Batch, CollectOptions, ReadError, Store};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ledger::rows;
use crate::upkeep::schedule::Housekeeping;

/// Dead bytes of a segment, in percent, from which on a collection that was asked for writes it
/// again.
const ASKED_DEAD_PERCENT: u8 = 20;

/// The state that the housekeeping and those who ask for it share.
#[derive(Debug)]
pub(crate) struct House {
    pub options: Housekeeping,
    pub(crate) collecting: Arc<tokio::sync::Mutex<()>>,
    pub(crate) scrubbing: Arc<tokio::sync::Mutex<()>>,
    /// People who wait to collect: the collection under way gives way.
    pub(crate) waiting: AtomicU32,
    /// Somebody waits.
    pub(crate) wake: Notify,
    /// The log was found damaged.
    pub(crate) log_damaged: AtomicBool,
    /// Files may lie beside the chunks that nothing announces, or that were taken for lost: the next collection
    /// looks for them, which takes a look at every directory.
    pub(crate) strays: AtomicBool,
    /// Held while a forecast is made.
    pub(crate) forecasting: Arc<tokio::sync::Mutex<()>>,
    pub(crate) notes: Mutex<Notes>,
}

/// Times and results of past work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// Time at which the last collection ended, in seconds since 1970, and the bytes that it gave
    /// back.
    pub(crate) gc: Option<(u64, u64)>,
    /// Times at which the last pass began and ended, in seconds since 1970.
    pub(crate) scrub: Option<(u64, u64)>,
    /// A forecast of a collection, the time at which it was made, and the time that this took.
    pub(crate) forecast: Option<(Collectable, Instant, Duration)>,
}

/// Status of the housekeeping. Times are seconds since 1970, counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HouseStatus {
    /// Time at which the last collection ended.
    pub collected_at: Option<u64>,
    /// Bytes that it gave back.
    pub freed: u64,
    /// Forecast of what a collection would give back now; a few seconds old.
    pub collectable: Collectable,
    /// True if a collection is under way.
    pub collecting: bool,
    /// Time at which the last pass of scrubbing ended.
    pub scrubbed_at: Option<u64>,
    /// Chunks and records found damaged.
    pub found: u64,
    /// Of these, and of those of earlier runs, the ones that are whole again.
    pub healed: u64,
    /// Chunks and records that are damaged now.
    pub unhealed: u64,
}

impl House {
    pub(crate) fn open(store: &Store, options: Housekeeping) -> Result<House, ReadError> {
        let pair = |key: &[u8]| -> Result<Option<(u64, u64)>, ReadError> {
            let row = store.row(key)?.and_then(|row| <[u8; 16]>::try_from(row).ok());
            Ok(row.map(|row| {
                let (words, _) = row.as_chunks::<8>();
                (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
            }))
        };
        let notes =
            Notes { gc: pair(rows::COLLECTION)?, scrub: pair(rows::SCRUB)?, forecast: None };
        // A process that ended in the middle may have left some; one that was killed before it looked, too.
        let is_noted = store.row(rows::STRAYS)?.is_some();
        let strays = is_noted || !store.open_report().was_clean() || store.stats().quarantined > 0;
        if strays && !is_noted {
            note_strays(store, true);
        }
        Ok(House {
            options,
            collecting: Arc::default(),
            scrubbing: Arc::default(),
            waiting: AtomicU32::new(0),
            wake: Notify::new(),
            log_damaged: AtomicBool::new(store.stats().scrub.suspects > 0),
            strays: AtomicBool::new(strays),
            forecasting: Arc::default(),
            notes: Mutex::new(notes),
        })
    }

    /// Options of the collections that a node makes by itself.
    pub(crate) fn collect_options(&self) -> CollectOptions {
        let (grace, strays) = (self.options.gc_grace, self.strays.load(Ordering::Relaxed));
        CollectOptions { grace, strays, ..CollectOptions::default() }
    }

    /// Options of a collection that was asked for; with `now`, without waiting for any grace.
    pub(crate) fn asked_options(&self, now: bool) -> CollectOptions {
        let grace = if now { Duration::ZERO } else { self.options.gc_grace };
        let strays = self.strays.load(Ordering::Relaxed);
        CollectOptions { grace, dead_percent: ASKED_DEAD_PERCENT, strays }
    }
}

/// Writes down if files may lie there that nothing announces. Blocking. A store that takes no writes is looked
/// through after the next start in any case.
pub(crate) fn note_strays(store: &Store, some: bool) {
    let value: Option<&[u8]> = if some { Some(&[]) } else { None };
    let batch = Batch::new().row(rows::STRAYS, value).even_if_full();
    if let Err(error) = store.commit(batch) {
        tracing::debug!(%error, "a search for stray files is not written down");
    }
}
