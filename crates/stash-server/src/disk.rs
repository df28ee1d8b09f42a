//! The engine's way to its store: blocking work in, a future out.
//!
//! With [`Mode::Inline`] the work runs where it is asked for, so that a simulator decides when.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use futures::future::join_all;
use stash_store::Store;

/// Items that are worth a thread of their own, at least.
const SHARE: usize = 8;

/// Place where store work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On tokio's blocking threads.
    Threads,
    /// At once, in the calling task.
    Inline,
}

/// A store and the place where its work runs.
#[derive(Clone)]
pub(crate) struct Disk {
    store: Store,
    mode: Mode,
    /// Threads that work which needs no order is spread over.
    cores: usize,
}

impl Disk {
    pub(crate) fn new(store: Store, mode: Mode) -> Disk {
        let cores = match mode {
            Mode::Threads => thread::available_parallelism().map_or(1, NonZero::get),
            Mode::Inline => 1,
        };
        Disk { store, mode, cores }
    }

    /// The store itself, for look-ups that never block for long.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Runs blocking work with the store. The work runs to its end even if the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        if self.mode == Mode::Inline {
            return work(&self.store);
        }
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Runs blocking work on many items, a part of them on each core. One result an item, in their
    /// order.
    pub(crate) async fn spread<T: Send + 'static, U: Send + 'static>(
        &self,
        mut items: Vec<T>,
        work: impl Fn(Vec<T>) -> Vec<U> + Send + Sync + 'static,
    ) -> Vec<U> {
        let each = items.len().div_ceil(self.cores).max(SHARE);
        let work = Arc::new(work);
        let mut parts = Vec::with_capacity(self.cores);
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(each));
            let (part, work) = (std::mem::replace(&mut items, rest), Arc::clone(&work));
            parts.push(self.run(move |_| work(part)));
        }
        join_all(parts).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::{Barrier, Mutex};

    use stash_store::{Committer, MemDisk, Options};

    use crate::lock::lock;

    fn disk(mode: Mode, cores: usize) -> Disk {
        let options = Options {
            committer: Committer::Inline,
            disk: Arc::new(MemDisk::new(1)),
            ..Options::default()
        };
        let store = Store::create(Path::new("/store"), &options).unwrap();
        Disk { cores, ..Disk::new(store, mode) }
    }

    #[tokio::test]
    async fn spread_work_runs_at_once_and_its_results_keep_their_order() {
        let met = Arc::new(Barrier::new(3));
        let work = move |part: Vec<usize>| {
            // Ends only if all parts are under way at the same time.
            met.wait();
            part.into_iter().map(|item| item * 2).collect()
        };
        let doubled = disk(Mode::Threads, 3).spread((0..100).collect(), work).await;
        assert_eq!(doubled, (0..200).step_by(2).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn few_items_are_no_reason_for_more_threads_and_inline_there_is_none() {
        for (mode, cores, items, parts) in [
            (Mode::Threads, 4, SHARE, 1),
            (Mode::Threads, 4, SHARE + 1, 2),
            (Mode::Threads, 4, 0, 0),
            (Mode::Inline, 1, 1_000, 1),
        ] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let note = Arc::clone(&seen);
            let work = move |part: Vec<usize>| {
                lock(&note).push((part.len(), thread::current().id()));
                part
            };
            let same = disk(mode, cores).spread((0..items).collect(), work).await;
            assert_eq!(same, (0..items).collect::<Vec<_>>());
            let seen = lock(&seen);
            assert_eq!(seen.len(), parts, "{mode:?}, {items} items");
            let threads: BTreeSet<String> = seen.iter().map(|(_, id)| format!("{id:?}")).collect();
            let here = format!("{:?}", thread::current().id());
            assert_eq!(threads.contains(&here), mode == Mode::Inline);
        }
    }
}
