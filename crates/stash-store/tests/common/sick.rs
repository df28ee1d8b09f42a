//! A disk that cannot read some of its files, and that is watched.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use stash_store::disk::{DirEntry, DiskFile, Lock, OpenMode, Space};
use stash_store::{Disk, MemDisk};

type Failing = Arc<Mutex<Option<(PathBuf, i32)>>>;

/// The error of the system that making runs of the index fails with, and how often it did.
type Refused = Arc<Mutex<(Option<i32>, u64)>>;

/// The files of the index that are being written, and the most that there were at once.
type Writing = Arc<Mutex<(BTreeSet<PathBuf>, usize)>>;

/// A disk in memory, all of whose operations work, but for reads of one file and the making of runs.
#[derive(Debug)]
pub struct SickDisk {
    below: MemDisk,
    failing: Failing,
    writing: Writing,
    refused: Refused,
}

impl SickDisk {
    pub fn new(below: MemDisk) -> SickDisk {
        let (failing, writing, refused) = Default::default();
        SickDisk { below, failing, writing, refused }
    }

    /// From now on, reads of this file fail with this error of the system.
    pub fn fail_reads(&self, path: &Path, error: i32) {
        *self.failing.lock().unwrap() = Some((path.to_owned(), error));
    }

    /// From now on, making a run of the index fails with this error of the system.
    pub fn fail_runs(&self, error: Option<i32>) {
        self.refused.lock().unwrap().0 = error;
    }

    /// The number of times that making a run has failed.
    pub fn runs_failed(&self) -> u64 {
        self.refused.lock().unwrap().1
    }

    /// The most runs of the index that were written at once: made, and not synced yet.
    pub fn most_runs_written_at_once(&self) -> usize {
        self.writing.lock().unwrap().1
    }

    pub fn heal(&self) {
        *self.failing.lock().unwrap() = None;
    }
}

#[derive(Debug)]
struct SickFile {
    below: Arc<dyn DiskFile>,
    path: PathBuf,
    failing: Failing,
    writing: Writing,
}

impl DiskFile for SickFile {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &*self.failing.lock().unwrap() {
            Some((path, error)) if *path == self.path => Err(io::Error::from_raw_os_error(*error)),
            _ => self.below.read_at(offset, buffer),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.below.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.below.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.writing.lock().unwrap().0.remove(&self.path);
        self.below.sync()
    }
}

impl Disk for SickDisk {
    fn resolve(&self, dir: &Path) -> io::Result<PathBuf> {
        self.below.resolve(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let is_run = path.to_str().is_some_and(|path| path.contains("/index/run-"));
        if mode == OpenMode::Create && is_run {
            let mut refused = self.refused.lock().unwrap();
            if let Some(error) = refused.0 {
                refused.1 += 1;
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        let below = self.below.open(path, mode)?;
        if mode == OpenMode::Create && is_run {
            let mut writing = self.writing.lock().unwrap();
            writing.0.insert(path.to_owned());
            writing.1 = writing.1.max(writing.0.len());
        }
        let (failing, writing) = (Arc::clone(&self.failing), Arc::clone(&self.writing));
        Ok(Arc::new(SickFile { below, path: path.to_owned(), failing, writing }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.below.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.below.remove_dir(path)
    }

    fn device(&self, dir: &Path) -> io::Result<u64> {
        self.below.device(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.below.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.below.lock(path)
    }
}
