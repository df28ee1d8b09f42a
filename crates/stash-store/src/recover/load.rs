//! Bringing the index up to the end of the log.

use std::path::Path;

use super::directory::{io_error, random_seed};
use super::replay::{LoadError, Replay};
use super::segments::{self, Found};
use crate::files::Files;
use crate::format::Format;
use crate::index::{Head, Index, IndexError};
use crate::log::{LogWriter, Position, SEGMENT_HEADER};
use crate::sync::Arc;
use crate::{OpenError, OpenReport, Options};

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

/// Opens the index and brings it up to the end of the log; makes it anew if it cannot be trusted.
/// With `cut`, an unacknowledged end of the log is removed.
pub(super) fn load(
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
        Index::wipe(files)?;
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
