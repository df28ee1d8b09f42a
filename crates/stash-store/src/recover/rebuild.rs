//! Making a closed store anew from its log and its files.

use std::io;
use std::path::Path;

use crate::disk::OpenMode;
use crate::files::{Files, each_below};
use crate::finding::Listed;
use crate::format::{Features, Format};
use crate::index::audit::Witness;
use crate::index::{ChunkRow, Head, Index};
use crate::log::{SEGMENT_HEADER, copy_of_format, create_segment};
use crate::scan::{Scan, Scanned};
use crate::sync::Arc;
use crate::{Disk, OpenError, OpenReport, Options};

use super::directory::{
    DIRS, admit, clear, files, from_append, io_error, lock, make_dirs, read_format, resolve,
    write_format,
};
use super::open::{Opened, assemble};
use super::segments::{self, Found};

/// The steps done before the index was made anew.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Why FORMAT was restored from the log, if it was.
    pub(crate) format_restored: Option<String>,
    /// The log had no segment left, and was begun anew.
    pub(crate) log_begun: bool,
    /// Rows of the old index that went by an entry of the log which cannot be read any more.
    pub(crate) lost: Listed<String>,
}

/// Opens a store of which nothing is trusted but the log and the files: FORMAT is restored from
/// copies if need be, the index is thrown away, and made anew. A cut leaves what the next rebuild
/// begins with.
pub(crate) fn rebuild(dir: &Path, options: &Options) -> Result<(Opened, Salvaged), OpenError> {
    let disk = &*options.disk;
    let dir = resolve(disk, dir)?;
    let mut salvaged = Salvaged::default();
    let format = match read_format(disk, &dir) {
        Err(error @ (OpenError::NoStore { .. } | OpenError::Damaged { .. })) => {
            salvaged.format_restored = Some(error.to_string());
            restore(disk, &dir, error)?
        }
        read => read?,
    };
    admit(&format, &dir, options)?;
    let lock = lock(disk, &dir)?;
    make_dirs(disk, &dir, &DIRS)?;
    clear(disk, &dir.join("tmp"))?;
    let files = files(options, &dir, &format);
    if salvaged.format_restored.is_some() {
        write_format(&files, &format)?;
    }
    let (old, head) = old_index(&files, &format, options);
    let found = find(&files, &format)?;
    if let (Some(old), Some(head)) = (&old, &head) {
        name_lost(&files, &format, old, head, &found, &mut salvaged.lost)?;
    }
    if found.is_empty() {
        begin_log(&files, &format, head.as_ref())?;
        salvaged.log_begun = true;
    }
    drop(old);
    Index::wipe(&files)?;
    let mut opened = assemble(dir, options, format, lock)?;
    opened.report.index_rebuilt = Some("a rebuild was asked for".to_owned());
    Ok((opened, salvaged))
}

