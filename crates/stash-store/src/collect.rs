//! Collecting garbage: blobs that nothing needs, and what the log no longer means.

use std::collections::VecDeque;
use std::time::Duration;

use crate::batch::Reclaim;
use crate::compact::{self, Compaction};
use crate::entry::Op;
pub use crate::error::CollectError;
use crate::index::{ChunkRow, ManifestRow, Usage};
use crate::open::Open;
use crate::strays::Strays;
use crate::sync::Arc;
use crate::{Address, ReadError};

/// Blobs looked at in one step, and given up in one batch: 16 KiB of log. A model of races has few,
/// and takes several steps, too.
const PAGE: usize = if cfg!(shuttle) { 2 } else { 256 };
/// References of a dead manifest that end in one batch: 32 KiB of log.
const UNREF: usize = if cfg!(shuttle) { 2 } else { 1024 };

/// Limits of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// The time for which nothing may have named a blob before it goes, in time that the store was open
    /// ([`crate::Store::add_uptime`]).
    pub grace: Duration,
    /// A segment of the log is written again without its dead entries once these take as much of
    /// it, in percent. 50 writes at most as many bytes as it gives back: no byte that was ever put
    /// is written more than twice in all. Less gives back more, for more writing.
    pub dead_percent: u8,
    /// Also looks for files that no entry of the log announces: what a power cut may leave. Lists
    /// every directory.
    pub strays: bool,
}

impl Default for CollectOptions {
    fn default() -> CollectOptions {
        CollectOptions { grace: Duration::from_secs(24 * 60 * 60), dead_percent: 50, strays: false }
    }
}

/// The results of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Blobs given up.
    pub chunks: u64,
    /// Bytes of files that were removed.
    pub file_bytes: u64,
    /// Bytes of the log that are no longer: of segments removed, less what was written again.
    pub log_bytes: u64,
    /// Bytes of the log that were written again.
    pub moved_bytes: u64,
    /// Segments of the log that were removed.
    pub segments: u64,
    /// Files removed that nothing announced, and their bytes.
    pub strays: u64,
    /// Bytes of those files.
    pub stray_bytes: u64,
    /// Blobs that were taken for lost, and whose files were found in their places.
    pub taken_back: u64,
}

impl Collected {
    /// Bytes given back to the disk.
    pub fn bytes(&self) -> u64 {
        self.file_bytes + self.log_bytes + self.stray_bytes
    }
}

/// A forecast of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collectable {
    /// Blobs that would go.
    pub chunks: u64,
    /// Bytes of files that would go.
    pub file_bytes: u64,
    /// Bytes of the log that would go.
    pub log_bytes: u64,
    /// Blobs that nothing names, and whose grace is not over.
    pub waiting_chunks: u64,
    /// Bytes of those blobs.
    pub waiting_bytes: u64,
}

impl Collectable {
    /// Bytes that a collection would give back.
    pub fn bytes(&self) -> u64 {
        self.file_bytes + self.log_bytes
    }
}

#[derive(Debug)]
enum Phase {
    Chunks { after: Option<Address> },
    Manifests { after: Option<Address>, ended: bool },
    Strays(Strays),
    Log { todo: VecDeque<u64>, current: Option<Box<Compaction>> },
    Settle,
    Done,
}

/// A collection, in bounded steps beside everything else the store does. The caller decides when
/// the next step happens, and so how much of the disk's time collecting takes.
#[derive(Debug)]
pub struct Collector {
    /// Kept open by it.
    open: Arc<Open>,
    options: CollectOptions,
    phase: Phase,
    done: Collected,
    retired_bytes: u64,
    /// The last segment when it began: what is added from then on is for the next collection.
    until: u64,
}

impl Collector {
    pub(crate) fn new(open: Arc<Open>, options: CollectOptions) -> Collector {
        let until = open.commits.with_writer(|writer| writer.log.end.segment);
        Collector {
            until,
            open,
            options,
            phase: Phase::Chunks { after: None },
            done: Collected::default(),
            retired_bytes: 0,
        }
    }

    /// The limits that it was begun with.
    pub fn options(&self) -> &CollectOptions {
        &self.options
    }

    /// The results so far.
    pub fn done(&self) -> Collected {
        let log_bytes = self.retired_bytes.saturating_sub(self.done.moved_bytes);
        Collected { log_bytes, ..self.done }
    }

