//! What the callers of one open store, and its threads, have in common.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ballast::Ballast;
use crate::batch::Step;
use crate::batch::{
    MAX_BATCH_BYTES, MAX_MANIFEST_REFS, MAX_RECORD_BYTES, MAX_RECORD_REFS, MAX_ROW_KEY,
    MAX_ROW_VALUE, Receipt,
};
use crate::budget::{Budget, Claim, Used};
use crate::commit::{Core, CoreLock, Done, Job, Queue, Reclaim, lock};
use crate::disk::Lock;
use crate::entry::{HEADER, Header, Op, Place, entry_len};
use crate::files::Files;
use crate::format::Format;
use crate::index::{ChunkRow, Index, IndexError, State};
use crate::log::{Position, Segments, mark_len};
use crate::room::{Allowance, Shortage};
use crate::scrub::Scrub;
use crate::stage::{Leaving, Stage};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, PoisonError, RwLock, mpsc};
use crate::upkeep::Upkeep;
use crate::{Address, Batch, ChunkState, CommitError, Committer, OpenReport, Options, ReadError};

/// Sentences about damage in the log that are remembered, some 100 bytes each.
const DAMAGE: usize = 64;
/// Damaged records remembered, 32 bytes each; others are found again when they are read.
const BROKEN: usize = 65_536;

/// Figures for [`crate::Stats`], as of the last group.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) state: State,
    pub(crate) segments: u64,
    /// Those of them that are part of the log.
    pub(crate) log: BTreeSet<u64>,
    pub(crate) log_bytes: u64,
    pub(crate) damage: Vec<String>,
    pub(crate) groups: u64,
    pub(crate) batches: u64,
}

/// What the callers of one open store, and its threads, have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) files: Arc<Files>,
    pub(crate) options: Options,
    pub(crate) store_id: [u8; 16],
    pub(crate) log_key: [u8; 32],
    pub(crate) format: Format,
    pub(crate) opens: u64,
    pub(crate) report: OpenReport,
    pub(crate) segments: Segments,
    pub(crate) stage: Stage,
    pub(crate) budget: Budget,
    pub(crate) ballast: Ballast,
    pub(crate) queue: Queue,
    pub(crate) upkeep: Upkeep,
    pub(crate) core: CoreLock,
    pub(crate) figures: Mutex<Figures>,
    pub(crate) scrub: Scrub,
    /// Segments that are damaged or missing: compaction saves what is left of them.
    pub(crate) suspects: Mutex<BTreeSet<u64>>,
    /// Segments that a collection is writing again.
    pub(crate) compacting: Mutex<BTreeSet<u64>>,
    /// Records whose stored bytes were found damaged.
    broken: Mutex<BTreeSet<[u8; 32]>>,
    /// See [`crate::Store::losses`]. Counted before the loss can be seen.
    losses: AtomicU64,
    index: RwLock<Arc<Index>>,
    read_only: Mutex<Option<String>>,
    /// Released when everything else is.
    _lock: Box<dyn Lock>,
}

