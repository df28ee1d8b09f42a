//! The background tasks of an engine, and the sign at which they end.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// All tasks of one engine. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts a task, which [`Tasks::stop`] waits for.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Runs a task to its end, though whoever waits for it may be gone before.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.tracker.spawn(task).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is gone, and with it whoever waits.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends once the engine stops.
    pub(crate) fn stopped(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells all tasks to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all have ended, for so long at most.
    pub(crate) async fn ended(&self, deadline: Duration) {
        self.tracker.close();
        // Whoever does not end by then is dropped with the runtime.
        let _ = timeout(deadline, self.tracker.wait()).await;
    }
}
