//! The progress of an operation, and the way to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// Counters that an operation raises while it runs, and its cancel token. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    counters: Arc<Counters>,
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct Counters {
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
    /// Walks that may still find something.
    walks: AtomicUsize,
}

/// A walk that may still find something, until it is dropped.
#[derive(Debug)]
pub struct Walk(Arc<Counters>);

impl Drop for Walk {
    fn drop(&mut self) {
        self.0.walks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters at one moment. The totals grow while a tree is still being walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Files done.
    pub files: u64,
    /// Bytes of plaintext done.
    pub bytes: u64,
    /// Files found so far.
    pub total_files: u64,
    /// Bytes found so far.
    pub total_bytes: u64,
    /// True while more may be found.
    pub growing: bool,
}

impl Progress {
    /// Counters at zero and a token of its own.
    #[must_use]
    pub fn new() -> Progress {
        Progress::default()
    }

    /// Counters at zero and the caller's token.
    #[must_use]
    pub fn with_cancel(cancel: CancellationToken) -> Progress {
        Progress { counters: Arc::default(), cancel }
    }

    /// Asks the operation to stop. What is unfinished stays invisible.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The token that stops the operation.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            files: read(&self.counters.files),
            bytes: read(&self.counters.bytes),
            total_files: read(&self.counters.total_files),
            total_bytes: read(&self.counters.total_bytes),
            growing: self.counters.walks.load(Ordering::Relaxed) > 0,
        }
    }

    /// True if the operation was asked to stop.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Does the work; gives up with this error as soon as the caller cancels, wherever the work is then.
    pub(crate) async fn or_cancelled<T, E>(
        &self,
        cancelled: E,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled),
            // On the heap, as these are large.
            done = Box::pin(work) => done,
        }
    }

    /// Begins a walk: until its end, the totals are not known.
    #[must_use]
    pub fn walks(&self) -> Walk {
        self.counters.walks.fetch_add(1, Ordering::Relaxed);
        Walk(Arc::clone(&self.counters))
    }

    /// There is more to do.
    pub fn found(&self, files: u64, bytes: u64) {
        self.counters.total_files.fetch_add(files, Ordering::Relaxed);
        self.counters.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes more are done.
    pub fn moved(&self, bytes: u64) {
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self, files: u64) {
        self.counters.files.fetch_add(files, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_grow_as_long_as_any_walk_goes_on() {
        let progress = Progress::new();
        assert!(!progress.snapshot().growing);
        let (first, second) = (progress.walks(), progress.clone().walks());
        drop(first);
        assert!(progress.snapshot().growing);
        drop(second);
        assert!(!progress.snapshot().growing);
    }
}
