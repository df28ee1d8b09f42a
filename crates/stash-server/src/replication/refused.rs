//! Records of others that found no room here: kept by their hashes, and asked for again once there
//! is room. The position in a member's order moves on past them, or else what has ended would never
//! be learned behind them.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::RecordHash;
use stash_store::{Batch, CommitError, ReadError, RecordTotals, Store};

use crate::ledger::rows;
use crate::ledger::sums::plus;
use crate::lock::lock;

/// Hashes that are kept, some 200 bytes of log and index and 50 of memory each.
const MOST: usize = 65_536;

/// Rows written or struck in one commit.
const ROWS_AT_ONCE: usize = 1_024;

/// The records that are known and not here for want of room.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) kept: Mutex<BTreeSet<RecordHash>>,
    pub(crate) more: AtomicBool,
    /// Held while they are asked for again: one caller at a time.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

impl Refused {
    pub(crate) fn load(store: &Store) -> Result<Refused, ReadError> {
        let hash = |(key, _): (Vec<u8>, Vec<u8>)| {
            key.strip_prefix(rows::REFUSED)?.try_into().ok().map(RecordHash::from_bytes)
        };
        let kept = store.rows(rows::REFUSED)?.into_iter().filter_map(hash).collect();
        let more = AtomicBool::new(store.row(rows::REFUSED_MORE)?.is_some());
        Ok(Refused { kept: Mutex::new(kept), more, asking: tokio::sync::Mutex::default() })
    }

    /// Number of hashes that are kept.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.kept).len() as u64
    }

    /// True if there is anything to be asked for again.
    pub(crate) fn some(&self) -> bool {
        self.more.load(Ordering::Relaxed) || !lock(&self.kept).is_empty()
    }

    /// Leaves out what is known to find no room.
    pub(crate) fn strike(&self, hashes: &mut Vec<RecordHash>) {
        let kept = lock(&self.kept);
        if !kept.is_empty() {
            hashes.retain(|hash| !kept.contains(hash));
        }
    }

    /// Keeps hashes, durably; those beyond the bound are found when all that is held is compared.
    /// Blocking.
    pub(crate) fn keep(&self, store: &Store, hashes: &[RecordHash]) -> Result<(), CommitError> {
        let mut kept = lock(&self.kept);
        let new: Vec<RecordHash> =
            hashes.iter().filter(|hash| !kept.contains(hash)).copied().collect();
        let (new, beyond) = new.split_at(new.len().min(MOST.saturating_sub(kept.len())));
        let mut batch =
            new.iter().fold(Batch::new(), |batch, hash| batch.row(&rows::refused(hash), Some(&[])));
        if !beyond.is_empty() && !self.more.load(Ordering::Relaxed) {
            batch = batch.row(rows::REFUSED_MORE, Some(&[]));
        }
        if !batch.is_empty() {
            store.commit(batch)?;
        }
        kept.extend(new);
        self.more.fetch_or(!beyond.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// These need not be asked for any more. Blocking.
    pub(crate) fn forget(&self, store: &Store, hashes: &[RecordHash]) -> Result<(), CommitError> {
        for some in hashes.chunks(ROWS_AT_ONCE) {
            let mut kept = lock(&self.kept);
            let batch =
                some.iter().fold(Batch::new(), |batch, hash| batch.row(&rows::refused(hash), None));
            store.commit(batch.even_if_full())?;
            for hash in some {
                kept.remove(hash);
            }
        }
        Ok(())
    }

    /// All records held and those that found no room, in two figures: of two members that differ in
    /// nothing but room, they are equal. Blocking.
    pub(crate) fn with_totals(
        &self,
        store: &Store,
    ) -> Result<(RecordTotals, RecordTotals), ReadError> {
        let kept: Vec<[u8; 32]> = lock(&self.kept).iter().map(|hash| *hash.as_bytes()).collect();
        let held = store.has_records(&kept)?;
        let mut refused = RecordTotals::default();
        for (hash, _) in kept.iter().zip(held).filter(|(_, held)| !held) {
            refused.count += 1;
            refused.sum = plus(&refused.sum, hash);
        }
        Ok((store.record_totals(), refused))
    }
}
