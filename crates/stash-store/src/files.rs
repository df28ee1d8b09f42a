//! The files of a store: their paths, and making their names durable.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::chunk_dir::ChunkDir;
use crate::crew::Crew;
use crate::disk::{DiskFile, OpenMode};
use crate::error::{is_gone, is_misplaced};
use crate::nest::{nest, sha1_of};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::{Address, Disk, IoError, Nest};

/// Syncs in flight at once. A sync waits for the disk, not for a processor, and a journalling
/// file system answers those that wait together with one journal commit. Decision 0012 has figures.
const SYNCS_AT_ONCE: usize = 8;
/// Bytes of a damaged part of the log that are copied at once.
const COPY: usize = 1024 * 1024;
/// Directories remembered as durable, about 100 bytes each; beyond, all are forgotten.
const KNOWN_DIRS: usize = 70_000;

/// The thing that lies in the place of a file.
#[derive(Debug)]
pub(crate) enum Seen {
    File(Arc<dyn DiskFile>),
    Nothing,
    /// A link, a directory or something else.
    Other,
}

/// Calls `visit` with the path of every file below a directory.
pub(crate) fn each_below<E: From<IoError>>(
    disk: &dyn Disk,
    dir: &Path,
    visit: &mut dyn FnMut(PathBuf) -> Result<(), E>,
) -> Result<(), E> {
    for entry in disk.list(dir).map_err(|e| IoError::new("list", dir, e))? {
        let path = dir.join(&entry.name);
        match entry.is_dir {
            true => each_below(disk, &path, visit)?,
            false => visit(path)?,
        }
    }
    Ok(())
}

/// Knows where everything lies.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) layout: Nest,
    /// The directory of the files of blobs.
    pub(crate) chunks: ChunkDir,
    crew: Crew,
    next_tmp: AtomicU64,
    /// Directories, relative to `dir`, whose names this process has seen made durable. That a
    /// directory exists proves nothing: the process that made it may have died before its sync.
    durable: Mutex<HashSet<Box<str>>>,
}

