//! Reading a segment from front to back, past damage.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::IoError;
use crate::disk::DiskFile;
use crate::entry::{BatchDigest, HEADER, Header, Kind, Mark, Op, Place, entry_len};
use crate::error::is_unreadable;
use crate::sync::Arc;

/// Bytes read at once.
const WINDOW: usize = 1024 * 1024;
/// Bytes read at once where the disk cannot read a window: no disk reads less.
const BLOCK: u64 = 4096;
/// Blocks in a row that the disk cannot read before it, and not a place on it, is held to be at fault.
const STRIKES: usize = 8;

/// The next thing in a segment.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// An entry that is whole.
    Entry { op: Op, sequence: u64, place: Place, tag: [u8; 8], end: u64 },
    /// Bytes that are not; the next entry begins at `to`.
    Damaged { from: u64, to: u64, what: &'static str },
    /// Nothing valid follows. `at` is the end of the file if nothing at all follows.
    End { at: u64 },
}

/// A batch that is being read.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Where it begins.
    pub(crate) start: u64,
    /// A part of it is damaged: its mark cannot be judged.
    pub(crate) damaged: bool,
    first: Option<u64>,
    count: u64,
    digest: BatchDigest,
}

impl Batch {
    pub(crate) fn new(log_key: &[u8; 32], start: u64) -> Batch {
        let digest = BatchDigest::new(log_key);
        Batch { start, damaged: false, first: None, count: 0, digest }
    }

    pub(crate) fn add(&mut self, sequence: u64, tag: &[u8; 8]) {
        self.first.get_or_insert(sequence);
        self.count += 1;
        self.digest.add_tag(tag);
    }

    /// True if all that the mark speaks of was read, and nothing else.
    pub(crate) fn is_whole(&self, mark: &Mark) -> bool {
        !self.damaged
            && u64::from(mark.count) == self.count
            && self.first.is_none_or(|first| first == mark.first)
            && self.digest.finish() == mark.digest
    }
}

/// Reads a segment's entries in order.
#[derive(Debug)]
pub(crate) struct Scan {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    log_key: [u8; 32],
    segment: u64,
    len: u64,
    at: u64,
    window: Vec<u8>,
    window_start: u64,
    /// Blocks that the disk cannot read, from the place that is read on: zeros stand for them in the window.
    unreadable: Vec<Range<u64>>,
    /// Of the entry read last, in the window.
    padding: Range<usize>,
}

impl Scan {
    pub(crate) fn new(
        (file, path): (Arc<dyn DiskFile>, &Path),
        log_key: [u8; 32],
        segment: u64,
        at: u64,
    ) -> Result<Scan, IoError> {
        let len = file.len().map_err(|e| IoError::new("read", path, e))?;
        let (path, window, unreadable) = (path.to_owned(), Vec::new(), Vec::new());
        let (window_start, padding) = (0, 0..0);
        Ok(Scan {
            file,
            path,
            log_key,
            segment,
            len,
            at,
            window,
            window_start,
            unreadable,
            padding,
        })
    }

    /// Reads no further than to `end`.
    pub(crate) fn until(mut self, end: u64) -> Scan {
        self.len = self.len.min(end);
        self
    }

