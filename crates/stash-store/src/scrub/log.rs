//! The segments of the log.

use std::io;
use std::ops::Range;

use super::pass::Cursor;
use super::{LEAST, Step};
use crate::disk::DiskFile;
use crate::entry::{Op, Place};
use crate::error::{ScrubError, is_unreadable};
use crate::files::Seen;
use crate::index::audit::Witness;
use crate::index::{ChunkRow, IndexError};
use crate::log::{SEGMENT_HEADER, copy_of_format, read_segment_header};
use crate::scan::{Batch, Scan, Scanned};
use crate::sync::Arc;
use crate::{Address, Finding, IoError, ReadError};

/// In each pass, one record in so many is looked up in the index.
const SAMPLE: u64 = 16;

/// A damaged part of a segment.
type Damage = (Range<u64>, String);

impl Step<'_> {
    /// Goes on in a segment, or in the next one that there is.
    pub(super) fn log(
        &mut self,
        segment: u64,
        offset: u64,
        damaged: bool,
    ) -> Result<(), ScrubError> {
        let (ids, end) = self.open.commits.log_now();
        let Some(&id) = ids.range(segment..).next() else {
            self.pass.cursor = Cursor::Chunks { after: None };
            return Ok(());
        };
        let (offset, damaged) = if id == segment { (offset, damaged) } else { (0, false) };
        let path = self.open.ground.files.segment(id);
        let file = match self.open.ground.files.see(&path).map_err(ScrubError::Io)? {
            Seen::File(file) => file,
            Seen::Nothing => return self.unopened(id, "its file is missing"),
            Seen::Other => return self.unopened(id, "its path is not a file's"),
        };
        // What is in memory says nothing of the disk.
        file.advise_done();
        let end = if id == end.segment { end.offset } else { u64::MAX };
        let mut found = Vec::new();
        let result = self.segment(id, &file, offset..end, damaged, &mut found);
        file.advise_done();
        self.tell(id, found)?;
        result
    }

    /// A segment whose file cannot be opened.
    fn unopened(&mut self, id: u64, what: &str) -> Result<(), ScrubError> {
        self.done.bytes += LEAST;
        self.pass.cursor = Cursor::Log { segment: id + 1, offset: 0, damaged: false };
        // Unless it was retired meanwhile.
        if self.open.commits.log_now().0.contains(&id) {
            self.tell(id, vec![(0..0, what.to_owned())])?;
        }
        Ok(())
    }

    /// Reads a part of a segment: until it is enough, and a batch has ended, or the segment has.
    /// Damage goes into `found`.
    fn segment(
        &mut self,
        id: u64,
        file: &Arc<dyn DiskFile>,
        part: Range<u64>,
        damaged: bool,
        found: &mut Vec<Damage>,
    ) -> Result<(), ScrubError> {
        let path = self.open.ground.files.segment(id);
        let failed = |e| ScrubError::Io(IoError::new("read", &path, e));
        let log_key = self.open.ground.format.log_key;
        let mut from = part.start;
        if from == 0 {
            self.done.bytes += LEAST;
            self.header(id, file, found).map_err(failed)?;
            from = SEGMENT_HEADER;
        }
        let scan = Scan::new((Arc::clone(file), &path), log_key, id, from);
        let mut scan = scan.map_err(ScrubError::Io)?.until(part.end);
        let mut batch = Batch::new(&log_key, from);
        batch.damaged = damaged;
        loop {
            let before = scan.at();
            let scanned = match scan.next() {
                Ok(scanned) => scanned,
                Err(error) if error.is_unreadable() => {
                    found.push((before..scan.len(), "the disk cannot read it".to_owned()));
                    break;
                }
                Err(error) => return Err(ScrubError::Io(error)),
            };
            self.done.bytes += scan.at() - before;
            if let Scanned::End { at } = scanned {
                self.done.bytes += scan.len() - at;
                found.extend(end_of(&batch, at, scan.len()));
                break;
            }
            if matches!(scanned, Scanned::Entry { .. }) && !scan.is_padded() {
                found.push((before..scan.at(), "an entry is not filled up with zeros".to_owned()));
            }
            self.scanned(scanned, &scan, &mut batch, found)?;
            let between = batch.start == scan.at() || batch.damaged;
            if between && self.is_enough() {
                let (offset, damaged) = (scan.at(), batch.damaged);
                self.pass.cursor = Cursor::Log { segment: id, offset, damaged };
                return Ok(());
            }
        }
        self.pass.cursor = Cursor::Log { segment: id + 1, offset: 0, damaged: false };
        Ok(())
    }

    fn header(
        &mut self,
        id: u64,
        file: &Arc<dyn DiskFile>,
        found: &mut Vec<Damage>,
    ) -> io::Result<()> {
        let mut header = [0; 256];
        let mut note = |range, what: &str| found.push((range, what.to_owned()));
        match file.read_at(0, &mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                note(0..SEGMENT_HEADER, "it is shorter than its header");
                return Ok(());
            }
            Err(error) if is_unreadable(&error) => {
                note(0..SEGMENT_HEADER, "the disk cannot read its header");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let format = &self.open.ground.format;
        match read_segment_header(format, &header) {
            Ok((found, _)) if found == id => {}
            Ok(_) => note(0..128, "its header is of another segment"),
            Err(what) => note(0..128, what),
        }
        let copy = copy_of_format(&header, &self.open.ground.files.dir);
        if !copy.is_ok_and(|copy| copy.is_of_same_store(format)) {
            note(128..SEGMENT_HEADER, "its copy of FORMAT is damaged");
        }
        Ok(())
    }

    fn scanned(
        &mut self,
        scanned: Scanned,
        scan: &Scan,
        batch: &mut Batch,
        found: &mut Vec<Damage>,
    ) -> Result<(), ScrubError> {
        match scanned {
            Scanned::Entry { op: Op::Commit(mark), end, .. } => {
                if !batch.damaged && !batch.is_whole(&mark) {
                    found.push((batch.start..end, "a mark does not fit its batch".to_owned()));
                }
                *batch = Batch::new(&self.open.ground.format.log_key, end);
                Ok(())
            }
            Scanned::Entry { op, sequence, place, tag, .. } => {
                batch.add(sequence, &tag);
                self.blob(&op, place, scan)?;
                self.sample(&op, place)
            }
            Scanned::Damaged { from, to, what } => {
                found.push((from..to, what.to_owned()));
                batch.damaged = true;
                Ok(())
            }
            Scanned::End { .. } => Ok(()),
        }
    }

    /// A small blob in the log, unless a later entry has taken its place.
    fn blob(&mut self, op: &Op, place: Place, scan: &Scan) -> Result<(), ScrubError> {
        let op = if let Op::Moved { op, .. } = op { op } else { op };
        let Op::SmallChunk { address } = op else {
            return Ok(());
        };
        if Address::of(&scan.payload(op, place)) == *address {
            return Ok(());
        }
        match self.open.ground.index().chunk(address) {
            Ok(Some(ChunkRow::Log { place: now })) if now == place => self.chunk(address),
            Ok(_) => Ok(()),
            Err(error) => self.index_is_damaged(error),
        }
    }

    /// Whether the index has what the entry of a record says: its name, its writer, the blobs that it keeps from
    /// collections, and whether they are here. Of one record in so many, in each pass of others.
    fn sample(&mut self, op: &Op, place: Place) -> Result<(), ScrubError> {
        let op = if let Op::Moved { op, .. } = op { op } else { op };
        let Op::Record { hash, refs, .. } = op else {
            return Ok(());
        };
        let is_due = u64::from(hash[0]) % SAMPLE == self.pass.passes % SAMPLE;
        if self.stop || !is_due {
            return Ok(());
        }
        let (open, index) = (self.open, self.open.ground.index());
        let is_right = || -> Result<bool, ReadError> {
            let Some(found) = index.record(hash)?.filter(|found| found.place == place) else {
                return Ok(true);
            };
            if !index.finds(op, &found)? {
                // Unless it was dropped or moved meanwhile.
                return Ok(index.record(hash)? != Some(found));
            }
            open.knows_if_whole(hash, refs)
        };
        match is_right() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let what = format!("it is wrong about record {}", crate::hex::encode(hash));
                self.index_is_damaged(IndexError(what))
            }
            Err(ReadError::Index { what }) => self.index_is_damaged(IndexError(what)),
            Err(ReadError::Io(error)) => Err(ScrubError::Io(error)),
            Err(error) => Err(ScrubError::Read(error)),
        }
    }

    /// Names damage, keeps a copy of it, and names what goes by it.
    fn tell(&mut self, id: u64, found: Vec<Damage>) -> Result<(), ScrubError> {
        if found.is_empty() {
            return Ok(());
        }
        let open = self.open;
        open.health.suspect(id);
        if open.health.read_only().is_none() {
            for (range, _) in &found {
                if let Err(error) = open.ground.files.keep_copy(id, range.start, range.end) {
                    tracing::warn!(%error, "no copy of damage in the log could be kept");
                }
            }
        }
        let whole = found.iter().any(|(range, _)| range.is_empty());
        let ranges: Vec<(u64, u64)> = match whole {
            true => vec![(0, u64::MAX)],
            false => found.iter().map(|(range, _)| (range.start, range.end)).collect(),
        };
        for (range, what) in found {
            let (from, to) = (range.start, range.end);
            self.note(Finding::Log { segment: id, from, to, what });
        }
        match self.open.ground.index().witnesses_in(id, &ranges) {
            Ok(rows) => rows.iter().try_for_each(|row| self.witness(row)),
            Err(error) => self.index_is_damaged(error),
        }
    }

    /// A row that goes by an entry which is damaged. What is more than the entry is looked at: the
    /// rest is in the index, and compaction writes it anew.
    fn witness(&mut self, row: &Witness) -> Result<(), ScrubError> {
        match row {
            Witness::Chunk(address, ChunkRow::Log { .. }) => self.chunk(address),
            Witness::Record(found) => match self.open.record(&found.hash) {
                Ok(_) => Ok(()),
                Err(ReadError::RecordDamaged { hash, what }) => {
                    self.note(Finding::Record { hash, what });
                    Ok(())
                }
                Err(ReadError::Io(error)) => Err(ScrubError::Io(error)),
                Err(error) => Err(ScrubError::Read(error)),
            },
            _ => Ok(()),
        }
    }
}

/// The fault at the end of a segment, where reading found nothing more at `at`.
fn end_of(batch: &Batch, at: u64, len: u64) -> Option<Damage> {
    let what = if at < len {
        return Some((at..len, "no entry can be found in it".to_owned()));
    } else if batch.start < len && !batch.damaged {
        "it ends in a batch without its mark"
    } else {
        return None;
    };
    Some((batch.start..len, what.to_owned()))
}