impl Files {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        layout: Nest,
        store_id: [u8; 16],
        parallel: bool,
    ) -> Files {
        let chunks = ChunkDir::new(Arc::clone(&disk), dir.join("chunks"), store_id);
        Files {
            disk,
            dir,
            layout,
            chunks,
            // Every operation on the calling thread comes in an order that can be replayed.
            crew: Crew::new(if parallel { SYNCS_AT_ONCE } else { 1 }),
            next_tmp: AtomicU64::new(0),
            durable: Mutex::default(),
        }
    }

    pub(crate) fn chunk(&self, address: &Address) -> PathBuf {
        self.chunks.path().join(nest(&sha1_of(address.as_bytes()), self.layout))
    }

    pub(crate) fn segment(&self, id: u64) -> PathBuf {
        self.dir.join("log").join(nest(&sha1_of(&id.to_le_bytes()), self.layout))
    }

    /// A name that nothing has, in a directory that is emptied when the store is opened.
    pub(crate) fn tmp(&self) -> PathBuf {
        let n = self.next_tmp.fetch_add(1, Ordering::Relaxed);
        self.dir.join("tmp").join(n.to_string())
    }

    pub(crate) fn quarantine(&self, name: &str) -> PathBuf {
        self.dir.join("quarantine").join(name)
    }

    /// Removes the damaged files of blobs that are whole again. What stays takes room, and does no harm.
    pub(crate) fn forget_damaged(&self, blobs: &[Address]) {
        for blob in blobs {
            let path = self.chunk(blob);
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                // A small blob has none; nor has one whose file was missing.
                let _ = self.disk.remove(&self.quarantine(name));
            }
        }
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoError> {
        self.disk.open(path, mode).map_err(|e| IoError::new("open", path, e))
    }

    /// Looks at what lies in the place of a file.
    pub(crate) fn see(&self, path: &Path) -> Result<Seen, IoError> {
        match self.disk.open(path, OpenMode::Read) {
            Ok(file) => Ok(Seen::File(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Seen::Nothing),
            Err(e) if is_misplaced(&e) => Ok(Seen::Other),
            Err(e) => Err(IoError::new("open", path, e)),
        }
    }

    /// Writes a new file and leaves it unsynced. Removes it again if it cannot be written whole.
    pub(crate) fn write_tmp(&self, bytes: &[u8]) -> Result<(PathBuf, Arc<dyn DiskFile>), IoError> {
        self.write_as(OpenMode::Create, bytes)
    }

    /// The same, past the page cache: for what nobody reads again soon.
    pub(crate) fn write_direct(
        &self,
        bytes: &[u8],
    ) -> Result<(PathBuf, Arc<dyn DiskFile>), IoError> {
        self.write_as(OpenMode::CreateDirect, bytes)
    }

    fn write_as(
        &self,
        mode: OpenMode,
        bytes: &[u8],
    ) -> Result<(PathBuf, Arc<dyn DiskFile>), IoError> {
        let path = self.tmp();
        let file = self.disk.open(&path, mode).map_err(|e| IoError::new("create", &path, e))?;
        if let Err(error) = file.write_whole(bytes) {
            // Left behind at worst until the next open.
            let _ = self.disk.remove(&path);
            return Err(IoError::new("write", &path, error));
        }
        Ok((path, file))
    }

    /// Makes the marker of the directory of the files of blobs, or makes it anew, durably.
    pub(crate) fn write_marker(&self) -> Result<(), IoError> {
        let (path, bytes) = self.chunks.right_marker();
        self.replace(&path, &bytes)
    }

    /// Replaces a file as a whole, durably: whoever looks, also after a cut, finds the old one or the
    /// new one.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let (tmp, file) = self.write_tmp(bytes)?;
        let synced = file.sync().map_err(|e| IoError::new("sync", &tmp, e));
        let moves = [(tmp.clone(), path.to_owned())];
        let replaced = synced.and_then(|()| self.settle(&moves)?.into_iter().collect());
        self.or_remove(&tmp, replaced)
    }

    /// Removes a new file again that did not get its name.
    pub(crate) fn or_remove<E>(&self, tmp: &Path, named: Result<(), E>) -> Result<(), E> {
        if named.is_err() {
            // Left behind at worst until the next open.
            let _ = self.disk.remove(tmp);
        }
        named
    }

    /// The directories above a file, up to that of the store, which is not among them.
    pub(crate) fn above(&self, path: &Path) -> BTreeSet<PathBuf> {
        let below = path.ancestors().skip(1).take_while(|dir| *dir != self.dir);
        below.map(Path::to_owned).collect()
    }

    /// Gives files their final names and makes the names durable: missing directories are made,
    /// then every directory that changed is synced, each once. The files themselves are synced
    /// already. The result for a sync that failed is `Err`; what could not be renamed is told
    /// apart for each file.
    pub(crate) fn settle(
        &self,
        moves: &[(PathBuf, PathBuf)],
    ) -> Result<Vec<Result<(), IoError>>, IoError> {
        let mut changed = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(moves.len());
        for (from, to) in moves {
            outcomes.push(self.settle_one(from, to, &mut changed));
        }
        match self.sync_dirs(&changed) {
            // Somebody has taken it away since: nothing is said of the files in it, and it is not the
            // disk that failed.
            Err(error) if is_gone(&error.source) => {
                self.forget_dirs();
                return Ok(moves.iter().map(|_| Err(error.again())).collect());
            }
            synced => synced?,
        }
        let done = moves.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        self.remember(done.map(|((_, to), _)| to));
        Ok(outcomes)
    }

    fn settle_one(
        &self,
        from: &Path,
        to: &Path,
        changed: &mut BTreeSet<PathBuf>,
    ) -> Result<(), IoError> {
        let parent = to.parent().unwrap_or(&self.dir);
        self.make_dirs(parent, changed)?;
        let mut renamed = self.disk.rename(from, to);
        if matches!(&renamed, Err(e) if e.kind() == io::ErrorKind::NotFound) {
            // A directory that this process has seen made is gone.
            self.forget_dirs();
            changed.retain(|dir| !parent.starts_with(dir));
            self.make_dirs(parent, changed)?;
            renamed = self.disk.rename(from, to);
        }
        renamed.map_err(|e| IoError::new("rename", to, e))?;
        changed.insert(parent.to_owned());
        Ok(())
    }

    /// Forgets which directories are there.
    fn forget_dirs(&self) {
        lock(&self.durable).clear();
    }

    fn relative<'a>(&self, dir: &'a Path) -> Option<&'a str> {
        dir.strip_prefix(&self.dir).ok().and_then(Path::to_str)
    }

    /// Makes a directory and its parents below the store's, noting which directories have to be
    /// synced for their names to be durable.
    fn make_dirs(&self, dir: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), IoError> {
        let Some(relative) = self.relative(dir).filter(|r| !r.is_empty()) else {
            return Ok(());
        };
        if lock(&self.durable).contains(relative) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(&self.dir);
        if changed.contains(parent) && changed.contains(dir) {
            return Ok(());
        }
        if dir == self.chunks.path() {
            // It was made with the store. One that is not there is away, and another one in its place
            // would take what belongs into it.
            changed.insert(parent.to_owned());
            return Ok(());
        }
        let mut made = self.disk.create_dir(dir);
        if matches!(&made, Err(e) if e.kind() == io::ErrorKind::NotFound) {
            self.make_dirs(parent, changed)?;
            made = self.disk.create_dir(dir);
        } else {
            self.make_dirs(parent, changed)?;
        }
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(IoError::new("make directory", dir, e));
            }
            _ => changed.insert(parent.to_owned()),
        };
        Ok(())
    }

    fn remember<'a>(&self, files: impl Iterator<Item = &'a PathBuf>) {
        let mut durable = lock(&self.durable);
        if durable.len() > KNOWN_DIRS {
            durable.clear();
        }
        for to in files {
            let mut dir = to.parent();
            while let Some(relative) = dir.and_then(|d| self.relative(d)).filter(|r| !r.is_empty())
            {
                if !durable.insert(relative.into()) {
                    break;
                }
                dir = dir.and_then(Path::parent);
            }
        }
    }

    /// Removes the file of a blob that is gone: the directory to be synced for it.
    pub(crate) fn remove_chunk(&self, address: &Address) -> Option<PathBuf> {
        let path = self.chunk(address);
        if let Err(error) = self.disk.remove(&path) {
            // Invisible already; only its room is not free.
            tracing::warn!(%address, %error, "the file of a chunk that is gone stays");
            return None;
        }
        path.parent().map(Path::to_owned)
    }

    /// Removes files, and makes that durable. One that is gone already is no error.
    pub(crate) fn remove_durably(
        &self,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<(), IoError> {
        let mut changed = BTreeSet::new();
        for path in paths {
            match self.disk.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(IoError::new("remove", &path, e));
                }
                _ => changed.extend(path.parent().map(Path::to_owned)),
            }
        }
        self.sync_dirs(&changed)
    }

    /// Makes it durable that files were removed. A directory that is gone has none of them any more.
    pub(crate) fn sync_emptied(&self, dirs: &BTreeSet<PathBuf>) -> Result<(), IoError> {
        let one = |dir: &PathBuf| match self.sync_dirs(&BTreeSet::from([dir.clone()])) {
            Err(error) if is_gone(&error.source) => Ok(()),
            synced => synced,
        };
        match self.sync_dirs(dirs) {
            Err(error) if is_gone(&error.source) => dirs.iter().try_for_each(one),
            synced => synced,
        }
    }

    /// Keeps a copy of a damaged part of the log in `quarantine/`, unless there is one.
    pub(crate) fn keep_copy(&self, segment: u64, from: u64, to: u64) -> Result<(), IoError> {
        let kept = self.quarantine(&format!("log-{segment}-{from}"));
        if from >= to || self.disk.open(&kept, OpenMode::Read).is_ok() {
            return Ok(());
        }
        let path = self.segment(segment);
        let read = |e| IoError::new("read", &path, e);
        let file = self.disk.open(&path, OpenMode::Read).map_err(read)?;
        let (mut at, end) = (from, to.min(file.len().map_err(read)?));
        let (tmp, copy) = self.write_tmp(&[])?;
        let mut bytes = Vec::new();
        let mut copied = Ok(());
        while at < end && copied.is_ok() {
            bytes.resize(usize::try_from(end - at).unwrap_or(COPY).min(COPY), 0);
            copied = file.read_at(at, &mut bytes).map_err(read).and_then(|()| {
                let write = |e| IoError::new("write", &tmp, e);
                copy.write_at(at - from, &bytes).map_err(write)
            });
            at += bytes.len() as u64;
        }
        let copied = copied.and_then(|()| {
            self.disk.rename(&tmp, &kept).map_err(|e| IoError::new("rename", &kept, e))
        });
        self.or_remove(&tmp, copied)
    }

    /// Syncs directories, several at a time.
    pub(crate) fn sync_dirs(&self, dirs: &BTreeSet<PathBuf>) -> Result<(), IoError> {
        let disk = Arc::clone(&self.disk);
        let sync = move |dir: &PathBuf| {
            disk.sync_dir(dir).map_err(|e| IoError::new("sync directory", dir, e))
        };
        self.crew.each(dirs.iter().cloned().collect(), sync).into_iter().collect()
    }

    /// Syncs new files, several at a time. Those that a full disk did not take are told apart; the
    /// sync of another one failed if all of it is an error.
    pub(crate) fn sync_files(
        &self,
        files: &[(PathBuf, Arc<dyn DiskFile>)],
    ) -> Result<Vec<Result<(), IoError>>, IoError> {
        let sync = |(path, file): &(PathBuf, Arc<dyn DiskFile>)| {
            file.sync().map_err(|e| IoError::new("sync", path, e))
        };
        let full = |outcome: Result<(), IoError>| match outcome {
            Err(error) if !error.is_full() => Err(error),
            outcome => Ok(outcome),
        };
        self.crew.each(files.to_vec(), sync).into_iter().map(full).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDisk;
    use crate::sync::thread;

    /// A file without bytes, which a full disk takes or does not.
    #[derive(Debug)]
    struct New {
        is_taken: bool,
    }

    impl DiskFile for New {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }

        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn allocate(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            thread::yield_now();
            if self.is_taken { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
    }

    /// Set for the run of a test in which no thread can be started.
    const ALONE: &str = "STASH_STORE_ALONE";

    #[test]
    fn where_no_thread_can_be_started_the_caller_does_all_of_it() {
        if std::env::var_os(ALONE).is_none() {
            // Again, in a process whose threads would need more memory than there is.
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.env(ALONE, "1").env("RUST_MIN_STACK", (1_u64 << 50).to_string());
            again.args(["--exact", "--test-threads=1"]);
            again.arg("files::tests::where_no_thread_can_be_started_the_caller_does_all_of_it");
            let output = again.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let refused = thread::Builder::new().spawn(|| ());
        assert!(refused.is_err(), "the test means nothing");
        let files =
            Files::new(Arc::new(MemDisk::new(1)), "/".into(), Nest::default(), [0; 16], true);
        let doubled = files.crew.each((0..100).collect(), |n: &u64| n * 2);
        assert_eq!(doubled, (0..200).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_told_of_the_files_that_it_did_not() {
        let disk = Arc::new(MemDisk::new(1));
        let files = Files::new(disk, "/".into(), Nest::default(), [0; 16], true);
        for round in 0..500 {
            let taken: Vec<bool> = (0..16).map(|n| n % 5 != round % 5).collect();
            let new = |is_taken: &bool| {
                let file: Arc<dyn DiskFile> = Arc::new(New { is_taken: *is_taken });
                (PathBuf::from("/new"), file)
            };
            let new: Vec<_> = taken.iter().map(new).collect();
            let outcomes = files.sync_files(&new).unwrap();
            let told: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
            assert_eq!(told, taken, "round {round}");
        }
    }
}
