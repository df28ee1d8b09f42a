//! Writing a tree: checkpoints, merges, and the HEAD that makes them count.

use std::cell::Cell;

use crate::cursor::{Cursor, Merged, Source};
use crate::error::{TreeError, new_file_failed};
use crate::head::Head;
use crate::run::{Blocks, Run};
use crate::sync::{Arc, Ordering};
use crate::tiers;
use crate::tree::{Below, Tree, lock};
use crate::writer::RunWriter;

/// Entries that are merged before something else may be done.
const MEANWHILE: u64 = if cfg!(any(test, shuttle)) { 8 } else { 4096 };

/// The outcome of writing a run.
enum Outcome {
    Written(Arc<Run>),
    /// It would have had no entries.
    Empty,
    /// The tree is being closed.
    Stopped,
}

impl Tree {
    /// Writes what was set aside, then HEAD; durable when it returns. False: there was nothing.
    /// After `Full` or `Io` nothing is lost: it can be called again.
    pub fn checkpoint(&self) -> Result<bool, TreeError> {
        let _one_at_a_time = lock(&self.checkpointing);
        self.writable()?;
        let below = self.below();
        let Some(frozen) = &below.frozen else {
            return Ok(false);
        };
        let slots = frozen.changes.from(&[]);
        let merged = Merged::new(vec![Source::changes(slots)]);
        // Below the oldest run there is nothing to remove.
        let oldest = below.runs.is_empty();
        let run = match self.write(merged, frozen.changes.len() as u64, oldest, &|| Ok(false))? {
            Outcome::Written(run) => Some(run),
            Outcome::Empty | Outcome::Stopped => None,
        };
        let words = frozen.words.clone();
        self.settle(run.as_ref(), |now| Below {
            frozen: None,
            runs: run.iter().chain(&now.runs).cloned().collect(),
            words: Some(words.clone()),
        })?;
        Ok(true)
    }

    /// Bytes of the runs that the next merge reads, if one is due: it writes about as many.
    pub fn merge_bytes(&self) -> Option<u64> {
        let below = self.below();
        let sizes: Vec<u64> = below.runs.iter().map(|run| run.len).collect();
        tiers::due(&sizes).map(|range| sizes[range].iter().sum())
    }

    /// Merges some runs if that is due, and writes HEAD. False: nothing is due. After `Full` or
    /// `Io` the tree is as it was. A merge of large runs takes many seconds: `meanwhile` is called every
    /// few milliseconds of it, and may checkpoint; its error ends the merge.
    pub fn merge(&self, meanwhile: &dyn Fn() -> Result<(), TreeError>) -> Result<bool, TreeError> {
        let entries = Cell::new(0_u64);
        self.merge_unless(&|| {
            entries.set(entries.get() + 1);
            if entries.get().is_multiple_of(MEANWHILE) {
                meanwhile()?;
            }
            Ok(self.stopped.load(Ordering::Relaxed))
        })
    }

    /// Merges, asking at every entry whether to stop.
    pub(crate) fn merge_unless(
        &self,
        stopped: &dyn Fn() -> Result<bool, TreeError>,
    ) -> Result<bool, TreeError> {
        let _one_at_a_time = lock(&self.merging);
        self.writable()?;
        let below = self.below();
        let sizes: Vec<u64> = below.runs.iter().map(|run| run.len).collect();
        let Some(range) = tiers::due(&sizes) else {
            return Ok(false);
        };
        let oldest = range.end == below.runs.len();
        let inputs = &below.runs[range];
        let cursor = |run| Ok(Source::Run(Cursor::new(run, &[], Blocks::ahead())?));
        let sources: Result<Vec<_>, TreeError> = inputs.iter().map(|run| cursor(run)).collect();
        let entries = inputs.iter().map(|run| run.layout.entries).sum();
        let run = match self.write(Merged::new(sources?), entries, oldest, stopped)? {
            Outcome::Written(run) => Some(run),
            Outcome::Empty => None,
            Outcome::Stopped => return Ok(false),
        };
        let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
        self.settle(run.as_ref(), |now| {
            // Newer ones may have come since.
            let newer = now.runs.iter().take_while(|run| !is_input(run));
            let older = now.runs.iter().skip_while(|run| !is_input(run)).skip(inputs.len());
            let runs = newer.chain(&run).chain(older).cloned().collect();
            Below { frozen: now.frozen.clone(), runs, words: now.words.clone() }
        })?;
        for input in inputs {
            // Left behind at worst until the next open.
            let _ = self.directory.disk.remove(&input.path);
        }
        Ok(true)
    }

