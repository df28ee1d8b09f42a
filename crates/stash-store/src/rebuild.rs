//! Making a store anew from its log and its files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::batch::Reclaim;
use crate::disk::{DiskFile, OpenMode};
use crate::files::Seen;
use crate::finding::Listed;
use crate::open::Open;
use crate::recover::Salvaged;
use crate::strays::{StrayFile, Strays};
use crate::sync::Arc;
use crate::{Address, IoError, OpenError};

/// Files announced in one batch: 18 KiB of log.
const PAGE: usize = 256;

/// The results of [`crate::Store::rebuild`], and what it could not save.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// The fault of FORMAT, if it was restored from the log.
    pub format_restored: Option<String>,
    /// The log had no segment left, and was begun anew: all records and rows are lost.
    pub log_begun: bool,
    /// Entries of the log that were read.
    pub entries: u64,
    /// Damaged and missing parts of the log: a sentence each.
    pub damage: Vec<String>,
    /// Records, rows, manifests and small blobs that were in such parts, as far as the old
    /// index knew them. They are lost.
    pub lost: Listed<String>,
    /// Blobs whose files nothing announced. They are here again.
    pub announced: Listed<Address>,
    /// Files below `chunks/` that are no blobs. They lie in `quarantine/` now.
    pub set_aside: Listed<PathBuf>,
    /// Blobs whose files are missing or too short. They are quarantined: stage them again.
    pub missing: Listed<Address>,
}

impl RebuildReport {
    /// True if everything was saved that was stored.
    pub fn is_whole(&self) -> bool {
        !self.log_begun && self.damage.is_empty() && self.lost.total == 0 && self.missing.total == 0
    }
}

/// Takes in what the log does not tell, once the index has been made anew; see
/// [`crate::Store::rebuild`].
pub(crate) fn complete(open: &Open, salvaged: Salvaged) -> Result<RebuildReport, OpenError> {
    let mut report = RebuildReport {
        format_restored: salvaged.format_restored,
        log_begun: salvaged.log_begun,
        lost: salvaged.lost,
        entries: open.report.replayed,
        damage: open.report.damage.clone(),
        ..RebuildReport::default()
    };
    open.claim_chunk_dir()?;
    take_in(open, &mut report)?;
    miss(open, &mut report)?;
    Ok(report)
}

/// A blob's file, found where it belongs.
struct Stranded {
    address: Address,
    len: u32,
    path: PathBuf,
}

/// Announces files that the log does not, and moves away what is no blob.
fn take_in(open: &Open, report: &mut RebuildReport) -> Result<(), OpenError> {
    let mut strays = Strays::begin(open)?;
    let mut found = Vec::new();
    let mut take = |stray: StrayFile| {
        match (stray.address, u32::try_from(stray.len)) {
            (Some(address), Ok(len)) => found.push(Stranded { address, len, path: stray.path }),
            _ => {
                stray.set_aside(open)?;
                report.set_aside.add(stray.path);
            }
        }
        if found.len() >= PAGE {
            announce(open, &mut found, report)?;
        }
        Ok::<_, OpenError>(())
    };
    while strays.step(open, &mut take)?.is_some() {}
    announce(open, &mut found, report)
}

/// Files first, then names, then the log: as for a blob that is put.
fn announce(
    open: &Open,
    found: &mut Vec<Stranded>,
    report: &mut RebuildReport,
) -> Result<(), OpenError> {
    let (mut files, mut dirs): (Vec<(PathBuf, Arc<dyn DiskFile>)>, _) =
        (Vec::new(), BTreeSet::new());
    for Stranded { path, .. } in found.iter() {
        files.push((path.clone(), open.ground.files.open(path, OpenMode::Read)?));
        dirs.extend(open.ground.files.above(path));
    }
    if !open.ground.options.read_only {
        open.ground.files.sync_files(&files)?.into_iter().collect::<Result<(), _>>()?;
        open.ground.files.sync_dirs(&dirs)?;
        let files = found.iter().map(|stray| (stray.address, stray.len)).collect();
        open.commits.reclaim(Reclaim::Announce { files })?;
    }
    for stray in found.drain(..) {
        report.announced.add(stray.address);
    }
    Ok(())
}

/// Quarantines blobs whose files are not there.
fn miss(open: &Open, report: &mut RebuildReport) -> Result<(), OpenError> {
    open.ground.each_file(|address, row| {
        if !is_there(open, address, row.len())? {
            report.missing.add(*address);
            open.note_damage(*address, row.place());
        }
        Ok(true)
    })
}

fn is_there(open: &Open, address: &Address, len: u32) -> Result<bool, IoError> {
    let path = open.ground.files.chunk(address);
    let Seen::File(file) = open.ground.files.see(&path)? else {
        return Ok(false);
    };
    let there = file.len().map_err(|e| IoError::new("read", &path, e))?;
    Ok(there >= u64::from(len))
}
