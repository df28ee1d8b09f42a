//! Open files and locks of a disk in memory.

use std::io;
use std::path::PathBuf;

use super::content::{FileNode, SECTOR};
use super::world::{Shared, World};
use crate::sync::MutexGuard;
use crate::{DiskFile, Lock};

/// The byte that fills the buffer of a failed read: neither zeros nor what was there before.
const SCRIBBLE: u8 = 0x5a;

#[derive(Debug)]
pub(super) struct MemFile {
    pub(super) disk: Shared,
    pub(super) node: FileNode,
    pub(super) path: PathBuf,
    pub(super) boot: u64,
    pub(super) writable: bool,
    pub(super) direct: bool,
}

impl MemFile {
    fn change(&self) -> io::Result<MutexGuard<'_, World>> {
        if !self.writable {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"));
        }
        let world = self.disk.lock();
        world.alive(self.boot)?;
        Ok(world)
    }
}

impl MemFile {
    fn check_alignment(&self, offset: u64, len: usize) -> io::Result<()> {
        if self.direct && !(offset | len as u64).is_multiple_of(SECTOR as u64) {
            let what = "a direct read or write of parts of sectors";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.lock().look(self.boot)?;
        Ok(self.node.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = {
            let mut world = self.disk.lock();
            let bytes = offset..offset.saturating_add(buffer.len() as u64);
            world.look(self.boot).and_then(|()| world.hidden.check_read(&self.path, &bytes))
        };
        if let Err(error) = read {
            // What a failed read leaves is not to be relied on.
            buffer.fill(SCRIBBLE);
            return Err(error);
        }
        self.check_alignment(offset, buffer.len())?;
        self.node.read(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_alignment(offset, bytes.len())?;
        self.change()?.write(self.boot, &self.node, offset, bytes)
    }

    fn alignment(&self) -> Option<usize> {
        self.direct.then_some(SECTOR)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.change()?;
        world.operate(self.boot)?;
        world.set_len(&self.node, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut world = self.change()?;
        world.operate(self.boot)?;
        if len > self.node.len() { world.set_len(&self.node, len) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.lock();
        world.alive(self.boot)?;
        let done = world.operate(self.boot);
        if done.is_ok() {
            self.node.sync();
        } else if world.powered {
            self.node.lose();
        }
        done
    }
}

#[derive(Debug)]
pub(super) struct MemLock {
    pub(super) disk: Shared,
    pub(super) path: PathBuf,
    pub(super) boot: u64,
}

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut world = self.disk.lock();
        if world.boot == self.boot {
            world.locks.remove(&self.path);
        }
    }
}
