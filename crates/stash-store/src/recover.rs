//! Opening: what is on disk becomes a log writer and an index that agree.

mod rebuild;
mod replay;
mod segments;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Lock, OpenMode};
use crate::files::Files;
use crate::format::{Features, Format};
use crate::index::{Head, Index, IndexError};
use crate::log::{AppendError, LogWriter, Position, SEGMENT_HEADER, SegmentFile, create_segment};
use crate::sync::Arc;
use crate::{Disk, IoError, OpenError, OpenReport, Options};
pub(crate) use rebuild::rebuild;
use replay::Replay;
use segments::Found;

/// Everything that an open store is made of.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) files: Arc<Files>,
    pub(crate) log: LogWriter,
    pub(crate) index: Index,
    pub(crate) head: Head,
    pub(crate) report: OpenReport,
    /// Segments that should be there and are not.
    pub(crate) missing: Vec<u64>,
    pub(crate) lock: Box<dyn Lock>,
}

const DIRS: [&str; 4] = ["chunks", "log", "quarantine", "tmp"];

fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |e| OpenError::Io(IoError::new(op, path, e))
}

fn from_append(error: AppendError) -> OpenError {
    match error {
        AppendError::Undone(error) | AppendError::Broken(error) => OpenError::Io(error),
    }
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, OpenError> {
    let path = dir.join("LOCK");
    let lock = disk.lock(&path).map_err(io_error("lock", &path))?;
    lock.ok_or_else(|| OpenError::Locked { dir: dir.to_owned() })
}

fn files(options: &Options, dir: &Path, format: &Format) -> Arc<Files> {
    let parallel = options.committer == crate::Committer::Thread;
    let disk = Arc::clone(&options.disk);
    Arc::new(Files::new(disk, dir.to_owned(), format.layout, format.store_id, parallel))
}

/// Makes an empty store. FORMAT comes last: without it, there is no store.
pub(crate) fn create(dir: &Path, options: &Options) -> Result<(), OpenError> {
    let disk = &*options.disk;
    let dir = make_dir(disk, dir)?;
    let names = disk.list(&dir).map_err(io_error("list", &dir))?;
    let ours = |name: &str| name == "LOCK" || name == "lost+found" || DIRS.contains(&name);
    if let Some(entry) = names.into_iter().find(|entry| !ours(&entry.name)) {
        return Err(OpenError::Occupied { dir, found: entry.name });
    }
    let _lock = lock(disk, &dir)?;
    make_dirs(disk, &dir, &DIRS)?;
    // What a creation that was cut short left behind.
    clear(disk, &dir.join("tmp"))?;
    clear(disk, &dir.join("log"))?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => random_seed().map_err(io_error("draw randomness for", &dir))?,
    };
    let format = Format::from_seed(&seed, options.layout);
    let files = files(options, &dir, &format);
    create_segment(&files, &format, 1, 1).map_err(from_append)?;
    files.write_marker()?;
    Ok(write_format(&files, &format)?)
}

/// Replaces FORMAT as a whole, durably: whoever looks, also after a cut, finds the old one or the
/// new one.
pub(crate) fn write_format(files: &Files, format: &Format) -> Result<(), IoError> {
    let (tmp, file) = files.write_tmp(&format.encode())?;
    file.sync().map_err(|e| IoError::new("sync", &tmp, e))?;
    files.settle(&[(tmp, files.dir.join("FORMAT"))])?.into_iter().collect()
}

/// Brings FORMAT up to what this program needs and the segments tell, before anything is written
/// that asks for it. A cut leaves the store as it was, or with the new FORMAT; what is left to do
/// then is done on the next open.
fn migrate(
    files: &Files,
    format: Format,
    found: &[Found],
    options: &Options,
) -> Result<Format, OpenError> {
    let copies = found.iter().filter_map(|segment| segment.features);
    let features = copies.fold(format.features, Features::and).and(Features::NEEDED);
    if features == format.features {
        // What a migration that was cut short left behind; not there, nearly always.
        Index::remove_old(files)?;
        return Ok(format);
    }
    let format = Format { features, ..format };
    admit(&format, &files.dir, options)?;
    match write_format(files, &format) {
        // The old index gives the room for it, and must go in any case.
        Err(error) if error.is_full() => {
            Index::remove_old(files)?;
            write_format(files, &format)?;
        }
        written => written?,
    }
    Index::remove_old(files)?;
    Ok(format)
}

