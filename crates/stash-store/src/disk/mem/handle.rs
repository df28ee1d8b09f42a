//! What a disk in memory hands out: open files and locks.

use std::io;
use std::path::PathBuf;
use std::sync::MutexGuard;

use super::MemDisk;
use super::content::FileNode;
use super::world::World;
use crate::disk::{DiskFile, Lock};

#[derive(Debug)]
pub(super) struct MemFile {
    pub(super) disk: MemDisk,
    pub(super) node: FileNode,
    pub(super) boot: u64,
    pub(super) writable: bool,
}

impl MemFile {
    fn change(&self) -> io::Result<MutexGuard<'_, World>> {
        if !self.writable {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading"));
        }
        Ok(self.disk.world())
    }
}

impl DiskFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.world().alive(self.boot)?;
        Ok(self.node.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.world().alive(self.boot)?;
        self.node.read(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.change()?;
        let more = (offset + bytes.len() as u64).saturating_sub(self.node.len());
        let done = world.operate(self.boot).and_then(|()| world.room_for(more));
        let written = if done.is_ok() {
            bytes.len()
        } else if world.powered {
            // What fails half-way may have written a part.
            usize::try_from(world.random() % (bytes.len() as u64 + 1)).unwrap_or(0) / 2
        } else {
            0
        };
        self.node.write(offset, &bytes[..written]);
        done
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.change()?;
        world.operate(self.boot)?;
        world.extend(&self.node, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut world = self.change()?;
        world.operate(self.boot)?;
        if len > self.node.len() { world.extend(&self.node, len) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        match world.operate(self.boot) {
            Ok(()) => self.node.sync(),
            Err(error) => {
                if world.powered {
                    self.node.lose();
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct MemLock {
    pub(super) disk: MemDisk,
    pub(super) path: PathBuf,
    pub(super) boot: u64,
}

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.boot == self.boot {
            world.locks.remove(&self.path);
        }
    }
}
