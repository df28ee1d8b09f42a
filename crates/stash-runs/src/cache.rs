//! Blocks that were read and verified, as many as there is room for.

use std::collections::HashMap;

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that ask at once rarely meet at the same one of so many locks.
const SHARDS: usize = 16;
/// Bytes that a block takes beside its own: its place in a map, and its counters.
const OVERHEAD: usize = 96;

/// The run and the offset of a block.
type Key = (u64, u64);

/// Two generations: what is asked for moves to the young one, and when that has half the room,
/// the old one is forgotten and the young one grows old.
#[derive(Default)]
struct Shard {
    young: HashMap<Key, Arc<[u8]>>,
    old: HashMap<Key, Arc<[u8]>>,
    young_bytes: usize,
    old_bytes: usize,
}

/// Blocks in memory, bounded in bytes.
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes of one generation of one shard.
    room: usize,
}

impl Shard {
    fn put(&mut self, key: Key, block: Arc<[u8]>, room: usize) {
        let bytes = block.len() + OVERHEAD;
        if bytes > room {
            return;
        }
        if self.young_bytes + bytes > room {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        if self.young.insert(key, block).is_none() {
            self.young_bytes += bytes;
        }
    }
}

impl Cache {
    pub(crate) fn new(bytes: usize) -> Cache {
        Cache { shards: Default::default(), room: bytes / SHARDS / 2 }
    }

    fn shard(&self, (run, offset): Key) -> MutexGuard<'_, Shard> {
        // Blocks lie about 4 KiB apart, at any byte.
        let spread = (run ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        let shard = &self.shards[usize::from(spread) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        let mut shard = self.shard(key);
        if let Some(block) = shard.young.get(&key) {
            return Some(Arc::clone(block));
        }
        let block = shard.old.remove(&key)?;
        shard.old_bytes -= block.len() + OVERHEAD;
        shard.put(key, Arc::clone(&block), self.room);
        Some(block)
    }

    pub(crate) fn put(&self, key: Key, block: &Arc<[u8]>) {
        self.shard(key).put(key, Arc::clone(block), self.room);
    }

    pub(crate) fn bytes(&self) -> usize {
        let shards = self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.young_bytes + shard.old_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn the_cache_keeps_to_its_bytes_and_keeps_what_is_asked_for() {
        let cache = Cache::new(LIMIT);
        let block: Arc<[u8]> = vec![7; 4000].into();
        let favourite = (1, 0);
        cache.put(favourite, &block);
        for n in 1..5000 {
            cache.put((2, n * 4008), &block);
            assert_eq!(cache.get(favourite).as_ref(), Some(&block), "after {n}");
            assert!(cache.bytes() <= LIMIT);
        }
        assert!(cache.bytes() > LIMIT / 4, "{} bytes are kept", cache.bytes());
        assert!(cache.get((2, 4008)).is_none(), "the first of many is forgotten");
    }

    #[test]
    fn a_block_larger_than_a_generation_is_not_kept() {
        let cache = Cache::new(LIMIT);
        cache.put((1, 1), &vec![0; LIMIT / SHARDS].into());
        assert_eq!((cache.bytes(), cache.get((1, 1))), (0, None));
    }
}
