//! Ending a conflict: one version that covers all that were concurrent.

use std::path::{Path, PathBuf};

use stash_crypto::{Key, NodeId, RecordHash, Role};
use stash_server::{Outcome, Wait};
use thiserror::Error;

use crate::blocking::blocking;
use crate::class::Class;
use crate::lookup::{LookupError, position};
use crate::model::version_id::VersionId;
use crate::operations::draft::Content;
use crate::operations::put::{PutError, PutOptions};
use crate::operations::rewrite::{RewriteError, Unmoved};
use crate::progress::Progress;
use crate::vault::Vault;

/// The end of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveReport {
    /// The name.
    pub key: Key,
    /// The version that is the head now.
    pub version: RecordHash,
    /// Leaves that it covers: two or more were a conflict. 0 if the version that was taken was the
    /// only one already, and nothing was written.
    pub covered: usize,
    /// Members that have it, this node included.
    pub copies: usize,
    /// Members that should.
    pub wanted: usize,
    /// True if the copies fell below what was asked for.
    pub short: bool,
    /// Members that do not have it yet, and why.
    pub missing: Vec<(NodeId, String)>,
}

/// Why the name is as it was.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A reader or keeper cannot write.
    #[error("this node is a {role}: it cannot write")]
    ReadOnly {
        /// The node's role.
        role: Role,
    },
    /// No such name, or no such version of it.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A name is one file.
    #[error("'{}' is no file", path.display())]
    NotAFile {
        /// The path given.
        path: PathBuf,
    },
    /// The version could not be written again.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The file could not be stored.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl ResolveError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            ResolveError::ReadOnly { .. } => Class::Refused,
            ResolveError::Lookup(error) => error.class(),
            ResolveError::NotAFile { .. } => Class::Usage,
            ResolveError::Rewrite(error) => error.class(),
            ResolveError::Put(error) => error.class(),
        }
    }
}

impl Vault {
    /// Makes a version that is held the only leaf of its name: a file, or that it is removed. What
    /// comes in meanwhile ends it with an error, since nobody decided about that.
    pub async fn resolve_with_version(
        &self,
        key: &Key,
        take: &VersionId,
        wait: Wait,
        progress: &Progress,
    ) -> Result<ResolveReport, ResolveError> {
        let work = self.take(key, take, wait, progress);
        progress.or_cancelled(RewriteError::Cancelled.into(), work).await
    }

    async fn take(
        &self,
        key: &Key,
        take: &VersionId,
        wait: Wait,
        progress: &Progress,
    ) -> Result<ResolveReport, ResolveError> {
        let inner = &self.inner;
        inner.may_write(|role| ResolveError::ReadOnly { role })?;
        let looked = inner.look(key).await?;
        let versions = &looked.versions;
        if versions.all.is_empty() {
            return Err(LookupError::NotFound { name: key.to_string() }.into());
        }
        let at = position(key, &versions.all, take)?;
        let (taken, leaves) = (versions.all[at].clone(), versions.leaves);
        progress.found(1, taken.meta.size);
        let upload = inner.engine.upload(wait);
        if at == 0 && leaves == 1 {
            let resent = upload.resend(vec![taken.record]).await.map_err(RewriteError::from)?;
            return Ok(report(key, 0, resent.wait().await));
        }
        let content = if taken.is_put() {
            inner.offer(&upload, &taken, progress).await?;
            let name = taken.record.clear().name;
            inner.engine.want_version(name).await.map_err(RewriteError::from)?;
            Content::put(taken.record.clear().manifest.clone(), taken.meta)
        } else {
            Content::tombstone(key.clone())
        };
        let size = content.meta.size;
        let mut writes = Unmoved::default();
        writes.add(inner, content, looked);
        let Some(pending) = writes.commit(&upload).await? else {
            return Err(RewriteError::Moved { key: key.clone() }.into());
        };
        progress.moved(size);
        progress.finished(1);
        let outcome = pending.wait().await;
        Ok(report(key, leaves, outcome))
    }

    /// Stores a file as the only leaf of a name that is held: it covers all that this node holds of it.
    pub async fn resolve_with_file(
        &self,
        key: &Key,
        path: &Path,
        wait: Wait,
        progress: &Progress,
    ) -> Result<ResolveReport, ResolveError> {
        self.inner.may_write(|role| ResolveError::ReadOnly { role })?;
        let versions = self.inner.versions_of(key).await?;
        if versions.all.is_empty() {
            return Err(LookupError::NotFound { name: key.to_string() }.into());
        }
        let owned = path.to_owned();
        if blocking(move || owned.is_dir()).await {
            return Err(ResolveError::NotAFile { path: path.to_owned() });
        }
        let options = PutOptions { wait, jobs: 0 };
        let put = self.put_path(path, Some(key.clone()), options, progress).await?;
        let head = self.inner.head(key).await?;
        Ok(ResolveReport {
            key: key.clone(),
            version: head.record.hash(),
            covered: if put.new_records > 0 { versions.leaves } else { 0 },
            copies: put.copies,
            wanted: put.wanted,
            short: put.short,
            missing: put.missing,
        })
    }
}

fn report(key: &Key, covered: usize, outcome: Outcome) -> ResolveReport {
    // One record was written or sent again.
    let version = outcome.records.first().map_or(RecordHash::ZERO, |record| record.hash());
    ResolveReport {
        key: key.clone(),
        version,
        covered,
        copies: outcome.copies,
        wanted: outcome.wanted,
        short: outcome.short,
        missing: outcome.missing,
    }
}
