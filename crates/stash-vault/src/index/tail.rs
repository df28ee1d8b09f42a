//! Follows the engine's record log and keeps the index of names current.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::{NameId, Record};
use stash_server::{Engine, LedgerError};
use thiserror::Error;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    IndexEntry, IndexError, IndexFault, Mark, Merges, NAMES, NameIndex, NameUpdate, Shown,
};
use crate::blocking::Jobs;
use crate::model::keys::ReadKeys;
use crate::model::version::versions;

/// Records applied at once: a few MiB of records at most.
const PAGE: usize = 256;
/// Reads of one name's records that run at once.
const READS: usize = 8;
/// Pause after a failure before the log is read again.
const RETRY: Duration = Duration::from_millis(500);

/// The task that follows the log, and the way to end it.
pub(crate) struct Tail {
    stop: CancellationToken,
    task: JoinHandle<()>,
    index: Arc<NameIndex>,
    jobs: Jobs,
}

impl Tail {
    /// Ends the task, waits for it, and for what it has on other threads: nobody uses the index any
    /// more on its behalf.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // A panic of the task was reported when it happened; the index is rebuildable.
        let _ = self.task.await;
        self.index.stop_merging();
        self.jobs.ended().await;
    }
}

#[derive(Debug, Error)]
enum TailError {
    #[error(transparent)]
    Engine(#[from] LedgerError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Starts to follow the log.
pub(crate) fn run(engine: Engine, index: Arc<NameIndex>, keys: Arc<ReadKeys>) -> Tail {
    let (stop, jobs) = (CancellationToken::new(), Jobs::default());
    let follow = Follow {
        engine,
        index: Arc::clone(&index),
        keys,
        merges: Merges::new(NAMES.directory, jobs.clone()),
        jobs: jobs.clone(),
        mended: BTreeSet::new(),
    };
    let token = stop.clone();
    let task = tokio::spawn(async move {
        token.run_until_cancelled_owned(follow.run()).await;
    });
    Tail { stop, task, index, jobs }
}

struct Follow {
    engine: Engine,
    index: Arc<NameIndex>,
    keys: Arc<ReadKeys>,
    jobs: Jobs,
    /// Names that are to be looked at again: a record of them was damaged when its turn came.
    mended: BTreeSet<NameId>,
    /// The index is brought up to date beside them.
    merges: Merges,
}

impl Follow {
    async fn run(mut self) {
        let mut changes = self.engine.changes();
        let mut moves = self.index.moves();
        let mut mended = self.engine.mended();
        let task = self.engine.list_task("index");
        loop {
            task.begins();
            changes.borrow_and_update();
            moves.borrow_and_update();
            match self.page().await {
                Ok(true) => {}
                Ok(false) if !self.mended.is_empty() => self.again().await,
                Ok(false) => {
                    task.ends(None);
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        _ = moves.changed() => {}
                        name = mended.recv() => match name {
                            Ok(name) => self.note(name, &mut mended).await,
                            Err(RecvError::Lagged(_)) => self.start_over().await,
                            Err(RecvError::Closed) => return,
                        },
                    }
                }
                Err(TailError::Index(IndexError::Rebuilding)) => {}
                Err(error) => {
                    tracing::warn!(%error, "the index of names stands still");
                    task.ends(Some(RETRY));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Notes a name, and all that were mended with it.
    async fn note(&mut self, name: NameId, mended: &mut Receiver<NameId>) {
        self.mended.insert(name);
        loop {
            match mended.try_recv() {
                Ok(name) => drop(self.mended.insert(name)),
                Err(TryRecvError::Lagged(_)) => return self.start_over().await,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Begins anew: every name is looked at.
    async fn start_over(&mut self) {
        self.mended.clear();
        let index = Arc::clone(&self.index);
        let _begun = self.jobs.run(move || index.start_over()).await;
    }

    /// Looks at the names of which a record was damaged when its turn came. On a full disk they wait.
    async fn again(&mut self) {
        match self.mend().await {
            Ok(()) => {
                self.mended.clear();
                self.merge();
            }
            Err(TailError::Index(IndexError::Unusable(fault @ IndexFault::Waits(_)))) => {
                tracing::warn!(%fault, "mended names are not listed as they are");
                tokio::time::sleep(RETRY).await;
            }
            // Every name is looked at anyway.
            Err(TailError::Index(IndexError::Rebuilding)) => self.mended.clear(),
            Err(error) => {
                tracing::warn!(%error, "a name is not listed as it is; the index begins anew");
                self.start_over().await;
            }
        }
    }

    /// Applies what the mended names say.
    async fn mend(&self) -> Result<(), TailError> {
        let (generation, cursor) = self.index.position();
        let mut updates = Vec::new();
        for name in &self.mended {
            let records = self.engine.records_of(*name).await?;
            updates.push(evaluate(&self.keys, *name, &records));
        }
        let index = Arc::clone(&self.index);
        let apply = move || {
            index.apply(generation, &updates, cursor, None)?;
            // The cursor is past their records: nobody would look at them again.
            index.sync()
        };
        Ok(self.jobs.run(apply).await?)
    }

    /// Applies one page of the log; `false` if there was nothing to apply.
    async fn page(&mut self) -> Result<bool, TailError> {
        let (generation, after) = self.index.position();
        let end = *self.engine.changes().borrow();
        let page = self.engine.record_log(after, PAGE).await?;
        let (cursor, read) = match page.last() {
            Some((sequence, record)) => {
                (*sequence, Some(Mark { sequence: *sequence, hash: record.hash() }))
            }
            // All that is left is damaged, and was passed over.
            None if end > after => (end, None),
            None => return Ok(false),
        };
        let mut by_name: BTreeMap<NameId, Vec<Record>> = BTreeMap::new();
        for (_, record) in page {
            by_name.entry(record.clear().name).or_default().push(record);
        }
        let by_name = self.complete(by_name).await?;
        let (index, keys) = (Arc::clone(&self.index), Arc::clone(&self.keys));
        let apply = move || {
            let updates: Vec<NameUpdate> =
                by_name.iter().map(|(name, records)| evaluate(&keys, *name, records)).collect();
            index.apply(generation, &updates, cursor, read)
        };
        self.jobs.run(apply).await?;
        self.merge();
        Ok(true)
    }

    /// Begins to merge files if that is due.
    fn merge(&self) {
        if self.index.merge_is_due() {
            let index = Arc::clone(&self.index);
            self.merges.begin(Instant::now(), move || index.merge());
        }
    }

    /// Adds the records of each name that are not on this page. A name of which no record was
    /// applied before, and which has one record here, needs no read: that record is all there is.
    async fn complete(
        &self,
        by_name: BTreeMap<NameId, Vec<Record>>,
    ) -> Result<BTreeMap<NameId, Vec<Record>>, TailError> {
        let index = Arc::clone(&self.index);
        let names: Vec<NameId> = by_name.keys().copied().collect();
        let known = self.jobs.run(move || index.knows(&names)).await?;
        let reads = by_name.into_iter().zip(known).map(|((name, records), known)| async move {
            let alone = !known && records.len() == 1;
            if alone {
                return Ok(Some((name, records)));
            }
            match self.engine.records_of(name).await {
                Err(error) if error.is_damaged_record() => {
                    // It stays listed as it was, until the record is whole again or covered.
                    tracing::warn!(name = %name.short(), %error, "a name is not listed as it is");
                    Ok((!known).then_some((name, records)))
                }
                all => Ok::<_, TailError>(Some((name, all?))),
            }
        });
        let all = stream::iter(reads).buffer_unordered(READS);
        all.try_filter_map(|one| std::future::ready(Ok(one))).try_collect().await
    }
}

fn evaluate(keys: &ReadKeys, name: NameId, records: &[Record]) -> NameUpdate {
    let versions = versions(keys, records);
    for alarm in &versions.alarms {
        tracing::error!(
            record = %alarm.record.short(), reason = %alarm.reason,
            "a record is set aside"
        );
    }
    let shown = match versions.head() {
        None => Shown::Nothing,
        Some(head) if head.is_put() => Shown::File(IndexEntry::of(head)),
        Some(_) => Shown::Removed { restorable: versions.restorable().is_some() },
    };
    let alarmed = !versions.alarms.is_empty();
    NameUpdate { name, key: versions.key().cloned(), shown, alarmed }
}

#[cfg(test)]
mod tests;
