//! Files of blobs that no entry of the log announces: what a power cut may leave.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use crate::index::ChunkRow;
use crate::nest::sha1_of;
use crate::shared::Shared;
use crate::{Address, CollectError, IoError, MAX_BLOB_BYTES, OpenMode, ReadError, hex};

/// Names of announced files that are remembered at once, about 70 bytes each; with more of them,
/// the index is read several times.
const REMEMBERED: u64 = 131_072;
/// Rows of the index read at once.
const PAGE: usize = 4096;

/// Looks through `chunks/`, a directory at a time.
#[derive(Debug)]
pub(crate) struct Strays {
    /// Names in `chunks/` that are still to be looked at.
    todo: VecDeque<String>,
    /// Names in `chunks/` for which `announced` is complete.
    known: BTreeSet<String>,
    /// Names of announced files below the names in `known`.
    announced: BTreeSet<[u8; 20]>,
    /// Names that `known` has at most.
    at_once: usize,
}

/// What one step found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes read, about.
    pub(crate) work: u64,
}

impl Strays {
    /// Looks at one name below `chunks/`; `None` once there is none left.
    pub(crate) fn step(&mut self, shared: &Shared) -> Result<Option<Removed>, CollectError> {
        let Some(name) = self.todo.pop_front() else {
            return Ok(None);
        };
        if !self.known.contains(&name) {
            self.learn(shared, &name)?;
        }
        let mut removed = Removed::default();
        let path = shared.files.dir.join("chunks").join(&name);
        self.walk(shared, &path, &mut removed)?;
        Ok(Some(removed))
    }

    /// Reads from the index which files are announced below `name` and those after it.
    fn learn(&mut self, shared: &Shared, name: &str) -> Result<(), CollectError> {
        let next = self.todo.iter().take(self.at_once.saturating_sub(1)).cloned();
        self.known = std::iter::once(name.to_owned()).chain(next).collect();
        self.announced.clear();
        let mut after = None;
        loop {
            let index = shared.index();
            let page = index.chunks_after(after, PAGE).map_err(ReadError::from)?;
            for (address, row) in &page {
                let path = shared.files.chunk(address);
                if matches!(row, ChunkRow::File { .. }) && self.knows(shared, &path) {
                    self.announced.insert(sha1_of(address.as_bytes()));
                }
            }
            match page.last() {
                Some((last, _)) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }

    fn knows(&self, shared: &Shared, path: &Path) -> bool {
        let below = path.strip_prefix(shared.files.dir.join("chunks")).ok();
        let name = below.and_then(|path| path.iter().next()?.to_str());
        name.is_some_and(|name| self.known.contains(name))
    }

    fn walk(&self, shared: &Shared, path: &Path, sum: &mut Removed) -> Result<(), CollectError> {
        let disk = &*shared.files.disk;
        let entries = match disk.list(path) {
            Ok(entries) => entries,
            // A file, in a layout without directories.
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                return self.look(shared, path, sum);
            }
            Err(e) => return Err(IoError::new("list", path, e).into()),
        };
        for entry in entries {
            let path = path.join(&entry.name);
            sum.work += 64;
            if entry.is_dir {
                self.walk(shared, &path, sum)?;
            } else {
                self.look(shared, &path, sum)?;
            }
        }
        Ok(())
    }

    fn look(&self, shared: &Shared, path: &Path, sum: &mut Removed) -> Result<(), CollectError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(hex::decode).and_then(|name| <[u8; 20]>::try_from(name).ok());
        if digits.is_some_and(|digits| self.announced.contains(&digits)) {
            return Ok(());
        }
        let Some(bytes) = read(shared, path)? else {
            return Ok(());
        };
        let (address, len) = (Address::of(&bytes), bytes.len() as u64);
        sum.work += len;
        if shared.files.chunk(&address) == *path {
            // Announced since the index was read, or about to be.
            if !shared.stage.collecting(&address) {
                return Ok(());
            }
            let removed = remove_unannounced(shared, &address, path);
            shared.stage.evicted(&[address]);
            if !removed? {
                return Ok(());
            }
        } else {
            // Not something that this store put here under this name.
            let aside = shared.files.quarantine(name.unwrap_or("stray"));
            let renamed = shared.files.disk.rename(path, &aside);
            renamed.map_err(|e| IoError::new("rename", path, e))?;
            tracing::warn!(path = %path.display(), "a file that is no blob was quarantined");
            return Ok(());
        }
        tracing::info!(path = %path.display(), len, "a file that nothing announces was removed");
        sum.files += 1;
        sum.bytes += len;
        Ok(())
    }
}

fn remove_unannounced(
    shared: &Shared,
    address: &Address,
    path: &Path,
) -> Result<bool, CollectError> {
    let row = shared.index().chunk(address).map_err(ReadError::from)?;
    if matches!(row, Some(ChunkRow::File { .. })) {
        return Ok(false);
    }
    shared.files.remove_durably(std::iter::once(path.to_owned()))?;
    Ok(true)
}

/// The bytes of a file; `None` if it is gone, or longer than a blob can be.
fn read(shared: &Shared, path: &Path) -> Result<Option<Vec<u8>>, CollectError> {
    let file = match shared.files.disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(IoError::new("open", path, e).into()),
    };
    let failed = |e| IoError::new("read", path, e);
    let len = file.len().map_err(failed)?;
    if len > MAX_BLOB_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

impl Shared {
    /// Begins to look for files that nothing announces.
    pub(crate) fn strays(&self) -> Result<Strays, CollectError> {
        let path = self.files.dir.join("chunks");
        let entries = self.files.disk.list(&path).map_err(|e| IoError::new("list", &path, e))?;
        let mut todo: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        todo.sort_unstable();
        let chunks = crate::commit::lock(&self.figures).state.chunks;
        let parts = usize::try_from(chunks.div_ceil(REMEMBERED)).unwrap_or(usize::MAX).max(1);
        let at_once = todo.len().div_ceil(parts).max(1);
        let (known, announced) = (BTreeSet::new(), BTreeSet::new());
        Ok(Strays { todo: todo.into(), known, announced, at_once })
    }
}
