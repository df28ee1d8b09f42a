//! A disk in memory that loses what was not synced.

mod content;
mod fault;
mod handle;
mod hidden;
mod random;
mod survival;
mod tree;
mod world;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::sync::{Arc, MutexGuard};

use crate::{DirEntry, Disk, DiskFile, Lock, OpenMode, Space};
use content::FileNode;
use handle::{MemFile, MemLock};
use random::Random;
use survival::Fate;
use tree::{DirNode, Node};
use world::{Shared, World};

pub use fault::{Fault, Part};
pub use survival::Survival;

/// A disk in memory with the habits of a real one: what was not synced may be there after a
/// power cut, or not, or in part, in units of 512 bytes; a name is not durable before its
/// directory is synced; a failed sync loses the bytes for good.
///
/// It takes the side that is harder for its user wherever real file systems differ. Unsynced
/// changes survive in any order, also across files and directories. After a rename, the new name is
/// the old file or the new one. But the two names of a rename are two changes: a power cut may
/// leave both, or, if no file had the new name, neither. ext4 and xfs, which journal a rename as
/// one change, leave exactly one.
///
/// Clones are the same disk. Everything random comes from the seed.
#[derive(Debug, Clone)]
pub struct MemDisk {
    world: Shared,
}

impl MemDisk {
    /// An empty disk with a root directory, `/`.
    pub fn new(seed: u64) -> MemDisk {
        MemDisk { world: Shared::new(World::new(seed)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }

    /// Operations that change the disk so far: writes, syncs, and changes of lengths and names.
    pub fn operations(&self) -> u64 {
        self.world().changes.count()
    }

    /// Operations that read so far: reads, opening what exists, and asking for a length or a list.
    pub fn reads(&self) -> u64 {
        self.world().reads.count()
    }

    /// Lets `fault` happen `after` operations from now; 1 is the next one.
    pub fn inject(&self, after: u64, fault: Fault) {
        self.world().changes.inject(after, fault);
    }

    /// Lets `times` reads fail, the first of them `after` reads from now; 1 is the next one.
    /// [`u64::MAX`] times is until [`MemDisk::heal`]. A sick disk says [`io::ErrorKind::Other`], as
    /// the kind that the system's EIO has cannot be named.
    pub fn inject_read(&self, after: u64, kind: io::ErrorKind, times: u64) {
        self.world().reads.inject(after, Fault::Error { kind, times });
    }

    /// Takes back faults that have not happened, and ends errors that are happening.
    pub fn heal(&self) {
        let mut world = self.world();
        world.changes.heal();
        world.reads.heal();
    }

    /// Bytes that all files together may have; `None` is no limit. Holes count, and a removed file
    /// does not, even while it is open.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Lets files that are made for direct writes have an [alignment](DiskFile::alignment) of 512
    /// bytes. Other reads and writes of them fail with [`io::ErrorKind::InvalidInput`]; where the
    /// bytes begin in memory is not looked at.
    pub fn set_direct(&self, direct: bool) {
        self.world().direct = direct;
    }

    /// Files and directories that there may be, the root not counted; `None` is no limit.
    pub fn set_inodes(&self, inodes: Option<u64>) {
        self.world().inodes = inodes;
    }

    /// Bytes that all files together have.
    pub fn used(&self) -> u64 {
        self.world().root.bytes()
    }

    /// True unless a [`Fault::PowerCut`] has happened.
    pub fn is_powered(&self) -> bool {
        self.world().powered
    }

    /// A power cut, if there was none, and power again, with a random [`Survival`]: the edges are
    /// drawn as often as the middle.
    pub fn restart(&self) {
        let survival = match self.world().random.below(3) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random,
        };
        self.restart_with(survival);
    }

    /// A power cut, if there was none, and power again. Open files and locks are gone, and faults
    /// are taken back.
    pub fn restart_with(&self, survival: Survival) {
        let mut world = self.world();
        let mut fate = match survival {
            Survival::Everything => Fate::Everything,
            Survival::Nothing => Fate::Nothing,
            Survival::Random => Fate::Random(Random::new(world.random.next())),
        };
        world.root.crash(&mut fate);
        world.hidden.taken().for_each(|taken| taken.crash(&mut fate));
        world.changes.heal();
        world.reads.heal();
        world.powered = true;
        world.boot += 1;
        world.locks.clear();
    }

    /// A separate disk with a copy of every file as it is now, all of it durable. Hidden files are
    /// hidden in the copy, too, and can be brought back there.
    pub fn fork(&self, seed: u64) -> MemDisk {
        let copy = MemDisk::new(seed);
        let from = self.world();
        let mut to = copy.world();
        to.root = from.root.copy();
        to.hidden = from.hidden.copy();
        to.direct = from.direct;
        drop((from, to));
        copy
    }

    /// All files, with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        self.world().root.walk(Path::new("/"), &mut |path, file| {
            files.push((path.to_owned(), file.len()));
        });
        files
    }

    /// Flips one bit of a file, durably, as rot does. The bit must exist.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let world = self.world();
        world.root.file(path)?.flip(bit);
        Ok(())
    }

    /// Takes a file or directory away durably, as if it were moved elsewhere. It stays if one of
    /// this name is hidden already.
    pub fn hide(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.hidden.taken.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let taken = world.root.take(path)?;
        world.hidden.taken.insert(path.to_owned(), taken);
        Ok(())
    }

    /// Brings back what was hidden, durably. If another file has taken its place meanwhile, that
    /// one stays.
    pub fn show(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let taken = world.hidden.taken.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.root.give(path, &taken)
    }

    /// Paths that are hidden.
    pub fn hidden(&self) -> Vec<PathBuf> {
        self.world().hidden.taken.keys().cloned().collect()
    }

    /// Puts a directory, and what is below it, on another device; the others are on 0.
    pub fn set_device(&self, dir: &Path, device: u64) {
        self.world().hidden.devices.insert(dir.to_owned(), device);
    }

    /// Makes every operation at or below a path fail with this error of the system from now on;
    /// `None` ends that.
    pub fn fail_below(&self, path: &Path, code: Option<i32>) {
        let sick = &mut self.world().hidden.sick;
        match code {
            Some(code) => drop(sick.insert(path.to_owned(), code)),
            None => drop(sick.remove(path)),
        }
    }

    /// Makes every read of any of these bytes of a file fail with `EIO` from now on; `None` ends that.
    pub fn fail_reads(&self, path: &Path, bytes: Option<Range<u64>>) {
        let unreadable = &mut self.world().hidden.unreadable;
        match bytes {
            Some(bytes) => drop(unreadable.insert(path.to_owned(), bytes)),
            None => drop(unreadable.remove(path)),
        }
    }
}

