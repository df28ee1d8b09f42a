//! The directory of a tree, and the names of its files.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{TreeError, sync_failed, write_failed};
use crate::sync::{Arc, AtomicU64, Ordering};
use stash_disk::{Disk, DiskFile, IoError, OpenMode};

/// The name of HEAD.
const HEAD: &str = "head";

/// Where the files of a tree lie. Clones are of the same directory.
#[derive(Debug, Clone)]
pub struct Directory {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    /// Counts the HEADs that were begun: one whose removal failed is not in the way of the next.
    begun: Arc<AtomicU64>,
}

impl Directory {
    /// The directory at `path`, which begins with what [`Disk::resolve`] returned. Opening a tree
    /// makes it; the one above it has to exist. It belongs to one tree alone, in one process:
    /// other files in it are removed when the tree is opened.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Directory {
        Directory { disk, path, begun: Arc::new(AtomicU64::new(0)) }
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.path.join(HEAD)
    }

    /// The path of the run with this number.
    pub(crate) fn run(&self, id: u64) -> PathBuf {
        self.path.join(format!("run-{id:016x}"))
    }

    /// Makes the directory of an empty tree, durably. That it exists proves nothing: the process that
    /// made it may have died before its sync.
    pub(crate) fn make(&self) -> Result<(), TreeError> {
        match self.disk.create_dir(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(write_failed("make directory", &self.path)(e));
            }
            _ => {}
        }
        let above = self.path.parent().unwrap_or(&self.path);
        self.disk.sync_dir(above).map_err(sync_failed("sync directory", above))
    }

    /// True if it is there.
    pub(crate) fn exists(&self) -> Result<bool, IoError> {
        match self.disk.list(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            listed => listed.map(|_| true).map_err(|e| IoError::new("list", &self.path, e)),
        }
    }

    /// Writes a new file that is not yet HEAD, and leaves it unsynced. Removes it again if it
    /// cannot be written whole.
    pub(crate) fn begin_head(&self, bytes: &[u8]) -> Result<(PathBuf, Arc<dyn DiskFile>), IoError> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{HEAD}-{begun}"));
        let file = self.disk.open(&path, OpenMode::Create);
        let file = file.map_err(|e| IoError::new("create", &path, e))?;
        if let Err(error) = file.write_at(0, bytes) {
            // Left behind at worst until the next open.
            let _ = self.disk.remove(&path);
            return Err(IoError::new("write", &path, error));
        }
        Ok((path, file))
    }

    /// Removes all files but HEAD and `runs`. The highest number that a run had; those with the
    /// highest bit are not ours.
    pub(crate) fn remove_strangers(&self, runs: &[&Path]) -> Result<u64, IoError> {
        let mut highest = 0;
        let listed = self.disk.list(&self.path);
        for entry in listed.map_err(|e| IoError::new("list", &self.path, e))? {
            let id = entry.name.strip_prefix("run-");
            let id = id.and_then(|id| u64::from_str_radix(id, 16).ok());
            highest = highest.max(id.filter(|id| id >> 63 == 0).unwrap_or(0));
            let path = self.path.join(&entry.name);
            if !entry.is_dir && entry.name != HEAD && !runs.contains(&&*path) {
                self.disk.remove(&path).map_err(|e| IoError::new("remove", &path, e))?;
            }
        }
        Ok(highest)
    }
}
