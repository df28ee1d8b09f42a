//! Listing.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::Key;
use stash_crypto::record::FileType;

use crate::index::level::{Child, Sum};
use crate::index::{IndexEntry, NameIndex};
use crate::lookup::{LookupError, bad_key};
use crate::model::scope::Scope;
use crate::model::version::{Alarm, Here, NameView, Version, view};
use crate::vault::{Inner, Vault};

/// Files whose chunks are looked up at once for one listing.
const LOOKUPS: usize = 16;
/// Time for which who asks for figures waits for the index of names to catch up.
const SOON: Duration = Duration::from_secs(1);
/// Names of which [`Vault::alarms`] looks at the records.
const ALARMED_NAMES: usize = 100;

/// One listed file, link, or empty directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// A file, a link, or a directory in which nothing lies.
    pub file_type: FileType,
    /// Its true size in bytes; of a link, that of its target.
    pub size: u64,
    /// Seconds and nanoseconds since the Unix epoch, if it was stored with a time.
    pub modified: Option<(i64, u32)>,
    /// Unix permission bits, if it was stored with them.
    pub mode: Option<u32>,
    /// Chunks; 0 when the content stands in the record.
    pub chunks: u64,
    /// The place of the content: on this node or not.
    pub here: Here,
    /// Concurrent versions beside the one that is shown.
    pub conflicts: usize,
}

/// A name below which others lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The name.
    pub key: Key,
    /// What lies below it.
    pub sum: Sum,
}

/// A part of one level of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Files, links and empty directories, in order.
    pub entries: Vec<Entry>,
    /// Names below which others lie, in order.
    pub folders: Vec<Folder>,
    /// After what the next part begins; `None` at the end.
    pub next: Option<String>,
}

impl Entry {
    /// The entry that the index has noted of a file whose record cannot be read.
    fn noted(key: Key, indexed: &IndexEntry) -> Entry {
        Entry {
            key,
            file_type: indexed.file_type,
            size: indexed.size,
            modified: indexed.modified,
            mode: indexed.mode,
            chunks: indexed.chunks,
            here: Here::Damaged,
            conflicts: usize::try_from(indexed.siblings).unwrap_or(usize::MAX),
        }
    }
}

impl Vault {
    /// Up to `limit` files, links and empty directories of a name and the tree under it, in order, after the key `after`. An
    /// empty prefix lists everything; a prefix without files lists nothing.
    pub async fn ls(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, LookupError> {
        let scope = Scope::or_all(prefix).map_err(bad_key(prefix))?;
        let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let left = limit - found.len();
            let page = self.inner.page(&scope, after.as_deref(), left).await?;
            let full = page.len() == left;
            after = page.last().map(|(key, _)| key.to_string());
            // What follows takes the place of what vanished, so that fewer than `limit` files always mean the end.
            found.extend(self.inner.listed(page).await?);
            if !full || found.len() == limit {
                return Ok(found);
            }
        }
    }

    /// What lies right below a name: files, and folders with the sum of what lies below them. An empty prefix is
    /// the top. Up to `limit` of both, after `after`, which is what [`Level::next`] said.
    pub async fn level(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Level, LookupError> {
        let scope = Scope::or_all(prefix).map_err(bad_key(prefix))?;
        let after = after.map(str::to_owned);
        let level = move |names: &NameIndex| names.level(&scope, after.as_deref(), limit);
        let children = self.inner.indexed(level).await?;
        let next =
            children.last().filter(|_| children.len() >= limit).map(|(key, child)| match child {
                Child::Entry(_) => key.to_string(),
                Child::Folder(_) => format!("{key}/"),
            });
        let (mut entries, mut folders) = (Vec::new(), Vec::new());
        for (key, child) in children {
            match child {
                Child::Entry(entry) => entries.push((key, *entry)),
                Child::Folder(sum) => folders.push(Folder { key, sum }),
            }
        }
        Ok(Level { entries: self.inner.listed(entries).await?, folders, next })
    }

    /// The sum of the files and links of a name and the tree under it; of all, if the prefix is empty.
    pub async fn sum(&self, prefix: &str) -> Result<Sum, LookupError> {
        let scope = Scope::or_all(prefix).map_err(bad_key(prefix))?;
        self.inner.indexed(move |names| names.sum(&scope)).await
    }

    /// How many files and links are listed; `None` while the index of names is behind, such as after it began
    /// anew.
    pub async fn files(&self) -> Result<Option<u64>, LookupError> {
        self.inner.indexed_soon(SOON, |names| Ok(names.len())).await
    }

    /// A file, by its key.
    pub async fn stat(&self, key: &Key) -> Result<Entry, LookupError> {
        let view = self.inner.view_of(self.inner.keys.name_id(key)).await?;
        match self.inner.entry(view).await? {
            Some(entry) => Ok(entry),
            None => Err(LookupError::NotFound { name: key.to_string() }),
        }
    }

    /// Records that were set aside because their sealed part does not belong to them: somebody
    /// made them so, or changed them. Looks at 100 names at most, and at none while the index of names is
    /// behind.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, LookupError> {
        let names = self.inner.indexed_soon(SOON, |names| names.alarmed(ALARMED_NAMES)).await?;
        let mut alarms = Vec::new();
        for name in names.unwrap_or_default() {
            let records = self.inner.engine.records_of(name).await?;
            alarms.extend(view(&self.inner.keys, &records).alarms);
        }
        Ok(alarms)
    }
}

impl Inner {
    /// The entries of names of the index. What vanished between the index and the records is no longer there, and a
    /// directory in which something lies shows by that.
    pub(crate) async fn listed(
        &self,
        names: Vec<(Key, IndexEntry)>,
    ) -> Result<Vec<Entry>, LookupError> {
        let entries = names.into_iter().map(|(key, indexed)| async move {
            if indexed.file_type == FileType::Directory && self.is_filled(&key).await? {
                return Ok(None);
            }
            match self.view_of(indexed.name).await {
                Err(LookupError::Engine(error)) if error.is_damaged_record() => {
                    Ok(Some(Entry::noted(key, &indexed)))
                }
                view => self.entry(view?).await,
            }
        });
        let entries: Vec<Option<Entry>> =
            stream::iter(entries).buffered(LOOKUPS).try_collect().await?;
        Ok(entries.into_iter().flatten().collect())
    }

    async fn entry(&self, view: NameView) -> Result<Option<Entry>, LookupError> {
        let Some(Version { record, meta, .. }) = view.head else {
            return Ok(None);
        };
        let manifest = &record.clear().manifest;
        let here = self.here(manifest).await?;
        Ok(Some(Entry {
            key: meta.key,
            file_type: meta.file_type,
            size: meta.size,
            modified: meta.modified,
            mode: meta.mode,
            chunks: manifest.file_chunks(),
            here,
            conflicts: if meta.file_type == FileType::Directory { 0 } else { view.siblings },
        }))
    }

    /// True of a directory in which something lies: that shows it well enough.
    pub(crate) async fn is_filled(&self, key: &Key) -> Result<bool, LookupError> {
        Ok(!self.page(&Scope::below(key), None, 1).await?.is_empty())
    }
}