/// What [`Shared::new`] is made from.
pub(crate) struct Parts {
    pub(crate) files: Arc<Files>,
    pub(crate) options: Options,
    pub(crate) opens: u64,
    pub(crate) report: OpenReport,
    pub(crate) core: Core,
    pub(crate) index: Index,
    pub(crate) figures: Figures,
    /// Segments that should be there and are not.
    pub(crate) missing: Vec<u64>,
    /// Why the store takes no writes, if so.
    pub(crate) read_only: Option<String>,
    pub(crate) lock: Box<dyn Lock>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Shared {
        let format = parts.core.log.format.clone();
        let scrub = Scrub::load(&parts.files, &format.store_id);
        let mut suspects = scrub.suspects();
        suspects.retain(|id| parts.figures.log.contains(id));
        suspects.extend(parts.missing);
        let used = Used {
            files: parts.figures.state.file_bytes,
            log: parts.figures.log_bytes,
            index: parts.index.stats().disk_bytes,
            coming: 0,
        };
        Shared {
            store_id: format.store_id,
            log_key: format.log_key,
            format,
            segments: Segments::new(Arc::clone(&parts.files)),
            budget: Budget::new(Arc::clone(&parts.files), parts.options.quota, used),
            ballast: Ballast::find(&parts.files, parts.options.ballast_bytes),
            files: parts.files,
            options: parts.options,
            opens: parts.opens,
            report: parts.report,
            stage: Stage::default(),
            queue: Queue::default(),
            upkeep: Upkeep::default(),
            core: CoreLock::new(parts.core),
            figures: Mutex::new(parts.figures),
            scrub,
            suspects: Mutex::new(suspects),
            compacting: Mutex::default(),
            broken: Mutex::default(),
            losses: AtomicU64::new(0),
            index: RwLock::new(Arc::new(parts.index)),
            read_only: Mutex::new(parts.read_only),
            _lock: parts.lock,
        }
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the index. If it is damaged, it is made anew from the log, and asked once more.
    pub(crate) fn ask<T>(
        &self,
        question: impl Fn(&Index) -> Result<T, IndexError>,
    ) -> Result<T, ReadError> {
        match question(&self.index()) {
            Ok(answer) => Ok(answer),
            Err(error) if self.mend(&error.0) => Ok(question(&self.index())?),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the index made anew from the log. False if it cannot be, here and now.
    pub(crate) fn mend(&self, what: &str) -> bool {
        // The committer mends it; while it runs a callback, it cannot.
        if self.read_only().is_some() || self.is_committer() {
            return false;
        }
        self.upkeep.damaged(what.to_owned());
        // Nothing to write; not a flush, which would be told what others have lost.
        self.reclaim(Reclaim::Salvage { ops: Vec::new() }).is_ok()
    }

    /// Whether the calling thread commits: then it cannot wait for a commit.
    pub(crate) fn is_committer(&self) -> bool {
        self.core.is_mine()
    }

    pub(crate) fn replace_index(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    /// Why the store takes no writes, if so.
    pub(crate) fn read_only(&self) -> Option<String> {
        lock(&self.read_only).clone()
    }

    /// Turns the store read-only, for good; the first reason counts.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(%reason, "the store is read-only from now on");
        lock(&self.read_only).get_or_insert(reason);
        self.stage.notify();
        self.upkeep.notify();
    }

    /// Segments that are part of the log, missing ones included, and where the log ends.
    pub(crate) fn log_now(&self) -> (BTreeSet<u64>, Position) {
        let (mut log, end) = {
            let figures = lock(&self.figures);
            (figures.log.clone(), figures.state.position)
        };
        log.extend(lock(&self.suspects).iter());
        (log, end)
    }

    /// For each blob, whether it is durable and here.
    pub(crate) fn here(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        let states = self.states(addresses)?;
        Ok(states.iter().map(|state| matches!(state, ChunkState::Here { .. })).collect())
    }

    /// For each blob, whether it is durable and here, and if not, why.
    pub(crate) fn states(&self, addresses: &[Address]) -> Result<Vec<ChunkState>, ReadError> {
        // Before the index is asked, and after: a mark goes once the index says the same, and the
        // rows may be older than that.
        let before = self.stage.leaving(addresses);
        let rows = self.ask(|index| index.chunks(addresses))?;
        // What the index says of files holds where they should be.
        if rows.iter().flatten().any(|row| matches!(row, ChunkRow::File { .. })) {
            self.look()?;
        }
        let after = self.stage.leaving(addresses);
        let state = |(row, (before, after)): (Option<ChunkRow>, (Leaving, Leaving))| match row {
            None => ChunkState::Absent,
            Some(ChunkRow::Evicted { .. }) => ChunkState::Evicted,
            Some(ChunkRow::Quarantined { .. }) => ChunkState::Quarantined,
            Some(_) if before.evicting || after.evicting => ChunkState::Evicted,
            Some(row) if before.is_damaged(&row) || after.is_damaged(&row) => {
                ChunkState::Quarantined
            }
            Some(row) => ChunkState::Here { len: row.len() },
        };
        Ok(rows.into_iter().zip(before.into_iter().zip(after)).map(state).collect())
    }

    /// Blobs are leaving, or have been found damaged.
    pub(crate) fn lose(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire) + self.files.departures()
    }

    /// Remembers damage in the log that was found while the store is open.
    pub(crate) fn note_log_damage(&self, damage: Vec<String>) {
        let mut figures = lock(&self.figures);
        let room = DAMAGE.saturating_sub(figures.damage.len());
        figures.damage.extend(damage.into_iter().take(room));
    }

    /// Notes that a record's stored bytes are damaged, so that the same record can replace them.
    pub(crate) fn note_broken(&self, hash: [u8; 32]) {
        let mut broken = lock(&self.broken);
        if broken.len() < BROKEN {
            broken.insert(hash);
        }
    }

    /// True, once, for a record whose stored bytes are damaged.
    pub(crate) fn mend_record(&self, hash: &[u8; 32]) -> bool {
        lock(&self.broken).remove(hash)
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.options.committer == Committer::Inline
    }

    fn is_read_only(&self) -> bool {
        lock(&self.read_only).is_some()
    }

    /// The entry at a place, the original one if it was moved. `None` if it is damaged or gone.
    pub(crate) fn read_entry(&self, place: Place) -> Option<Op> {
        let mut entry = vec![0; HEADER + usize::try_from(place.len).ok()?];
        let (file, _) = self.segments.get(place.segment).ok()?;
        file.read_at(u64::from(place.offset), &mut entry).ok()?;
        self.decode_entry(place, &entry)
    }

    /// An entry, header and body, that was read from a place.
    pub(crate) fn decode_entry(&self, place: Place, entry: &[u8]) -> Option<Op> {
        let at = u64::from(place.offset);
        let header = Header::decode(entry, &self.log_key, place.segment, at)?;
        let body = entry.get(HEADER..)?;
        if header.len != place.len || crc32fast::hash(body) != header.crc {
            return None;
        }
        match Op::decode(header.kind, body)? {
            Op::Moved { op, .. } => Some(*op),
            op => Some(op),
        }
    }

    /// Commits a batch, and waits for it.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| {
            // The receiver waits just below.
            let _ = sender.send(result);
        };
        self.submit(batch, Some(Box::new(done)), true);
        receiver.recv().unwrap_or_else(|_| {
            let reason = self.read_only();
            let reason = reason.unwrap_or_else(|| "the committer has stopped".to_owned());
            Err(CommitError::ReadOnly { reason })
        })
    }

