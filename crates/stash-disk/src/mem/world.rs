//! The state that all clones of a disk in memory share.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::content::FileNode;
use super::fault::{Part, Schedule, Step};
use super::hidden::Hidden;
use super::random::Random;
use super::tree::{DirNode, Node};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state, by all of its handles.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Shared {
        Shared(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) root: DirNode,
    pub(super) random: Random,
    /// Operations that change the disk.
    pub(super) changes: Schedule,
    /// Operations that only read.
    pub(super) reads: Schedule,
    pub(super) powered: bool,
    /// Counts restarts; handles of an earlier boot are dead.
    pub(super) boot: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: Option<u64>,
    pub(super) inodes: Option<u64>,
    /// Files that are made for direct writes have an alignment.
    pub(super) direct: bool,
    pub(super) hidden: Hidden,
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full")
}

fn injected(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "an injected error")
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            root: DirNode::default(),
            random: Random::new(seed),
            changes: Schedule::default(),
            reads: Schedule::default(),
            powered: true,
            boot: 0,
            locks: BTreeSet::new(),
            capacity: None,
            inodes: None,
            direct: false,
            hidden: Hidden::default(),
        }
    }

    pub(super) fn alive(&self, boot: u64) -> io::Result<()> {
        if self.powered && self.boot == boot {
            return Ok(());
        }
        Err(io::Error::other("the power is off"))
    }

    fn go(&mut self, boot: u64, step: Step) -> io::Result<()> {
        match step {
            Step::Goes => Ok(()),
            Step::Fails(kind) => Err(injected(kind)),
            Step::PowerCut => {
                self.powered = false;
                self.alive(boot)
            }
        }
    }

    /// Counts an operation that changes the disk, and fails it if that is due.
    pub(super) fn operate(&mut self, boot: u64) -> io::Result<()> {
        self.alive(boot)?;
        let step = self.changes.step();
        self.go(boot, step)
    }

    /// Counts an operation that reads, and fails it if that is due.
    pub(super) fn look(&mut self, boot: u64) -> io::Result<()> {
        self.alive(boot)?;
        let step = self.reads.step();
        self.go(boot, step)
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |all| all.saturating_sub(self.root.bytes()))
    }

    pub(super) fn free_inodes(&self) -> Option<u64> {
        self.inodes.map(|all| all.saturating_sub(self.root.nodes()))
    }

    /// Gives a new file or directory its name.
    pub(super) fn make(&self, path: &Path, node: Node) -> io::Result<()> {
        self.root.vacant(path)?;
        if self.free_inodes() == Some(0) {
            return Err(full());
        }
        self.root.insert(path, node)
    }

    /// Sets the length of a file, if there is room for what it grows.
    pub(super) fn set_len(&self, file: &FileNode, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(file.len());
        if more > 0 && more > self.free() {
            return Err(full());
        }
        file.set_len(len);
        Ok(())
    }

    /// Writes what there is room for, or less if a fault says so.
    pub(super) fn write(
        &mut self,
        boot: u64,
        file: &FileNode,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let limit = file.len().saturating_add(self.free());
        let fits = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let fits = fits.min(bytes.len());
        let (part, done) = match self.operate(boot) {
            Err(error) if !self.powered => return Err(error),
            Err(error) => (Some(Part::Random), Err(error)),
            Ok(()) => match self.changes.take_short() {
                Some((part, kind)) => (Some(part), Err(injected(kind))),
                None if fits < bytes.len() => (None, Err(full())),
                None => (None, Ok(())),
            },
        };
        let part = part.map_or(fits, |part| part.of(bytes.len(), &mut self.random));
        file.write(offset, &bytes[..part.min(fits)]);
        done
    }
}