impl Disk for MemDisk {
    fn resolve(&self, dir: &Path) -> io::Result<PathBuf> {
        let world = self.world();
        world.root.dir(dir)?;
        Ok(dir.to_owned())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(path)?;
        let node = if mode.creates() {
            world.operate(boot)?;
            let node = FileNode::default();
            world.make(path, Node::File(node.clone()))?;
            node
        } else {
            world.look(boot)?;
            world.root.file(path)?
        };
        let disk = self.world.clone();
        let (path, writable) = (path.to_owned(), mode != OpenMode::Read);
        let direct = mode == OpenMode::CreateDirect && world.direct;
        Ok(Arc::new(MemFile { disk, node, path, boot, writable, direct }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(path)?;
        world.operate(boot)?;
        world.make(path, Node::Dir(DirNode::default()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(dir)?;
        world.look(boot)?;
        Ok(world.root.dir(dir)?.entries())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(dir)?;
        world.operate(boot)?;
        world.root.dir(dir)?.sync();
        Ok(())
    }

    fn device(&self, dir: &Path) -> io::Result<u64> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(dir)?;
        world.look(boot)?;
        world.root.dir(dir)?;
        Ok(world.hidden.device(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let boot = world.boot;
        // A place that cannot be read can be given another name.
        world.hidden.check(from.parent().unwrap_or(from))?;
        world.hidden.check(to.parent().unwrap_or(to))?;
        world.operate(boot)?;
        let file = world.root.file(from)?;
        match world.root.file(to) {
            Ok(same) if same.is(&file) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => world.root.insert(to, Node::File(file))?,
        }
        world.root.remove(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let boot = world.boot;
        world.hidden.check(path.parent().unwrap_or(path))?;
        world.operate(boot)?;
        world.root.file(path)?;
        world.root.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let boot = world.boot;
        world.operate(boot)?;
        if !world.root.dir(path)?.entries().is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.root.remove(path)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let world = self.world();
        world.alive(world.boot)?;
        world.root.dir(dir)?;
        let total = world.capacity.unwrap_or(u64::MAX);
        let (free_inodes, total_inodes) = (world.free_inodes(), world.inodes);
        Ok(Space { free: world.free(), total, free_inodes, total_inodes })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut world = self.world();
        let boot = world.boot;
        world.alive(boot)?;
        if world.root.file(path).is_err() {
            world.operate(boot)?;
            world.make(path, Node::File(FileNode::default()))?;
        }
        if !world.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemLock { disk: self.world.clone(), path: path.to_owned(), boot })))
    }
}
