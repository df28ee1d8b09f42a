//! The log: segments that only grow, and the one who writes at their end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{DiskFile, OpenMode};
use crate::entry::{BatchDigest, HEADER, Header, Mark, Op, Place, entry_len};
use crate::files::Files;
use crate::format::{FORMAT_LEN, Format};
use crate::sync::{Arc, Mutex, lock};
use crate::{IoError, OpenError};

pub(crate) const SEGMENT_HEADER: u64 = 256;
const SEGMENT_MAGIC: &[u8; 16] = b"stash-store log\n";
const SEGMENT_VERSION: u32 = 1;
/// Segments kept open for reading: one descriptor each.
const OPEN_SEGMENTS: usize = 64;
/// Bytes of a group after which the next batches wait for the next group.
pub(crate) const GROUP_BYTES: u64 = 4 * 1024 * 1024;

/// A place between entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

pub(crate) fn segment_header(format: &Format, id: u64, first_sequence: u64) -> [u8; 256] {
    let mut out = [0; 256];
    out[..16].copy_from_slice(SEGMENT_MAGIC);
    out[16..20].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    out[20..24].copy_from_slice(&256_u32.to_le_bytes());
    out[24..32].copy_from_slice(&id.to_le_bytes());
    out[32..40].copy_from_slice(&first_sequence.to_le_bytes());
    let checksum = blake3::keyed_hash(&format.log_key, &out[..96]);
    out[96..128].copy_from_slice(checksum.as_bytes());
    out[128..128 + FORMAT_LEN].copy_from_slice(&format.encode());
    out
}

/// Id and first sequence number in a segment's header. What is wrong with it, if something is.
pub(crate) fn read_segment_header(
    format: &Format,
    bytes: &[u8; 256],
) -> Result<(u64, u64), &'static str> {
    if &bytes[..16] != SEGMENT_MAGIC {
        return Err("its header does not begin as one");
    }
    if blake3::keyed_hash(&format.log_key, &bytes[..96]).as_bytes() != &bytes[96..128] {
        return Err("the checksum of its header does not match");
    }
    let (mut id, mut first) = ([0; 8], [0; 8]);
    id.copy_from_slice(&bytes[24..32]);
    first.copy_from_slice(&bytes[32..40]);
    Ok((u64::from_le_bytes(id), u64::from_le_bytes(first)))
}

/// The copy of FORMAT in a segment's header; an error if it is damaged, or of a newer program.
pub(crate) fn copy_of_format(bytes: &[u8; 256], path: &Path) -> Result<Format, OpenError> {
    Format::decode(&bytes[128..128 + FORMAT_LEN], path)
}

/// Open segments, for reading.
#[derive(Debug)]
pub(crate) struct Segments {
    files: Arc<Files>,
    open: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl Segments {
    pub(crate) fn new(files: Arc<Files>) -> Segments {
        Segments { files, open: Mutex::default() }
    }

    pub(crate) fn get(&self, id: u64) -> Result<(Arc<dyn DiskFile>, PathBuf), IoError> {
        let path = self.files.segment(id);
        let mut open = lock(&self.open);
        if let Some(file) = open.get(&id) {
            return Ok((Arc::clone(file), path));
        }
        let file = self.files.open(&path, OpenMode::Read)?;
        if open.len() >= OPEN_SEGMENTS {
            open.pop_first();
        }
        open.insert(id, Arc::clone(&file));
        Ok((file, path))
    }

    /// The entry at a place, header and body, as it is there.
    pub(crate) fn read(&self, place: Place) -> Result<Vec<u8>, Unread> {
        let mut entry = vec![0; HEADER + usize::try_from(place.len).unwrap_or(0)];
        let read = self.get(place.segment).and_then(|(file, path)| {
            let read = file.read_at(u64::from(place.offset), &mut entry);
            read.map_err(|e| IoError::new("read", &path, e))
        });
        match read {
            Ok(()) => Ok(entry),
            Err(error) => Err(match error.source.kind() {
                io::ErrorKind::NotFound => Unread::Damaged("its segment of the log is missing"),
                io::ErrorKind::UnexpectedEof => {
                    Unread::Damaged("its segment of the log is too short")
                }
                _ if error.is_unreadable() => Unread::Damaged("the disk cannot read it"),
                _ => Unread::Failed(error),
            }),
        }
    }

    /// Closes a segment that is no longer part of the log.
    pub(crate) fn forget(&self, id: u64) {
        lock(&self.open).remove(&id);
    }
}

/// The reason for which an entry could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is not there, or not as it should be.
    Damaged(&'static str),
    /// The disk failed, which says nothing of the entry.
    Failed(IoError),
}

/// A segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    /// The sequence number of its first entry; 0 if its header cannot be read.
    pub(crate) first_sequence: u64,
    /// Bytes; for the last segment, as of when it was opened.
    pub(crate) len: u64,
}

