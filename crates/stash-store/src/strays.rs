//! Files of blobs that no entry of the log announces: what a power cut may leave.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::chunk_dir::MARKER;
use crate::error::{CollectError, is_misplaced, is_unreadable};
use crate::files::Seen;
use crate::index::ChunkRow;
use crate::nest::sha1_of;
use crate::open::Open;
use crate::{Address, IoError, MAX_BLOB_BYTES, ReadError, hex};

/// Announced files that are remembered at once, 8 bytes each; with more of them, the index is read several
/// times.
const REMEMBERED: u64 = 4 << 20;
/// Rows of the index that are read in one step.
const ROWS: usize = 4_096;

/// Looks through `chunks/`, a directory at a time.
#[derive(Debug)]
pub(crate) struct Strays {
    /// Names in `chunks/` that are still to be looked at.
    todo: VecDeque<String>,
    /// Names in `chunks/` for which `announced` is complete, or will be.
    known: BTreeSet<String>,
    /// Marks of announced files below the names in `known`, sorted.
    announced: Vec<u64>,
    /// Up to where the index has been read for them; `None` once all of it has.
    learning: Option<Option<Address>>,
    /// Names that `known` has at most.
    at_once: usize,
}

/// The first eight bytes of a name. Among ten million files, two have the same once in 400,000 stores.
fn mark_of(name: &[u8; 20]) -> u64 {
    let (first, _) = name.split_first_chunk().expect("20 bytes have a first 8");
    u64::from_be_bytes(*first)
}

/// A file that the index did not name when it was asked. It may have been announced since.
#[derive(Debug)]
pub(crate) struct StrayFile {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// The blob that it is. `None` if it does not lie where its bytes belong: it is not something
    /// that a store put there.
    pub(crate) address: Option<Address>,
}

/// The results of one step of removing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Blobs that are here again.
    pub(crate) back: u64,
    /// Bytes read, about.
    pub(crate) work: u64,
}

impl Strays {
    /// Begins to look for files that nothing announces.
    pub(crate) fn begin(open: &Open) -> Result<Strays, ReadError> {
        open.ground.look()?;
        let path = open.ground.files.chunks.path();
        let entries =
            open.ground.files.disk.list(path).map_err(|e| IoError::new("list", path, e))?;
        let names = entries.into_iter().map(|entry| entry.name);
        let mut todo: Vec<String> = names.filter(|name| name != MARKER).collect();
        todo.sort_unstable();
        let chunks = open.commits.figures().state.chunks;
        let parts = usize::try_from(chunks.div_ceil(REMEMBERED)).unwrap_or(usize::MAX).max(1);
        let at_once = todo.len().div_ceil(parts).max(1);
        let (known, announced) = (BTreeSet::new(), Vec::new());
        Ok(Strays { todo: todo.into(), known, announced, learning: None, at_once })
    }

    /// Reads a part of the index, or looks at one name below `chunks/` and removes what nothing announces.
    /// `None` once there is no name left.
    pub(crate) fn remove(&mut self, open: &Open) -> Result<Option<Removed>, CollectError> {
        let mut removed = Removed::default();
        let work = self.step(open, &mut |stray| removed.add(open, &stray))?;
        Ok(work.map(|work| Removed { work, ..removed }))
    }

    /// Reads a part of the index, or looks at one name below `chunks/` and hands over what the index does not
    /// name. Bytes read, about; `None` once there is no name left.
    pub(crate) fn step<E: From<ReadError>>(
        &mut self,
        open: &Open,
        take: &mut dyn FnMut(StrayFile) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        if let Some(after) = self.learning {
            return Ok(Some(self.learn(open, after)?));
        }
        let Some(name) = self.todo.pop_front() else {
            return Ok(None);
        };
        if !self.known.contains(&name) {
            self.todo.push_front(name);
            self.known = self.todo.iter().take(self.at_once).cloned().collect();
            self.announced.clear();
            self.learning = Some(None);
            return Ok(Some(0));
        }
        let path = open.ground.files.chunks.path().join(&name);
        self.walk(open, &path, take).map(Some)
    }

    /// Reads from a part of the index which files are announced below the names in `known`. Bytes read, about.
    fn learn(&mut self, open: &Open, after: Option<Address>) -> Result<u64, ReadError> {
        let rows = open.ground.index().chunks_after(after, ROWS)?;
        for (address, row) in &rows {
            if matches!(row, ChunkRow::File { .. })
                && self.knows(open, &open.ground.files.chunk(address))
            {
                self.announced.push(mark_of(&sha1_of(address.as_bytes())));
            }
        }
        self.learning = rows.last().map(|(last, _)| Some(*last));
        if self.learning.is_none() {
            self.announced.sort_unstable();
        }
        Ok(rows.len() as u64 * 64)
    }

    fn knows(&self, open: &Open, path: &Path) -> bool {
        let below = path.strip_prefix(open.ground.files.chunks.path()).ok();
        let name = below.and_then(|path| path.iter().next()?.to_str());
        name.is_some_and(|name| self.known.contains(name))
    }

    fn walk<E: From<ReadError>>(
        &self,
        open: &Open,
        path: &Path,
        take: &mut dyn FnMut(StrayFile) -> Result<(), E>,
    ) -> Result<u64, E> {
        let entries = match open.ground.files.disk.list(path) {
            Ok(entries) => entries,
            // A file, in a layout without directories; or a link.
            Err(e) if is_misplaced(&e) => return self.look(open, path, take),
            Err(e) => return Err(ReadError::from(IoError::new("list", path, e)).into()),
        };
        let mut work = 0;
        for entry in entries {
            let path = path.join(&entry.name);
            work += 64;
            work += match entry.is_dir {
                true => self.walk(open, &path, take)?,
                false => self.look(open, &path, take)?,
            };
        }
        Ok(work)
    }

