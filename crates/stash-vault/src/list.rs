//! Listing.

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::{ChunkRef, Key, Manifest};
use stash_server::FetchError;

use crate::index::IndexEntry;
use crate::lookup::{LookupError, bad_key};
use crate::scope::Scope;
use crate::vault::{Inner, Vault};
use crate::version::{NameView, Version};

/// Files whose chunks are looked up at once for one listing.
const LOOKUPS: usize = 16;

/// Whether the content of a file is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// All of it.
    Local,
    /// Some of its chunks.
    Partial,
    /// None of it: a get fetches it from other members.
    Evicted,
    /// Its record is damaged here, and whole on no member that could be asked: what is shown is
    /// what the index of names has noted.
    Damaged,
}

impl Here {
    /// The word for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Here::Local => "local",
            Here::Partial => "partial",
            Here::Evicted => "evicted",
            Here::Damaged => "damaged",
        }
    }
}

/// One listed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its true size in bytes.
    pub size: u64,
    /// Seconds and nanoseconds since the Unix epoch, if it was stored with a time.
    pub modified: Option<(i64, u32)>,
    /// Unix permission bits, if it was stored with them.
    pub mode: Option<u32>,
    /// Chunks; 0 when the content stands in the record.
    pub chunks: u64,
    /// Whether the content is on this node.
    pub here: Here,
    /// Concurrent versions beside the one that is shown.
    pub conflicts: usize,
}

impl Entry {
    /// What the index has noted of a file whose record cannot be read.
    fn noted(key: Key, indexed: &IndexEntry) -> Entry {
        Entry {
            key,
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
    /// Up to `limit` files of a name and the tree under it, in order, after the key `after`. An
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
            let entries = page.into_iter().map(|(key, indexed)| async move {
                match self.inner.view_of(indexed.name).await {
                    Err(LookupError::Engine(error)) if error.is_damaged_record() => {
                        Ok(Some(Entry::noted(key, &indexed)))
                    }
                    view => self.inner.entry(view?).await,
                }
            });
            let entries: Vec<Option<Entry>> =
                stream::iter(entries).buffered(LOOKUPS).try_collect().await?;
            // What vanished between the index and the records is simply no longer there; what follows
            // takes its place, so that fewer than `limit` files always mean the end.
            found.extend(entries.into_iter().flatten());
            if !full || found.len() == limit {
                return Ok(found);
            }
        }
    }

    /// One file.
    pub async fn stat(&self, key: &Key) -> Result<Entry, LookupError> {
        let view = self.inner.view_of(self.inner.keys.name_id(key)).await?;
        match self.inner.entry(view).await? {
            Some(entry) => Ok(entry),
            None => Err(LookupError::NotFound { name: key.to_string() }),
        }
    }
}

impl Inner {
    async fn entry(&self, view: NameView) -> Result<Option<Entry>, LookupError> {
        let Some(Version { record, meta, .. }) = view.head else {
            return Ok(None);
        };
        let manifest = &record.clear().manifest;
        let here = self.here(manifest).await?;
        Ok(Some(Entry {
            key: meta.key,
            size: meta.size,
            modified: meta.modified,
            mode: meta.mode,
            chunks: manifest.file_chunks(),
            here,
            conflicts: view.siblings,
        }))
    }

    pub(crate) async fn here(&self, manifest: &Manifest) -> Result<Here, LookupError> {
        let refs = match self.chunks(manifest).await {
            Ok(refs) => refs,
            // Without its manifest chunks nobody can say which chunks a file has.
            Err(_) => return Ok(Here::Evicted),
        };
        let addresses: Vec<_> = refs.iter().map(|chunk| chunk.address).collect();
        let here = self.engine.chunks_here(&addresses).await?;
        Ok(match here.iter().filter(|here| **here).count() {
            count if count == here.len() => Here::Local,
            0 => Here::Evicted,
            _ => Here::Partial,
        })
    }

    /// The file chunks of a manifest, fetched where only other members have its manifest chunks.
    pub(crate) async fn chunks(&self, manifest: &Manifest) -> Result<Vec<ChunkRef>, FetchError> {
        match manifest {
            Manifest::Direct(refs) => Ok(refs.clone()),
            indirect @ Manifest::Indirect { .. } => self.engine.manifest(indirect).await,
        }
    }
}
