//! Bringing removed files back: a new version that says what the removal covered.

use stash_crypto::{Key, NodeId, Role};
use stash_server::{Pending, Upload, Wait};
use thiserror::Error;

use crate::class::Class;
use crate::lookup::{LookupError, bad_key};
use crate::model::scope::Scope;
use crate::model::version::Version;
use crate::operations::commits::Commits;
use crate::operations::draft::Content;
use crate::operations::history::Names;
use crate::operations::pages::Pages;
use crate::operations::rewrite::{RewriteError, Unmoved};
use crate::operations::tally::Tally;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Names taken from the index and written in one commit.
const PAGE: usize = 256;
/// Times that names are looked at again which others write meanwhile.
const ATTEMPTS: u32 = 3;
/// Files that a report names at most.
const SKIPPED: usize = 100;

/// The results of an undelete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndeleteReport {
    /// Files and links brought back; directories come with them, and are not counted.
    pub restored: u64,
    /// Their bytes of plaintext.
    pub bytes: u64,
    /// Files whose bytes, or records, were not to be had, so that they are removed as before; of a single file,
    /// that is an error.
    pub unavailable: u64,
    /// The first hundred of them, and why.
    pub skipped: Vec<(Key, String)>,
    /// The fewest members that have any of the new records; 0 if there are none.
    pub copies: usize,
    /// Members that should, this node included.
    pub wanted: usize,
    /// True if the copies fell below what was asked for.
    pub short: bool,
    /// Members that do not have all of it yet, and why.
    pub missing: Vec<(NodeId, String)>,
}

/// Why nothing, or not all, was brought back. What was brought back before the error stays.
#[derive(Debug, Error)]
pub enum UndeleteError {
    /// A reader or keeper cannot write.
    #[error("this node is a {role}: it cannot write")]
    ReadOnly {
        /// The node's role.
        role: Role,
    },
    /// Nothing of this name was removed, or what was there before is not held any more.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The name is no removed one: it is a file now.
    #[error("'{key}' exists")]
    Exists {
        /// The name.
        key: Key,
    },
    /// The name is a tree, and the caller did not say that a tree is meant.
    #[error("'{name}' is a tree")]
    Tree {
        /// The name given.
        name: String,
    },
    /// A file could not be written again.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

impl UndeleteError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            UndeleteError::ReadOnly { .. } | UndeleteError::Exists { .. } => Class::Refused,
            UndeleteError::Lookup(error) => error.class(),
            UndeleteError::Tree { .. } => Class::Usage,
            UndeleteError::Rewrite(error) => error.class(),
        }
    }
}

impl From<stash_server::LedgerError> for UndeleteError {
    fn from(error: stash_server::LedgerError) -> UndeleteError {
        UndeleteError::Rewrite(error.into())
    }
}

impl Vault {
    /// Brings a removed file back, or with `recursive` every removed file of a prefix: content, time
    /// and mode as they were. The new version covers the removal. Bytes that are not here are fetched
    /// and kept.
    pub async fn undelete(
        &self,
        name: &str,
        recursive: bool,
        wait: Wait,
        progress: &Progress,
    ) -> Result<UndeleteReport, UndeleteError> {
        let work = self.undelete_inner(name, recursive, wait, progress);
        progress.or_cancelled(RewriteError::Cancelled.into(), work).await
    }

    async fn undelete_inner(
        &self,
        name: &str,
        recursive: bool,
        wait: Wait,
        progress: &Progress,
    ) -> Result<UndeleteReport, UndeleteError> {
        let inner = &self.inner;
        inner.may_write(|role| UndeleteError::ReadOnly { role })?;
        let scope = Scope::named(name).map_err(bad_key(name))?;
        let upload = inner.engine.upload(wait);
        let mut run =
            Run { vault: self, upload, progress, report: UndeleteReport::default(), any: false };
        if recursive {
            return run.tree(name, &scope).await;
        }
        let exact = match scope.exact() {
            None => None,
            Some(key) if inner.was_directory(key).await? => None,
            Some(key) => run.one(key).await?,
        };
        match exact {
            Some(tally) => Ok(run.finish(tally)),
            None if inner.keys_of(Names::Removed, &scope, None, 1).await?.is_empty() => {
                Err(LookupError::NotFound { name: name.to_owned() }.into())
            }
            None => Err(UndeleteError::Tree { name: name.to_owned() }),
        }
    }
}

struct Run<'a> {
    vault: &'a Vault,
    upload: Upload,
    progress: &'a Progress,
    report: UndeleteReport,
    /// Whether anything was brought back, a directory included.
    any: bool,
}

