//! Dropping local bytes that other members have proven to have.

use std::collections::BTreeSet;

use stash_crypto::NodeId;
use stash_crypto::record::FileType;
use stash_server::{EvictError as ProofError, FetchError, LedgerError};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::{LookupError, Target};
use crate::model::scope::Scope;
use crate::model::version::Version;
use crate::operations::pages::Pages;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Names taken from the index at once.
const PAGE: usize = 256;

/// The results of an eviction.
#[derive(Debug, Default)]
pub struct EvictReport {
    /// Files whose local bytes were dropped or were in their record.
    pub files: u64,
    /// Chunks dropped. Content that stands in a record is not evicted.
    pub chunks: u64,
    /// Sealed bytes freed.
    pub bytes: u64,
    /// Members that proved to have a copy.
    pub proven_by: BTreeSet<NodeId>,
    /// Why it went no further, if it stopped before the end. Some chunks were dropped by then; all
    /// others are still here, and evicting again goes on with them.
    pub stopped: Option<EvictError>,
}

impl EvictReport {
    /// The class of the error that stopped it before the end.
    #[must_use]
    pub fn stopped_class(&self) -> Option<Class> {
        let class = self.stopped.as_ref()?.class();
        // That class says that nothing was changed.
        Some(if class == Class::Refused { Class::Temporary } else { class })
    }
}

/// Why nothing was evicted, or, in [`EvictReport::stopped`], not all.
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
    /// No other member proved that it has a copy and will keep it.
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
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            EvictError::Lookup(error) => error.class(),
            EvictError::Tree { .. } => Class::Usage,
            EvictError::Manifest(error) => faults::fetch(error),
            EvictError::Refused(error) => faults::evict(&error.why),
            EvictError::Engine(error) => faults::engine(error),
            EvictError::Cancelled => Class::Cancelled,
        }
    }
}

impl Vault {
    /// Drops the local bytes of a file, or with `recursive` of every file under a prefix, once
    /// other members have proven that they have a copy and will keep it: so many as `repair_copies` says, or
    /// `copies`. Files stay listed.
    ///
    /// # Errors
    ///
    /// [`EvictError`]; no byte was dropped. If some were, the report says why it went no further.
    pub async fn evict(
        &self,
        name: &str,
        recursive: bool,
        copies: Option<u8>,
        progress: &Progress,
    ) -> Result<EvictReport, EvictError> {
        let mut report = EvictReport::default();
        let ended = match self.inner.target(name).await? {
            Target::File(head) => {
                progress.found(1, head.meta.size);
                self.inner.evict_one(&head, copies, &mut report, progress).await
            }
            Target::Tree(scope) if recursive => {
                self.inner.evict_tree(&scope, copies, &mut report, progress).await
            }
            Target::Tree(_) => Err(EvictError::Tree { name: name.to_owned() }),
        };
        match ended {
            Ok(()) => Ok(report),
            Err(error) if report.chunks > 0 => Ok(EvictReport { stopped: Some(error), ..report }),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    async fn evict_tree(
        &self,
        scope: &Scope,
        copies: Option<u8>,
        report: &mut EvictReport,
        progress: &Progress,
    ) -> Result<(), EvictError> {
        let mut pages = Pages::new(self, scope, PAGE);
        while let Some(page) = pages.files().await? {
            for (key, entry) in page {
                if entry.file_type == FileType::Directory {
                    continue;
                }
                match self.head(&key).await {
                    Ok(head) => {
                        progress.found(1, head.meta.size);
                        self.evict_one(&head, copies, report, progress).await?;
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
        copies: Option<u8>,
        report: &mut EvictReport,
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
            let evicted = self.engine.evict_version(name, version, addresses, copies).await;
            let (evicted, stopped) = match evicted {
                Ok(evicted) => (evicted, None),
                Err(mut error) => (std::mem::take(&mut *error.done), Some(error)),
            };
            report.chunks += evicted.chunks;
            report.bytes += evicted.bytes;
            report.proven_by.extend(evicted.proven_by);
            if let Some(error) = stopped {
                return Err(error.into());
            }
        }
        report.files += 1;
        progress.moved(head.meta.size);
        progress.finished(1);
        Ok(())
    }
}
