//! The background tasks of an engine, the list of them that `status` shows, and the sign at which
//! they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::lock::lock;

/// All tasks of one engine. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    list: Arc<Mutex<List>>,
}

/// The tasks that are listed, by a number that none has had before.
#[derive(Debug, Default)]
struct List {
    last: u64,
    tasks: BTreeMap<u64, Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    name: &'static str,
    about: Option<NodeId>,
    is_running: bool,
    last_run: Option<Instant>,
    next_run: Option<Instant>,
}

/// A background task as `status` lists it. Its times are how long ago and in how long, as a clock
/// that is set anew changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name in `docs/operating.md`.
    pub name: &'static str,
    /// The member that it is about, of a task that there is for each connected one.
    pub about: Option<NodeId>,
    /// True while it works; else it waits.
    pub is_running: bool,
    /// Time since it last began to work. For a run before this start of the node: since it began or
    /// ended, as far as that is written down.
    pub last_run: Option<Duration>,
    /// Time until it next begins to work, if nothing calls for it before; `None` if it waits for a
    /// call alone.
    pub next_run: Option<Duration>,
}

/// The place of one background task in the list. It says when it works and until when it waits;
/// dropped, it is listed no more.
#[derive(Debug)]
pub struct ListedTask {
    list: Arc<Mutex<List>>,
    number: u64,
}

impl ListedTask {
    /// The task begins to work.
    pub fn begins(&self) {
        self.change(|times| {
            (times.is_running, times.last_run, times.next_run) = (true, Some(Instant::now()), None);
        });
    }

    /// The task waits for so long, or with `None` until something calls for it.
    pub fn ends(&self, next: Option<Duration>) {
        let next = next.and_then(|next| Instant::now().checked_add(next));
        self.change(|times| (times.is_running, times.next_run) = (false, next));
    }

    /// The task last worked so long ago, in an earlier run of the node.
    pub(crate) fn worked(&self, ago: Duration) {
        self.change(|times| times.last_run = Instant::now().checked_sub(ago));
    }

    fn change(&self, change: impl FnOnce(&mut Times)) {
        if let Some(times) = lock(&self.list).tasks.get_mut(&self.number) {
            change(times);
        }
    }
}

impl Drop for ListedTask {
    fn drop(&mut self) {
        lock(&self.list).tasks.remove(&self.number);
    }
}

impl Tasks {
    /// Lists a task, which waits for now.
    pub(crate) fn list(&self, name: &'static str) -> ListedTask {
        self.add(name, None)
    }

    /// Lists a task that is about one member.
    pub(crate) fn list_about(&self, name: &'static str, node: NodeId) -> ListedTask {
        self.add(name, Some(node))
    }

    fn add(&self, name: &'static str, about: Option<NodeId>) -> ListedTask {
        let mut list = lock(&self.list);
        list.last += 1;
        let number = list.last;
        let times = Times { name, about, is_running: false, last_run: None, next_run: None };
        list.tasks.insert(number, times);
        ListedTask { list: Arc::clone(&self.list), number }
    }

    /// All listed tasks, by name and member.
    pub(crate) fn listed(&self) -> Vec<TaskStatus> {
        let now = Instant::now();
        let status = |times: &Times| TaskStatus {
            name: times.name,
            about: times.about,
            is_running: times.is_running,
            last_run: times.last_run.map(|at| now.saturating_duration_since(at)),
            next_run: times.next_run.map(|at| at.saturating_duration_since(now)),
        };
        let mut listed: Vec<_> = lock(&self.list).tasks.values().map(status).collect();
        listed.sort_by_key(|task| (task.name, task.about));
        listed
    }

    /// Starts a task, which [`Tasks::stop`] waits for.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Runs a task to its end, even if the caller that waits for it is dropped before.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_is_listed_with_its_times_until_it_ends() {
        let tasks = Tasks::default();
        let member = NodeId::from_bytes([1; 32]);
        let (scrub, follow) = (tasks.list("scrub"), tasks.list_about("follow", member));
        follow.begins();
        scrub.ends(Some(Duration::from_secs(60)));
        tokio::time::advance(Duration::from_secs(10)).await;
        let follows = TaskStatus {
            name: "follow",
            about: Some(member),
            is_running: true,
            last_run: Some(Duration::from_secs(10)),
            next_run: None,
        };
        let scrubs = TaskStatus {
            name: "scrub",
            about: None,
            is_running: false,
            last_run: None,
            next_run: Some(Duration::from_secs(50)),
        };
        assert_eq!(tasks.listed(), [follows, scrubs]);
        follow.ends(None);
        assert!(!tasks.listed()[0].is_running && tasks.listed()[0].next_run.is_none());
        drop(follow);
        assert_eq!(tasks.listed(), [scrubs]);
        scrub.ends(Some(Duration::MAX));
        assert_eq!(tasks.listed()[0].next_run, None);
    }
}
