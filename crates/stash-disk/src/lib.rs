#![doc = include_str!("../README.md")]

mod error;
mod mem;
mod once;
mod overlay;
mod page_buf;
mod real;
mod sync;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::IoError;
pub use mem::{Fault, MemDisk, Part, Survival};
pub use once::read_once;
pub use overlay::Overlay;
pub use page_buf::{PAGE, PageBuf};
pub use real::RealDisk;

/// The way in which a file is opened. A symbolic link anywhere below the resolved directory is an
/// error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file; an existing one is an error.
    Create,
    /// The same, and what is written to it goes past the page cache, if the disk can do that: see
    /// [`DiskFile::alignment`].
    CreateDirect,
}

impl OpenMode {
    /// True if a new file is made.
    pub fn creates(self) -> bool {
        matches!(self, OpenMode::Create | OpenMode::CreateDirect)
    }
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: String,
    /// True for a directory; anything else (links included) is not.
    pub is_dir: bool,
}

/// The room that a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that a user without privileges may still write; `u64::MAX` if there is no limit.
    pub free: u64,
    /// Bytes of the whole file system; `u64::MAX` if there is no limit.
    pub total: u64,
    /// Files and directories that can still be made; `None` if their number is not fixed.
    pub free_inodes: Option<u64>,
    /// Files and directories that there may be in all; `None` if their number is not fixed.
    pub total_inodes: Option<u64>,
}

/// The identity of a file and of its state: two states, or two files, never have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The device on which it lies, and its number there.
    pub file: (u64, u64),
    /// The times of the last write and of the last change of any kind: seconds and nanoseconds.
    pub changed: [(i64, i64); 2],
    /// Its length in bytes.
    pub len: u64,
}

/// A directory tree that holds files. All paths start with what [`Disk::resolve`] returned.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The one true path of an existing directory. Only here are symbolic links followed.
    fn resolve(&self, dir: &Path) -> io::Result<PathBuf>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes one directory; its parent exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing the file that has it: at any time `to` names one or the
    /// other. Nothing happens if both names already are the same file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Those who have it open can go on reading and writing.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory; one that is not empty stays, with
    /// [`io::ErrorKind::DirectoryNotEmpty`]. Durable when the directory above is synced.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The number of the device on which a directory lies: the same as long as it is mounted.
    fn device(&self, dir: &Path) -> io::Result<u64>;
    /// The identity of the file at this path, at less cost than reading it. Two equal ones are of
    /// the same file, with no write in between. `None` where the disk does not tell.
    fn identity(&self, file: &Path) -> io::Result<Option<Identity>> {
        let _ = file;
        Ok(None)
    }
    /// The room that the file system of this directory has left, as of now: others may take it. It
    /// must not promise more than is there; less is allowed.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Takes the lock on a file, creating it. `None` if another holder has it. Ends when dropped.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A lock that is held until it is dropped.
pub trait Lock: fmt::Debug + Send + Sync {}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads exactly `buffer.len()` bytes; fewer is [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// The same, for the only time that these bytes are wanted soon: what is in the page cache stays
    /// there, and what is not is not left there (see [`read_once`]).
    fn read_once_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }
    /// Writes all the bytes. After an error, any number of them from the front may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes these bytes one after the other, as one write where the disk can.
    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_at(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    /// The number of bytes that every place, length and beginning in memory of a read or write has
    /// to be a multiple of: a power of two, [`PAGE`] at most. `None` if there is none: then the file
    /// is read and written through the page cache. [`OpenMode::CreateDirect`] asks for one and may
    /// get none.
    fn alignment(&self) -> Option<usize> {
        None
    }
    /// Writes the content of a new file, which has no bytes yet. Bytes that begin at a page
    /// boundary ([`PageBuf`]) are written from where they are, and others copied first, if there is
    /// an [alignment](DiskFile::alignment). The file may be longer for a while by less than that.
    fn write_whole(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(align) = self.alignment() else {
            return self.write_at(0, bytes);
        };
        let copy;
        let bytes = match bytes.as_ptr().align_offset(align) {
            0 => bytes,
            _ => {
                copy = PageBuf::copy_of(bytes);
                &copy
            }
        };
        let (head, rest) = bytes.split_at(bytes.len() - bytes.len() % align);
        if rest.is_empty() {
            return self.write_at(0, head);
        }
        let mut tail = PageBuf::zeroed(align);
        tail[..rest.len()].copy_from_slice(rest);
        let parts: &[&[u8]] = if head.is_empty() { &[&tail] } else { &[head, &tail] };
        self.write_parts_at(0, parts)?;
        self.set_len(bytes.len() as u64)
    }
    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends the file with zeros to `len` bytes, if it is shorter, and takes the room for them:
    /// a first write into them does not fail for want of room (on a file system that writes to a
    /// new place each time, a second may). The new length is durable after [`DiskFile::sync`].
    /// After an error the file has the length that it had. Holes that [`DiskFile::set_len`] made
    /// before may stay without room.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes, and the length, durable: `fdatasync`.
    fn sync(&self) -> io::Result<()>;
    /// A hint to begin writing back now what a later [`DiskFile::sync`] would wait for.
    fn start_writeback(&self) {}
    /// A hint that what was read from this file will not be read again soon, so that keeping it
    /// in memory would only push out what is. Changes no bytes and makes nothing durable.
    fn advise_done(&self) {}
}