/// Makes those of these directories that are not there, without making their names durable.
fn make_dirs(disk: &dyn Disk, dir: &Path, names: &[&str]) -> Result<(), OpenError> {
    for name in names {
        let path = dir.join(name);
        match disk.create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("make directory", &path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn random_seed() -> io::Result<[u8; 32]> {
    use rand::TryRng;
    let mut seed = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// A number that an index of this store never began with before.
fn salt(options: &Options, found: &[Found]) -> Result<u64, OpenError> {
    let seed = match options.seed {
        // For simulators: another one whenever the log has grown.
        Some(seed) => {
            let bytes: u64 = found.iter().map(|segment| segment.len).sum();
            *blake3::keyed_hash(&seed, &bytes.to_le_bytes()).as_bytes()
        }
        None => random_seed().map_err(io_error("draw randomness for", Path::new("the index")))?,
    };
    Ok(u64::from_le_bytes(*seed.first_chunk().expect("32 bytes have a first 8")))
}

fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<PathBuf, OpenError> {
    match disk.resolve(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        result => return result.map_err(io_error("open", dir)),
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io_error("open", dir)(io::ErrorKind::NotFound.into())),
    };
    let parent = disk.resolve(parent).map_err(io_error("open", parent))?;
    let made = dir.file_name().map_or_else(|| dir.to_owned(), |name| parent.join(name));
    disk.create_dir(&made).map_err(io_error("make directory", &made))?;
    disk.sync_dir(&parent).map_err(io_error("sync directory", &parent))?;
    disk.resolve(&made).map_err(io_error("open", &made))
}

/// Removes all files below a directory. How many there were.
fn clear(disk: &dyn Disk, dir: &Path) -> Result<u64, OpenError> {
    let mut removed = 0;
    for entry in disk.list(dir).map_err(io_error("list", dir))? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            removed += clear(disk, &path)?;
        } else {
            disk.remove(&path).map_err(io_error("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn read_format(disk: &dyn Disk, dir: &Path) -> Result<Format, OpenError> {
    let path = dir.join("FORMAT");
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::NoStore { dir: dir.to_owned() });
        }
        Err(e) => return Err(io_error("open", &path)(e)),
    };
    let len = file.len().map_err(io_error("read", &path))?;
    let mut bytes = vec![0; usize::try_from(len.min(4096)).unwrap_or(0)];
    file.read_at(0, &mut bytes).map_err(io_error("read", &path))?;
    Format::decode(&bytes, dir)
}

/// Opens a store. The order is that of the format document's recovery section.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    let disk = &*options.disk;
    let dir = resolve(disk, dir)?;
    let format = read_format(disk, &dir)?;
    admit(&format, &dir, options)?;
    let lock = lock(disk, &dir)?;
    assemble(dir, options, format, lock)
}

fn resolve(disk: &dyn Disk, dir: &Path) -> Result<PathBuf, OpenError> {
    match disk.resolve(dir) {
        Ok(dir) => Ok(dir),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::NoStore { dir: dir.to_owned() })
        }
        Err(e) => Err(io_error("open", dir)(e)),
    }
}

/// Refuses a store that is another one, or must not be written to.
fn admit(format: &Format, dir: &Path, options: &Options) -> Result<(), OpenError> {
    if !options.read_only {
        format.may_write(dir)?;
    }
    match options.expect_store {
        Some(expected) if expected != format.store_id => {
            Err(OpenError::WrongStore { expected, got: format.store_id })
        }
        _ => Ok(()),
    }
}

/// Opens a store whose FORMAT is known, and which is locked.
fn assemble(
    dir: PathBuf,
    options: &Options,
    format: Format,
    lock: Box<dyn Lock>,
) -> Result<Opened, OpenError> {
    let disk = &*options.disk;
    let files = files(options, &dir, &format);
    // Some that copy a store leave empty directories out.
    make_dirs(disk, &dir, &["quarantine", "tmp"])?;
    let mut report =
        OpenReport { tmp_removed: clear(disk, &dir.join("tmp"))?, ..OpenReport::default() };
    let mut found = segments::find(&files, &format, &mut report)?;
    let format = migrate(&files, format, &found, options)?;
    let (index, head) = load(&files, &format, options, &found, true, &mut report)?;
    let missing = segments::report_gaps(&found, &head.usage, &mut report);
    remove_retired(&files, &head, &index, &mut found)?;
    let end = head.state.position;
    let path = files.segment(end.segment);
    let file = disk.open(&path, OpenMode::Write).map_err(io_error("open", &path))?;
    let stale = found.last().is_none_or(|last| last.features != Some(format.features));
    let segment = |s: &Found| (s.id, SegmentFile { first_sequence: s.first_sequence, len: s.len });
    let log = LogWriter {
        files: Arc::clone(&files),
        format,
        file,
        end,
        next_sequence: head.state.next_sequence,
        segment_bytes: options.segment_bytes.clamp(4096, 1 << 30),
        stale,
        segments: found.iter().map(segment).collect::<BTreeMap<_, _>>(),
        full_bytes: found.iter().filter(|s| s.id != end.segment).map(|s| s.len).sum(),
        spare: Vec::new(),
    };
    Ok(Opened { files, log, index, head, report, missing, lock })
}

