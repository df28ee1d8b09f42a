//! The engine's way to its store: blocking work in, a future out.
//!
//! With [`Mode::Inline`] the work runs where it is asked for, so that a simulator decides when.

use stash_store::Store;

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
}

impl Disk {
    pub(crate) fn new(store: Store, mode: Mode) -> Disk {
        Disk { store, mode }
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
}
