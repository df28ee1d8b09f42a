//! T to address: what an owner sealed before need not be sealed again.
//!
//! A cache: an entry may be missing or name a chunk that is gone, and it is asked for before it is
//! used. Losing the file costs one seal a chunk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use redb::{Durability, ReadableTable, ReadableTableMetadata, TableDefinition};
use stash_crypto::chunk::ChunkTag;
use stash_crypto::{Address, ChunkRef};

use crate::index::{Binding, Guarded, IndexFault, Table, seal, unseal, with_table};

/// Page cache of the database in bytes.
const CACHE: usize = 2 << 20;
/// Files of at most this many bytes are checked through when they are opened.
const CHECK_BELOW: u64 = 64 << 20;
/// Entries collected in memory before they are written together.
const BATCH: usize = 1024;
/// Most entries (a TiB of chunks, about 150 MB of file); beyond, the cache starts anew.
const MOST: u64 = 1 << 20;

const TAGS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tags");
const BINDING: TableDefinition<&[u8], &[u8]> = TableDefinition::new("binding");

/// The cache. Every method blocks for a moment.
pub(crate) struct TagIndex(Mutex<State>);

struct State {
    /// `None` once the database failed: the node goes on without a cache.
    db: Option<Guarded>,
    fresh: HashMap<ChunkTag, ChunkRef>,
}

impl TagIndex {
    /// Opens the cache; one that is damaged or belongs to another store starts anew.
    pub(crate) fn open(path: &Path, binding: Binding) -> TagIndex {
        let open = || open_bound(path, binding);
        let db = open().or_else(|fault| {
            tracing::warn!(%fault, "starting the cache of sealed chunks anew");
            std::fs::remove_file(path).map_err(IndexFault::Io)?;
            open()
        });
        if let Err(fault) = &db {
            tracing::warn!(%fault, "going on without a cache of sealed chunks");
        }
        TagIndex(Mutex::new(State { db: db.ok(), fresh: HashMap::new() }))
    }

    /// The chunk that this T was sealed into, as far as the cache knows.
    pub(crate) fn get(&self, tag: &ChunkTag) -> Option<ChunkRef> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = state.fresh.get(tag) {
            return Some(*chunk);
        }
        let found = state.db.as_ref()?.read(|txn| {
            with_table(txn.open_table(TAGS)?, |tags| {
                let value = tags.get(&tag.as_bytes()[..])?;
                Ok(value.and_then(|value| decode(tag, value.value())))
            })
        });
        found.unwrap_or_else(|fault| {
            state.fail(&fault);
            None
        })
    }

    /// Remembers what a T was sealed into.
    pub(crate) fn insert(&self, tag: ChunkTag, chunk: ChunkRef) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.fresh.insert(tag, chunk);
        if state.fresh.len() >= BATCH {
            state.write(Durability::None);
        }
    }

    /// Writes what is still in memory.
    pub(crate) fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(Durability::None);
    }

    /// Writes everything durably and closes the file.
    pub(crate) fn close(self) {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.write(Durability::Immediate);
        if let Some(Err(fault)) = state.db.take().map(Guarded::close) {
            tracing::warn!(%fault, "the cache of sealed chunks was not closed cleanly");
        }
    }
}

impl State {
    fn write(&mut self, durability: Durability) {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(db) = &self.db else { return };
        if fresh.is_empty() && matches!(durability, Durability::None) {
            return;
        }
        let written = db.write(durability, |txn| {
            let full = with_table(txn.open_table(TAGS)?, |tags| Ok(tags.len()? >= MOST))?;
            if full {
                txn.delete_table(TAGS)?;
            }
            with_table(txn.open_table(TAGS)?, |tags| {
                for (tag, chunk) in &fresh {
                    tags.insert(&tag.as_bytes()[..], &encode(tag, chunk)[..])?;
                }
                Ok(())
            })
        });
        if let Err(fault) = written {
            self.fail(&fault);
        }
    }

