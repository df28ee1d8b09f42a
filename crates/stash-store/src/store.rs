//! The store: what callers hold.

mod blobs;
mod records;
mod room;

use std::io;
use std::path::Path;
use std::time::Duration;

pub use self::room::Reservation;
use crate::batch::Receipt;
use crate::budget::Look;
use crate::collect::{CollectError, Collectable, Collected, Collector};
use crate::commit::{Core, Reclaim, lock};
use crate::shared::{Figures, Parts, Shared};
use crate::sync::{Arc, thread};
use crate::{
    Batch, CollectOptions, CommitError, Committer, IoError, OpenError, OpenReport, Options,
    ReadError, Stats, recover,
};

/// Attempts to read what is written again elsewhere each time it is read: about a commit each.
const READS: usize = 64;

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A writer, with the number and hash of its last record.
pub type WriterEnd = ([u8; 40], u64, [u8; 32]);

/// An open store. Clones share it; when the last one is dropped, it is closed.
///
/// All methods block, and may be called from any number of threads.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

/// Closes the store when it is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shared.options.committer == Committer::Inline {
            self.shared.close();
            return;
        }
        self.shared.queue.close();
        // The last clone may be dropped by a callback, which the committer itself runs: then the
        // threads end on their own, and close the store.
        let here = thread::current().id();
        if self.threads.iter().any(|thread| thread.thread().id() == here) {
            return;
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has turned the store read-only and said why.
            let _ = thread.join();
        }
    }
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

    pub(crate) fn begin(opened: recover::Opened, options: &Options) -> Result<Store, OpenError> {
        let core = Core::new(opened.log, opened.head);
        let figures = Figures {
            state: core.head.state,
            segments: core.log.segments.len() as u64,
            log: core.live_segments(),
            log_bytes: core.log.full_bytes + core.log.end.offset,
            ..Figures::default()
        };
        let shared = Arc::new(Shared::new(Parts {
            files: opened.files,
            options: options.clone(),
            opens: figures.state.opens + u64::from(!options.read_only),
            report: opened.report,
            core,
            index: opened.index,
            figures,
            missing: opened.missing,
            read_only: options.read_only.then(|| "it was opened only to be read".to_owned()),
            lock: opened.lock,
        }));
        shared.find_chunk_dir();
        shared.count_this_open();
        shared.keep_ballast();
        let threads = start_threads(&shared)?;
        let handle = Arc::new(Handle { shared: Arc::clone(&shared), threads });
        Ok(Store { shared, _handle: handle })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The store's identity, drawn when it was made.
    pub fn store_id(&self) -> [u8; 16] {
        self.shared.store_id
    }

    /// How often the store was opened, this time included. Durable: compare it with a count kept
    /// elsewhere to notice that the directory was restored from a copy.
    pub fn opens(&self) -> u64 {
        self.shared.opens
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Commits a batch. When it succeeds, the batch and everything staged before are durable and
    /// visible; when it fails, nothing of the batch is.
    pub fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        self.shared.commit(batch)
    }

    /// Like [`Store::commit`], but returns at once, and calls `done` from the committer's thread
    /// (with [`Committer::Inline`], before it returns). `done` must not block. Waits only while
    /// the queue is full.
    pub fn commit_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<Receipt, CommitError>) + Send + 'static,
    ) {
        self.shared.submit(batch, Some(Box::new(done)), true);
    }

    /// Makes everything staged before durable and visible.
    pub fn flush(&self) -> Result<(), CommitError> {
        self.commit(Batch::new()).map(drop)
    }

    /// Adds to the time that the store has been open: the clock by which blobs that nothing names
    /// grow old. One small commit; every few minutes is often enough.
    pub fn add_uptime(&self, more: Duration) -> Result<(), CommitError> {
        let uptime = lock(&self.shared.figures).state.uptime;
        self.shared.reclaim(Reclaim::Uptime(uptime.saturating_add(more.as_secs())))
    }

    /// What a collection would give back now. Reads the index, and changes nothing.
    pub fn collectable(&self, options: &CollectOptions) -> Result<Collectable, ReadError> {
        self.shared.collectable(options)
    }

    /// A collection, to be done in steps beside everything else: blobs that no record, manifest,
    /// hold or lease needs are given up after their grace, and segments of the log that are
    /// mostly dead are written again without what is.
    pub fn collector(&self, options: CollectOptions) -> Collector {
        Collector::new(self.clone(), options)
    }

    /// A whole collection, without pauses.
    pub fn collect(&self, options: CollectOptions) -> Result<Collected, CollectError> {
        let mut collector = self.collector(options);
        while collector.step()?.is_some() {}
        Ok(collector.done())
    }

    fn read_log(&self, segment: u64, at: u64, len: u32, out: &mut Vec<u8>) -> Result<(), IoError> {
        let (file, path) = self.shared.segments.get(segment)?;
        out.resize(usize::try_from(len).unwrap_or(0), 0);
        file.read_at(at, out).map_err(|e| IoError::new("read", &path, e))
    }

    /// The value of a row.
    pub fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.shared.ask(|index| index.row(key))
    }

    /// All rows whose keys begin with `prefix`, in the order of their keys.
    pub fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, ReadError> {
        self.shared.ask(|index| index.rows(prefix))
    }

    /// At most `limit` rows whose keys begin with `prefix` and come after `after`, in the order of
    /// their keys: a page of [`Store::rows`]. An empty `after` is before all of them.
    pub fn rows_after(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, ReadError> {
        self.shared.ask(|index| index.rows_beyond(prefix, after, limit))
    }

    /// Figures, as of the last commit; room, as of now: the disk is asked.
    pub fn stats(&self) -> Stats {
        let scrub = self.scrub_progress();
        let Look { used, quota, space, room, limit } = self.shared.budget.look();
        let figures = lock(&self.shared.figures);
        Stats {
            file_bytes: used.files,
            index_bytes: used.index,
            used_bytes: used.all(),
            limit_bytes: limit,
            waits_to_merge: self.shared.waits_to_merge(),
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
            read_only: self.shared.read_only(),
            outstanding_bytes: self.shared.stage.outstanding(),
            groups: figures.groups,
            batches: figures.batches,
            scrub,
            uptime: figures.state.uptime,
        }
    }
}

/// A link, a directory or something else is where a file should be.
pub(crate) fn is_misplaced(error: &io::Error) -> bool {
    let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let kinds =
        [io::ErrorKind::NotADirectory, io::ErrorKind::IsADirectory, io::ErrorKind::InvalidInput];
    link || kinds.contains(&error.kind())
}

fn start_threads(shared: &Arc<Shared>) -> Result<Vec<thread::JoinHandle<()>>, OpenError> {
    if shared.options.committer == Committer::Inline {
        return Ok(Vec::new());
    }
    let spawn = |name: &str, run: fn(&Shared)| {
        let shared = Arc::clone(shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared))
    };
    let failed = |e| OpenError::Io(IoError::new("start a thread for", &shared.files.dir, e));
    let flusher = spawn("stash-flusher", Shared::flusher).map_err(failed)?;
    let others = || {
        shared.stage.close();
        shared.upkeep.close();
    };
    let indexer = spawn("stash-indexer", Shared::indexer).map_err(|e| {
        others();
        failed(e)
    })?;
    let committer = spawn("stash-committer", Shared::committer).map_err(|e| {
        others();
        failed(e)
    })?;
    Ok(vec![committer, flusher, indexer])
}