/// FORMAT, from the copies that segments have of it. All that are whole must be of one store.
fn restore(disk: &dyn Disk, dir: &Path, why: OpenError) -> Result<Format, OpenError> {
    let mut copies = Vec::new();
    match find_copies(disk, &dir.join("log"), &mut copies) {
        Err(OpenError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {}
        found => found?,
    }
    let Some((first, others)) = copies.split_first() else {
        return Err(why);
    };
    if others.iter().any(|copy| !copy.is_of_same_store(first)) {
        let what = format!(
            "{why}, but the segments of the log are of several stores: take away those of the others"
        );
        return Err(OpenError::Damaged { what });
    }
    let features = others.iter().fold(first.features, |all, copy| all.and(copy.features));
    Ok(Format { features: features.and(Features::NEEDED), ..first.clone() })
}

fn find_copies(disk: &dyn Disk, dir: &Path, copies: &mut Vec<Format>) -> Result<(), OpenError> {
    each_below(disk, dir, &mut |path| {
        let mut header = [0; 256];
        let read = disk.open(&path, OpenMode::Read).and_then(|file| file.read_at(0, &mut header));
        match read.map(|()| copy_of_format(&header, &path)) {
            Ok(Ok(copy)) => copies.push(copy),
            Ok(Err(error @ OpenError::NewerFormat { .. })) => return Err(error),
            _ => {}
        }
        Ok(())
    })
}

/// The index as it is, if it can be opened: only to say what is lost.
fn old_index(
    files: &Arc<Files>,
    format: &Format,
    options: &Options,
) -> (Option<Index>, Option<Head>) {
    match Index::open(files, &format.log_key, format.store_id, options.cache_bytes, 0) {
        Ok((index, head)) => (Some(index), head),
        Err(_) => (None, None),
    }
}

/// All segments; none is no error here.
fn find(files: &Files, format: &Format) -> Result<Vec<Found>, OpenError> {
    // It is reported when the store is opened.
    let mut report = OpenReport::default();
    match segments::find(files, format, &mut report) {
        Err(OpenError::Damaged { .. }) => Ok(Vec::new()),
        found => found,
    }
}

/// Names what goes by entries that cannot be read, as far as the old index knows it.
fn name_lost(
    files: &Files,
    format: &Format,
    old: &Index,
    head: &Head,
    found: &[Found],
    lost: &mut Listed<String>,
) -> Result<(), OpenError> {
    let is_missing =
        |id: &u64| !head.usage.is_retired(*id) && found.iter().all(|segment| segment.id != *id);
    let missing = (head.usage.floor.max(1)..=head.state.position.segment).filter(is_missing);
    let mut parts: Vec<(u64, Vec<(u64, u64)>)> =
        missing.map(|id| (id, vec![(0, u64::MAX)])).collect();
    for segment in found {
        let ranges = damage_in(files, format, segment.id)?;
        // Where it ends is no damage.
        if ranges.iter().any(|(from, to)| from < to) {
            parts.push((segment.id, ranges));
        }
    }
    for (segment, ranges) in parts {
        // What it does not say any more cannot be named.
        for row in old.witnesses_in(segment, &ranges).unwrap_or_default() {
            match row {
                // Files are found again, and what was gone is.
                Witness::Chunk(_, ChunkRow::File { .. } | ChunkRow::Evicted { .. }) => {}
                Witness::Chunk(_, ChunkRow::Quarantined { .. }) => {}
                row => lost.add(row.to_string()),
            }
        }
    }
    Ok(())
}

/// Damaged parts of a segment that others follow.
fn damage_in(files: &Files, format: &Format, id: u64) -> Result<Vec<(u64, u64)>, OpenError> {
    let path = files.segment(id);
    let file = files.disk.open(&path, OpenMode::Read).map_err(io_error("read", &path))?;
    let mut scan = Scan::new((file, &path), format.log_key, id, SEGMENT_HEADER)?;
    let mut ranges = Vec::new();
    loop {
        match scan.next()? {
            Scanned::Entry { .. } => {}
            Scanned::Damaged { from, to, .. } => ranges.push((from, to)),
            Scanned::End { at } => {
                ranges.push((at, scan.len()));
                return Ok(ranges);
            }
        }
    }
}

/// Segments of a log at most: 64 MiB each make 128 PiB. A name that says more is not the store's.
const SEGMENTS: u64 = 1 << 31;

/// Begins a log where there is none, with an id that no segment is known to have had: what the old
/// index says, and copies of damage.
fn begin_log(files: &Arc<Files>, format: &Format, head: Option<&Head>) -> Result<(), OpenError> {
    let dir = files.dir.join("quarantine");
    let kept = files.disk.list(&dir).map_err(io_error("list", &dir))?;
    let id_in = |name: &str| name.strip_prefix("log-")?.split('-').next()?.parse().ok();
    let ids = kept.iter().filter_map(|entry| id_in(&entry.name));
    let highest = ids.filter(|id| *id < SEGMENTS).max().unwrap_or(0);
    let position = head.map_or(0, |head| head.state.position.segment);
    let id = highest.max(position) + 1;
    let first_sequence = head.map_or(1, |head| head.state.next_sequence.max(1));
    create_segment(files, format, id, first_sequence).map_err(from_append)?;
    Ok(())
}
