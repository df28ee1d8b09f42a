//! The state that all clones of a disk in memory share.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::content::FileNode;
use super::fault::Fault;
use super::tree::{DirNode, Node};

#[derive(Debug)]
pub(super) struct World {
    pub(super) root: DirNode,
    pub(super) random: u64,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) error: Option<(io::ErrorKind, u64)>,
    pub(super) powered: bool,
    /// Counts restarts; handles of an earlier boot are dead.
    pub(super) boot: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: Option<u64>,
    pub(super) inodes: Option<u64>,
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}

impl World {
    pub(super) fn random(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn alive(&self, boot: u64) -> io::Result<()> {
        if self.powered && self.boot == boot {
            return Ok(());
        }
        Err(io::Error::other("the power is off"))
    }

    /// Counts an operation that changes the disk, and fails it if that is due.
    pub(super) fn operate(&mut self, boot: u64) -> io::Result<()> {
        self.alive(boot)?;
        self.operations += 1;
        match self.faults.remove(&self.operations) {
            Some(Fault::PowerCut) => self.powered = false,
            Some(Fault::Error { kind, times }) => self.error = Some((kind, times)),
            None => {}
        }
        self.alive(boot)?;
        match &mut self.error {
            Some((_, 0)) | None => Ok(()),
            Some((kind, times)) => {
                *times -= 1;
                Err(io::Error::new(*kind, "an injected error"))
            }
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |all| all.saturating_sub(self.root.bytes()))
    }

    pub(super) fn free_inodes(&self) -> Option<u64> {
        self.inodes.map(|all| all.saturating_sub(self.root.nodes()))
    }

    pub(super) fn room_for(&self, more: u64) -> io::Result<()> {
        if more > 0 && more > self.free() { Err(full()) } else { Ok(()) }
    }

    /// Gives a new file or directory its name.
    pub(super) fn make(&self, path: &Path, node: Node) -> io::Result<()> {
        self.root.vacant(path)?;
        if self.free_inodes() == Some(0) {
            return Err(full());
        }
        self.root.insert(path, node)
    }

    pub(super) fn extend(&self, file: &FileNode, len: u64) -> io::Result<()> {
        self.room_for(len.saturating_sub(file.len()))?;
        file.set_len(len);
        Ok(())
    }
}
