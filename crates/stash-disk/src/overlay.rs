//! A disk that is only read: what is written to it stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::{DirEntry, Disk, DiskFile, Lock, OpenMode, Space};

/// Bytes that are kept together once one of them was written.
const PAGE: usize = 4096;

/// Another disk with changes on top. They are never written to it, and are gone with this one.
///
/// A file that was opened for reading before it is first written goes on to show the bytes below
/// it. No one else may write to the disk below meanwhile.
///
/// ```
/// use stash_disk::{Disk, MemDisk, OpenMode, Overlay};
/// use std::{path::Path, sync::Arc};
///
/// let below = MemDisk::new(1);
/// let disk = Overlay::new(Arc::new(below.clone()));
/// disk.open(Path::new("/a"), OpenMode::Create)?.write_at(0, b"seen here alone")?;
/// assert!(below.open(Path::new("/a"), OpenMode::Read).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    names: Mutex<BTreeMap<PathBuf, Node>>,
}

/// A name that is not as it is below.
#[derive(Debug, Clone)]
enum Node {
    Gone,
    Dir,
    File(Arc<Mutex<Content>>),
}

impl Overlay {
    /// Nothing is changed yet.
    pub fn new(below: Arc<dyn Disk>) -> Overlay {
        Overlay { below, names: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Node>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file with its bytes to be changed.
    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        match self.names().get(path) {
            Some(Node::Gone) => return Err(io::ErrorKind::NotFound.into()),
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(content)) => return Ok(Arc::clone(content)),
            None => {}
        }
        let file = self.below.open(path, OpenMode::Read)?;
        let len = file.len()?;
        let content = Content { below: Some((file, len)), len, pages: BTreeMap::new() };
        Ok(Arc::new(Mutex::new(content)))
    }