    /// Hands a batch to the committer, whoever that is.
    pub(crate) fn submit(&self, batch: Batch, done: Option<Done>, wait: bool) {
        let admitted = check_limits(&batch).and_then(|log_bytes| {
            let claim = match batch.takes_room() {
                true => {
                    self.take_room(Claim::of_log(taken(&batch, log_bytes)), batch.allowance())?
                }
                false => Claim::default(),
            };
            Ok((log_bytes, claim))
        });
        let (log_bytes, claim) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                if let Some(done) = done {
                    done(Err(error));
                }
                return;
            }
        };
        let job = Job { batch, log_bytes, claim, done };
        self.queue.push(job, self.options.queue_bytes, self.options.queue_ops, wait);
        if self.is_inline() {
            self.serve_inline();
        }
    }

    /// Runs `f` with the core, and then serves whoever found it taken meanwhile.
    pub(crate) fn with_core<T>(&self, f: impl FnOnce(&mut Core) -> T) -> T {
        let value = f(&mut self.core.lock());
        if self.is_inline() {
            self.serve_inline();
        }
        value
    }

    /// Takes room for what a caller wants to store. The ballast is made again when the disk says
    /// that it has some.
    pub(crate) fn take_room(&self, claim: Claim, allowance: Allowance) -> Result<Claim, Shortage> {
        let (granted, asked) = self.budget.take(claim, allowance)?;
        if asked && self.ballast.is_missing() {
            if self.is_inline() {
                self.keep_ballast();
            } else {
                self.upkeep.nudge();
            }
        }
        Ok(granted)
    }

    /// Gives back room that was taken and will not be used.
    pub(crate) fn give_back(&self, claim: Claim) {
        self.budget.wrote(claim);
        self.budget.release(claim);
    }

    /// Whoever has the core serves all that waits, also what was added meanwhile by another
    /// thread, or by a callback, that found the core taken.
    fn serve_inline(&self) {
        while !self.queue.is_empty() {
            let Some(mut core) = self.core.try_lock() else {
                return;
            };
            let jobs = self.queue.take_now();
            self.serve(&mut core, jobs);
        }
    }

    /// The sums, once every group whose changes can be seen in the index is counted in.
    pub(crate) fn settled_state(&self) -> State {
        // Who writes a group has the core until the sums say so.
        drop(self.core.lock());
        if self.is_inline() {
            self.serve_inline();
        }
        lock(&self.figures).state
    }

    /// Makes durable what is staged, on the calling thread.
    pub(crate) fn flush_inline(&self) {
        self.submit(Batch::new(), None, false);
    }

    fn serve(&self, core: &mut Core, jobs: Vec<Job>) {
        if let Some(what) = self.upkeep.take_damaged() {
            // Why it could not be mended stands in the log, and in the answers from now on.
            let _ = self.heal(core, &IndexError(what));
        }
        let ticket = self.stage.ticket();
        if self.is_inline() {
            self.flush_all_files();
        }
        let staging = self.stage.collect(ticket, || self.is_read_only());
        self.run(core, staging, jobs);
    }

    fn flush_all_files(&self) {
        while self.stage.has_files() {
            let refused = self.is_read_only();
            if let Err(error) = self.stage.flush_files(&self.files, &self.budget, refused) {
                self.poison(error.to_string());
            }
        }
    }

    /// The flusher's thread: makes staged files durable as they come.
    pub(crate) fn flusher(&self) {
        let run = || {
            while self.stage.wait_for_files() {
                self.flush_all_files();
            }
        };
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.poison("the flusher panicked".to_owned());
        }
    }

    /// The committer's thread: takes all batches that wait, commits them, and looks again.
    pub(crate) fn committer(&self) {
        while let Some(jobs) = self.queue.take() {
            let mut core = self.core.lock();
            if catch_unwind(AssertUnwindSafe(|| self.serve(&mut core, jobs))).is_err() {
                self.poison("the committer panicked".to_owned());
            }
        }
        self.stage.close();
        self.index().stop_merging();
        self.upkeep.close();
        self.close();
    }

    /// What remains to be done when nobody uses the store any more.
    pub(crate) fn close(&self) {
        let mut core = self.core.lock();
        self.serve(&mut core, Vec::new());
        self.seal(&mut core);
    }
}

