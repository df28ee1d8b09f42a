//! The main loop of a put: finds files, has them read and sealed, and commits in batches.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use stash_crypto::Key;
use tokio::sync::mpsc;

use super::batch::Batches;
use super::error::PutError;
use super::options::{PutOptions, PutReport};
use super::session::{Done, GROUP, Session, session};
use super::small::Group;
use super::spare::Spare;
use super::walk::{self, Found, FoundFile};
use super::{large, small};
use crate::blocking::blocking;
use crate::model::plan::is_inline;
use crate::progress::Progress;
use crate::vault::Vault;

/// The time for which a put waits for the index of names.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Names that the walk may be ahead of the reading.
const AHEAD: usize = 1024;
/// Finished records that wait for a commit before reading pauses.
const READY: usize = 4 * GROUP;

type Work = BoxFuture<'static, Result<Done, PutError>>;

pub(super) async fn put_path(
    vault: &Vault,
    source: &Path,
    as_key: Option<Key>,
    options: PutOptions,
    progress: &Progress,
) -> Result<PutReport, PutError> {
    let session = Arc::new(session(vault, &options, progress)?);
    // What the index does not list yet would be written again; without it the put is as right.
    let last = *session.inner.engine.changes().borrow();
    let _ = tokio::time::timeout(CATCH_UP, session.inner.names.caught_up(last)).await;
    let source = source.to_owned();
    let looking = Arc::clone(&session);
    let root = blocking(move || {
        let root = walk::root(&source, as_key)?;
        looking.check_root(&root.name.key, root.is_directory())?;
        Ok::<_, PutError>(root)
    })
    .await?;
    let (key, single) = (root.name.key.clone(), (!root.is_directory()).then(|| root.path.clone()));
    let (out, found) = mpsc::channel(AHEAD);
    let (walking, directory) = (progress.clone(), session.inner.directory.clone());
    let spare = blocking(move || {
        Spare::of(&directory).map_err(|source| PutError::Source { path: directory, source })
    })
    .await?;
    let more = progress.walks();
    let walk = tokio::task::spawn_blocking(move || {
        let _more = more;
        walk::walk(root, &spare, &walking, &out)
    });
    let batches = Batches::new(Arc::clone(&session));
    let finder = Finder { session, found, large: VecDeque::new(), open: true };
    let total = drive(finder, batches, options.jobs()).await?;
    // The walk has ended: its channel is closed.
    let _ = walk.await;
    match (single, total.done.skipped.first()) {
        // Of a single file there is nothing to report but why it was not stored.
        (Some(path), Some((_, why))) => Err(PutError::Unfit { path, why: why.clone() }),
        _ => Ok(total.report(key)),
    }
}

/// The results of a put so far.
pub(super) struct Total {
    pub(super) done: Done,
    pub(super) batches: Batches,
}

impl Total {
    pub(super) fn add(&mut self, mut done: Done) {
        let writes = std::mem::take(&mut done.writes);
        self.batches.add(writes, std::mem::take(&mut done.unchanged));
        self.done.absorb(done);
    }

    /// The report at the end, after [`Batches::finish`].
    pub(super) fn report(self, key: Key) -> PutReport {
        let Total { done, batches } = self;
        let (tally, unchanged) = batches.into_tally();
        PutReport {
            key,
            files: done.files,
            bytes: done.bytes,
            new_records: (tally.records - unchanged).saturating_sub(done.beside_new),
            changed: done.changed,
            replaced: done.replaced.into_iter().collect(),
            unchanged: unchanged.saturating_sub(done.beside_unchanged),
            skipped: done.skipped,
            notes: done.notes,
            copies: tally.copies,
            wanted: tally.wanted,
            short: tally.short,
            missing: tally.missing(),
        }
    }
}

/// Reads at most `jobs` files or groups at once, and commits what is ready.
async fn drive(mut finder: Finder, batches: Batches, jobs: usize) -> Result<Total, PutError> {
    let mut reading: FuturesUnordered<Work> = FuturesUnordered::new();
    let mut total = Total { done: Done::default(), batches };
    loop {
        total.batches.launch(reading.is_empty() && finder.ended());
        let room = reading.len() < jobs && total.batches.waiting() < READY;
        tokio::select! {
            biased;
            Some(committed) = total.batches.next() => committed?,
            Some(done) = reading.next() => total.add(done?),
            Some(work) = finder.next(), if room && !finder.ended() => reading.push(work),
            else => break,
        }
        if reading.is_empty() && finder.ended() && total.batches.is_idle() {
            break;
        }
    }
    Ok(total)
}

/// Turns what the walk finds into work: small files by the group, larger ones one by one.
struct Finder {
    session: Arc<Session>,
    found: mpsc::Receiver<Found>,
    large: VecDeque<FoundFile>,
    open: bool,
}

impl Finder {
    fn ended(&self) -> bool {
        !self.open && self.large.is_empty()
    }

    /// The next piece of work; `None` when the walk has ended. Safe to drop and call again.
    async fn next(&mut self) -> Option<Work> {
        if let Some(file) = self.large.pop_front() {
            return Some(Box::pin(large::put(Arc::clone(&self.session), file)));
        }
        let mut batch = Vec::new();
        if self.found.recv_many(&mut batch, GROUP).await == 0 {
            self.open = false;
            return None;
        }
        let mut done = Done::default();
        let mut group = Group::default();
        for found in batch {
            match found {
                Found::File(file) if is_inline(file.size) => group.files.push(file),
                Found::File(file) => self.large.push_back(file),
                Found::Whole(path, meta) => group.whole.push((path, meta)),
                Found::Skipped(path, why) => done.skipped.push((path, why)),
                Found::Noted(path, what) => done.notes.push((path, what)),
            }
        }
        Some(Box::pin(small::put(Arc::clone(&self.session), group, done)))
    }
}
