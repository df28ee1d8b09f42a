//! The files of blobs.

use std::io;

use super::pass::Cursor;
use super::{LEAST, Step};
use crate::disk::OpenMode;
use crate::error::ScrubError;
use crate::index::ChunkRow;
use crate::open::blobs::Wanted;
use crate::{Address, Finding, IoError, ReadError};

/// Rows of the index read at once.
const PAGE: usize = 256;

impl Step<'_> {
    pub(super) fn chunks(&mut self, after: Option<Address>) -> Result<(), ScrubError> {
        self.open.ground.look().map_err(ReadError::from)?;
        let rows = match self.open.ground.index().chunks_after(after, PAGE) {
            Ok(rows) => rows,
            Err(error) => return self.index_is_damaged(error),
        };
        if rows.is_empty() {
            self.pass.cursor = Cursor::Index(crate::index::TreeCursor::default());
        }
        let mut bytes = Vec::new();
        for (address, row) in rows {
            if self.is_enough() {
                break;
            }
            match row {
                ChunkRow::File { len, .. } => {
                    self.done.bytes += u64::from(len).max(LEAST);
                    let right = self.is_right(&address, len, &mut bytes)?;
                    // It may have been found damaged, which the index does not say yet.
                    if !right || self.open.stage.is_damaged(&address, &row) {
                        self.chunk(&address)?;
                    }
                }
                ChunkRow::Quarantined { len, .. } => {
                    self.done.bytes += u64::from(len).max(LEAST);
                    self.open.second_look(&address);
                }
                _ => {}
            }
            self.pass.cursor = Cursor::Chunks { after: Some(address) };
        }
        Ok(())
    }

    /// True if a file has its length, and the bytes that its address names.
    fn is_right(
        &mut self,
        address: &Address,
        len: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, ScrubError> {
        let files = &self.open.ground.files;
        let path = files.chunk(address);
        let Ok(file) = files.disk.open(&path, OpenMode::Read) else {
            return Ok(false);
        };
        let Ok(there) = file.len() else {
            return Ok(false);
        };
        bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        // What is in memory says nothing of the disk.
        file.advise_done();
        let read = file.read_at(0, bytes);
        file.advise_done();
        let right = read.is_ok() && Address::of(bytes) == *address;
        if right && there > u64::from(len) {
            self.cut(address, len, there - u64::from(len))?;
        }
        Ok(right)
    }

    /// The bytes are right, and others follow: they go.
    fn cut(&mut self, address: &Address, len: u32, more: u64) -> Result<(), ScrubError> {
        let what = format!("its file is {more} bytes too long");
        self.note(Finding::Chunk { address: *address, what });
        let open = self.open;
        if open.health.read_only().is_some() {
            return Ok(());
        }
        let path = open.ground.files.chunk(address);
        let cut = open.ground.files.disk.open(&path, OpenMode::Write);
        match cut.and_then(|file| file.set_len(u64::from(len))) {
            // It was evicted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            cut => cut.map_err(|e| ScrubError::Io(IoError::new("truncate", &path, e))),
        }
    }

    /// Reads a blob as any reader does, which quarantines it if it is damaged. It may have been
    /// evicted, or replaced, since it was looked at.
    pub(super) fn chunk(&mut self, address: &Address) -> Result<(), ScrubError> {
        match self.open.read_into(address, &mut Vec::new(), Wanted::Once) {
            Ok(_) => Ok(()),
            Err(ReadError::Damaged { address, what }) => {
                self.note(Finding::Chunk { address, what });
                Ok(())
            }
            Err(ReadError::Io(error)) => Err(ScrubError::Io(error)),
            Err(error) => Err(ScrubError::Read(error)),
        }
    }
}
