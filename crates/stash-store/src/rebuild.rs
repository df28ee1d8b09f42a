//! Making a store anew from its log and its files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::check::Listed;
use crate::commit::Reclaim;
use crate::disk::{DiskFile, OpenMode};
use crate::index::ChunkRow;
use crate::shared::Shared;
use crate::strays::StrayFile;
use crate::sync::Arc;
use crate::{Address, IoError, OpenError, Options, ReadError, Store, recover};

/// Rows of the index read at once, and files announced in one batch: 18 KiB of log.
const PAGE: usize = 256;

/// What [`Store::rebuild`] did, and what it could not save.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// What was wrong with FORMAT, if it was restored from the log.
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

impl Store {
    /// Opens a store that is closed, and trusts nothing in it but the log and the files of blobs.
    /// FORMAT, if it is lost or damaged, is restored from a copy in the log; the index is thrown
    /// away and made anew, entry by entry; files that no entry announces are hashed, and announced
    /// if they are blobs. What could not be saved is in the report.
    ///
    /// The index also knows what damaged parts of the log said: where it can still be opened, have
    /// a collection write that anew first. A rebuild can be cut short, and done again. With
    /// [`Options::read_only`] it only tells what it would do, and takes no file in.
    pub fn rebuild(dir: &Path, options: &Options) -> Result<(Store, RebuildReport), OpenError> {
        let options = &options.for_opening();
        let (opened, salvaged) = recover::rebuild(dir, options)?;
        let mut report = RebuildReport {
            format_restored: salvaged.format_restored,
            log_begun: salvaged.log_begun,
            lost: salvaged.lost,
            entries: opened.report.replayed,
            damage: opened.report.damage.clone(),
            ..RebuildReport::default()
        };
        let store = Store::begin(opened, options)?;
        store.shared().claim_chunk_dir()?;
        take_in(store.shared(), &mut report)?;
        miss(store.shared(), &mut report)?;
        if !options.read_only {
            store.flush()?;
        }
        Ok((store, report))
    }
}

/// A blob's file, found where it belongs.
struct Stranded {
    address: Address,
    len: u32,
    path: PathBuf,
}

/// Announces files that the log does not, and moves away what is no blob.
fn take_in(shared: &Shared, report: &mut RebuildReport) -> Result<(), OpenError> {
    let mut strays = shared.strays()?;
    let mut found = Vec::new();
    let mut take = |stray: StrayFile| {
        match (stray.address, u32::try_from(stray.len)) {
            (Some(address), Ok(len)) => found.push(Stranded { address, len, path: stray.path }),
            _ => {
                stray.set_aside(shared)?;
                report.set_aside.add(stray.path);
            }
        }
        if found.len() >= PAGE {
            announce(shared, &mut found, report)?;
        }
        Ok::<_, OpenError>(())
    };
    while strays.step(shared, &mut take)?.is_some() {}
    announce(shared, &mut found, report)
}

/// Files first, then names, then the log: as for a blob that is put.
fn announce(
    shared: &Shared,
    found: &mut Vec<Stranded>,
    report: &mut RebuildReport,
) -> Result<(), OpenError> {
    let (mut open, mut dirs): (Vec<(PathBuf, Arc<dyn DiskFile>)>, _) =
        (Vec::new(), BTreeSet::new());
    for Stranded { path, .. } in found.iter() {
        let file = shared.files.disk.open(path, OpenMode::Read);
        open.push((path.clone(), file.map_err(|e| IoError::new("open", path, e))?));
        dirs.extend(shared.above(path));
    }
    if !shared.options.read_only {
        shared.files.sync_files(&open)?.into_iter().collect::<Result<(), _>>()?;
        shared.files.sync_dirs(&dirs)?;
        let files = found.iter().map(|stray| (stray.address, stray.len)).collect();
        shared.reclaim(Reclaim::Announce { files })?;
    }
    for stray in found.drain(..) {
        report.announced.add(stray.address);
    }
    Ok(())
}

/// Quarantines blobs whose files are not there.
fn miss(shared: &Shared, report: &mut RebuildReport) -> Result<(), OpenError> {
    let mut after = None;
    loop {
        let rows = shared.index().chunks_after(after, PAGE).map_err(ReadError::from)?;
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        after = Some(*last);
        for (address, row) in &rows {
            if let ChunkRow::File { len, place } = row
                && !is_there(shared, address, *len)?
            {
                report.missing.add(*address);
                shared.note_damage(*address, *place);
            }
        }
    }
}

fn is_there(shared: &Shared, address: &Address, len: u32) -> Result<bool, IoError> {
    let path = shared.files.chunk(address);
    match shared.files.disk.open(&path, OpenMode::Read) {
        Ok(file) => {
            let there = file.len().map_err(|e| IoError::new("read", &path, e))?;
            Ok(there >= u64::from(len))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound || crate::store::is_misplaced(&e) => {
            Ok(false)
        }
        Err(e) => Err(IoError::new("open", &path, e)),
    }
}
