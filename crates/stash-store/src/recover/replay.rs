//! Reading the log into the index.

use std::collections::BTreeSet;
use std::path::Path;

use crate::disk::OpenMode;
use crate::entry::{Op, Place};
use crate::files::Files;
use crate::format::Format;
use crate::index::{ChunkRow, Head, Index, IndexError, TreeError};
use crate::log::{Position, SEGMENT_HEADER};
use crate::scan::{Batch, Scan, Scanned};
use crate::sync::Arc;
use crate::{Address, IoError, OpenError, OpenReport};

use super::directory::io_error;
use super::segments::Found;

/// Bytes of entries applied in one transaction of the index.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// Entries applied in one transaction of the index.
const STEP_ENTRIES: usize = 8192;
/// Files of blobs that are gone and may have been left by a cut, remembered to be removed; 40 bytes
/// each. Beyond, they wait for the next full collection.
const GONE: usize = 262_144;

pub(super) enum LoadError {
    Open(OpenError),
    Index(IndexError),
}

impl From<OpenError> for LoadError {
    fn from(error: OpenError) -> LoadError {
        LoadError::Open(error)
    }
}

impl From<IoError> for LoadError {
    fn from(error: IoError) -> LoadError {
        LoadError::Open(error.into())
    }
}

impl From<IndexError> for LoadError {
    fn from(error: IndexError) -> LoadError {
        LoadError::Index(error)
    }
}

type Applied = (Op, u64, Place);

/// A batch that is being read.
struct Open {
    ops: Vec<Applied>,
    batch: Batch,
}