    fn look<E: From<ReadError>>(
        &self,
        open: &Open,
        path: &Path,
        take: &mut dyn FnMut(StrayFile) -> Result<(), E>,
    ) -> Result<u64, E> {
        let name = path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(hex::decode).and_then(|name| <[u8; 20]>::try_from(name).ok());
        let is_announced = |digits| self.announced.binary_search(&mark_of(&digits)).is_ok();
        if digits.is_some_and(is_announced) {
            return Ok(0);
        }
        let Some(stray) = identify(open, path)? else {
            return Ok(0);
        };
        let len = stray.len;
        take(stray)?;
        Ok(len)
    }
}

impl Removed {
    fn add(&mut self, open: &Open, stray: &StrayFile) -> Result<(), CollectError> {
        let path = &stray.path;
        let Some(address) = stray.address else {
            return Ok(stray.set_aside(open)?);
        };
        // Taken for lost when it was not there, or never heard of here, and named by a record.
        let len = u32::try_from(stray.len).unwrap_or(u32::MAX);
        if open.take_back(address, len, path)? {
            self.back += 1;
            return Ok(());
        }
        let is_stray = |_: &dyn Fn(&ChunkRow) -> bool| {
            let row = open.ground.index().chunk(&address).map_err(ReadError::from)?;
            Ok::<_, ReadError>(!matches!(row, Some(ChunkRow::File { .. })))
        };
        // Announced since the index was read, or about to be.
        if !open.stage.hold(&address, is_stray)? {
            return Ok(());
        }
        let removed = remove_if_there(open, path);
        open.stage.evicted(&[address]);
        if removed? {
            let len = stray.len;
            tracing::info!(path = %path.display(), len, "removed a file that nothing announces");
            self.files += 1;
            self.bytes += len;
        }
        Ok(())
    }
}

impl StrayFile {
    /// Moves it to `quarantine/`.
    pub(crate) fn set_aside(&self, open: &Open) -> Result<(), ReadError> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        let aside = open.ground.files.quarantine(name.unwrap_or("stray"));
        let renamed = open.ground.files.disk.rename(&self.path, &aside);
        renamed.map_err(|e| IoError::new("rename", &self.path, e))?;
        // A power cut may have left the file under both names; then nothing was renamed.
        let _ = open.ground.files.disk.remove(&self.path);
        tracing::warn!(path = %self.path.display(), "a file that is no blob was quarantined");
        Ok(())
    }
}

/// False if somebody else has removed it.
fn remove_if_there(open: &Open, path: &Path) -> Result<bool, IoError> {
    match open.ground.files.see(path) {
        Ok(Seen::Nothing) => Ok(false),
        _ => open.ground.files.remove_durably(std::iter::once(path.to_owned())).map(|()| true),
    }
}

/// Identifies a file; no blob if it is too long for one, or cannot be read. `None` if it is gone.
fn identify(open: &Open, path: &Path) -> Result<Option<StrayFile>, ReadError> {
    let stray = |len, address| Ok(Some(StrayFile { path: path.to_owned(), len, address }));
    let file = match open.ground.files.see(path)? {
        Seen::File(file) => file,
        Seen::Nothing => return Ok(None),
        Seen::Other => return stray(0, None),
    };
    let failed = |e| ReadError::from(IoError::new("read", path, e));
    let len = file.len().map_err(failed)?;
    if len > MAX_BLOB_BYTES {
        return stray(len, None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    match file.read_at(0, &mut bytes) {
        Ok(()) => {}
        Err(error) if is_unreadable(&error) => return stray(len, None),
        Err(error) => return Err(failed(error)),
    }
    let address = Address::of(&bytes);
    stray(len, (open.ground.files.chunk(&address) == *path).then_some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sync::Arc;
    use crate::{Batch, Blob, Committer, MemDisk, Options, Store};

    #[test]
    fn what_is_announced_is_no_stray_however_few_names_are_known_at_once() {
        let disk = MemDisk::new(1);
        let options = Options {
            committer: Committer::Inline,
            small: 1,
            disk: Arc::new(disk.clone()),
            ..Options::default()
        };
        let store = Store::create(Path::new("/store"), &options).unwrap();
        let blob = |n: u64| Blob::hash(n.to_le_bytes().to_vec());
        for n in 0..600 {
            store.stage(blob(n)).unwrap();
        }
        store.commit(Batch::new()).unwrap();
        // What a power cut leaves: files under right names that the log says nothing of.
        let open = store.parts();
        let mut left: Vec<PathBuf> =
            (600..640).map(|n| open.ground.files.chunk(&blob(n).address())).collect();
        left.sort_unstable();
        for (n, path) in (600..640).map(|n| (n, open.ground.files.chunk(&blob(n).address()))) {
            // It is there, or made now.
            let _ = open.ground.files.disk.create_dir(path.parent().unwrap());
            let file = open.ground.files.open(&path, crate::disk::OpenMode::Create).unwrap();
            file.write_at(0, blob(n).bytes()).unwrap();
        }
        for at_once in [1, 7, 1_000] {
            let mut strays = Strays { at_once, ..Strays::begin(open).unwrap() };
            let (mut found, mut learned) = (Vec::new(), BTreeSet::new());
            let mut take = |stray: StrayFile| {
                found.push(stray.path);
                Ok::<_, ReadError>(())
            };
            while strays.step(open, &mut take).unwrap().is_some() {
                learned.insert(strays.known.first().cloned());
            }
            found.sort_unstable();
            assert_eq!(found, left, "{at_once}");
            assert_eq!(learned.len() > 1, at_once < 1_000, "one pass, or several");
        }
    }
}
