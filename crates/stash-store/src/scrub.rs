//! Reading all that is stored, over and over, to find damage before somebody needs the bytes.

mod chunks;
mod log;
mod pass;

use std::collections::BTreeSet;

use crate::chunk_dir::Marker;
use crate::disk::OpenMode;
use crate::error::ScrubError;
use crate::files::Files;
use crate::index::{IndexError, TreeCursor, TreeError};
use crate::open::Open;
use crate::sync::{Arc, Mutex, lock};
use crate::{Finding, IoError, ReadError, ScrubProgress, recover};
use pass::Cursor;
pub(crate) use pass::Pass;

/// Bytes that a file counts for at least, however short: opening it and reading it takes a disk as long
/// as this many bytes. So a step is bounded in files as it is in bytes.
const LEAST: u64 = 4096;

/// The results of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Bytes read, each file counted as 4,096 at least.
    pub bytes: u64,
    /// Damage that was found, and dealt with as [`Scrubber`] says.
    pub findings: Vec<Finding>,
}

/// Reads everything that a store has on disk, in steps, and deals with damage.
///
/// A pass reads FORMAT, the log, the files of blobs, and the index, in this order, and checks every
/// byte. It goes on where it was when the store is opened again; all scrubbers of a store share
/// one pass.
///
/// * A blob that is damaged is quarantined: it counts as not here, and can be staged again.
/// * A damaged part of the log is copied to `quarantine/`. Records in it are named; commit them
///   again. Its segment waits for compaction, which saves the rest of it.
/// * The index is made anew from the log, FORMAT is written anew from memory.
///
/// A store that takes no writes is only read, and only told about.
///
/// There is no clock in here. To keep to a share `s` of the disk's time, sleep `t * (1 - s) / s`
/// after a step that took `t`; steps of a few MiB keep others from waiting long. A scrubber keeps
/// the store open as a clone does.
#[derive(Debug)]
pub struct Scrubber {
    open: Arc<Open>,
    scrub: Arc<Scrub>,
}

/// The pass that all scrubbers of a store share.
#[derive(Debug)]
pub(crate) struct Scrub {
    /// Held during a step.
    pass: Mutex<Pass>,
    /// As it was after the last step.
    shown: Mutex<Pass>,
}

impl Scrub {
    /// The pass that was under way when the store was closed.
    pub(crate) fn load(files: &Files, store_id: &[u8; 16]) -> Scrub {
        let pass = Pass::load(files, store_id);
        Scrub { shown: Mutex::new(pass.clone()), pass: Mutex::new(pass) }
    }

    /// Segments in which this pass or the last found damage.
    pub(crate) fn suspects(&self) -> BTreeSet<u64> {
        let pass = lock(&self.shown);
        let segment = |finding: &Finding| match finding {
            Finding::Log { segment, .. } => Some(*segment),
            _ => None,
        };
        pass.findings.iter().flatten().filter_map(segment).collect()
    }

    /// Findings of the last pass and of this one.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        lock(&self.shown).findings.iter().rev().flatten().cloned().collect()
    }

    /// Progress of the pass over this store.
    pub(crate) fn progress(&self, open: &Open) -> ScrubProgress {
        let index_bytes = open.ground.index().stats().disk_bytes;
        let stored_bytes = {
            let figures = open.commits.figures();
            figures.log_bytes + figures.state.file_bytes
        };
        let pass = lock(&self.shown);
        let [findings, last_findings] = pass.found;
        ScrubProgress {
            passes: pass.passes,
            done_bytes: pass.done_bytes,
            total_bytes: (stored_bytes + index_bytes).max(pass.done_bytes),
            findings,
            last_findings,
            suspects: open.health.suspects().len() as u64,
        }
    }
}

impl Scrubber {
    pub(crate) fn new(open: Arc<Open>, scrub: Arc<Scrub>) -> Scrubber {
        Scrubber { open, scrub }
    }

    /// Gives up the pass under way: the next step begins another. What was found is known as that
    /// of the last pass.
    pub fn restart(&mut self) {
        let mut pass = lock(&self.scrub.pass);
        pass.give_up();
        *lock(&self.scrub.shown) = pass.clone();
    }

    /// Reads about `max_bytes` more: at most 16 MiB beyond, and where the log is damaged, up to
    /// the end of a segment. `None`: the pass has come to its end, and the next call begins a new
    /// one. After an error, what was found before it is in [`crate::Store::scrub_findings`], and the next
    /// call tries again.
    pub fn step(&mut self, max_bytes: u64) -> Result<Option<Scrubbed>, ScrubError> {
        let open = &*self.open;
        let mut pass = lock(&self.scrub.pass);
        let mut step =
            Step { open, pass: &mut pass, max_bytes, stop: false, done: Scrubbed::default() };
        if let Some(what) = Pass::inspect(&open.ground.files, &open.ground.format.store_id) {
            // It is replaced at the end of this step.
            step.note(Finding::Progress { what });
        }
        let ended = step.pass.cursor == Cursor::End && step.done.findings.is_empty();
        let result = if ended {
            step.pass.end();
            Ok(())
        } else {
            step.run()
        };
        let done = step.done;
        pass.done_bytes += done.bytes;
        if open.health.read_only().is_none()
            && let Err(error) = pass.save(&open.ground.files, &open.ground.format.store_id)
        {
            tracing::debug!(%error, "how far scrubbing has come is not remembered");
        }
        *lock(&self.scrub.shown) = pass.clone();
        result.map(|()| (!ended).then_some(done))
    }
}

