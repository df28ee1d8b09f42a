//! T to address: what an owner sealed before need not be sealed again.
//!
//! A cache: an entry may be missing or name a chunk that is gone, and the store is asked for the chunk
//! before it is used. An entry that is lost costs one seal the next time its chunk is put, which gives the same address
//! again: no upload, and no second copy. So entries become durable when enough of them wait, or when the
//! node stops; after damage the cache begins empty; and while the disk takes no more, it learns
//! nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stash_crypto::chunk::ChunkTag;
use stash_crypto::{Address, ChunkRef};
use stash_runs::Changes;

use crate::blocking::Jobs;
use crate::index::{
    Binding, IndexError, IndexFault, Kind, Map, Merged, Merges, OLD_TAGS, OldTags, Root, TAG_WORDS,
    remove_old,
};

/// Most entries (a TiB of chunks, about 90 MB of files); beyond, the cache starts anew.
const MOST: u64 = 1 << 20;
/// Entries of an old cache that are taken over at once.
const BATCH: usize = 128;
/// Bytes of an old cache that are looked at, for each entry that there may be: it had as many entries
/// at most, in a third of that.
const OLD_BYTES: u64 = 1024;

const TAGS: Kind = Kind {
    version: TAG_WORDS,
    directory: "tags",
    anew: "starting the cache of sealed chunks anew",
    context: "stash-vault 2026-11 cache of tags tag key",
    cache: 1 << 20,
    // Some 6,000 chunks.
    waiting: 1 << 20,
};

/// The cache. Every method blocks for a moment, but for those that say otherwise.
pub(crate) struct TagIndex {
    /// `None` if it could not be opened: the node goes on without a cache.
    map: Option<Map>,
    most: u64,
    /// Nobody waits for one. So many entries as there may be fill some 180 files if none is ever merged.
    merges: Merges,
    /// Set while the disk takes nothing, so that it is said once.
    waits: AtomicBool,
}

impl TagIndex {
    /// Opens the cache; one that is damaged or belongs to another store starts anew. What an older
    /// version kept in `tags.redb` is taken over first: that file is there until all of it is durable here.
    pub(crate) fn open(root: &Root, binding: Binding) -> TagIndex {
        TagIndex::open_as(TAGS, MOST, root, binding)
    }

    fn open_as(kind: Kind, most: u64, root: &Root, binding: Binding) -> TagIndex {
        let binding = Binding { aside: 0, ..binding };
        let map = Map::open(kind, root, binding, |_| true);
        let map = map.inspect_err(|error| {
            tracing::warn!(%error, "going on without a cache of sealed chunks");
        });
        let merges = Merges::new(kind.directory, Jobs::default());
        let tags = TagIndex { map: map.ok(), most, merges, waits: AtomicBool::new(false) };
        if let Err(fault) = tags.take_over(root, &binding) {
            tracing::warn!(%fault, "the old cache of sealed chunks is not taken over");
        }
        tags
    }

    /// Takes over what can be read of `tags.redb`, if there is one, and removes it. A power cut on the way
    /// repeats it, and so does the next start if this cache could not be written.
    fn take_over(&self, root: &Root, binding: &Binding) -> Result<(), IndexFault> {
        let Some(map) = &self.map else { return Ok(()) };
        match OldTags::open(root, self.most.saturating_mul(OLD_BYTES)) {
            Ok(None) => return Ok(()),
            Ok(Some(old)) => self.copy(map, &old, binding).map_err(IndexError::into_fault)?,
            Err(fault) => {
                tracing::warn!(%fault, "nothing is taken over of the old cache of sealed chunks");
            }
        }
        Ok(remove_old(root, OLD_TAGS)?)
    }

