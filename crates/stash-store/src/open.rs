//! An open store: its parts, and its threads.
//!
//! Each part owns its state, and knows those below it only:
//!
//! * [`Ground`]: files, format and index;
//! * [`Stage`]: blobs on their way in, and [`Budget`]: room;
//! * [`Health`]: what was found wrong, and whether the store takes writes;
//! * [`Upkeep`]: files of the index, and removing what nothing needs;
//! * [`Commits`]: writing the log.
//!
//! Methods that need several of them stand here; collections, scrubbing and checks are built on it.

mod adopt;
pub(crate) mod blobs;
mod damage;
mod lookup;
mod records;
pub(crate) mod staging;
mod wholeness;

use std::collections::BTreeSet;

use crate::budget::{Budget, Used};
use crate::commit::Commits;
use crate::ground::Ground;
use crate::health::Health;
use crate::recover::Opened;
use crate::stage::Stage;
use crate::sync::{Arc, thread};
use crate::upkeep::Upkeep;
use crate::work::Work;
use crate::writer::Writer;
use crate::{IoError, OpenError, OpenReport, Options};

/// Attempts to read what is written again elsewhere each time it is read: about a commit each.
const READS: usize = 64;

/// Work of a thread, for as long as the store is open.
type Run = Box<dyn FnOnce() + Send>;

/// An open store. It is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    threads: Vec<thread::JoinHandle<()>>,
    pub(crate) report: OpenReport,
    pub(crate) commits: Arc<Commits>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) health: Arc<Health>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) ground: Arc<Ground>,
}

impl Open {
    /// Begins to use what was opened. Segments that are `suspects` wait for compaction, if they are part
    /// of the log, or should be.
    pub(crate) fn begin(
        opened: Opened,
        options: &Options,
        mut suspects: BTreeSet<u64>,
    ) -> Result<Open, OpenError> {
        let Opened { files, log, index, head, report, missing, lock } = opened;
        let writer = Writer::new(log, head);
        let live = writer.live_segments();
        suspects.retain(|id| live.contains(id));
        suspects.extend(missing);
        let used = Used {
            files: writer.head.state.file_bytes,
            log: writer.log_bytes(),
            index: index.stats().disk_bytes,
            coming: 0,
        };
        let format = writer.log.format.clone();
        let ground = Arc::new(Ground::new(files, options.clone(), format, index, lock));
        let (stage, work) = (Arc::new(Stage::default()), Arc::new(Work::default()));
        let budget = Arc::new(Budget::new(Arc::clone(&ground.files), options.quota, used));
        let health = Arc::new(Health::new(&ground, &stage, &work, suspects));
        let upkeep = Arc::new(Upkeep::new(&ground, &stage, &health, &budget, work));
        let commits = Arc::new(Commits::new(&ground, &stage, &health, &budget, &upkeep, writer));
        let threads = Vec::new();
        let mut open = Open { threads, report, commits, upkeep, health, budget, stage, ground };
        open.find_chunk_dir();
        open.commits.count_this_open();
        open.upkeep.keep_ballast();
        if open.ground.is_inline() {
            open.commits.settle_inline();
        }
        open.start_threads()?;
        Ok(open)
    }

    fn start_threads(&mut self) -> Result<(), OpenError> {
        if self.ground.is_inline() {
            return Ok(());
        }
        let (flusher, committer) = (Arc::clone(&self.commits), Arc::clone(&self.commits));
        let indexer = Arc::clone(&self.upkeep);
        let runs: [(&str, Run); 3] = [
            ("stash-flusher", Box::new(move || flusher.flusher())),
            ("stash-indexer", Box::new(move || indexer.indexer())),
            ("stash-committer", Box::new(move || committer.committer())),
        ];
        for (name, run) in runs {
            match thread::Builder::new().name(name.to_owned()).spawn(run) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    // The committer would end the others, and it does not run.
                    self.stage.close();
                    self.upkeep.work.close();
                    let dir = &self.ground.files.dir;
                    return Err(OpenError::Io(IoError::new("start a thread for", dir, error)));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.ground.is_inline() {
            self.commits.close();
            return;
        }
        self.commits.end();
        // The last clone may be dropped by a callback, which the committer itself runs: then the
        // threads end on their own, and close the store.
        let here = thread::current().id();
        if self.threads.iter().any(|thread| thread.thread().id() == here) {
            return;
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has turned the store read-only and said why.
            let _ = thread.join();
        }
    }
}