    /// Ends a merge that is running, with nothing changed, and every later one before it begins.
    pub fn stop_merging(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// An error if a sync has failed: what is on disk is not known any more.
    fn writable(&self) -> Result<(), TreeError> {
        match &*lock(&self.settling) {
            Some(failed) => Err(TreeError::Sync(failed.again())),
            None => Ok(()),
        }
    }

    /// Remembers a sync that failed.
    fn heed(&self, error: &TreeError) {
        if let TreeError::Sync(failed) = error {
            lock(&self.settling).get_or_insert_with(|| failed.again());
        }
    }

    /// Writes a run of what `merged` has; without what is removed if it is to be the oldest.
    fn write(
        &self,
        mut merged: Merged<'_>,
        entries: u64,
        oldest: bool,
        stopped: &dyn Fn() -> Result<bool, TreeError>,
    ) -> Result<Outcome, TreeError> {
        let id = self.next_id();
        let mut fill = || {
            let mut writer: Option<RunWriter> = None;
            while let Some((key, value)) = merged.entry() {
                if stopped()? {
                    return Ok(Outcome::Stopped);
                }
                if value.is_some() || !oldest {
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        none => {
                            none.insert(RunWriter::create(&self.directory, self.keys, id, entries)?)
                        }
                    };
                    writer.push(key, value)?;
                }
                merged.advance()?;
            }
            match writer {
                Some(writer) => Ok(Outcome::Written(Arc::new(writer.finish()?))),
                None => Ok(Outcome::Empty),
            }
        };
        let result = fill();
        if let Err(error) = &result {
            self.heed(error);
        }
        if !matches!(result, Ok(Outcome::Written(_) | Outcome::Empty)) {
            // It may not be there. Left behind at worst until the next open.
            let _ = self.directory.disk.remove(&self.directory.run(id));
        }
        result
    }

    /// Makes `edit` durable, and then visible. `new` is the run that it brings in, which is
    /// removed again if HEAD certainly does not name it.
    fn settle(
        &self,
        new: Option<&Arc<Run>>,
        edit: impl Fn(&Below) -> Below,
    ) -> Result<(), TreeError> {
        let mut settling = lock(&self.settling);
        if let Some(failed) = &*settling {
            return Err(TreeError::Sync(failed.again()));
        }
        // Runs and words change only here; what waits to be written may change meanwhile.
        let result = self.write_head(&edit(&self.below()));
        match &result {
            Ok(()) => self.show(&edit),
            Err(TreeError::Sync(failed)) => *settling = Some(failed.again()),
            Err(_) => {
                if let Some(run) = new {
                    // Left behind at worst until the next open.
                    let _ = self.directory.disk.remove(&run.path);
                }
            }
        }
        result
    }

    fn show(&self, edit: impl Fn(&Below) -> Below) {
        let mut state = self.state_mut();
        let next = Arc::new(edit(&state.below));
        let old = std::mem::replace(&mut state.below, next);
        // A table of a million entries takes a while to free: not while others wait.
        drop(state);
        drop(old);
    }

    fn write_head(&self, below: &Below) -> Result<(), TreeError> {
        let dir = &self.directory.path;
        // A name that HEAD has must be there.
        self.directory.disk.sync_dir(dir).map_err(new_file_failed("sync directory", dir))?;
        let head = Head {
            next_id: self.state().next_id,
            runs: below.runs.iter().map(|run| (run.layout.id, run.len)).collect(),
            words: below.words.clone().unwrap_or_default(),
        };
        head.write(&self.directory, &self.keys)
    }
}