/// Reads the log into the index.
pub(super) struct Replay<'a> {
    index: &'a Index,
    files: &'a Arc<Files>,
    format: &'a Format,
    head: Head,
    memory_bytes: u64,
    report: &'a mut OpenReport,
    waiting: Vec<Applied>,
    waiting_bytes: u64,
    gone: BTreeSet<Address>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        index: &'a Index,
        files: &'a Arc<Files>,
        format: &'a Format,
        head: Head,
        memory_bytes: u64,
        report: &'a mut OpenReport,
    ) -> Replay<'a> {
        Replay {
            index,
            files,
            format,
            head,
            memory_bytes,
            report,
            waiting: Vec::new(),
            waiting_bytes: 0,
            gone: BTreeSet::new(),
        }
    }

    /// Reads everything from `start` on; says where the log ends.
    pub(super) fn run(
        &mut self,
        found: &[Found],
        start: Position,
        cut: bool,
    ) -> Result<Position, LoadError> {
        let mut end = start;
        for (at, segment) in found.iter().enumerate() {
            if segment.id < start.segment {
                continue;
            }
            let later = &found[at + 1..];
            let is_open = later.iter().all(Found::is_only_begun);
            if cut && is_open {
                // What is there may not be durable: the process died between write and sync. The
                // index may not get ahead of the log.
                let path = self.files.segment(segment.id);
                self.files.open(&path, OpenMode::Write)?.sync().map_err(io_error("sync", &path))?;
                if segment.is_only_begun() {
                    // Nor may its name be, where the sync of its directory failed.
                    let above = path.ancestors().skip(1);
                    let above = above.take_while(|dir| *dir != self.files.dir);
                    let dirs = above.map(Path::to_owned).collect();
                    self.files.sync_dirs(&dirs)?;
                }
            }
            let next = &mut self.head.state.next_sequence;
            *next = (*next).max(segment.first_sequence);
            let from = if segment.id == start.segment { start.offset } else { SEGMENT_HEADER };
            // A segment is begun after everything in the one before it was synced. Where beginning it
            // failed on a full disk, its file may be there, and more was written to the one before.
            let trusted = if is_open {
                let begun = later.first().map_or(0, |next| next.first_sequence);
                self.durable_end(segment.id, from, begun)?.max(from)
            } else {
                u64::MAX
            };
            let offset = self.segment(segment.id, from, trusted)?;
            end = Position { segment: segment.id, offset };
            self.flush(end)?;
            // Of one in which all was durable, what cannot be read stays where it is.
            if cut && is_open && trusted < u64::MAX {
                self.cut(end)?;
            }
        }
        Ok(end)
    }

    fn scan(&self, id: u64, from: u64) -> Result<Scan, LoadError> {
        let path = self.files.segment(id);
        let file = self.files.open(&path, OpenMode::Read)?;
        Ok(Scan::new((file, &path), self.format.log_key, id, from)?)
    }

    /// Up to where a segment that more may have been written to was certainly durable once: what
    /// its commit marks say, and all before the sequence number with which the next was `begun`.
    fn durable_end(&self, id: u64, from: u64, begun: u64) -> Result<u64, LoadError> {
        let mut scan = self.scan(id, from)?;
        let (mut durable, mut next) = (0, self.head.state.next_sequence);
        loop {
            match scan.next()? {
                Scanned::Entry { op, sequence, end, .. } => {
                    next = next.max(sequence + 1);
                    if sequence < begun {
                        durable = durable.max(end);
                    }
                    if let Op::Commit(mark) = op {
                        durable = durable.max(mark.durable);
                    }
                }
                // What was there when the next one was begun is damaged.
                Scanned::End { .. } if next < begun => return Ok(u64::MAX),
                Scanned::End { .. } => return Ok(durable),
                Scanned::Damaged { .. } => {}
            }
        }
    }

    fn new_batch(&self, start: u64) -> Open {
        Open { ops: Vec::new(), batch: Batch::new(&self.format.log_key, start) }
    }

    /// Reads one segment. Where it ends: behind the last batch that counts.
    fn segment(&mut self, id: u64, from: u64, trusted: u64) -> Result<u64, LoadError> {
        let mut scan = self.scan(id, from)?;
        let mut open = self.new_batch(from);
        loop {
            match scan.next()? {
                Scanned::Entry { op: Op::Commit(mark), sequence, place, end, .. } => {
                    if !open.batch.is_whole(&mark) && open.batch.start >= trusted {
                        return Ok(open.batch.start);
                    }
                    open.ops.push((Op::Commit(mark), sequence, place));
                    self.accept(open.ops);
                    open = self.new_batch(end);
                    self.step(Position { segment: id, offset: end })?;
                }
                Scanned::Entry { op, sequence, place, tag, .. } => {
                    open.batch.add(sequence, &tag);
                    open.ops.push((op, sequence, place));
                }
                Scanned::Damaged { from, to, what } => {
                    if from >= trusted {
                        self.may_cut(&scan, id, from)?;
                        return Ok(open.batch.start);
                    }
                    open.batch.damaged = true;
                    self.damage(id, from, to, what)?;
                }
                Scanned::End { at } => {
                    if trusted < u64::MAX {
                        self.may_cut(&scan, id, at)?;
                    }
                    return self.segment_end(id, at, scan.len(), trusted, open);
                }
            }
        }
    }

    /// Refuses to cut off an end of the log that the disk cannot read: that it is torn is not known.
    fn may_cut(&self, scan: &Scan, id: u64, from: u64) -> Result<(), LoadError> {
        if !scan.is_unreadable(&(from..scan.len())) {
            return Ok(());
        }
        let what = format!(
            "the disk cannot read the end of the log, {} from offset {from} on, and it may have been acknowledged: \
             copy the store to another disk, with zeros for what cannot be read, and open the copy",
            self.files.segment(id).display()
        );
        Err(OpenError::Damaged { what }.into())
    }

    fn segment_end(
        &mut self,
        id: u64,
        at: u64,
        len: u64,
        trusted: u64,
        Open { ops, batch }: Open,
    ) -> Result<u64, LoadError> {
        if batch.start >= trusted || (at == len && batch.start == len) {
            return Ok(batch.start);
        }
        if trusted == u64::MAX {
            // Not the last segment: all of it was durable once.
            if at < len {
                self.damage(id, at, len, "no entry can be found in it")?;
            } else if !batch.damaged {
                self.report.damage.push(format!(
                    "segment {id} of the log ends in a batch without its mark, at offset {at}"
                ));
            }
            self.accept(ops);
            return Ok(len);
        }
        // The last segment, and the batch began before the durable end: its mark is damaged, and
        // nothing valid follows the durable end.
        let end = trusted.min(len).max(batch.start);
        let keep = ops.into_iter().filter(|(_, _, place)| u64::from(place.offset) < end);
        let keep = keep.collect();
        self.accept(keep);
        Ok(if at < len { end } else { len })
    }

    fn accept(&mut self, ops: Vec<Applied>) {
        for (op, sequence, place) in ops {
            let next = &mut self.head.state.next_sequence;
            *next = (*next).max(sequence + 1);
            if let Op::Evict { address } | Op::Dead { address, .. } = &op
                && self.gone.len() < GONE
            {
                self.gone.insert(*address);
            }
            self.waiting_bytes += u64::from(place.len);
            self.report.replayed += u64::from(!matches!(op, Op::Commit(_)));
            self.waiting.push((op, sequence, place));
        }
    }

    fn step(&mut self, position: Position) -> Result<(), LoadError> {
        if self.waiting_bytes >= STEP_BYTES || self.waiting.len() >= STEP_ENTRIES {
            self.flush(position)?;
        }
        Ok(())
    }

    /// Applies what waits; after it, the index has read the log up to `position`.
    fn flush(&mut self, position: Position) -> Result<(), LoadError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if waiting.is_empty() && self.head.state.position == position {
            return Ok(());
        }
        let next_sequence = self.head.state.next_sequence;
        self.index.write(&mut self.head, |tables| {
            for (op, sequence, place) in &waiting {
                tables.apply(op, *sequence, *place)?;
            }
            tables.state.position = position;
            tables.state.next_sequence = next_sequence;
            Ok::<_, LoadError>(())
        })?;
        if self.index.waiting_bytes() >= self.memory_bytes {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Makes durable what the index has. On a disk that is full, later: what is in memory will do.
    fn checkpoint(&self) -> Result<(), LoadError> {
        self.index.freeze(&self.head);
        let merged = self.index.checkpoint().and_then(|_| self.index.merge(&|| Ok(())));
        match merged {
            Ok(_) => Ok(()),
            Err(TreeError::Full(error)) => {
                tracing::warn!(%error, "the index stays in memory");
                Ok(())
            }
            Err(TreeError::Io(error) | TreeError::Sync(error)) => Err(OpenError::Io(error).into()),
            Err(error @ TreeError::Damaged(_)) => Err(IndexError::from(error).into()),
        }
    }

    /// Reports damage, and keeps a copy of it.
    fn damage(&mut self, id: u64, from: u64, to: u64, what: &str) -> Result<(), LoadError> {
        let mut note =
            format!("segment {id} of the log is damaged from offset {from} to {to}: {what}");
        if let Err(error) = self.files.keep_copy(id, from, to) {
            note = format!("{note}; no copy could be kept: {error}");
        }
        tracing::warn!("{note}");
        self.report.damage.push(note);
        Ok(())
    }

    /// Removes what follows the end, durably: or else its remains could later, together with what
    /// is written over them, be taken for one valid batch.
    fn cut(&mut self, end: Position) -> Result<(), LoadError> {
        let path = self.files.segment(end.segment);
        let file = self.files.open(&path, OpenMode::Write)?;
        let len = file.len().map_err(io_error("read", &path))?;
        if len > end.offset {
            file.set_len(end.offset).map_err(io_error("truncate", &path))?;
            self.report.torn_bytes += len - end.offset;
            file.sync().map_err(io_error("sync", &path))?;
        }
        Ok(())
    }

    /// Finishes evictions and collections that were cut short. Not for a store that is open: there,
    /// the file may be a new one, of a blob that is staged and not announced yet.
    pub(super) fn remove_gone(&mut self, end: Position) -> Result<(), LoadError> {
        self.flush(end)?;
        let addresses: Vec<Address> = self.gone.iter().copied().collect();
        for (address, row) in addresses.iter().zip(self.index.chunks(&addresses)?) {
            // Where a part of the log is damaged, that part may have said that it is here again.
            let is_gone = matches!(row, None | Some(ChunkRow::Evicted { .. }));
            if is_gone && self.report.damage.is_empty() {
                // Gone already, nearly always.
                let _ = self.files.disk.remove(&self.files.chunk(address));
            }
        }
        Ok(())
    }

    /// Makes the index durable.
    pub(super) fn finish(mut self, end: Position) -> Result<Head, LoadError> {
        self.head.state.next_sequence = self.head.state.next_sequence.max(1);
        self.flush(end)?;
        if self.report.replayed > 0 {
            self.checkpoint()?;
        }
        Ok(self.head)
    }
}