/// Removes segments that are no longer part of the log, once the index on disk says so, too.
fn remove_retired(
    files: &Files,
    head: &Head,
    index: &Index,
    found: &mut Vec<Found>,
) -> Result<(), OpenError> {
    if index.waiting_bytes() > 0 || index.is_frozen() {
        return Ok(());
    }
    let retired: Vec<u64> =
        found.iter().map(|s| s.id).filter(|id| head.usage.is_retired(*id)).collect();
    files.remove_durably(retired.iter().map(|id| files.segment(*id)))?;
    found.retain(|segment| !retired.contains(&segment.id));
    Ok(())
}

/// Opens the index and brings it up to the end of the log; makes it anew if it cannot be trusted.
/// With `cut`, an unacknowledged end of the log is removed.
fn load(
    files: &Arc<Files>,
    format: &Format,
    options: &Options,
    found: &[Found],
    cut: bool,
    report: &mut OpenReport,
) -> Result<(Index, Head), OpenError> {
    let damage = report.damage.len();
    match try_load(files, format, options, found, cut, false, report) {
        Ok(loaded) => Ok(loaded),
        Err(LoadError::Open(error)) => Err(error),
        Err(LoadError::Index(IndexError(why))) => {
            tracing::warn!(%why, "rebuilding the index from the log");
            let torn = report.torn_bytes;
            report.replayed = 0;
            report.damage.truncate(damage);
            report.index_rebuilt = Some(why);
            let again = try_load(files, format, options, found, cut, true, report);
            report.torn_bytes = report.torn_bytes.max(torn);
            again.map_err(|error| match error {
                LoadError::Open(error) => error,
                LoadError::Index(IndexError(why)) => OpenError::Damaged {
                    what: format!("the index of {} cannot be rebuilt: {why}", files.dir.display()),
                },
            })
        }
    }
}

enum LoadError {
    Open(OpenError),
    Index(IndexError),
}

impl From<OpenError> for LoadError {
    fn from(error: OpenError) -> LoadError {
        LoadError::Open(error)
    }
}

impl From<IndexError> for LoadError {
    fn from(error: IndexError) -> LoadError {
        LoadError::Index(error)
    }
}

fn try_load(
    files: &Arc<Files>,
    format: &Format,
    options: &Options,
    found: &[Found],
    cut: bool,
    anew: bool,
    report: &mut OpenReport,
) -> Result<(Index, Head), LoadError> {
    if anew {
        Index::wipe(files).map_err(OpenError::Io)?;
    }
    let (index, head) = Index::open(
        files,
        &format.log_key,
        format.store_id,
        options.cache_bytes,
        salt(options, found)?,
    )?;
    if head.is_none() && !anew && found.iter().any(|segment| segment.len > SEGMENT_HEADER) {
        return Err(IndexError("there is none".into()).into());
    }
    let first = Position { segment: found[0].id, offset: SEGMENT_HEADER };
    let start = head.as_ref().map_or(first, |head| head.state.position);
    let covered = |s: &&Found| s.id == start.segment && start.offset <= s.len;
    if !found.iter().any(|s| covered(&s)) {
        return Err(IndexError(format!(
            "the log ends before segment {} offset {}, up to where the index has read it",
            start.segment, start.offset
        ))
        .into());
    }
    let memory = options.memory_bytes;
    let mut replay = Replay::new(&index, files, format, head.unwrap_or_default(), memory, report);
    let end = replay.run(found, start, cut)?;
    if cut {
        replay.remove_gone(end)?;
    }
    let head = replay.finish(end)?;
    Ok((index, head))
}

/// Makes the index anew while the store is open, after it failed. The log is at rest, whole, and
/// ends at `log.end`.
pub(crate) fn reload(
    log: &LogWriter,
    options: &Options,
) -> Result<(Index, Head, Vec<String>), OpenError> {
    let mut report = OpenReport::default();
    let mut found = segments::find(&log.files, &log.format, &mut report)?;
    // Where beginning the next one failed, its file may be there, and is no part of the log yet.
    found.retain(|segment| segment.id <= log.end.segment);
    match try_load(&log.files, &log.format, options, &found, false, true, &mut report) {
        Ok((index, head)) => Ok((index, head, report.damage)),
        Err(LoadError::Open(error)) => Err(error),
        Err(LoadError::Index(IndexError(what))) => Err(OpenError::Damaged { what }),
    }
}
