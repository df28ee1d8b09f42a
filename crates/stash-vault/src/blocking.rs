//! Blocking work off the runtime.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio_util::task::TaskTracker;

/// Runs `f` on a thread that may block. A panic in it goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(f).await).await
}

async fn finished<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody will poll this again.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The blocking jobs of one operation. They cannot be stopped: an operation that fails or is
/// cancelled waits for them, so that nothing of it goes on after its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs(TaskTracker);

impl Jobs {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.spawn_blocking(f)
    }

    /// As [`blocking`].
    pub(crate) async fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        finished(self.spawn(f).await).await
    }

    /// Waits until every job has ended.
    pub(crate) async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}
