//! A file of the disk in memory: its bytes, and which of them a power cut leaves.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::survival::Fate;

/// The unit in which a disk writes: all of it or nothing.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode(Arc<Mutex<File>>);

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The shortest that the file has been since it was last synced.
    shortest: usize,
    /// Sectors of `now` that may differ from `durable` and can still be written back.
    dirty: BTreeSet<usize>,
}

impl File {
    fn touch(&mut self, start: usize, end: usize) {
        if start < end {
            self.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        }
    }

    fn write_back(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.now.len()).min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.now[start..end]);
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl FileNode {
    /// True if both are the same file, under whatever names.
    pub(super) fn is(&self, other: &FileNode) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn len(&self) -> u64 {
        lock(&self.0).now.len() as u64
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let file = lock(&self.0);
        let start = index(offset);
        let bytes = start.checked_add(buffer.len()).and_then(|end| file.now.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut file = lock(&self.0);
        let (start, end) = (index(offset), index(offset) + bytes.len());
        let old = file.now.len();
        if end > old {
            file.now.resize(end, 0);
            file.touch(old.min(start), end);
        }
        file.now[start..end].copy_from_slice(bytes);
        file.touch(start, end);
    }

    pub(super) fn set_len(&self, len: u64) {
        let mut file = lock(&self.0);
        let (old, new) = (file.now.len(), index(len));
        file.now.resize(new, 0);
        file.shortest = file.shortest.min(new);
        file.touch(old, new);
    }

    pub(super) fn sync(&self) {
        let mut file = lock(&self.0);
        let len = file.now.len();
        file.durable.resize(len, 0);
        file.shortest = len;
        for sector in std::mem::take(&mut file.dirty) {
            file.write_back(sector);
        }
    }

    /// A sync that failed: the bytes can still be read, and will never be durable.
    pub(super) fn lose(&self) {
        lock(&self.0).dirty.clear();
    }

    pub(super) fn copy(&self) -> FileNode {
        let now = lock(&self.0).now.clone();
        let shortest = now.len();
        let file = File { durable: now.clone(), now, shortest, dirty: BTreeSet::new() };
        FileNode(Arc::new(Mutex::new(file)))
    }

    pub(super) fn flip(&self, bit: u64) {
        let mut file = lock(&self.0);
        let (byte, mask) = (index(bit / 8), 1 << (bit % 8));
        file.now[byte] ^= mask;
        if let Some(byte) = file.durable.get_mut(byte) {
            *byte ^= mask;
        }
    }

    /// A file that two names survived for crashes once: the second time, all of it is durable.
    pub(super) fn crash(&self, fate: &mut Fate) {
        let mut file = lock(&self.0);
        let len = fate.len(file.durable.len(), file.shortest, file.now.len());
        file.durable.resize(len, 0);
        for sector in std::mem::take(&mut file.dirty) {
            if fate.survives() {
                file.write_back(sector);
            }
        }
        file.now = file.durable.clone();
        file.shortest = len;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
