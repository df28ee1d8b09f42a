//! Reading blobs back.

use std::io;

use super::{Open, READS};
use crate::chunk_dir::{ChunkDir, is_of_the_disk};
use crate::disk::OpenMode;
use crate::error::is_misplaced;
use crate::index::ChunkRow;
use crate::{Address, IoError, ReadError};

/// The memory that a blob is read into.
pub(crate) enum Memory<'a> {
    /// Takes the length of the blob.
    Growing(&'a mut Vec<u8>),
    /// Holds blobs up to its own length.
    Fixed(&'a mut [u8]),
}

impl Memory<'_> {
    /// Room for a blob of so many bytes; `None` if there is none.
    fn room(&mut self, len: u32) -> Option<&mut [u8]> {
        let len = usize::try_from(len).ok()?;
        match self {
            Memory::Growing(out) => {
                out.resize(len, 0);
                Some(out)
            }
            Memory::Fixed(out) => out.get_mut(..len),
        }
    }
}

/// The likely next use of a blob that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Others may read it soon: it may stay in the page cache.
    Again,
    /// Nobody reads it soon: the page cache stays as it is.
    Once,
}

impl Open {
    /// See [`crate::Store::read_into`].
    pub(crate) fn read_into(
        &self,
        address: &Address,
        out: &mut Vec<u8>,
        wanted: Wanted,
    ) -> Result<bool, ReadError> {
        out.clear();
        let result = self.read_chunk(address, Memory::Growing(out), wanted);
        if !matches!(result, Ok(Some(_))) {
            out.clear();
        }
        Ok(result?.is_some())
    }

    /// Reads a blob, and says how long it is; `None` if it is not here.
    pub(crate) fn read_chunk(
        &self,
        address: &Address,
        mut out: Memory<'_>,
        wanted: Wanted,
    ) -> Result<Option<usize>, ReadError> {
        let mut failed = None;
        for _ in 0..READS {
            let row = self.chunk_rows(&[*address])?[0];
            if let Some(ChunkRow::Quarantined { .. }) = row
                && self.second_look(address)
            {
                continue;
            }
            let Some(row) = row.filter(ChunkRow::is_here) else {
                return Ok(None);
            };
            let len = usize::try_from(row.len()).unwrap_or(usize::MAX);
            let Some(room) = out.room(row.len()) else {
                return Ok(Some(len));
            };
            let what = self.read_row(address, &row, room, wanted)?;
            if self.stage.is_evicting(address) {
                return Ok(None);
            }
            if self.stage.is_damaged(address, &row) {
                // That the log does not say so yet is no reason not to look again.
                match self.second_look(address) {
                    true => continue,
                    false => return Ok(None),
                }
            }
            let Some(what) = what else {
                return Ok(Some(len));
            };
            // One that was evicted, replaced or written again elsewhere while it was read is not
            // damaged: the index had the same row before and after.
            if failed.replace(row) == Some(row) {
                what.strike(&self.ground.files.chunks)?;
                self.note_damage(*address, row.place());
                return Err(ReadError::Damaged { address: *address, what: what.text });
            }
        }
        let what = "it changes all the time".to_owned();
        Err(ReadError::Damaged { address: *address, what })
    }

    fn chunk_rows(&self, addresses: &[Address]) -> Result<Vec<Option<ChunkRow>>, ReadError> {
        self.ask(|index| index.chunks(addresses))
    }

    /// Reads what a row names. What is wrong with it, if something is.
    fn read_row(
        &self,
        address: &Address,
        row: &ChunkRow,
        out: &mut [u8],
        wanted: Wanted,
    ) -> Result<Option<Wrong>, ReadError> {
        let read = match *row {
            ChunkRow::File { .. } => self.read_file(address, out, wanted),
            _ => self.read_log(row.place().segment, row.place().body().0 + 32, out),
        };
        let is_file = matches!(row, ChunkRow::File { .. });
        let error = match read {
            Ok(()) => {
                if is_file {
                    self.ground.files.chunks.could_read();
                }
                let right = Address::of(out) == *address;
                let text = || "its bytes do not hash to its address".to_owned();
                return Ok((!right).then(|| Wrong { text: text(), by_disk: None }));
            }
            Err(error) => error,
        };
        if is_file {
            // Of a file in a directory that is away, nothing is known.
            self.ground.look()?;
        }
        let what = match error.source.kind() {
            io::ErrorKind::NotFound => "its file is missing",
            io::ErrorKind::UnexpectedEof => "its file is too short",
            _ if is_misplaced(&error.source) => "its path is not a file's",
            _ if error.is_unreadable() => "the disk cannot read it",
            _ if is_file && is_of_the_disk(&error.source) => {
                self.ground.files.chunks.could_not_read(&error)?;
                return Err(ReadError::Io(error));
            }
            _ => return Err(ReadError::Io(error)),
        };
        let text = what.to_owned();
        Ok(Some(Wrong { text, by_disk: (is_file && error.is_unreadable()).then_some(error) }))
    }

    fn read_file(&self, address: &Address, out: &mut [u8], wanted: Wanted) -> Result<(), IoError> {
        let path = self.ground.files.chunk(address);
        let file = self.ground.files.open(&path, OpenMode::Read)?;
        let read = match wanted {
            Wanted::Again => file.read_at(0, out),
            Wanted::Once => file.read_once_at(0, out),
        };
        read.map_err(|e| IoError::new("read", &path, e))
    }

    pub(super) fn read_log(&self, segment: u64, at: u64, out: &mut [u8]) -> Result<(), IoError> {
        let (file, path) = self.ground.segments.get(segment)?;
        file.read_at(at, out).map_err(|e| IoError::new("read", &path, e))
    }
}

/// Something wrong with a blob.
struct Wrong {
    text: String,
    /// The answer of the disk, if it failed to read the file.
    by_disk: Option<IoError>,
}

impl Wrong {
    /// Counts a failure of the disk. `Err` if that, and not the blob, is to blame.
    fn strike(&self, chunks: &ChunkDir) -> Result<(), ReadError> {
        match &self.by_disk {
            Some(error) => Ok(chunks.could_not_read(error)?),
            None => Ok(()),
        }
    }
}
