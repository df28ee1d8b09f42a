//! Changes in memory: those of one batch, and the sum of those that no file has yet.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Bytes that an entry takes beside its key and value: its share of a map's node (32
/// bytes of pointers and lengths, nodes two thirds full), and what the allocator adds to two
/// small boxes.
const OVERHEAD: u64 = 96;

pub(crate) type Slot = Option<Box<[u8]>>;
pub(crate) type Slots<'a> = std::collections::btree_map::Range<'a, Box<[u8]>, Slot>;

/// Keys with their new values, or without one: such a key is removed. A later change of a key replaces an
/// earlier one.
#[derive(Debug, Default)]
pub struct Changes {
    slots: BTreeMap<Box<[u8]>, Slot>,
    bytes: u64,
}

fn cost(key: &[u8], slot: Option<&[u8]>) -> u64 {
    (key.len() + slot.map_or(0, <[u8]>::len)) as u64 + OVERHEAD
}

impl Changes {
    /// Gives a key this value.
    pub fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.put(key.into(), Some(value.into()));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &[u8]) {
        self.put(key.into(), None);
    }

    /// The change of a key: `None` if there is none, `Some(None)` if it is removed.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.slots.get(key).map(Option::as_deref)
    }

    /// True if no key is changed.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number of keys that are changed.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of memory that this takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn put(&mut self, key: Box<[u8]>, slot: Slot) {
        let len = key.len();
        self.bytes += cost(&key, slot.as_deref());
        if let Some(old) = self.slots.insert(key, slot) {
            self.bytes -= len as u64 + OVERHEAD + old.map_or(0, |old| old.len() as u64);
        }
    }

    /// Puts `newer` on top of this.
    pub(crate) fn absorb(&mut self, newer: Changes) {
        if self.is_empty() {
            *self = newer;
            return;
        }
        for (key, slot) in newer.slots {
            self.put(key, slot);
        }
    }

    pub(crate) fn from(&self, from: &[u8]) -> Slots<'_> {
        self.slots.range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
    }

    pub(crate) fn between(&self, from: &[u8], before: &[u8]) -> Slots<'_> {
        let before = before.max(from);
        self.slots.range::<[u8], _>((Bound::Included(from), Bound::Excluded(before)))
    }
}
