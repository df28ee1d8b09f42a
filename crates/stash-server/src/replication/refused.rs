//! Records of others that found no room here: kept by their hashes, and asked for again once there is
//! room. The position in a member's order moves on past them, or else what has ended would never be
//! learned behind them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stash_crypto::RecordHash;
use stash_store::{Batch, CommitError, ReadError, RecordTotals, Store};

use crate::core::Core;
use crate::ledger::{FEW, rows};
use crate::lock::lock;
use crate::replication::{reconcile, records};
use crate::rpc::{self, AskError};

/// Hashes that are kept, some 200 bytes of log and index and 50 of memory each.
const MOST: usize = 65_536;

/// Rows written or struck in one commit.
const ROWS_AT_ONCE: usize = 1_024;

/// The records that are known and not here for want of room.
#[derive(Debug)]
pub(crate) struct Refused {
    kept: Mutex<BTreeSet<RecordHash>>,
    more: AtomicBool,
    /// One at a time asks for them again.
    asking: tokio::sync::Mutex<()>,
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

    /// How many are kept.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.kept).len() as u64
    }

    /// Whether there is anything to be asked for again.
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
    fn forget(&self, store: &Store, hashes: &[RecordHash]) -> Result<(), CommitError> {
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

/// The sum of two 256-bit little-endian numbers, modulo 2^256.
pub(crate) fn plus(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let (mut sum, mut carry) = ([0; 32], 0);
    for (at, byte) in sum.iter_mut().enumerate() {
        let all = u16::from(one[at]) + u16::from(other[at]) + carry;
        (*byte, carry) = (all.to_le_bytes()[0], all >> 8);
    }
    sum
}

/// Asks connected members for everything that found no room, if there is some now. What none of them
/// has is struck out: it has ended, or is found when somebody who has it comes.
pub(crate) async fn ask_again(core: &Arc<Core>) -> Result<(), AskError> {
    let _alone = core.refused.asking.lock().await;
    let all: Vec<RecordHash> = lock(&core.refused.kept).iter().copied().collect();
    let connected = core.connected();
    if connected.is_empty() {
        return Ok(());
    }
    for some in all.chunks(FEW) {
        if !core.disk.run(records::has_room).await {
            return Ok(());
        }
        let (mut again, mut silent) = (BTreeSet::new(), false);
        for (node, peer) in &connected {
            let some = some.iter().filter(|hash| !again.contains(*hash)).copied().collect();
            match records::take_from(core, *node, peer, some).await {
                Ok(taken) => again.extend(taken.no_room),
                Err(error) => {
                    tracing::debug!(peer = %node.short(), %error, "a member gave nothing again");
                    silent = true;
                }
            }
        }
        let asked: Vec<RecordHash> =
            some.iter().filter(|hash| !again.contains(*hash)).copied().collect();
        if silent {
            // It may be the one that has them.
            return Ok(());
        }
        let shared = Arc::clone(core);
        let forget = move |store: &Store| shared.refused.forget(store, &asked);
        core.disk.run(forget).await.map_err(|error| rpc::here(&error))?;
        core.applied();
        if !again.is_empty() {
            return Ok(());
        }
    }
    if core.refused.more.swap(false, Ordering::Relaxed) {
        compare_again(core)
            .await
            .inspect_err(|_| core.refused.more.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}

/// Finds what was refused and is not kept, unless that is too much once more.
async fn compare_again(core: &Arc<Core>) -> Result<(), AskError> {
    for (node, peer) in core.connected() {
        reconcile::compare_all(core, node, &peer).await?;
    }
    let shared = Arc::clone(core);
    let done = move |store: &Store| {
        let _kept = lock(&shared.refused.kept);
        if shared.refused.more.load(Ordering::Relaxed) {
            return Ok(());
        }
        store.commit(Batch::new().row(rows::REFUSED_MORE, None).even_if_full()).map(drop)
    };
    core.disk.run(done).await.map_err(|error| rpc::here(&error))
}
