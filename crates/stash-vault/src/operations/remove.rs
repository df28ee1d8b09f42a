//! Removing: a signed tombstone, which keeps every version; or purging, which forgets them all.

use stash_crypto::record::FileType;
use stash_crypto::{ForgetKind, Key, NodeId, Role};
use stash_server::{Outcome, Position, PutError as UploadError, Upload, Wait};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::index::IndexEntry;
use crate::lookup::{LookupError, Target, bad_key};
use crate::model::scope::Scope;
use crate::model::version::view;
use crate::operations::commits::Commits;
use crate::operations::draft::{Content, forget, write};
use crate::operations::pages::Pages;
use crate::operations::tally::Tally;
use crate::progress::Progress;
use crate::vault::{Inner, Vault};

/// Names taken from the index and removed in one commit.
const PAGE: usize = 256;

/// The results of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// Files and links removed; directories go with them, and are not counted.
    pub removed: u64,
    /// The fewest members that know of any of the removals.
    pub copies: usize,
    /// Members that should, this node included.
    pub wanted: usize,
    /// True if the copies fell below what was asked for.
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
    /// The class of the error for the caller.
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
        inner.may_write(|role| RemoveError::ReadOnly { role })?;
        let ending = Ending::Tombstone;
        let key = match (inner.target(name).await, Key::new(name)) {
            // It is there, whatever it says: the removal covers it.
            (Err(LookupError::Engine(error)), Ok(key)) if error.is_damaged_record() => key,
            (target, _) => match target? {
                Target::File(head) => head.meta.key,
                Target::Tree(scope) => {
                    return self.end_tree(name, scope, recursive, wait, ending, progress).await;
                }
            },
        };
        self.end_one(key, wait, ending, progress).await
    }

    /// Removes a file with all its versions, or with `recursive` every file under a prefix. Nobody can
    /// bring them back: every member drops what this node holds of the name as soon as it learns of
    /// it, and the room of the chunks comes back with its next collection. Versions that this node
    /// has not seen stay. A file that was removed before is purged by its own name.
    pub async fn purge(
        &self,
        name: &str,
        recursive: bool,
        wait: Wait,
        progress: &Progress,
    ) -> Result<RemoveReport, RemoveError> {
        let inner = &self.inner;
        inner.may_write(|role| RemoveError::ReadOnly { role })?;
        let scope = Scope::named(name).map_err(bad_key(name))?;
        if let Some(key) = scope.exact()
            && inner.is_one_name(key, &scope, recursive).await?
        {
            return self.end_one(key.clone(), wait, Ending::Forget, progress).await;
        }
        self.end_tree(name, scope, recursive, wait, Ending::Forget, progress).await
    }

    async fn end_tree(
        &self,
        name: &str,
        scope: Scope,
        recursive: bool,
        wait: Wait,
        ending: Ending,
        progress: &Progress,
    ) -> Result<RemoveReport, RemoveError> {
        let inner = &self.inner;
        if inner.page(&scope, None, 1).await?.is_empty() {
            return Err(LookupError::NotFound { name: name.to_owned() }.into());
        }
        if !recursive {
            return Err(RemoveError::Tree { name: name.to_owned() });
        }
        let upload = inner.engine.upload(wait);
        let (mut pages, mut commits) = (Pages::new(inner, &scope, PAGE), Commits::new());
        let mut directories = 0;
        loop {
            if progress.cancelled() {
                return Err(RemoveError::Cancelled);
            }
            let Some(page) = pages.files().await? else { break };
            progress.found(page.len() as u64, 0);
            let is_directory = |entry: &IndexEntry| entry.file_type == FileType::Directory;
            directories += page.iter().filter(|(_, entry)| is_directory(entry)).count() as u64;
            let keys: Vec<Key> = page.into_iter().map(|(key, _)| key).collect();
            commits.add(self.end(&upload, keys, ending, progress)).await?;
        }
        let report = report(commits.finish().await?);
        Ok(RemoveReport { removed: report.removed.saturating_sub(directories), ..report })
    }

    async fn end_one(
        &self,
        key: Key,
        wait: Wait,
        ending: Ending,
        progress: &Progress,
    ) -> Result<RemoveReport, RemoveError> {
        let upload = self.inner.engine.upload(wait);
        Ok(report(self.end(&upload, vec![key], ending, progress).await?.into()))
    }

    async fn end(
        &self,
        upload: &Upload,
        keys: Vec<Key>,
        ending: Ending,
        progress: &Progress,
    ) -> Result<Outcome, UploadError> {
        let inner = &self.inner;
        let end = |key: Key| match ending {
            Ending::Tombstone => write(inner, Content::tombstone(key)),
            Ending::Forget => {
                let all = |position: &Position| position.seen.clone();
                forget(inner, inner.keys.name_id(&key), ForgetKind::Dead, all)
            }
        };
        let writes = keys.into_iter().map(end).collect();
        let outcome = upload.commit(writes).await?.settle().await;
        progress.finished(outcome.records.len() as u64);
        Ok(outcome)
    }
}

impl Inner {
    /// True if a key to purge means itself, and not the tree under it: it is a file, or was one and
    /// no tree is meant.
    async fn is_one_name(
        &self,
        key: &Key,
        scope: &Scope,
        recursive: bool,
    ) -> Result<bool, LookupError> {
        let held = match self.engine.records_of(self.keys.name_id(key)).await {
            // It is there, whatever it says.
            Err(error) if error.is_damaged_record() => return Ok(true),
            held => held?,
        };
        match view(&self.keys, &held).head {
            Some(head) if head.is_directory() => return Ok(false),
            Some(_) => return Ok(true),
            None => {}
        }
        let was = held.iter().any(|record| record.clear().kind.is_version());
        Ok(was && (!recursive || self.page(scope, None, 1).await?.is_empty()))
    }
}

/// The ending of a name.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// A removal that covers its versions, and keeps them.
    Tombstone,
    /// A dead forget of all its versions: what would be left of a removal, see decision 0017.
    Forget,
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