/// Why a group did not get into the log.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The write failed, and the log is as it was before.
    Undone(IoError),
    /// The end of the log is unknown: nothing may be written any more.
    Broken(IoError),
}

impl AppendError {
    /// The sync of a file failed that nothing relies on yet: a full disk is as good as before.
    fn new_file(error: IoError) -> AppendError {
        if error.is_full() { AppendError::Undone(error) } else { AppendError::Broken(error) }
    }
}

/// Writes at the end of the log. There is one.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(crate) files: Arc<Files>,
    pub(crate) format: Format,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Everything before it is durable.
    pub(crate) end: Position,
    pub(crate) next_sequence: u64,
    pub(crate) segment_bytes: u64,
    /// The header of this segment does not tell all features of the store, or it is damaged:
    /// nothing more is written to it.
    pub(crate) stale: bool,
    /// Every segment whose file is there, this one included.
    pub(crate) segments: BTreeMap<u64, SegmentFile>,
    /// Bytes of all of them but the last.
    pub(crate) full_bytes: u64,
    /// Taken by [`Group`]s and given back, so that its memory is touched once.
    pub(crate) spare: Vec<u8>,
}

/// Entries that are written with one write and one sync.
#[derive(Debug)]
pub(crate) struct Group {
    log_key: [u8; 32],
    start: Position,
    bytes: Vec<u8>,
    next_sequence: u64,
    batch_first: u64,
    batch_count: u32,
    digest: BatchDigest,
    pub(crate) limit: u64,
}

impl Group {
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// True if this many bytes more belong into this group. Anything fits an empty one.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.is_empty() || self.len() + bytes <= self.limit
    }

    pub(crate) fn end(&self) -> Position {
        Position { segment: self.start.segment, offset: self.start.offset + self.len() }
    }

    /// Copies the beginning of an entry of this group; false if it is elsewhere.
    pub(crate) fn copy_of(&self, place: Place, out: &mut [u8]) -> bool {
        let at = u64::from(place.offset).checked_sub(self.start.offset);
        let at = at.filter(|_| place.segment == self.start.segment);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| self.bytes.get(at..at.checked_add(out.len())?));
        bytes.map(|bytes| out.copy_from_slice(bytes)).is_some()
    }

    /// Appends an entry; returns its sequence number and place.
    pub(crate) fn push(&mut self, op: &Op, payload: &[u8]) -> (u64, Place) {
        let sequence = self.next_sequence;
        let at = self.bytes.len();
        let offset = self.start.offset + at as u64;
        self.bytes.extend_from_slice(&[0; HEADER]);
        op.encode(payload, &mut self.bytes);
        let body = &self.bytes[at + HEADER..];
        let len = u32::try_from(body.len()).expect("limits are checked before an entry is made");
        let header = Header { len, kind: op.kind() as u8, sequence, crc: crc32fast::hash(body) };
        let header = header.encode(&self.log_key, self.start.segment, offset);
        self.bytes[at..at + HEADER].copy_from_slice(&header);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        if !matches!(op, Op::Commit(_)) {
            self.digest.add(&header);
            self.batch_count += 1;
        }
        self.next_sequence += 1;
        let offset = u32::try_from(offset).expect("a segment is at most 1 GiB");
        let moved = matches!(op, Op::Moved { .. });
        (sequence, Place { segment: self.start.segment, offset, len, moved })
    }

    /// Ends a batch: entries before the mark count only together with it.
    pub(crate) fn mark(&mut self) -> (u64, Place) {
        let mark = Mark {
            first: self.batch_first,
            count: self.batch_count,
            durable: self.start.offset,
            digest: self.digest.finish(),
        };
        let pushed = self.push(&Op::Commit(mark), &[]);
        self.digest = BatchDigest::new(&self.log_key);
        self.batch_first = self.next_sequence;
        self.batch_count = 0;
        pushed
    }
}

