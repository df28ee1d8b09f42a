//! Dropping local bytes that other members have proven to hold.

use std::collections::BTreeSet;

use stash_crypto::NodeId;
use stash_server::{EvictError as ProofError, FetchError, LedgerError};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::{LookupError, Target};
use crate::pages::Pages;
use crate::progress::Progress;
use crate::scope::Scope;
use crate::vault::{Inner, Vault};
use crate::version::Version;

/// Names taken from the index at once.
const PAGE: usize = 256;

/// What was evicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvictReport {
    /// Files whose local bytes were dropped or were in their record.
    pub files: u64,
    /// Chunks dropped. Content that stands in a record is not evicted.
    pub chunks: u64,
    /// Sealed bytes freed.
    pub bytes: u64,
    /// Members that proved to hold a copy.
    pub proven_by: Vec<NodeId>,
}

/// Why nothing, or not all, was evicted. Files evicted before the error stay evicted; the bytes
/// of the one that failed are still here.
#[derive(Debug, Error)]
pub enum EvictError {
    /// No such file.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The name is a tree, and the caller did not say that a tree is meant.
    #[error("'{name}' is a tree")]
    Tree {
        /// The name given.
        name: String,
    },
    /// The chunk list of a large file is neither here nor with any reachable member.
    #[error("the chunk list of the file cannot be read: {0}")]
    Manifest(#[from] FetchError),
    /// No other member proved that it holds a copy, or one member counts on ours.
    #[error(transparent)]
    Refused(#[from] ProofError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl EvictError {
    /// What it means to the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            EvictError::Lookup(error) => error.class(),
            EvictError::Tree { .. } => Class::Usage,
            EvictError::Manifest(error) => faults::fetch(error),
            EvictError::Refused(error) => faults::evict(error),
            EvictError::Engine(error) => faults::engine(error),
            EvictError::Cancelled => Class::Cancelled,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            EvictError::Lookup(error) => error.hint(),
            EvictError::Tree { .. } => Some("add -r to evict every file under it".to_owned()),
            EvictError::Manifest(_) => Some("`stash peers` shows who is connected".to_owned()),
            EvictError::Refused(_) => {
                Some("`stash where KEY` shows who holds it; connect another member".to_owned())
            }
            EvictError::Engine(_) | EvictError::Cancelled => None,
        }
    }
}

impl Vault {
    /// Drops the local bytes of a file, or with `recursive` of every file under a prefix, once
    /// another member has proven to hold its copy and holds on to it. Files stay listed.
    pub async fn evict(
        &self,
        name: &str,
        recursive: bool,
        progress: &Progress,
    ) -> Result<EvictReport, EvictError> {
        let mut report = EvictReport::default();
        let mut proven = BTreeSet::new();
        match self.inner.target(name).await? {
            Target::File(head) => {
                progress.found(1, head.meta.size);
                self.inner.evict_one(&head, &mut report, &mut proven, progress).await?;
            }
            Target::Tree(scope) if recursive => {
                self.inner.evict_tree(&scope, &mut report, &mut proven, progress).await?;
            }
            Target::Tree(_) => {
                return Err(EvictError::Tree { name: name.to_owned() });
            }
        }
        report.proven_by = proven.into_iter().collect();
        Ok(report)
    }
}

impl Inner {
    async fn evict_tree(
        &self,
        scope: &Scope,
        report: &mut EvictReport,
        proven: &mut BTreeSet<NodeId>,
        progress: &Progress,
    ) -> Result<(), EvictError> {
        let mut pages = Pages::new(self, scope, PAGE);
        while let Some(page) = pages.files().await? {
            for (key, _) in page {
                match self.head(&key).await {
                    Ok(head) => {
                        progress.found(1, head.meta.size);
                        self.evict_one(&head, report, proven, progress).await?;
                    }
                    // Removed since the page was read: there is nothing left to drop.
                    Err(LookupError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Evicts the chunks of one file that no other file with local bytes uses. Its manifest chunks
    /// stay: every member holds every manifest.
    async fn evict_one(
        &self,
        head: &Version,
        report: &mut EvictReport,
        proven: &mut BTreeSet<NodeId>,
        progress: &Progress,
    ) -> Result<(), EvictError> {
        if progress.cancelled() {
            return Err(EvictError::Cancelled);
        }
        let refs = self.chunks(&head.record.clear().manifest).await?;
        let all: BTreeSet<_> = refs.iter().map(|chunk| chunk.address).collect();
        let addresses: Vec<_> = all.into_iter().collect();
        let (name, version) = (head.record.clear().name, head.record.hash());
        if !addresses.is_empty() {
            let evicted = self.engine.evict_version(name, version, addresses).await?;
            report.chunks += evicted.chunks;
            report.bytes += evicted.bytes;
            proven.extend(evicted.proven_by);
        }
        report.files += 1;
        progress.moved(head.meta.size);
        progress.finished(1);
        Ok(())
    }
}
