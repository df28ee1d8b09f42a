//! An ordered map of bytes that lives in one directory: the engine under the index.

mod changes;

use crate::IoError;
use crate::files::Files;
use crate::sync::{Arc, PoisonError, RwLock};
pub(crate) use changes::Changes;

/// Bytes at the start of a key that the filters know: a table's number and a hash.
pub(crate) const PREFIX: usize = 33;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Why the tree cannot answer, or could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// A tag does not match, or a file is missing or short: the disk is at fault. Nothing it says
    /// can be used; wipe it and build it again.
    #[error("{0}")]
    Damaged(String),
    /// There was no room. The tree is as it was; try again once there is some.
    #[error("the disk is full: {0}")]
    Full(IoError),
    /// The disk could not read or write. The tree is as it was.
    #[error(transparent)]
    Io(IoError),
    /// A sync failed, so what is durable is not known. The tree answers, and writes no more.
    #[error(transparent)]
    Sync(IoError),
}

/// What a tree is opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeLimits {
    /// Bytes of blocks that are kept in memory once read.
    pub(crate) cache_bytes: usize,
    /// A random number, used when the tree is empty: its files get numbers from there on, so that
    /// what a disk kept of a file from before the last wipe does not pass for a part of a new one.
    pub(crate) salt: u64,
}

/// How far [`Tree::verify`] has come; the default is the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TreeCursor {
    run: u64,
    unit: u64,
}

/// What a tree has and takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TreeStats {
    /// Files that hold entries.
    pub(crate) runs: u64,
    /// Entries in files and memory; an entry that was changed, and not merged yet, counts again.
    pub(crate) entries: u64,
    /// Bytes of the files.
    pub(crate) disk_bytes: u64,
    /// Bytes of memory: tables, filters, block indexes, and cached blocks.
    pub(crate) memory_bytes: u64,
}

/// An ordered map of bytes: immutable sorted files on disk, and in memory what came since.
pub(crate) struct Tree {
    active: RwLock<Changes>,
}

impl Tree {
    /// Opens what `index/` holds. A directory without a HEAD is an empty tree. Files that HEAD
    /// does not name are removed.
    pub(crate) fn open(
        _files: &Arc<Files>,
        _key: [u8; 32],
        _limits: TreeLimits,
    ) -> Result<Tree, TreeError> {
        Ok(Tree { active: RwLock::default() })
    }

    /// Removes everything in `index/`: the next open makes an empty tree.
    pub(crate) fn wipe(_files: &Files) -> Result<(), IoError> {
        Ok(())
    }

    /// The opaque bytes that the last durable checkpoint carried.
    pub(crate) fn head(&self) -> Option<Vec<u8>> {
        None
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        Ok(active.get(key).flatten().map(<[u8]>::to_vec))
    }

    /// Like [`Tree::get`], with `over` on top of everything.
    pub(crate) fn get_over(
        &self,
        over: &Changes,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, TreeError> {
        match over.get(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.get(key),
        }
    }

    /// Entries from `from` on, in order, until `visit` says false.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TreeError> {
        self.scan_over(&Changes::default(), from, visit)
    }

    /// Like [`Tree::scan`], with `over` on top of everything.
    pub(crate) fn scan_over(
        &self,
        over: &Changes,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TreeError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut merged = Changes::default();
        for (key, slot) in active.from(from).chain(over.from(from)) {
            merged.put(key.clone(), slot.clone());
        }
        for (key, slot) in merged.from(from) {
            if slot.as_ref().is_some_and(|value| !visit(key, value)) {
                break;
            }
        }
        Ok(())
    }

    /// Entries whose key begins with `prefix`, in order, until `visit` says false. For a prefix of
    /// at least [`PREFIX`] bytes, most files that have none are not read.
    pub(crate) fn scan_prefix(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TreeError> {
        self.scan(prefix, &mut |key, value| key.starts_with(prefix) && visit(key, value))
    }

    /// Like [`Tree::scan_prefix`], with `over` on top of everything.
    pub(crate) fn scan_prefix_over(
        &self,
        over: &Changes,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), TreeError> {
        self.scan_over(over, prefix, &mut |key, value| key.starts_with(prefix) && visit(key, value))
    }

    /// The last entry whose key is at least `from` and before `before`.
    pub(crate) fn last(&self, from: &[u8], before: &[u8]) -> Result<Option<Entry>, TreeError> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut slots = active.between(from, before).rev();
        Ok(slots.find_map(|(key, slot)| Some((key.to_vec(), slot.as_ref()?.to_vec()))))
    }

    /// False only if no key begins with this prefix of [`PREFIX`] bytes or more. Asks memory and
    /// the filters, and reads nothing.
    pub(crate) fn may_have_prefix(&self, prefix: &[u8]) -> Result<bool, TreeError> {
        let mut found = false;
        self.scan_prefix(prefix, &mut |_, _| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// Makes changes visible, all at once, to everybody.
    pub(crate) fn publish(&self, changes: Changes) {
        self.active.write().unwrap_or_else(PoisonError::into_inner).absorb(changes);
    }

    /// Bytes of memory that the changes take which are not set aside yet.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.active.read().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Sets the changes in memory aside to be written, with `head`. False, and nothing is done,
    /// while older ones are still waiting.
    pub(crate) fn freeze(&self, _head: Vec<u8>) -> bool {
        false
    }

    pub(crate) fn has_frozen(&self) -> bool {
        false
    }

    /// Writes what was set aside, then HEAD; durable when it returns. False: there was nothing.
    pub(crate) fn checkpoint(&self) -> Result<bool, TreeError> {
        Ok(false)
    }

    /// Merges files if that is due, and writes HEAD. False: nothing is due.
    pub(crate) fn merge(&self) -> Result<bool, TreeError> {
        Ok(false)
    }

    /// Reads and verifies about `max_bytes` of the files from a cursor on: how far it came, and
    /// how many bytes that were. `None`: there is nothing more.
    pub(crate) fn verify(
        &self,
        _cursor: TreeCursor,
        _max_bytes: u64,
    ) -> Result<Option<(TreeCursor, u64)>, TreeError> {
        Ok(None)
    }

    pub(crate) fn stats(&self) -> TreeStats {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        TreeStats {
            entries: active.len() as u64,
            memory_bytes: active.bytes(),
            ..TreeStats::default()
        }
    }
}