/// Bytes that a commit mark takes.
pub(crate) fn mark_len() -> u64 {
    entry_len(40)
}

impl LogWriter {
    /// A group that has room for at least `first` bytes; begins a new segment if this one has not.
    pub(crate) fn group(&mut self, first: u64) -> Result<Group, AppendError> {
        let full = self.end.offset + first > self.segment_bytes;
        if self.stale || full && self.end.offset > SEGMENT_HEADER {
            self.rotate()?;
        }
        let room = self.segment_bytes.saturating_sub(self.end.offset);
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        Ok(Group {
            log_key: self.format.log_key,
            start: self.end,
            bytes,
            next_sequence: self.next_sequence,
            batch_first: self.next_sequence,
            batch_count: 0,
            digest: BatchDigest::new(&self.format.log_key),
            limit: room.min(GROUP_BYTES),
        })
    }

    fn rotate(&mut self) -> Result<(), AppendError> {
        let id = self.end.segment + 1;
        let first_sequence = self.next_sequence;
        self.file = create_segment(&self.files, &self.format, id, first_sequence)?;
        if let Some(full) = self.segments.get_mut(&self.end.segment) {
            full.len = self.end.offset;
            self.full_bytes += full.len;
        }
        self.segments.insert(id, SegmentFile { first_sequence, len: SEGMENT_HEADER });
        self.end = Position { segment: id, offset: SEGMENT_HEADER };
        self.stale = false;
        Ok(())
    }

    /// A segment's file is gone.
    pub(crate) fn forget(&mut self, id: u64) {
        if let Some(segment) = self.segments.remove(&id) {
            self.full_bytes = self.full_bytes.saturating_sub(segment.len);
        }
    }

    /// Writes a group and makes it durable. One `fdatasync`.
    pub(crate) fn append(&mut self, group: Group) -> Result<(), AppendError> {
        let path = || self.files.segment(self.end.segment);
        let written = self.file.write_at(self.end.offset, &group.bytes);
        if let Err(error) = written {
            let error = IoError::new("write", &path(), error);
            self.give_back(group);
            self.undo()?;
            return Err(AppendError::Undone(error));
        }
        if let Err(error) = self.file.sync() {
            let error = IoError::new("sync", &path(), error);
            if !error.is_full() {
                return Err(AppendError::Broken(error));
            }
            // Some file systems find out only now. What is in the group is lost; what the sync before
            // this one made durable is not touched by it, and ends where the group is cut off.
            self.give_back(group);
            self.undo()?;
            return Err(AppendError::Undone(error));
        }
        self.end = group.end();
        self.next_sequence = group.next_sequence;
        self.give_back(group);
        Ok(())
    }

    fn give_back(&mut self, group: Group) {
        if group.bytes.capacity() as u64 <= 2 * GROUP_BYTES {
            self.spare = group.bytes;
        }
    }

    /// Cuts off what a failed write left, durably: or else the next group and the remains of
    /// this one could, after a power cut, be taken for one valid batch.
    fn undo(&mut self) -> Result<(), AppendError> {
        let path = self.files.segment(self.end.segment);
        let broken = |op, e| AppendError::Broken(IoError::new(op, &path, e));
        self.file.set_len(self.end.offset).map_err(|e| broken("truncate", e))?;
        self.file.sync().map_err(|e| broken("sync", e))
    }
}

/// Makes a segment, durable under its name before anything is written to it.
pub(crate) fn create_segment(
    files: &Files,
    format: &Format,
    id: u64,
    first_sequence: u64,
) -> Result<Arc<dyn DiskFile>, AppendError> {
    let header = segment_header(format, id, first_sequence);
    let (tmp, file) = files.write_tmp(&header).map_err(AppendError::Undone)?;
    if let Err(error) = file.sync() {
        // Left behind at worst until the next open: nobody knows of it.
        let _ = files.disk.remove(&tmp);
        return Err(AppendError::new_file(IoError::new("sync", &tmp, error)));
    }
    // A segment without an entry that is there or not: the next attempt takes its place.
    let settled = files.settle(&[(tmp.clone(), files.segment(id))]);
    let settled = settled.map_err(AppendError::new_file)?;
    for outcome in settled {
        if let Err(error) = outcome {
            let _ = files.disk.remove(&tmp);
            return Err(AppendError::Undone(error));
        }
    }
    Ok(file)
}
