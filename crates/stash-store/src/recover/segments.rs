//! Which segments there are.

use std::path::{Path, PathBuf};

use crate::disk::OpenMode;
use crate::error::is_unreadable;
use crate::files::{Files, each_below};
use crate::format::{Features, Format};
use crate::index::Usage;
use crate::log::{SEGMENT_HEADER, copy_of_format, read_segment_header};
use crate::{OpenError, OpenReport};

use super::directory::io_error;

/// A segment of the log, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) len: u64,
    /// 0 if its header cannot be read.
    pub(super) first_sequence: u64,
    /// Features in its copy of FORMAT; `None` if that is damaged.
    pub(super) features: Option<Features>,
}

impl Found {
    /// Nothing was written to it yet.
    pub(super) fn is_only_begun(&self) -> bool {
        self.len == SEGMENT_HEADER && self.first_sequence > 0
    }
}

/// Ids beyond the highest one known at which a segment with a damaged header is looked for.
const GUESSES: u64 = 64;

/// All segments in order of their ids, at least one. Damaged headers are reported.
pub(super) fn find(
    files: &Files,
    format: &Format,
    report: &mut OpenReport,
) -> Result<Vec<Found>, OpenError> {
    let (mut found, mut nameless) = (Vec::new(), Vec::new());
    each_below(&*files.disk, &files.dir.join("log"), &mut |path| {
        look_at(files, format, path, &mut found, &mut nameless)
    })?;
    let highest = found.iter().map(|f: &Found| f.id).max().unwrap_or(0);
    for (path, len, what) in nameless {
        let id = (1..=highest + GUESSES).find(|id| files.segment(*id) == path);
        let note = format!("{} is damaged: {what}", path.display());
        report.damage.push(note);
        found.extend(id.map(|id| Found { id, len, first_sequence: 0, features: None }));
    }
    found.sort_by_key(|segment| segment.id);
    if found.is_empty() {
        return Err(OpenError::Damaged {
            what: format!("{} has no segment of the log", files.dir.join("log").display()),
        });
    }
    Ok(found)
}

/// Reports segments that should be there and are not.
pub(super) fn report_gaps(found: &[Found], usage: &Usage, report: &mut OpenReport) -> Vec<u64> {
    let (mut missing, mut expected) = (Vec::new(), 1);
    for segment in found {
        let gap = expected.max(usage.floor)..segment.id;
        missing.extend(gap.filter(|id| !usage.is_retired(*id)));
        expected = segment.id + 1;
    }
    for gap in missing.chunk_by(|a, b| a + 1 == *b) {
        report.damage.push(match gap {
            [id] => format!("segment {id} of the log is missing"),
            _ => format!("segments {} to {} of the log are missing", gap[0], gap[gap.len() - 1]),
        });
    }
    missing
}

type Nameless = Vec<(PathBuf, u64, &'static str)>;

fn look_at(
    files: &Files,
    format: &Format,
    path: PathBuf,
    found: &mut Vec<Found>,
    nameless: &mut Nameless,
) -> Result<(), OpenError> {
    if !path.file_name().and_then(|name| name.to_str()).is_some_and(is_segment_name) {
        // Of a file manager, or of a network file system that keeps what somebody has open.
        tracing::debug!(path = %path.display(), "a file of somebody else in the log's directory");
        return Ok(());
    }
    let file = files.open(&path, OpenMode::Read)?;
    let len = file.len().map_err(io_error("read", &path))?;
    let mut header = [0; 256];
    if len < SEGMENT_HEADER {
        nameless.push((path, len, "it is shorter than its header"));
        return Ok(());
    }
    match file.read_at(0, &mut header) {
        Ok(()) => {}
        // A bad place of the disk is as good as rot: what the index has read is not read again.
        Err(error) if is_unreadable(&error) => {
            nameless.push((path, len, "the disk cannot read its header"));
            return Ok(());
        }
        Err(error) => return Err(io_error("read", &path)(error)),
    }
    match read_segment_header(format, &header) {
        Ok((id, first_sequence)) if files.segment(id) == path => {
            let features = features_in(format, &header, &path)?;
            found.push(Found { id, len, first_sequence, features });
        }
        Ok(_) => nameless.push((path, len, "its header is of another segment")),
        Err(what) => nameless.push((path, len, what)),
    }
    Ok(())
}

/// True if a file is named as segments are.
fn is_segment_name(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The features that a segment's copy of FORMAT names; an error if a newer program wrote it.
fn features_in(
    format: &Format,
    header: &[u8; 256],
    path: &Path,
) -> Result<Option<Features>, OpenError> {
    match copy_of_format(header, path) {
        Ok(copy) => Ok(copy.is_of_same_store(format).then_some(copy.features)),
        Err(error @ OpenError::NewerFormat { .. }) => Err(error),
        // Scrubbing names it.
        Err(_) => Ok(None),
    }
}