    /// Does a bounded part of the work: bytes that it read and wrote, about. `None` once all is
    /// done.
    pub fn step(&mut self) -> Result<Option<u64>, CollectError> {
        // What is not there is not collected; and it would be there again when it is back.
        self.open.ground.look().map_err(ReadError::from)?;
        let (next, work) = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Chunks { after } => self.chunks(after)?,
            Phase::Manifests { after, ended } => self.manifests(after, ended)?,
            Phase::Strays(strays) => self.strays(strays)?,
            Phase::Log { todo, current } => self.log(todo, current)?,
            Phase::Settle => {
                compact::settle(&self.open)?;
                (Phase::Done, 0)
            }
            Phase::Done => return Ok(None),
        };
        self.phase = next;
        Ok(Some(work))
    }

    fn chunks(&mut self, after: Option<Address>) -> Result<(Phase, u64), CollectError> {
        let page = self.open.ground.index().unnamed_after(after, PAGE).map_err(ReadError::from)?;
        let (Some((last, _)), Some(due)) =
            (page.last(), grace_ends(&self.open, self.options.grace))
        else {
            return Ok((Phase::Manifests { after: None, ended: false }, 0));
        };
        let after = Some(*last);
        let addresses: Vec<Address> =
            page.iter().filter(|(_, since)| *since <= due).map(|(address, _)| *address).collect();
        let work = addresses.len() as u64 * 4096;
        if !addresses.is_empty() {
            let freed = self.open.commits.reclaim(Reclaim::Collect { addresses })?;
            self.done.chunks += freed.chunks;
            self.done.file_bytes += freed.file_bytes;
            self.open.upkeep.remove_doomed();
        }
        Ok((Phase::Chunks { after }, work))
    }

    /// Ends references of manifests that were given up, a part of one manifest at a time.
    fn manifests(&self, after: Option<Address>, ended: bool) -> Result<(Phase, u64), CollectError> {
        let page =
            self.open.ground.index().manifests_after(after, PAGE).map_err(ReadError::from)?;
        let dying = page
            .iter()
            .find_map(|(address, row)| row.dying.map(|(next, _)| (*address, *row, next)));
        let Some((manifest, row, first)) = dying else {
            let next = match page.last() {
                Some((last, _)) => Phase::Manifests { after: Some(*last), ended },
                // What they named may be given up now.
                None if ended => Phase::Chunks { after: None },
                None if self.options.strays => Phase::Strays(Strays::begin(&self.open)?),
                None => self.begin_log()?,
            };
            return Ok((next, 0));
        };
        let Some(refs) = manifest_refs(&self.open, &manifest, &row) else {
            salvage_manifest(&self.open, manifest, &row)?;
            return Ok((Phase::Manifests { after, ended: true }, 0));
        };
        let start = usize::try_from(first).unwrap_or(usize::MAX).min(refs.len());
        let end = (start + UNREF).min(refs.len());
        let addresses = refs[start..end].to_vec();
        let work = addresses.len() as u64 * 64;
        let last = end == refs.len();
        self.open.commits.reclaim(Reclaim::Unref { manifest, first, last, addresses })?;
        Ok((Phase::Manifests { after, ended: true }, work))
    }

    /// Begins with segments that are damaged, before more of them is.
    fn begin_log(&self) -> Result<Phase, CollectError> {
        let mut todo = VecDeque::from(compact::damaged_segments(&self.open)?);
        let wasteful = compact::wasteful(&self.open, self.options.dead_percent);
        let new = |id: &u64| *id < self.until && !todo.contains(id);
        let more: Vec<u64> = wasteful.into_iter().filter(new).collect();
        todo.extend(more);
        Ok(Phase::Log { todo, current: None })
    }

    fn strays(&mut self, mut strays: Strays) -> Result<(Phase, u64), CollectError> {
        match strays.remove(&self.open)? {
            Some(found) => {
                self.done.strays += found.files;
                self.done.stray_bytes += found.bytes;
                self.done.taken_back += found.back;
                Ok((Phase::Strays(strays), found.work))
            }
            None => Ok((self.begin_log()?, 0)),
        }
    }

    fn log(
        &mut self,
        mut todo: VecDeque<u64>,
        current: Option<Box<Compaction>>,
    ) -> Result<(Phase, u64), CollectError> {
        let mut compaction = match current {
            Some(compaction) => compaction,
            None => match todo.pop_front() {
                Some(segment) => match Compaction::new(&self.open, segment)? {
                    Some(compaction) => Box::new(compaction),
                    None => return Ok((Phase::Log { todo, current: None }, 0)),
                },
                None if self.done.segments > 0 => return Ok((Phase::Settle, 0)),
                None => return Ok((Phase::Done, 0)),
            },
        };
        let (work, ended) = compaction.step(&mut self.done.moved_bytes)?;
        if !ended {
            return Ok((Phase::Log { todo, current: Some(compaction) }, work));
        }
        if let Some(bytes) = compaction.retired() {
            self.done.segments += 1;
            self.retired_bytes += bytes;
            // What the next one denies need not be moved once this one is gone.
            if todo.front().is_some_and(|next| compact::denies(&self.open, *next)) {
                compact::settle(&self.open)?;
            }
        }
        Ok((Phase::Log { todo, current: None }, work))
    }
}

/// The uptime up to which a blob must have been unnamed for its grace to be over.
fn grace_ends(open: &Open, grace: Duration) -> Option<u64> {
    open.commits.figures().state.uptime.checked_sub(grace.as_secs())
}

/// The blobs that a manifest names, in the order in which its references end. `None` if its
/// entry is damaged.
fn manifest_refs(open: &Open, manifest: &Address, row: &ManifestRow) -> Option<Vec<Address>> {
    match open.ground.read_entry(row.place) {
        Some(Op::Manifest { address, refs }) if address == *manifest => {
            Some(refs.iter().map(|r| r.address).collect())
        }
        _ => None,
    }
}

