//! The store: what callers hold.

mod blobs;
mod records;
mod room;
mod whole;

use std::path::Path;
use std::time::Duration;

use crate::batch::{Receipt, Reclaim};
use crate::budget::Look;
use crate::collect::{self, CollectError, Collectable, Collected, Collector};
use crate::open::Open;
use crate::recover::{self, Opened};
use crate::scrub::Scrub;
use crate::sync::Arc;
use crate::{
    Address, Batch, CollectOptions, CommitError, OpenError, OpenReport, Options, ReadError, Stats,
};

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An open store. Clones share it; when the last one is dropped, it is closed.
///
/// All methods block, and may be called from any number of threads.
#[derive(Debug, Clone)]
pub struct Store {
    open: Arc<Open>,
    scrub: Arc<Scrub>,
}

impl Store {
    /// Makes an empty store and opens it. The directory may be missing, its parent not; it must
    /// hold no other files.
    pub fn create(dir: &Path, options: &Options) -> Result<Store, OpenError> {
        recover::create(dir, options)?;
        Store::open(dir, options)
    }

    /// Opens a store. What a crash left is repaired, and told by [`Store::open_report`].
    pub fn open(dir: &Path, options: &Options) -> Result<Store, OpenError> {
        let options = options.for_opening();
        Store::begin(recover::open(dir, &options)?, &options)
    }

    fn begin(opened: Opened, options: &Options) -> Result<Store, OpenError> {
        let scrub = Arc::new(Scrub::load(&opened.files, &opened.log.format.store_id));
        let open = Arc::new(Open::begin(opened, options, scrub.suspects())?);
        Ok(Store { open, scrub })
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> &Open {
        &self.open
    }

    /// The store's identity, drawn when it was made.
    pub fn store_id(&self) -> [u8; 16] {
        self.open.ground.format.store_id
    }

    /// The number of times that the store was opened, this time included. Durable: compare it with a count kept
    /// elsewhere to notice that the directory was restored from a copy.
    pub fn opens(&self) -> u64 {
        self.open.commits.opens
    }

    /// The report of the opening.
    pub fn open_report(&self) -> &OpenReport {
        &self.open.report
    }

    /// Commits a batch. When it succeeds, the batch and those blobs that it names are durable and visible;
    /// when it fails, nothing of the batch is. An empty batch is a flush: with it, everything staged before is.
    /// Of two batches of which one waits for a blob, the later one may be committed first.
    pub fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        self.open.commits.commit(batch)
    }

    /// Like [`Store::commit`], but returns at once, and calls `done` from the committer's thread
    /// (with [`crate::Committer::Inline`], before it returns). `done` must not block. Waits only while
    /// the queue is full.
    pub fn commit_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<Receipt, CommitError>) + Send + 'static,
    ) {
        self.open.commits.submit(batch, Some(Box::new(done)), true);
    }

    /// Makes everything staged before durable and visible.
    pub fn flush(&self) -> Result<(), CommitError> {
        self.commit(Batch::new()).map(drop)
    }

    /// As [`Store::flush`], for these blobs alone: it does not wait for what others have staged. One that was
    /// not staged is no error.
    pub fn flush_these(&self, blobs: &[Address]) -> Result<(), CommitError> {
        let batch = blobs.iter().fold(Batch::new(), |batch, blob| batch.awaiting(*blob));
        if batch.is_empty() {
            return Ok(());
        }
        self.commit(batch).map(drop)
    }

    /// Adds to the time that the store has been open: the clock by which blobs that nothing names
    /// grow old. One small commit; every few minutes is often enough.
    pub fn add_uptime(&self, more: Duration) -> Result<(), CommitError> {
        let uptime = self.open.commits.figures().state.uptime;
        let uptime = uptime.saturating_add(more.as_secs());
        self.open.commits.reclaim(Reclaim::Uptime(uptime)).map(drop)
    }

    /// Forecasts what a collection would give back now. Reads the index, and changes nothing.
    pub fn collectable(&self, options: &CollectOptions) -> Result<Collectable, ReadError> {
        collect::forecast(&self.open, options)
    }

    /// A collection, to be done in steps beside everything else: blobs that no record, manifest,
    /// hold or lease needs are given up after their grace, and segments of the log that are
    /// mostly dead are written again without what is.
    pub fn collector(&self, options: CollectOptions) -> Collector {
        Collector::new(Arc::clone(&self.open), options)
    }

    /// A whole collection, without pauses.
    pub fn collect(&self, options: CollectOptions) -> Result<Collected, CollectError> {
        let mut collector = self.collector(options);
        while collector.step()?.is_some() {}
        Ok(collector.done())
    }

    /// The value of a row.
    pub fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.open.ask(|index| index.row(key))
    }

    /// All rows whose keys begin with `prefix`, in the order of their keys.
    pub fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, ReadError> {
        self.open.ask(|index| index.rows(prefix))
    }

    /// At most `limit` rows whose keys begin with `prefix` and come after `after`, in the order of
    /// their keys: a page of [`Store::rows`]. An empty `after` is before all of them.
    pub fn rows_after(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, ReadError> {
        self.open.ask(|index| index.rows_beyond(prefix, after, limit))
    }

    /// Bytes of the blobs that are here, as of the last commit: [`Stats::bytes`], without asking the disk.
    #[must_use]
    pub fn blob_bytes(&self) -> u64 {
        self.open.commits.figures().state.bytes
    }

    /// Figures, as of the last commit; room, as of now: the disk is asked.
    pub fn stats(&self) -> Stats {
        let scrub = self.scrub.progress(&self.open);
        let Look { used, quota, space, room, limit } = self.open.budget.look();
        let figures = self.open.commits.figures();
        Stats {
            file_bytes: used.files,
            index_bytes: used.index,
            used_bytes: used.all(),
            limit_bytes: limit,
            waits_to_merge: self.open.upkeep.waits_to_merge(),
            quota,
            disk: space,
            room,
            records: figures.state.records,
            chunks: figures.state.chunks,
            bytes: figures.state.bytes,
            evicted: figures.state.evicted,
            quarantined: figures.state.quarantined,
            log_bytes: figures.log_bytes,
            damage: figures.damage.clone(),
            away: self.away(),
            log_segments: figures.segments,
            read_only: self.open.health.read_only(),
            outstanding_bytes: self.open.stage.outstanding(),
            groups: figures.groups,
            batches: figures.batches,
            scrub,
            uptime: figures.state.uptime,
        }
    }
}
