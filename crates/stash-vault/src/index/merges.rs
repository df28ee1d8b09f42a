//! Merges of a map beside those who use it: one at a time, on a blocking thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::fault::IndexError;
use super::map::Merged;
use crate::blocking::Jobs;

/// Time between the beginnings of two merges, if the first found no room or failed. A full disk stays
/// full for a while, and each attempt takes what is left of it.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    /// The merge that was begun last. It takes seconds for a million rows.
    last: Option<JoinHandle<()>>,
    /// No merge begins before, since the last one found no room or failed.
    not_before: Option<Instant>,
    /// Set from a merge that found no room to one that did, so that it is said once.
    waits: bool,
    /// No merge begins any more.
    ended: bool,
}

/// The merges of one map. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Merges {
    /// Directory of the map, for the log.
    of: &'static str,
    jobs: Jobs,
    state: Arc<Mutex<State>>,
}

impl Merges {
    /// Merges run among these jobs.
    pub(crate) fn new(of: &'static str, jobs: Jobs) -> Merges {
        Merges { of, jobs, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to merge, unless a merge is under way or the last one found no room a short while before `now`.
    pub(crate) fn begin(
        &self,
        now: Instant,
        merge: impl FnOnce() -> Result<Merged, IndexError> + Send + 'static,
    ) {
        let mut state = self.lock();
        let under_way = state.last.as_ref().is_some_and(|last| !last.is_finished());
        if under_way || state.ended || state.not_before.is_some_and(|at| now < at) {
            return;
        }
        let this = self.clone();
        state.last = Some(self.jobs.spawn(move || this.note(now, merge())));
    }

    /// From now on, no merge is begun.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
    }

    /// Waits for the merge that is under way, after [`Merges::end`].
    pub(crate) async fn ended(&self) {
        self.jobs.ended().await;
    }

    fn note(&self, begun: Instant, merged: Result<Merged, IndexError>) {
        let of = self.of;
        let mut state = self.lock();
        state.not_before = (!matches!(merged, Ok(Merged::Done))).then(|| begun + PAUSE);
        match merged {
            Ok(Merged::Done) => state.waits = false,
            Ok(Merged::Waits { bytes }) => {
                if !std::mem::replace(&mut state.waits, true) {
                    tracing::warn!(of, bytes, "a merge waits for room above the reserve");
                }
            }
            Err(error) => tracing::warn!(of, %error, "files are not merged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::atomic::{AtomicU32, Ordering};

    use stash_runs::disk::IoError;

    use super::super::IndexFault;
    use super::*;

    /// Merges that end as they are told, and are counted.
    struct Counted {
        merges: Merges,
        begun: Arc<AtomicU32>,
    }

    impl Counted {
        fn new() -> Counted {
            Counted { merges: Merges::new("names", Jobs::default()), begun: Arc::default() }
        }

        /// Count of the merges that were begun, once this one has ended.
        async fn begin(&self, now: Instant, result: Result<Merged, IndexError>) -> u32 {
            let begun = Arc::clone(&self.begun);
            self.merges.begin(now, move || {
                begun.fetch_add(1, Ordering::Relaxed);
                result
            });
            let last = self.merges.lock().last.take();
            if let Some(last) = last {
                last.await.unwrap();
            }
            self.begun.load(Ordering::Relaxed)
        }
    }

    fn failed() -> IndexError {
        let error = IoError::new("write", "run".as_ref(), ErrorKind::StorageFull.into());
        IndexError::Unusable(IndexFault::Waits(error))
    }

    /// Fault case 44.
    #[tokio::test]
    async fn after_a_merge_that_found_no_room_none_is_begun_for_a_while() {
        let now = Instant::now();
        let (soon, later) = (now + PAUSE / 2, now + PAUSE);
        for result in [|| Ok(Merged::Waits { bytes: 1 }), || Err(failed())] {
            let counted = Counted::new();
            assert_eq!(counted.begin(now, result()).await, 1);
            assert_eq!(counted.begin(now, result()).await, 1, "at once");
            assert_eq!(counted.begin(soon, result()).await, 1, "soon");
            assert_eq!(counted.begin(later, result()).await, 2, "later");
            assert_eq!(counted.begin(later + PAUSE, Ok(Merged::Done)).await, 3);
            assert_eq!(counted.begin(later + PAUSE, Ok(Merged::Done)).await, 4, "it found room");
        }
    }

    #[tokio::test]
    async fn one_merge_is_under_way_at_a_time() {
        let merges = Merges::new("names", Jobs::default());
        let (goes, waits) = std::sync::mpsc::channel::<()>();
        let now = Instant::now();
        merges.begin(now, move || {
            // Until the sender is gone.
            let _ = waits.recv();
            Ok(Merged::Done)
        });
        merges.begin(now, || panic!("a second one beside the first"));
        drop(goes);
        let last = merges.lock().last.take().unwrap();
        last.await.unwrap();
        let (done, ended) = tokio::sync::oneshot::channel();
        merges.begin(now, move || {
            done.send(()).unwrap();
            Ok(Merged::Done)
        });
        ended.await.unwrap();
    }
}
