//! The store: what callers hold.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::budget::Claim;
use crate::commit::{Core, Reclaim, lock};
use crate::entry::{HEADER, HEADER_U32, Header, record_bytes};
use crate::index::{ChunkRow, Located};
use crate::shared::{Figures, Parts, Shared};
use crate::stage::Admission;
use crate::sync::{Arc, thread};
use crate::{
    Address, Batch, Blob, ChunkState, CollectError, CollectOptions, Collectable, Collected,
    Collector, CommitError, Committer, DamagedRecord, IoError, Lease, MAX_BLOB_BYTES, OpenError,
    OpenMode, OpenReport, Options, Quota, ReadError, Receipt, RecordTotals, StageError, Staged,
    Stats, StoredRecord, recover,
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

    /// Hands a blob over. It is durable and visible once a commit, or [`Store::flush`], that
    /// began later has succeeded. A large blob is in a file, unsynced, when this returns; a small
    /// one is kept in memory. Waits while more than [`Options::queue_bytes`] are on their way.
    ///
    /// If the disk fails or fills after this returned, the blob may be lost. That is told, once,
    /// to the next batch that names it (by [`Batch::require`], or in a record or manifest), and to
    /// the next flush, which is an empty batch: they fail. Commits of others do not. A batch that
    /// must not be committed without the blob requires it.
    ///
    /// A blob that is not here takes room, within [`Options::quota`]: without room, see
    /// [`StageError::is_full`], it is refused and leaves nothing behind.
    pub fn stage(&self, blob: Blob) -> Result<Staged, StageError> {
        let (address, len) = (blob.address(), blob.bytes().len() as u64);
        if len > MAX_BLOB_BYTES {
            return Err(StageError::TooLarge { len });
        }
        let sealed_len = u32::try_from(len).map_err(|_| StageError::TooLarge { len })?;
        match self.admit(address, len)? {
            Admission::Present => return Ok(Staged::Present),
            Admission::Refused => {
                let reason = self.shared.read_only().unwrap_or_default();
                return Err(StageError::ReadOnly { reason });
            }
            Admission::Go | Admission::NoRoom => {}
        }
        let options = &self.shared.options;
        let is_small = len < u64::from(options.small.min(crate::MAX_SMALL));
        let claim = match is_small {
            true => Claim::of_small(len),
            false => self.shared.budget.claim_of_file(len),
        };
        if let Err(shortage) = self.shared.take_room(claim) {
            self.shared.stage.withdraw(&address, len);
            return Err(shortage.into());
        }
        if is_small {
            if self.shared.stage.take_small(blob, options.queue_bytes)
                && options.committer == Committer::Thread
            {
                self.shared.queue.nudge();
            }
            return Ok(Staged::New);
        }
        let written = self.shared.files.write_tmp(blob.bytes());
        self.shared.budget.wrote(claim);
        match written {
            Ok((tmp, file)) => {
                drop(blob);
                // Or else a gigabyte of dirty pages waits for the commit.
                file.start_writeback();
                self.shared.stage.take_file(address, sealed_len, tmp, file);
                Ok(Staged::New)
            }
            Err(error) => {
                self.shared.budget.release(claim);
                self.shared.budget.found_full();
                self.shared.stage.withdraw(&address, len);
                Err(if error.is_full() { StageError::Full(error) } else { StageError::Io(error) })
            }
        }
    }

    fn admit(&self, address: Address, len: u64) -> Result<Admission, ReadError> {
        let shared = &self.shared;
        let wait = shared.options.committer == Committer::Thread;
        let refused = || shared.read_only().is_some();
        let row = || shared.index().chunk(&address).map_err(ReadError::from);
        loop {
            let limit = shared.options.queue_bytes;
            match shared.stage.admit(address, len, limit, wait, refused, row)? {
                Admission::NoRoom => shared.flush_inline(),
                admission => return Ok(admission),
            }
        }
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

    fn chunk_rows(&self, addresses: &[Address]) -> Result<Vec<Option<ChunkRow>>, ReadError> {
        self.shared.ask(|index| index.chunks(addresses))
    }

    /// Whether a blob is here, and if not, why.
    pub fn chunk_state(&self, address: &Address) -> Result<ChunkState, ReadError> {
        Ok(self.shared.states(&[*address])?[0])
    }

    /// For each blob, whether it is durable and here.
    pub fn has(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        self.shared.here(addresses)
    }

    /// How often blobs have left the store (evicted, collected, found damaged) since it was opened;
    /// see [`Batch::none_lost_since`].
    pub fn losses(&self) -> u64 {
        self.shared.losses()
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

    /// An empty lease: see [`Lease::add`].
    pub fn lease(&self) -> Lease {
        Lease::new(self.clone())
    }

    /// Reads a blob into `out`, replacing what is in it; `false` if it is not here. The bytes are
    /// checked against the address. After an error, `out` is empty.
    pub fn read_into(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        out.clear();
        let result = self.read_chunk(address, out);
        if !matches!(result, Ok(true)) {
            out.clear();
        }
        result
    }

    fn read_chunk(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let mut failed = None;
        for _ in 0..READS {
            let row = self.chunk_rows(&[*address])?[0];
            let Some(row) = row.filter(ChunkRow::is_here) else {
                return Ok(false);
            };
            let what = self.read_row(address, &row, out)?;
            if self.shared.stage.is_evicting(address) || self.shared.stage.is_damaged(address, &row)
            {
                return Ok(false);
            }
            let Some(what) = what else {
                return Ok(true);
            };
            // One that was evicted, replaced or written again elsewhere while it was read is not
            // damaged: the index had the same row before and after.
            if failed.replace(row) == Some(row) {
                self.shared.note_damage(*address, row.place());
                return Err(ReadError::Damaged { address: *address, what });
            }
        }
        let what = "it changes all the time".to_owned();
        Err(ReadError::Damaged { address: *address, what })
    }

    /// Reads what a row names. What is wrong with it, if something is.
    fn read_row(
        &self,
        address: &Address,
        row: &ChunkRow,
        out: &mut Vec<u8>,
    ) -> Result<Option<String>, ReadError> {
        let read = match *row {
            ChunkRow::File { len, .. } => self.read_file(address, len, out),
            _ => {
                let (place, (at, len)) = (row.place(), row.place().body());
                self.read_log(place.segment, at + 32, len.saturating_sub(32), out)
            }
        };
        let what = match read {
            Ok(()) if Address::of(out) == *address => return Ok(None),
            Ok(()) => "its bytes do not hash to its address",
            Err(error) => match error.source.kind() {
                io::ErrorKind::NotFound => "its file is missing",
                io::ErrorKind::UnexpectedEof => "its file is too short",
                _ if is_misplaced(&error.source) => "its path is not a file's",
                _ if error.is_unreadable() => "the disk cannot read it",
                _ => return Err(ReadError::Io(error)),
            },
        };
        Ok(Some(what.to_owned()))
    }

    fn read_file(&self, address: &Address, len: u32, out: &mut Vec<u8>) -> Result<(), IoError> {
        let path = self.shared.files.chunk(address);
        let file = self.shared.files.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|e| IoError::new("open", &path, e))?;
        out.resize(usize::try_from(len).unwrap_or(0), 0);
        file.read_at(0, out).map_err(|e| IoError::new("read", &path, e))
    }

    fn read_log(&self, segment: u64, at: u64, len: u32, out: &mut Vec<u8>) -> Result<(), IoError> {
        let (file, path) = self.shared.segments.get(segment)?;
        out.resize(usize::try_from(len).unwrap_or(0), 0);
        file.read_at(at, out).map_err(|e| IoError::new("read", &path, e))
    }

    /// The record with this hash.
    pub fn record(&self, hash: &[u8; 32]) -> Result<Option<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.record(hash))?;
        Ok(found.map(|found| self.load(found)).transpose()?.flatten())
    }

    /// For each hash, whether a record was stored under it. Reads no record: one that is damaged
    /// counts.
    pub fn has_records(&self, hashes: &[[u8; 32]]) -> Result<Vec<bool>, ReadError> {
        self.shared
            .ask(|index| hashes.iter().map(|hash| Ok(index.record(hash)?.is_some())).collect())
    }

    /// Calls `visit` with the hash of every record whose hash begins with `prefix`, in the order of
    /// the hashes. Reads the index alone. What is stored or dropped meanwhile may be in it or not.
    pub fn record_hashes_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), ReadError> {
        // Not asked twice, as others are: what was visited cannot be taken back.
        Ok(self.shared.index().hashes_under(prefix, visit)?)
    }

    /// How many records there are, and the sum of their hashes, as of the last commit. Two stores
    /// in which they are equal have the same records, unless somebody chose hashes to that end.
    pub fn record_totals(&self) -> RecordTotals {
        let state = lock(&self.shared.figures).state;
        RecordTotals { count: state.records, sum: state.record_sum.to_bytes() }
    }

    /// All records about a name, in the order in which they were stored.
    pub fn records_of(&self, name: &[u8; 32]) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.records_of(name))?;
        found.into_iter().filter_map(|found| self.load_listed(found).transpose()).collect()
    }

    /// As [`Store::records_of`], but for records whose entries are damaged: these are told apart,
    /// with what the index knows of them. Reads much of the index for each.
    pub fn records_of_and_damaged(
        &self,
        name: &[u8; 32],
    ) -> Result<(Vec<StoredRecord>, Vec<DamagedRecord>), ReadError> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for found in self.shared.ask(|index| index.records_of(name))? {
            match self.load_listed(found) {
                Ok(record) => whole.extend(record),
                Err(ReadError::RecordDamaged { hash, what }) => {
                    // Without a dot, it was dropped meanwhile.
                    let dot = self.shared.ask(|index| index.dot_of(found.sequence))?;
                    damaged.extend(dot.map(|(writer, n)| DamagedRecord { hash, writer, n, what }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((whole, damaged))
    }

    /// At most `limit` records in the order in which they were stored, after that sequence number.
    pub fn records_after(&self, sequence: u64, limit: u64) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.records_after(sequence, limit))?;
        found.into_iter().filter_map(|found| self.load_listed(found).transpose()).collect()
    }

    /// A record of a list. One that was dropped and stored again meanwhile has moved to its end.
    fn load_listed(&self, found: Located) -> Result<Option<StoredRecord>, ReadError> {
        Ok(self.load(found)?.filter(|record| record.sequence == found.sequence))
    }

    /// Sequence numbers and hashes of what [`Store::records_after`] gives: for going past a record
    /// that is damaged.
    pub fn record_hashes_after(
        &self,
        sequence: u64,
        limit: u64,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        let found = self.shared.index().records_after(sequence, limit)?;
        Ok(found.into_iter().map(|found| (found.sequence, found.hash)).collect())
    }

    /// Reads a record from the log. An entry that is written again elsewhere while it is read is
    /// looked up again; `None` if the record was dropped meanwhile.
    fn load(&self, mut found: Located) -> Result<Option<StoredRecord>, ReadError> {
        let hash = found.hash;
        for _ in 0..READS {
            match self.load_once(&found) {
                Ok(record) => return Ok(Some(record)),
                Err(ReadError::RecordDamaged { what, .. }) => {
                    match self.shared.ask(|index| index.record(&hash))? {
                        None => return Ok(None),
                        Some(again) if again == found => {
                            self.shared.note_broken(hash);
                            return Err(ReadError::RecordDamaged { hash, what });
                        }
                        Some(again) => found = again,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::RecordDamaged { hash, what: "it changes all the time".to_owned() })
    }

    fn load_once(&self, found: &Located) -> Result<StoredRecord, ReadError> {
        let hash = found.hash;
        let damaged = |what: &str| ReadError::RecordDamaged { hash, what: what.to_owned() };
        let place = found.place;
        let mut entry = Vec::new();
        let len = place.len.saturating_add(HEADER_U32);
        match self.read_log(place.segment, u64::from(place.offset), len, &mut entry) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("its segment of the log is missing"));
            }
            Err(e) if e.source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("its segment of the log is too short"));
            }
            Err(error) if error.is_unreadable() => {
                return Err(damaged("the disk cannot read it"));
            }
            result => result?,
        }
        let offset = u64::from(place.offset);
        let header = Header::decode(&entry, &self.shared.log_key, place.segment, offset)
            .ok_or_else(|| damaged("the header of its log entry does not match its tag"))?;
        let body = &entry[HEADER..];
        if header.len != place.len || crc32fast::hash(body) != header.crc {
            return Err(damaged("the checksum of its log entry does not match"));
        }
        let skip = body.len() - usize::try_from(place.body().1).unwrap_or(0).min(body.len());
        let bytes =
            record_bytes(&body[skip..], &hash).ok_or_else(|| damaged("its entry is another's"))?;
        Ok(StoredRecord { sequence: found.sequence, hash, bytes: bytes.into() })
    }

    /// The hash of the record under this dot; the one stored first, if there are several.
    pub fn dot(&self, writer: &[u8; 40], n: u64) -> Result<Option<[u8; 32]>, ReadError> {
        Ok(self.dots(writer, n)?.first().copied())
    }

    /// The hashes of all records under this dot, in the order in which they were stored. More
    /// than one is for the layer above to worry about.
    pub fn dots(&self, writer: &[u8; 40], n: u64) -> Result<Vec<[u8; 32]>, ReadError> {
        self.shared.ask(|index| index.dots(writer, n))
    }

    /// The highest `n` of a writer, with the hash of its record.
    pub fn last_of(&self, writer: &[u8; 40]) -> Result<Option<(u64, [u8; 32])>, ReadError> {
        self.shared.ask(|index| index.last_of(writer))
    }

    /// At most `limit` records of a writer from number `n` on, by number. Several under one number
    /// may be cut apart by the limit.
    pub fn dots_from(
        &self,
        writer: &[u8; 40],
        n: u64,
        limit: usize,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        self.shared.ask(|index| index.dots_from(writer, n, limit))
    }

    /// The writers whose ids begin with `prefix`, in order, each with what
    /// [`last_of`](Self::last_of) says of it. Costs two look-ups a writer.
    pub fn writers(&self, prefix: &[u8]) -> Result<Vec<WriterEnd>, ReadError> {
        self.shared.ask(|index| index.writers(prefix))
    }

    /// The sequence number of the newest record, 0 if there is none.
    pub fn last_sequence(&self) -> u64 {
        lock(&self.shared.figures).state.last_record
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

    /// The hashes of all records that name a blob, directly or through manifests.
    pub fn referrers(&self, address: &Address) -> Result<Vec<[u8; 32]>, ReadError> {
        self.shared.ask(|index| index.referrers(address))
    }

    /// Who holds a blob.
    pub fn holders(&self, address: &Address) -> Result<Vec<[u8; 32]>, ReadError> {
        self.shared.ask(|index| index.holders(address))
    }

    /// Sets how much the store may take from now on; it is not remembered, see [`Options::quota`].
    /// What is here stays, also beyond the quota.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.budget.set_quota(quota);
    }

    /// Figures, as of the last commit; room, as of now: the disk is asked.
    pub fn stats(&self) -> Stats {
        let scrub = self.scrub_progress();
        let (used, quota, disk, room) = self.shared.budget.look();
        let figures = lock(&self.shared.figures);
        Stats {
            file_bytes: used.files,
            index_bytes: used.index,
            used_bytes: used.all(),
            quota,
            disk,
            room,
            records: figures.state.records,
            chunks: figures.state.chunks,
            bytes: figures.state.bytes,
            evicted: figures.state.evicted,
            quarantined: figures.state.quarantined,
            log_bytes: figures.log_bytes,
            damage: figures.damage.clone(),
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