    fn copy(&self, map: &Map, old: &OldTags, binding: &Binding) -> Result<(), IndexError> {
        // On a full disk, the old one would be read in vain.
        map.sync()?;
        if !old.is_of(binding) {
            return Ok(());
        }
        let (mut batch, mut result) = (Vec::with_capacity(BATCH), Ok(()));
        old.read(&mut |tag, chunk| {
            batch.push((tag, chunk));
            if batch.len() < BATCH {
                return true;
            }
            result = self.insert_all(map, &batch);
            batch.clear();
            // One that is full would begin anew with the next entry.
            result.is_ok() && map.current().at().rows < self.most
        });
        if result.is_ok() && !batch.is_empty() {
            result = self.insert_all(map, &batch);
        }
        result.and_then(|()| map.sync())
    }

    /// The chunk that this T was sealed into, as far as the cache knows.
    pub(crate) fn get(&self, tag: &ChunkTag) -> Option<ChunkRef> {
        let map = self.map.as_ref()?;
        let found = map.read(|slot| match slot.tree.get(tag.as_bytes())? {
            None => Ok(None),
            Some(value) => Ok(Some(decode(&value).ok_or_else(|| IndexFault::damaged("a row"))?)),
        });
        found.unwrap_or_else(|error| {
            self.failed(&error);
            None
        })
    }

    /// Remembers what a T was sealed into.
    pub(crate) fn insert(&self, tag: ChunkTag, chunk: ChunkRef) {
        let Some(map) = &self.map else { return };
        match self.insert_all(map, &[(tag, chunk)]) {
            Ok(()) => self.waits.store(false, Ordering::Relaxed),
            Err(error) => self.failed(&error),
        }
    }

    fn insert_all(&self, map: &Map, rows: &[(ChunkTag, ChunkRef)]) -> Result<(), IndexError> {
        if map.current().at().rows >= self.most {
            map.start_over("it is full");
        }
        map.change(None, |tree, at| {
            let mut changes = Changes::default();
            for (tag, chunk) in rows {
                let (key, value) = (tag.as_bytes(), encode(chunk));
                let before = tree.get_over(&changes, key)?;
                at.rows += u64::from(before.is_none());
                if before.as_ref() != Some(&value) {
                    changes.insert(key, value);
                }
            }
            Ok(changes)
        })
    }

    /// Begins to merge files if that is due. Does not block.
    pub(crate) fn begin_merge(self: &Arc<Self>) {
        if self.map.as_ref().is_some_and(Map::merge_is_due) {
            let this = Arc::clone(self);
            self.merges.begin(Instant::now(), move || this.merge());
        }
    }

    fn merge(&self) -> Result<Merged, IndexError> {
        self.map.as_ref().map_or(Ok(Merged::Done), Map::merge)
    }

    /// Ends a merge that is under way, and every later one before it begins; waits until none goes on. The
    /// cache is about to be closed.
    pub(crate) async fn end_merges(&self) {
        self.merges.end();
        if let Some(map) = &self.map {
            map.stop_merging();
        }
        self.merges.ended().await;
    }

    /// Makes everything durable.
    pub(crate) fn close(&self) {
        if let Some(Err(error)) = self.map.as_ref().map(Map::sync) {
            tracing::warn!(%error, "the cache of sealed chunks was not closed cleanly");
        }
    }

    fn failed(&self, error: &IndexError) {
        if !self.waits.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the cache of sealed chunks learns nothing for now");
        }
    }
}

/// The value of a row: address, then the length of the sealed chunk, little-endian.
pub(crate) fn encode(chunk: &ChunkRef) -> Vec<u8> {
    let mut value = chunk.address.as_bytes().to_vec();
    value.extend_from_slice(&chunk.sealed_len.to_le_bytes());
    value
}

pub(crate) fn decode(value: &[u8]) -> Option<ChunkRef> {
    let (address, len) = value.split_first_chunk::<32>()?;
    let sealed_len = u32::from_le_bytes(len.try_into().ok()?);
    Some(ChunkRef { address: Address::from_bytes(*address), sealed_len })
}

#[cfg(test)]
mod tests;
