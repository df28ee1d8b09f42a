//! Files and directories of the disk in memory: what is, and what a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::DirEntry;

/// The unit in which a disk writes: all of it or nothing.
const SECTOR: usize = 512;

/// Decides which unsynced changes a power cut leaves.
pub(super) struct Survival {
    random: Option<u64>,
    otherwise: bool,
}

impl Survival {
    pub(super) fn nothing() -> Survival {
        Survival { random: None, otherwise: false }
    }

    pub(super) fn everything() -> Survival {
        Survival { random: None, otherwise: true }
    }

    pub(super) fn random(seed: u64) -> Survival {
        Survival { random: Some(seed | 1), otherwise: false }
    }

    fn next(&mut self) -> u64 {
        let Some(state) = &mut self.random else {
            return 0;
        };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state >> 11
    }

    fn survives(&mut self) -> bool {
        if self.random.is_none() { self.otherwise } else { self.next() & 1 == 1 }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

impl Node {
    fn is(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::File(a), Node::File(b)) => a.is(b),
            (Node::Dir(a), Node::Dir(b)) => Arc::ptr_eq(&a.0, &b.0),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct DirNode(Arc<Mutex<Dir>>);

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_found)?;
    Ok((path.parent().ok_or_else(not_found)?, name.to_owned()))
}

impl DirNode {
    pub(super) fn dir(&self, path: &Path) -> io::Result<DirNode> {
        let mut dir = self.clone();
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let next = lock(&dir.0).now.get(name.to_str().ok_or_else(not_found)?).cloned();
            dir = match next {
                Some(Node::Dir(next)) => next,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(not_found()),
            };
        }
        Ok(dir)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileNode> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let node = lock(&dir.0).now.get(&name).cloned();
        match node {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found()),
        }
    }

    /// An error if the name is taken, or its directory is missing.
    pub(super) fn vacant(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let taken = lock(&dir.0).now.contains_key(&name);
        if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    /// Gives a node a name, replacing what has it.
    pub(super) fn insert(&self, path: &Path, node: Node) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        lock(&dir.0).now.insert(name, node);
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let removed = lock(&dir.0).now.remove(&name);
        removed.map(drop).ok_or_else(not_found)
    }

    pub(super) fn entries(&self) -> Vec<DirEntry> {
        let entry = |(name, node): (&String, &Node)| DirEntry {
            name: name.clone(),
            is_dir: matches!(node, Node::Dir(_)),
        };
        lock(&self.0).now.iter().map(entry).collect()
    }

    pub(super) fn sync(&self) {
        let mut dir = lock(&self.0);
        dir.durable = dir.now.clone();
    }

    pub(super) fn walk(&self, at: &Path, visit: &mut dyn FnMut(&Path, &FileNode)) {
        for (name, node) in &lock(&self.0).now {
            match node {
                Node::File(file) => visit(&at.join(name), file),
                Node::Dir(dir) => dir.walk(&at.join(name), visit),
            }
        }
    }

    /// A copy that shares nothing, all of it durable.
    pub(super) fn copy(&self) -> DirNode {
        let copied = |(name, node): (&String, &Node)| {
            let node = match node {
                Node::File(file) => Node::File(file.copy()),
                Node::Dir(dir) => Node::Dir(dir.copy()),
            };
            (name.clone(), node)
        };
        let now: BTreeMap<_, _> = lock(&self.0).now.iter().map(copied).collect();
        DirNode(Arc::new(Mutex::new(Dir { durable: now.clone(), now })))
    }

    pub(super) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.walk(Path::new("/"), &mut |_, file| bytes += file.len());
        bytes
    }

    /// Files and directories below this one.
    pub(super) fn nodes(&self) -> u64 {
        let below = |node: &Node| match node {
            Node::File(_) => 1,
            Node::Dir(dir) => 1 + dir.nodes(),
        };
        lock(&self.0).now.values().map(below).sum()
    }

    pub(super) fn crash(&self, survival: &mut Survival) {
        let mut dir = lock(&self.0);
        let mut left = BTreeMap::new();
        let names: BTreeSet<String> = dir.now.keys().chain(dir.durable.keys()).cloned().collect();
        for name in names {
            let (now, durable) = (dir.now.get(&name), dir.durable.get(&name));
            let synced = matches!((now, durable), (Some(a), Some(b)) if a.is(b));
            let node = if synced || survival.survives() { now } else { durable };
            if let Some(node) = node {
                match node {
                    Node::File(file) => file.crash(survival),
                    Node::Dir(dir) => dir.crash(survival),
                }
                left.insert(name, node.clone());
            }
        }
        dir.durable = left.clone();
        dir.now = left;
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode(Arc<Mutex<File>>);

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
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
        file.touch(old, new);
    }

    pub(super) fn sync(&self) {
        let mut file = lock(&self.0);
        let len = file.now.len();
        file.durable.resize(len, 0);
        for sector in std::mem::take(&mut file.dirty) {
            file.write_back(sector);
        }
    }

    /// A sync that failed: the bytes can still be read, and will never be durable.
    pub(super) fn lose(&self) {
        lock(&self.0).dirty.clear();
    }

    fn copy(&self) -> FileNode {
        let now = lock(&self.0).now.clone();
        let file = File { durable: now.clone(), now, dirty: BTreeSet::new() };
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

    fn crash(&self, survival: &mut Survival) {
        let mut file = lock(&self.0);
        let (old, new) = (file.durable.len(), file.now.len());
        if old != new && survival.survives() {
            // The length may have got part of the way, when the file grew.
            let part = if new > old && survival.survives() { new } else { old.max(new / 2) };
            let len = if new < old || survival.random.is_none() { new } else { part };
            file.durable.resize(len, 0);
        }
        for sector in std::mem::take(&mut file.dirty) {
            if survival.survives() {
                file.write_back(sector);
            }
        }
        file.now = file.durable.clone();
    }
}
