//! Chunks in memory that begin at a page, and the two forms of a copy on disk.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::seal::{CHUNK, OVERHEAD};

/// Where direct writes may begin and end, in memory and on disk: at this much or less everywhere.
const PAGE: usize = 4096;

/// Bytes that a chunk takes in a direct copy, and in memory: up to the next page.
pub(crate) const ROOM: usize = (OVERHEAD + CHUNK).next_multiple_of(PAGE);

/// Room for a chunk that begins at a page, with something before it.
pub(crate) struct Block {
    bytes: Vec<u8>,
    start: usize,
}

impl Block {
    /// Room for `ahead` bytes, and behind them, from a page on, a chunk.
    pub(crate) fn new(ahead: usize) -> Self {
        let bytes = vec![0; PAGE + ahead + ROOM + PAGE];
        let first = bytes.as_ptr().wrapping_add(ahead).align_offset(PAGE);
        Self { bytes, start: first }
    }

    /// All of it: what stands ahead, the chunk's room, and a page for what follows a message.
    pub(crate) fn all(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// How a copy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Through the page cache, chunk behind chunk.
    Cached,
    /// Past it, into a file of this many bytes that is reserved before; each chunk begins at a page.
    Direct { bytes: u64 },
}

impl Form {
    /// The direct form of a source of this length.
    pub(crate) fn direct(source: u64) -> Self {
        Self::Direct { bytes: source.div_ceil(CHUNK as u64) * ROOM as u64 }
    }
}

/// A copy on its way to the disk.
pub(crate) struct CopyFile {
    file: File,
    form: Form,
    written: u64,
}

impl CopyFile {
    pub(crate) fn create(path: &Path, form: Form) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if matches!(form, Form::Direct { .. }) {
            options.custom_flags(i32::try_from(OFlags::DIRECT.bits())?);
        }
        let file = options.open(path).with_context(|| path.display().to_string())?;
        if let Form::Direct { bytes } = form {
            fallocate(&file, FallocateFlags::empty(), 0, bytes.max(1)).context("reserving room")?;
        }
        Ok(Self { file, form, written: 0 })
    }

    /// Writes the chunk of `len` bytes that `room` begins with; in the direct form with the rest of
    /// its last page.
    pub(crate) fn append(&mut self, room: &mut [u8], len: usize) -> Result<()> {
        let end = match self.form {
            Form::Cached => len,
            Form::Direct { .. } => {
                let end = len.next_multiple_of(PAGE);
                room[len..end].fill(0);
                end
            }
        };
        self.file.write_all_at(&room[..end], self.written)?;
        self.written += end as u64;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}
