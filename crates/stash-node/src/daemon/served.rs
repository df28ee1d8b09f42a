//! An opened node with the operations that run on it.

use std::sync::Arc;
use std::time::Duration;

use stash_vault::server::{ListedTask, MemberView};
use stash_vault::{Node, NodeId, Vault};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::ready::ReadyFile;
use crate::error::{Class, Problem};

/// The time that cancelled operations may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// The time that the engine may take to say good-bye and to close the store.
const CLOSE: Duration = Duration::from_secs(5);

/// Between two looks at whether the last request let go of the node.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where an operation runs and what ends it early.
pub(crate) struct Place<'a> {
    /// Waits for it when the node stops.
    pub(crate) tracker: &'a TaskTracker,
    /// Cancels it when the node stops.
    pub(crate) cancel: &'a CancellationToken,
}

/// A node while it is served.
pub(crate) struct Served {
    /// The node.
    pub(crate) node: Node,
    /// Cancelled when the node stops or is replaced.
    pub(crate) cancel: CancellationToken,
    /// Its task that keeps the limits on the line.
    pub(crate) limits: ListedTask,
    /// Its task that looks whether somebody is to be told something.
    pub(crate) notices: ListedTask,
    /// What its user calls the stash.
    pub(crate) label: Option<String>,
    operations: TaskTracker,
    _ready: ReadyFile,
}

impl Served {
    /// A node that is ready.
    pub(crate) fn new(node: Node, ready: ReadyFile, label: Option<String>) -> Self {
        let (operations, cancel) = (TaskTracker::new(), CancellationToken::new());
        let [limits, notices] = ["limits", "notices"].map(|name| node.engine.list_task(name));
        Self { node, cancel, limits, notices, label, operations, _ready: ready }
    }

    /// True if it was opened with names and keys exactly if it may read. A node that was removed stays as it is: it could not be
    /// opened again, and what it had read stays read.
    pub(crate) fn fits_its_role(&self) -> bool {
        let engine = &self.node.engine;
        engine.is_removed() || self.node.vault.is_some() == engine.role().reads()
    }

    /// Names and contents, unless the node is a keeper.
    pub(crate) fn vault(&self) -> Result<Vault, Problem> {
        let engine = &self.node.engine;
        let reads = engine.role().reads() || engine.is_removed() && self.node.vault.is_some();
        match &self.node.vault {
            // One that became a keeper may still hold the keys; the stash says that it reads no more.
            Some(vault) if reads => Ok(vault.clone()),
            None if reads => Err(Problem::new(
                Class::Temporary,
                "this node may read now, and is being opened so",
            )
            .hint("repeat the command in a moment")),
            _ => Err(Problem::keeper()),
        }
    }

    /// Where an operation of this node runs.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { tracker: &self.operations, cancel: &self.cancel }
    }

    /// A member's display name, where the node may read it.
    pub(crate) fn display_name(&self, member: &MemberView) -> Option<String> {
        self.name_of(&member.label, &member.node)
    }

    /// A display name that was sealed for a node, where this one may read it.
    pub(crate) fn name_of(&self, label: &[u8], node: &NodeId) -> Option<String> {
        self.node.vault.as_ref()?.display_name(label, node)
    }

    /// Ends every operation early.
    pub(crate) fn cancel_operations(&self) {
        self.cancel.cancel();
    }

    /// Cancels every operation, waits for their ends, and closes the store.
    pub(crate) async fn close(self: Arc<Self>) {
        self.cancel.cancel();
        self.operations.close();
        if timeout(CLEAN_UP, self.operations.wait()).await.is_err() {
            tracing::warn!(operations = self.operations.len(), "operations did not end in time");
        }
        let mut shared = self;
        for _ in 0..CLOSE.as_millis() / LOOK_AGAIN.as_millis() {
            match Arc::try_unwrap(shared) {
                Ok(served) => return served.node.shutdown(CLOSE).await,
                // Somebody reads the node's state at this moment.
                Err(again) => shared = again,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        tracing::warn!("a request still uses the node; its store is closed with the process");
        shared.node.engine.shutdown(CLOSE).await;
    }
}
