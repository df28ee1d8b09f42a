//! Making a store, and opening one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::directory::{
    DIRS, admit, clear, files, from_append, io_error, lock, make_dir, make_dirs, random_seed,
    read_format, resolve, write_format,
};
use super::load::load;
use super::segments::{self, Found};
use crate::ballast;
use crate::disk::{Lock, OpenMode};
use crate::files::Files;
use crate::format::{Features, Format};
use crate::index::{Head, Index};
use crate::log::{LogWriter, SegmentFile, create_segment};
use crate::sync::Arc;
use crate::{OpenError, OpenReport, Options};

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

/// Opens a store. The order is that of the format document's recovery section.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    let disk = &*options.disk;
    let dir = resolve(disk, dir)?;
    let format = read_format(disk, &dir)?;
    admit(&format, &dir, options)?;
    let lock = lock(disk, &dir)?;
    assemble(dir, options, format, lock)
}

/// Opens a store whose FORMAT is known, and which is locked.
pub(super) fn assemble(
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
    let file = files.open(&files.segment(end.segment), OpenMode::Write)?;
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
pub(super) fn remove_retired(
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
        // The old index gives the room for it, and must go in any case; so does the ballast.
        Err(error) if error.is_full() => {
            Index::remove_old(files)?;
            ballast::remove(files);
            write_format(files, &format)?;
        }
        written => written?,
    }
    Index::remove_old(files)?;
    Ok(format)
}