    fn fail(&mut self, fault: &IndexFault) {
        tracing::warn!(%fault, "going on without a cache of sealed chunks");
        self.db = None;
    }
}

fn open_bound(path: &Path, binding: Binding) -> Result<Guarded, IndexFault> {
    let db = Guarded::open(path, CACHE, CHECK_BELOW)?;
    let bound = [&binding.store[..], binding.stash.as_bytes()].concat();
    let fits = db.write(Durability::Immediate, |txn| {
        drop(txn.open_table(TAGS)?);
        with_table(txn.open_table(BINDING)?, |table| {
            let stored = table.get(&b"store"[..])?.map(|stored| stored.value().to_vec());
            if stored.is_none() {
                table.insert(&b"store"[..], &bound[..])?;
            }
            Ok(stored.is_none_or(|stored| stored == bound))
        })
    })?;
    if fits {
        return Ok(db);
    }
    let _ = db.close();
    Err(IndexFault::damaged("it belongs to another store"))
}

pub(crate) fn encode(tag: &ChunkTag, chunk: &ChunkRef) -> Vec<u8> {
    let mut value = chunk.address.as_bytes().to_vec();
    value.extend_from_slice(&chunk.sealed_len.to_le_bytes());
    seal(Table::Tags, tag.as_bytes(), &mut value);
    value
}

pub(crate) fn decode(tag: &ChunkTag, value: &[u8]) -> Option<ChunkRef> {
    let body = unseal(Table::Tags, tag.as_bytes(), value)?;
    let (address, len) = body.split_first_chunk::<32>()?;
    let sealed_len = u32::from_le_bytes(len.try_into().ok()?);
    Some(ChunkRef { address: Address::from_bytes(*address), sealed_len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::StashId;

    fn binding(stash: u8) -> Binding {
        Binding { store: [9; 16], stash: StashId::from_bytes([stash; 32]), aside: 0 }
    }

    fn sample(n: u8) -> (ChunkTag, ChunkRef) {
        let chunk = ChunkRef { address: Address::of(&[n]), sealed_len: 1000 + u32::from(n) };
        (ChunkTag::from_bytes([n; 32]), chunk)
    }

    #[test]
    fn what_was_sealed_is_known_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags.redb");
        let (tag, chunk) = sample(1);
        let tags = TagIndex::open(&path, binding(1));
        assert_eq!(tags.get(&tag), None);
        tags.insert(tag, chunk);
        assert_eq!(tags.get(&tag), Some(chunk), "before it is written");
        tags.flush();
        assert_eq!(tags.get(&tag), Some(chunk), "after it is written");
        tags.close();
        let tags = TagIndex::open(&path, binding(1));
        assert_eq!(tags.get(&tag), Some(chunk));
    }

    /// Fault case 87.
    #[test]
    fn the_cache_of_another_stash_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags.redb");
        let (tag, chunk) = sample(1);
        let tags = TagIndex::open(&path, binding(1));
        tags.insert(tag, chunk);
        tags.close();
        assert_eq!(TagIndex::open(&path, binding(2)).get(&tag), None);
    }

    /// Fault case 78.
    #[test]
    fn a_damaged_cache_never_gives_a_wrong_chunk_nor_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags.redb");
        let tags = TagIndex::open(&path, binding(1));
        let samples: Vec<_> = (0..50).map(sample).collect();
        samples.iter().for_each(|(tag, chunk)| tags.insert(*tag, *chunk));
        tags.close();
        let clean = std::fs::read(&path).unwrap();
        for at in (0..clean.len()).step_by(clean.len() / 97) {
            let mut damaged = clean.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).unwrap();
            let tags = TagIndex::open(&path, binding(1));
            for (tag, chunk) in &samples {
                assert!(tags.get(tag).is_none_or(|found| found == *chunk), "byte {at}");
            }
        }
    }
}
