//! Follows the engine's record log and keeps the index of names current.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::{NameId, Record};
use stash_server::{Engine, LedgerError};
use thiserror::Error;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{IndexEntry, IndexError, NameIndex, NameUpdate, Shown};
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
    let follow =
        Follow { engine, index: Arc::clone(&index), keys, jobs: jobs.clone(), merging: None };
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
    /// The merge that was begun last. It takes seconds, and the index is brought up to date meanwhile.
    merging: Option<JoinHandle<()>>,
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
                Ok(false) => {
                    task.ends(None);
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        _ = moves.changed() => {}
                        name = mended.recv() => match name {
                            Ok(name) => self.again(name).await,
                            Err(RecvError::Lagged(_)) => drop(self.index.start_over()),
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

    /// Looks at a name of which a record was damaged when its turn came.
    async fn again(&self, name: NameId) {
        let applied = async {
            let (generation, cursor) = self.index.position();
            let records = self.engine.records_of(name).await?;
            let (index, keys) = (Arc::clone(&self.index), Arc::clone(&self.keys));
            let apply = move || {
                let update = evaluate(&keys, name, &records);
                index.apply(generation, &[update], cursor)?;
                // The cursor is past its record: nobody would look at it again.
                index.sync()
            };
            Ok::<_, TailError>(self.jobs.run(apply).await?)
        };
        if let Err(error) = applied.await {
            tracing::warn!(%error, "a name is not listed as it is; the index begins anew");
            self.index.start_over();
        }
    }

    /// Applies one page of the log; `false` if there was nothing to apply.
    async fn page(&mut self) -> Result<bool, TailError> {
        let (generation, after) = self.index.position();
        let end = *self.engine.changes().borrow();
        let page = self.engine.record_log(after, PAGE).await?;
        let cursor = match page.last() {
            Some((sequence, _)) => *sequence,
            // All that is left is damaged, and was passed over.
            None if end > after => end,
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
            index.apply(generation, &updates, cursor)
        };
        self.jobs.run(apply).await?;
        self.merge();
        Ok(true)
    }

    /// Begins to merge files if that is due and not under way.
    fn merge(&mut self) {
        let under_way = self.merging.as_ref().is_some_and(|merging| !merging.is_finished());
        if under_way || !self.index.merge_is_due() {
            return;
        }
        let index = Arc::clone(&self.index);
        self.merging = Some(self.jobs.spawn(move || {
            if let Err(error) = index.merge() {
                tracing::warn!(%error, "files of the index of names are not merged");
            }
        }));
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