/// A step of a pass.
struct Step<'a> {
    open: &'a Open,
    pass: &'a mut Pass,
    max_bytes: u64,
    /// Nothing more can be done now.
    stop: bool,
    done: Scrubbed,
}

impl Step<'_> {
    fn run(&mut self) -> Result<(), ScrubError> {
        loop {
            match self.pass.cursor.clone() {
                Cursor::Format => self.format()?,
                Cursor::Log { segment, offset, damaged } => self.log(segment, offset, damaged)?,
                Cursor::Chunks { after } => self.chunks(after)?,
                Cursor::Index(cursor) => self.index(cursor)?,
                Cursor::End => return Ok(()),
            }
            if self.stop || self.is_enough() {
                return Ok(());
            }
        }
    }

    fn is_enough(&self) -> bool {
        self.done.bytes >= self.max_bytes
    }

    fn note(&mut self, finding: Finding) {
        tracing::warn!("{finding}");
        self.pass.note(&finding);
        self.done.findings.push(finding);
    }

    /// FORMAT, against what is in memory.
    fn format(&mut self) -> Result<(), ScrubError> {
        let open = self.open;
        let (files, may_write) = (&open.ground.files, open.health.read_only().is_none());
        let mut mended = Ok(());
        let format = match read_whole(files, "FORMAT") {
            Ok(bytes) if bytes == open.ground.format.encode() => None,
            Ok(_) => Some("it is not as it was when the store was opened".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if format.is_some() && may_write {
            mended = recover::write_format(files, &open.ground.format);
        }
        self.done.bytes += LEAST;
        if let Some(what) = format {
            self.note(Finding::Format { what });
        }
        self.pass.cursor = Cursor::LOG;
        mended.and_then(|()| self.marker()).map_err(ScrubError::Io)
    }

    /// The marker of the directory of files. It is made anew if it has rotted, and not if it is
    /// missing: then the directory is not known to be the right one.
    fn marker(&mut self) -> Result<(), IoError> {
        if let Ok(Marker::Damaged(what)) = self.open.ground.files.chunks.marker() {
            self.note(Finding::Marker { what });
            if self.open.health.read_only().is_none() {
                return self.open.ground.files.write_marker();
            }
        }
        Ok(())
    }

    /// The files of the index.
    fn index(&mut self, cursor: TreeCursor) -> Result<(), ScrubError> {
        let left = self.max_bytes.saturating_sub(self.done.bytes).max(1);
        match self.open.ground.index().verify(cursor, left) {
            Ok(Some((cursor, bytes))) => {
                self.done.bytes += bytes.max(1);
                self.pass.cursor = Cursor::Index(cursor);
                Ok(())
            }
            Ok(None) => {
                self.pass.cursor = Cursor::End;
                Ok(())
            }
            Err(TreeError::Damaged(what)) => {
                // It is made anew, from a log that was just read.
                self.pass.cursor = Cursor::End;
                self.index_is_damaged(IndexError(what))
            }
            Err(TreeError::Io(error)) if error.is_unreadable() => {
                self.pass.cursor = Cursor::End;
                self.index_is_damaged(IndexError(error.to_string()))
            }
            Err(TreeError::Full(error) | TreeError::Io(error) | TreeError::Sync(error)) => {
                Err(ScrubError::Io(error))
            }
        }
    }

    /// Has the index made anew. Until that is done, there is nothing to be asked of it.
    fn index_is_damaged(&mut self, error: IndexError) -> Result<(), ScrubError> {
        let IndexError(what) = error;
        self.stop = true;
        if self.open.health.read_only().is_some() {
            return Err(ScrubError::Read(ReadError::Index { what }));
        }
        let finding = Finding::Index { what: what.clone() };
        if self.pass.findings[0].last() != Some(&finding) {
            self.note(finding);
        }
        let open = self.open;
        open.upkeep.work.damaged(open.ground.index(), what);
        if open.ground.is_inline() {
            open.commits.flush_inline();
        } else {
            open.commits.nudge();
        }
        Ok(())
    }
}

/// A file that is no longer than a page.
fn read_whole(files: &Files, name: &str) -> std::io::Result<Vec<u8>> {
    let file = files.disk.open(&files.dir.join(name), OpenMode::Read)?;
    let len = usize::try_from(file.len()?.min(LEAST)).unwrap_or(0);
    let mut bytes = vec![0; len];
    file.advise_done();
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