    fn exists(&self, path: &Path) -> bool {
        match self.names().get(path) {
            Some(Node::Gone) => return false,
            Some(_) => return true,
            None => {}
        }
        // What cannot be opened, such as a link, is there all the same.
        let file = self.below.open(path, OpenMode::Read);
        !matches!(file, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    fn make(&self, path: &Path, node: Node) -> io::Result<()> {
        if self.exists(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.names().insert(path.to_owned(), node);
        Ok(())
    }
}

impl Disk for Overlay {
    fn resolve(&self, dir: &Path) -> io::Result<PathBuf> {
        self.below.resolve(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let untouched = !self.names().contains_key(path);
        if mode == OpenMode::Read && untouched {
            return self.below.open(path, OpenMode::Read);
        }
        let content = if mode.creates() {
            let content = Arc::<Mutex<Content>>::default();
            self.make(path, Node::File(Arc::clone(&content)))?;
            content
        } else {
            let content = self.file(path)?;
            self.names().insert(path.to_owned(), Node::File(Arc::clone(&content)));
            content
        };
        Ok(Arc::new(OverlayFile { content }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.make(path, Node::Dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.names();
        let listed = match names.get(dir) {
            Some(Node::Gone) => return Err(io::ErrorKind::NotFound.into()),
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(Node::Dir) => Vec::new(),
            None => self.below.list(dir)?,
        };
        let mut entries: BTreeMap<String, bool> =
            listed.into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
        for (path, node) in names.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            match node {
                Node::Gone => drop(entries.remove(name)),
                node => drop(entries.insert(name.to_owned(), matches!(node, Node::Dir))),
            }
        }
        Ok(entries.into_iter().map(|(name, is_dir)| DirEntry { name, is_dir }).collect())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn device(&self, dir: &Path) -> io::Result<u64> {
        let node = self.names().get(dir).cloned();
        match (node, dir.parent()) {
            (Some(Node::Gone), _) => Err(io::ErrorKind::NotFound.into()),
            (Some(Node::File(_)), _) => Err(io::ErrorKind::NotADirectory.into()),
            (Some(Node::Dir), Some(above)) => self.device(above),
            _ => self.below.device(dir),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = self.file(from)?;
        if from == to {
            return Ok(());
        }
        let mut names = self.names();
        names.insert(to.to_owned(), Node::File(content));
        names.insert(from.to_owned(), Node::Gone);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.exists(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.names().insert(path.to_owned(), Node::Gone);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.names().insert(path.to_owned(), Node::Gone);
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.below.space(dir)
    }

    /// The lock below, if there is a file for it: making one would be writing. On a disk that
    /// cannot be written to, no lock is needed.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if !self.exists(path) {
            return Ok(Some(Box::new(NoLock)));
        }
        match self.below.lock(path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Ok(Some(Box::new(NoLock)))
            }
            locked => locked,
        }
    }
}

#[derive(Debug)]
struct NoLock;

impl Lock for NoLock {}

/// A file's bytes: pages that were written, on top of a part of a file below, on top of zeros.
#[derive(Debug, Default)]
struct Content {
    /// The file below, and how many of its bytes still count.
    below: Option<(Arc<dyn DiskFile>, u64)>,
    len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Content {
    /// The page with this number, as it is without having been written.
    fn unwritten(&self, page: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut bytes = Box::new([0; PAGE]);
        if let Some((file, len)) = &self.below {
            let at = page * PAGE as u64;
            let there = usize::try_from(len.saturating_sub(at)).unwrap_or(PAGE).min(PAGE);
            if there > 0 {
                file.read_at(at, &mut bytes[..there])?;
            }
        }
        Ok(bytes)
    }

    /// Calls `f` for each page that `len` bytes from `offset` touch: with its number, where in it
    /// they begin, and where among them it begins and ends.
    fn pages(
        offset: u64,
        len: usize,
        mut f: impl FnMut(u64, usize, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let end = (done + PAGE - within).min(len);
            f(at / PAGE as u64, within, done, end)?;
            done = end;
        }
        Ok(())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Content::pages(offset, buffer.len(), |page, within, from, to| {
            let unwritten;
            let bytes = match self.pages.get(&page) {
                Some(written) => written,
                None => {
                    unwritten = self.unwritten(page)?;
                    &unwritten
                }
            };
            buffer[from..to].copy_from_slice(&bytes[within..within + to - from]);
            Ok(())
        })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Content::pages(offset, bytes.len(), |page, within, from, to| {
            let mut written = match self.pages.remove(&page) {
                Some(written) => written,
                None => self.unwritten(page)?,
            };
            written[within..within + to - from].copy_from_slice(&bytes[from..to]);
            self.pages.insert(page, written);
            Ok(())
        })?;
        self.len = self.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        if let Some((_, below)) = &mut self.below {
            *below = (*below).min(len);
        }
        if len < self.len {
            let (last, within) = (len / PAGE as u64, usize::try_from(len % PAGE as u64));
            self.pages.retain(|page, _| *page <= last);
            if let (Some(page), Ok(within)) = (self.pages.get_mut(&last), within) {
                page[within..].fill(0);
            }
        }
        self.len = len;
    }
}

#[derive(Debug)]
struct OverlayFile {
    content: Arc<Mutex<Content>>,
}

impl OverlayFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.content().read(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.content().write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.content().set_len(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        content.len = content.len.max(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDisk;

    /// SplitMix64.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn show(disk: &dyn Disk, dir: &Path, all: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
        for entry in disk.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                all.insert(path.clone(), None);
                show(disk, &path, all);
                continue;
            }
            let file = disk.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(0, &mut bytes).unwrap();
            all.insert(path, Some(bytes));
        }
    }

    fn shown(disk: &dyn Disk) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut all = BTreeMap::new();
        show(disk, Path::new("/"), &mut all);
        all
    }

    /// Does one random operation; returns its error, if it fails.
    fn step(disk: &dyn Disk, random: &mut u64) -> Option<io::ErrorKind> {
        let mut pick = |n: u64| next(random) % n;
        let index = |n: u64| usize::try_from(n).unwrap();
        let path = |n: u64| PathBuf::from(["/a", "/b", "/d/a", "/d/b", "/e/a"][index(n)]);
        let (one, other) = (path(pick(5)), path(pick(5)));
        let (at, len) = (pick(10_000), pick(9000));
        let result = match pick(9) {
            0 => disk.open(&one, OpenMode::Create).map(drop),
            1..=3 => disk.open(&one, OpenMode::Write).and_then(|file| {
                // Within the file, as a store does.
                let at = at.min(file.len()?);
                file.write_at(at, &vec![at.to_le_bytes()[0] | 1; index(len)])
            }),
            4 => disk.open(&one, OpenMode::Write).and_then(|file| file.set_len(at)),
            5 => disk.rename(&one, &other),
            6 => disk.remove(&one),
            7 => disk.create_dir(Path::new("/e")),
            _ => disk.open(&one, OpenMode::Write).and_then(|file| file.allocate(at)),
        };
        result.err().map(|error| error.kind())
    }

    #[test]
    fn an_overlay_answers_as_a_disk_does_and_changes_nothing_below() {
        let seed = std::env::var("STASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
        println!("replay with STASH_SEED={seed}");
        for seed in seed..seed + 20 {
            let (twin, mut random) = (MemDisk::new(seed), seed);
            for name in ["/d", "/e"] {
                twin.create_dir(Path::new(name)).unwrap();
            }
            for _ in 0..20 {
                step(&twin, &mut random);
            }
            let below = twin.fork(seed);
            let (before, operations) = (shown(&below), below.operations());
            let overlay = Overlay::new(Arc::new(below.clone()));
            for n in 0..300 {
                let mut same = random;
                let wanted = step(&twin, &mut random);
                assert_eq!(step(&overlay, &mut same), wanted, "seed {seed}, step {n}");
                assert!(shown(&overlay) == shown(&twin), "seed {seed}, step {n}");
            }
            assert!(shown(&below) == before, "seed {seed}");
            assert_eq!(below.operations(), operations, "seed {seed}");
        }
    }
}