/// Checks every limit that does not depend on what is stored. Bytes that the batch takes.
fn check_limits(batch: &Batch) -> Result<u64, CommitError> {
    let mut bytes = mark_len();
    for step in &batch.steps {
        bytes += step_len(step)?;
    }
    at_most("a batch", bytes, MAX_BATCH_BYTES)?;
    Ok(bytes)
}

/// Bytes of log that count as room taken: what drops records gives more back.
fn taken(batch: &Batch, log_bytes: u64) -> u64 {
    let drops = batch.steps.iter().filter(|step| matches!(step, Step::Drop(_))).count() as u64;
    log_bytes.saturating_sub(drops * entry_len(DROP_BODY))
}

fn at_most(what: &'static str, len: u64, limit: u64) -> Result<(), CommitError> {
    if len <= limit { Ok(()) } else { Err(CommitError::TooLarge { what, len, limit }) }
}

/// Bytes that an entry which drops a record takes at most.
const DROP_BODY: u64 = 124 + 36 * MAX_RECORD_REFS as u64;

fn step_len(step: &Step) -> Result<u64, CommitError> {
    const REF: u64 = 36;
    let body = match step {
        Step::Record(r) => {
            at_most("a record", r.bytes.len() as u64, MAX_RECORD_BYTES as u64)?;
            at_most("a record's references", r.refs.len() as u64, MAX_RECORD_REFS as u64)?;
            120 + r.refs.len() as u64 * REF + r.bytes.len() as u64
        }
        Step::Row { key, value } => {
            let op = Op::Row { key: key.clone(), value: value.clone() };
            at_most("a row's key", key.len() as u64, MAX_ROW_KEY as u64)?;
            let value = value.as_ref().map_or(0, Vec::len);
            at_most("a row's value", value as u64, MAX_ROW_VALUE as u64)?;
            op.body_len(0)
        }
        Step::Require(_) | Step::NoneLostSince(_) => return Ok(0),
        Step::Evict { addresses, .. } => return Ok(addresses.len() as u64 * entry_len(32)),
        Step::Manifest { refs, .. } => {
            at_most("a manifest's references", refs.len() as u64, MAX_MANIFEST_REFS as u64)?;
            36 + refs.len() as u64 * REF
        }
        // The committer finds out what the record named; it can be no more than this.
        Step::Drop(_) => DROP_BODY,
        Step::Quarantine { .. } => 32,
        Step::Reclaim(work) => return Ok(work.log_bytes()),
    };
    Ok(entry_len(body))
}