impl Inner {
    /// True of a directory, and of what was one when it was removed.
    async fn was_directory(&self, key: &Key) -> Result<bool, LookupError> {
        let versions = self.versions_of(key).await?;
        Ok(match versions.head() {
            Some(head) if head.is_put() => head.is_directory(),
            _ => versions.restorable().is_some_and(Version::is_directory),
        })
    }
}

impl Run<'_> {
    /// Brings one key back; `None` if nothing of it was removed, or nothing is held.
    async fn one(&mut self, key: &Key) -> Result<Option<Tally>, UndeleteError> {
        for _ in 0..ATTEMPTS {
            let mut writes = Unmoved::default();
            let Some((files, bytes)) = self.prepare(key, &mut writes).await? else {
                return Ok(None);
            };
            if let Some(pending) = writes.commit(&self.upload).await? {
                self.restored(files, bytes);
                return Ok(Some(pending.wait().await.into()));
            }
        }
        Err(RewriteError::Moved { key: key.clone() }.into())
    }

    async fn tree(mut self, name: &str, scope: &Scope) -> Result<UndeleteReport, UndeleteError> {
        let inner = &self.vault.inner;
        let (mut pages, mut commits) = (Pages::new(inner, scope, PAGE), Commits::new());
        while let Some(page) = pages.removed().await? {
            self.progress.found(page.len() as u64, 0);
            if let Some(pending) = self.page(&page).await? {
                commits.add(async { Ok::<_, UndeleteError>(pending.wait().await) }).await?;
            }
        }
        let tally = commits.finish().await?;
        if !self.any && self.report.unavailable == 0 {
            if let Some(key) = scope.exact()
                && let looked = inner.look(key).await?
                && looked.versions.head().is_some_and(|head| head.is_put() && !head.is_directory())
            {
                return Err(UndeleteError::Exists { key: key.clone() });
            }
            return Err(LookupError::NotFound { name: name.to_owned() }.into());
        }
        Ok(self.finish(tally))
    }

    /// Brings the files of one page back in one commit; those that exist by now are left alone.
    async fn page(&mut self, keys: &[Key]) -> Result<Option<Pending>, UndeleteError> {
        for _ in 0..ATTEMPTS {
            let (mut writes, mut files, mut bytes) = (Unmoved::default(), 0, 0);
            let mut skipped = Vec::new();
            for key in keys {
                match self.prepare(key, &mut writes).await {
                    Ok(Some((one, size))) => (files, bytes) = (files + one, bytes + size),
                    Ok(None) | Err(UndeleteError::Exists { .. }) => {}
                    Err(UndeleteError::Rewrite(error @ RewriteError::Fetch { .. })) => {
                        skipped.push((key.clone(), error.to_string()));
                    }
                    Err(UndeleteError::Lookup(LookupError::Engine(error)))
                        if error.is_damaged_record() =>
                    {
                        skipped.push((key.clone(), error.to_string()));
                    }
                    Err(error) => return Err(error),
                }
            }
            let pending = match writes.is_empty() {
                true => None,
                false => match writes.commit(&self.upload).await? {
                    Some(pending) => Some(pending),
                    None => continue,
                },
            };
            self.any |= pending.is_some();
            self.restored(files, bytes);
            self.report.unavailable += skipped.len() as u64;
            self.report.skipped.extend(skipped);
            self.report.skipped.truncate(SKIPPED);
            return Ok(pending);
        }
        Err(RewriteError::Moved { key: keys[0].clone() }.into())
    }

    /// Looks at a key and makes ready what brings it back. How many files it is, and
    /// their size; `None` if there is nothing to bring back.
    async fn prepare(
        &self,
        key: &Key,
        writes: &mut Unmoved,
    ) -> Result<Option<(u64, u64)>, UndeleteError> {
        let inner = &self.vault.inner;
        let looked = inner.look(key).await?;
        if looked.versions.head().is_some_and(|head| head.is_put()) {
            return Err(UndeleteError::Exists { key: key.clone() });
        }
        let Some(before) = looked.versions.restorable() else {
            return Ok(None);
        };
        inner.offer(&self.upload, before, self.progress).await?;
        let manifest = before.record.clear().manifest.clone();
        let content = Content::put(manifest, before.meta.clone());
        let found = (u64::from(!before.is_directory()), content.meta.size);
        // Whatever was given up of the name before, these bytes are here and wanted.
        inner.engine.want_version(before.record.clear().name).await?;
        writes.add(inner, content, looked);
        Ok(Some(found))
    }

    fn restored(&mut self, files: u64, bytes: u64) {
        self.report.restored += files;
        self.report.bytes += bytes;
        self.progress.moved(bytes);
        self.progress.finished(files);
    }

    fn finish(self, tally: Tally) -> UndeleteReport {
        UndeleteReport {
            copies: tally.copies,
            wanted: tally.wanted,
            short: tally.short,
            missing: tally.missing(),
            ..self.report
        }
    }
}
