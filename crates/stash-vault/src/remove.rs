//! Removing: a signed tombstone, never an erased record.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stash_crypto::{Key, NodeId, Role};
use stash_server::{PutError as UploadError, Upload, Wait};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::{LookupError, Target};
use crate::progress::Progress;
use crate::put::{Content, Tally, write};
use crate::vault::Vault;

/// Names taken from the index and removed in one commit.
const PAGE: usize = 256;
/// Commits under way at once.
const COMMITS: usize = 4;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// Files removed.
    pub removed: u64,
    /// The fewest members that know of any of the removals.
    pub copies: usize,
    /// Members that should, this node included.
    pub wanted: usize,
    /// Whether the copies fell below what was asked for.
    pub short: bool,
    /// Members that do not know yet, and why.
    pub missing: Vec<(NodeId, String)>,
}

/// Why nothing, or not all, was removed. What was removed before the error stays removed.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// A reader or keeper cannot write.
    #[error("this node is a {role}: it cannot remove")]
    ReadOnly {
        /// The node's role.
        role: Role,
    },
    /// No such file.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The name is a tree, and the caller did not say that a tree is meant.
    #[error("'{name}' is a tree")]
    Tree {
        /// The name given.
        name: String,
    },
    /// The tombstones were not stored.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl RemoveError {
    /// What it means to the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            RemoveError::ReadOnly { .. } => Class::Refused,
            RemoveError::Lookup(error) => error.class(),
            RemoveError::Tree { .. } => Class::Usage,
            RemoveError::Upload(error) => faults::put(error),
            RemoveError::Cancelled => Class::Cancelled,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            RemoveError::ReadOnly { .. } => Some("remove it on an owner".to_owned()),
            RemoveError::Lookup(error) => error.hint(),
            RemoveError::Tree { .. } => Some("add -r to remove every file under it".to_owned()),
            RemoveError::Upload(_) | RemoveError::Cancelled => None,
        }
    }
}

impl Vault {
    /// Removes a file, or with `recursive` every file under a prefix. The removal is a record of
    /// its own, which covers every version that this node holds.
    pub async fn rm(
        &self,
        name: &str,
        recursive: bool,
        wait: Wait,
        progress: &Progress,
    ) -> Result<RemoveReport, RemoveError> {
        let inner = &self.inner;
        if !inner.role.writes() {
            return Err(RemoveError::ReadOnly { role: inner.role });
        }
        let upload = inner.engine.upload(wait);
        let target = match (inner.target(name).await, Key::new(name)) {
            // It is there, whatever it says: the removal covers it.
            (Err(LookupError::Engine(error)), Ok(key)) if error.is_damaged_record() => {
                return self.entomb_one(&upload, key, progress).await;
            }
            (target, _) => target?,
        };
        let scope = match target {
            Target::File(head) => return self.entomb_one(&upload, head.meta.key, progress).await,
            Target::Tree(_) if !recursive => {
                return Err(RemoveError::Tree { name: name.to_owned() });
            }
            Target::Tree(scope) => scope,
        };
        let (mut tally, mut under_way) = (Tally::default(), FuturesUnordered::new());
        let mut after: Option<String> = None;
        loop {
            if progress.cancelled() {
                return Err(RemoveError::Cancelled);
            }
            let page = inner.page(&scope, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.to_string());
            progress.found(page.len() as u64, 0);
            let keys: Vec<Key> = page.into_iter().map(|(key, _)| key).collect();
            under_way.push(self.entomb(&upload, keys));
            while under_way.len() >= COMMITS
                && let Some(outcome) = under_way.next().await
            {
                add(&mut tally, outcome?, progress);
            }
        }
        while let Some(outcome) = under_way.next().await {
            add(&mut tally, outcome?, progress);
        }
        Ok(report(tally))
    }

    async fn entomb_one(
        &self,
        upload: &Upload,
        key: Key,
        progress: &Progress,
    ) -> Result<RemoveReport, RemoveError> {
        let mut tally = Tally::default();
        tally.add(self.entomb(upload, vec![key]).await?);
        progress.finished(1);
        Ok(report(tally))
    }

    async fn entomb(
        &self,
        upload: &Upload,
        keys: Vec<Key>,
    ) -> Result<stash_server::Outcome, UploadError> {
        let entomb = |key| write(&self.inner, Content::tombstone(key));
        let writes = keys.into_iter().map(entomb).collect();
        Ok(upload.commit(writes).await?.settle().await)
    }
}

fn add(tally: &mut Tally, outcome: stash_server::Outcome, progress: &Progress) {
    progress.finished(outcome.records.len() as u64);
    tally.add(outcome);
}

fn report(tally: Tally) -> RemoveReport {
    RemoveReport {
        removed: tally.records,
        copies: tally.copies,
        wanted: tally.wanted,
        short: tally.short,
        missing: tally.missing(),
    }
}