/// Says a manifest anew whose entry is damaged, with what the index still has of it.
fn salvage_manifest(open: &Open, address: Address, row: &ManifestRow) -> Result<(), CollectError> {
    let refs = open.ground.index().children_of(&address).map_err(ReadError::from)?;
    let ops = vec![(Op::Manifest { address, refs }, row.place)];
    open.commits.reclaim(Reclaim::Salvage { ops })?;
    Ok(())
}

/// Counts what a collection would do now.
pub(crate) fn forecast(open: &Open, options: &CollectOptions) -> Result<Collectable, ReadError> {
    let due = grace_ends(open, options.grace);
    let mut forecast = Forecast { open, due, sum: Collectable::default(), dead: Usage::default() };
    forecast.unnamed()?;
    forecast.dying()?;
    let Forecast { mut sum, dead, .. } = forecast;
    sum.log_bytes = compact::wasted(open, options.dead_percent, &dead);
    Ok(sum)
}

/// Adds up what a collection would do, without doing it.
struct Forecast<'a> {
    open: &'a Open,
    /// Unnamed since then or before: the grace is over.
    due: Option<u64>,
    sum: Collectable,
    /// Bytes of the log that would be dead.
    dead: Usage,
}

/// The collection with which something goes: the next one, or one after the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Now,
    Later,
}

impl Forecast<'_> {
    fn unnamed(&mut self) -> Result<(), ReadError> {
        let (index, mut after) = (self.open.ground.index(), None);
        loop {
            let page = index.unnamed_after(after, PAGE)?;
            for (address, since) in &page {
                if index.is_needed(address)? || self.open.stage.is_leased(address) {
                    continue;
                }
                self.goes(address, self.when(*since))?;
            }
            match page.last() {
                Some((last, _)) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }

    fn when(&self, since: u64) -> When {
        if self.due.is_some_and(|due| since <= due) { When::Now } else { When::Later }
    }

    /// Manifests that an earlier collection gave up, and did not come to an end with.
    fn dying(&mut self) -> Result<(), ReadError> {
        let (index, mut after) = (self.open.ground.index(), None);
        loop {
            let page = index.manifests_after(after, PAGE)?;
            for (address, row) in &page {
                if row.dying.is_some() {
                    self.manifest_goes(address, row, When::Now)?;
                }
            }
            match page.last() {
                Some((last, _)) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }

    fn goes(&mut self, address: &Address, when: When) -> Result<(), ReadError> {
        let index = self.open.ground.index();
        if let Some(row) = index.chunk(address)? {
            match when {
                When::Now => {
                    self.dead.dead(&row.place());
                    self.sum.chunks += u64::from(row.is_here());
                    if let ChunkRow::File { len, .. } = row {
                        self.sum.file_bytes += u64::from(len);
                    }
                }
                When::Later if row.is_here() => {
                    self.sum.waiting_chunks += 1;
                    self.sum.waiting_bytes += u64::from(row.len());
                }
                When::Later => {}
            }
        }
        match index.manifest(address)? {
            // One that is dying already is counted on its own.
            Some(row) if row.dying.is_none() => self.manifest_goes(address, &row, when),
            _ => Ok(()),
        }
    }

    /// A manifest goes, and with it what only such manifests name.
    fn manifest_goes(
        &mut self,
        manifest: &Address,
        row: &ManifestRow,
        when: When,
    ) -> Result<(), ReadError> {
        if when == When::Now {
            self.dead.dead(&row.place);
        }
        for child in manifest_refs(self.open, manifest, row).unwrap_or_default() {
            if self.goes_with(&child, manifest, when)? {
                self.goes(&child, when)?;
            }
        }
        Ok(())
    }

    /// True if a blob goes because this manifest does. Of several manifests that name it, it is
    /// counted with the last that goes, and of several that go at once with the first.
    fn goes_with(
        &self,
        child: &Address,
        manifest: &Address,
        when: When,
    ) -> Result<bool, ReadError> {
        let index = self.open.ground.index();
        if self.open.stage.is_leased(child) {
            return Ok(false);
        }
        let named_by = index.named_by(child, usize::MAX)?;
        // A reference that has ended is not counted again.
        let mut still_named = false;
        for (by_manifest, hash) in named_by {
            let other = Address::from_bytes(hash);
            if other == *manifest {
                still_named = true;
                continue;
            }
            let goes = if by_manifest { self.going(&other)? } else { None };
            match goes {
                Some(then) if then < when || then == when && *manifest < other => {}
                _ => return Ok(false),
            }
        }
        Ok(still_named)
    }

    /// When a manifest goes, if it does.
    fn going(&self, manifest: &Address) -> Result<Option<When>, ReadError> {
        let index = self.open.ground.index();
        if index.manifest(manifest)?.is_some_and(|row| row.dying.is_some()) {
            return Ok(Some(When::Now));
        }
        let Some(since) = index.unnamed_since(manifest)? else { return Ok(None) };
        let stays = index.is_needed(manifest)? || self.open.stage.is_leased(manifest);
        Ok((!stays).then(|| self.when(since)))
    }
}