    /// True if the entry that was just read is filled up with zeros. No meaning hangs on it.
    pub(crate) fn is_padded(&self) -> bool {
        self.window[self.padding.clone()].iter().all(|byte| *byte == 0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Where the next entry begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The bytes behind the fields of an entry that was just read: of a record or a blob.
    pub(crate) fn payload(&self, op: &Op, place: Place) -> Vec<u8> {
        let (at, len) = place.body();
        let start = at + op.body_len(0) - self.window_start;
        let end = at + u64::from(len) - self.window_start;
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.window.get(start..end));
        bytes.expect("the window has the entry that was just read").to_vec()
    }

    /// Makes `n` bytes from `at` available, or as many as there are.
    fn fill(&mut self, at: u64, n: usize) -> Result<Range<usize>, IoError> {
        let end = self.len.min(at.saturating_add(n as u64));
        let have = self.window_start..self.window_start + self.window.len() as u64;
        if !(at >= have.start && end <= have.end) {
            let want = n.max(WINDOW) as u64;
            let size = self.len.saturating_sub(at).min(want);
            self.window.resize(usize::try_from(size).unwrap_or(0), 0);
            self.window_start = at;
            self.unreadable.retain(|block| block.end > self.at);
            let read = match self.file.read_at(at, &mut self.window) {
                Err(error) if is_unreadable(&error) => self.read_blocks(),
                read => read,
            };
            read.map_err(|e| IoError::new("read", &self.path, e))?;
        }
        let start = usize::try_from(at - self.window_start).unwrap_or(usize::MAX);
        let end = usize::try_from(end.max(at) - self.window_start).unwrap_or(usize::MAX);
        Ok(start..end)
    }

    /// Reads the window block by block, and goes on where one cannot be read.
    fn read_blocks(&mut self) -> io::Result<()> {
        let (mut at, mut strikes, mut rest) = (self.window_start, 0, &mut self.window[..]);
        while !rest.is_empty() {
            let len = usize::try_from(BLOCK - at % BLOCK).unwrap_or(rest.len()).min(rest.len());
            let (block, more) = rest.split_at_mut(len);
            let end = at + len as u64;
            match self.file.read_at(at, block) {
                Ok(()) => strikes = 0,
                Err(error) if is_unreadable(&error) && strikes + 1 < STRIKES => {
                    strikes += 1;
                    block.fill(0);
                    self.unreadable.push(at..end);
                }
                Err(error) => return Err(error),
            }
            (at, rest) = (end, more);
        }
        Ok(())
    }

    /// True if the disk cannot read some of these bytes, which were just read.
    pub(crate) fn is_unreadable(&self, bytes: &Range<u64>) -> bool {
        self.unreadable.iter().any(|block| block.start < bytes.end && bytes.start < block.end)
    }

    fn damaged(&self, bytes: Range<u64>, what: &'static str) -> Scanned {
        let what = if self.is_unreadable(&bytes) { "the disk cannot read it" } else { what };
        Scanned::Damaged { from: bytes.start, to: bytes.end, what }
    }

    fn header(&mut self, at: u64) -> Result<Option<(Header, [u8; 8])>, IoError> {
        let range = self.fill(at, HEADER)?;
        let bytes = &self.window[range];
        let header = Header::decode(bytes, &self.log_key, self.segment, at);
        Ok(header.map(|header| {
            let mut tag = [0; 8];
            tag.copy_from_slice(&bytes[24..HEADER]);
            (header, tag)
        }))
    }

    pub(crate) fn next(&mut self) -> Result<Scanned, IoError> {
        let at = self.at;
        if at >= self.len {
            return Ok(Scanned::End { at: self.len });
        }
        let Some((header, tag)) = self.header(at)? else {
            return self.skip(at);
        };
        let end = at + entry_len(u64::from(header.len));
        let body_len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let with_padding = usize::try_from(end - at).unwrap_or(usize::MAX) - HEADER;
        let range = self.fill(at + HEADER as u64, with_padding)?;
        if range.len() < with_padding {
            return Ok(Scanned::End { at });
        }
        self.at = end;
        self.padding = range.start + body_len..range.end;
        let body = &self.window[range.start..range.start + body_len];
        // Zeros in place of bytes may have their checksum by chance.
        if crc32fast::hash(body) != header.crc || self.is_unreadable(&(at..end)) {
            return Ok(self.damaged(at..end, "the checksum of an entry's body does not match"));
        }
        let Some(op) = Op::decode(header.kind, body) else {
            return Ok(self.damaged(at..end, "an entry is not understood"));
        };
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        let moved = header.kind == Kind::Moved as u8;
        let place = Place { segment: self.segment, offset, len: header.len, moved };
        Ok(Scanned::Entry { op, sequence: header.sequence, place, tag, end })
    }

    /// Looks for the next valid header. Stored bytes cannot pass for one: the tag is keyed.
    fn skip(&mut self, from: u64) -> Result<Scanned, IoError> {
        let mut at = from + 8;
        while at + HEADER as u64 <= self.len {
            if self.header(at)?.is_some() {
                self.at = at;
                return Ok(self.damaged(from..at, "an entry's header does not match its tag"));
            }
            at += 8;
        }
        Ok(Scanned::End { at: from })
    }
}
