//! An ordered map of bytes in one directory: what is in memory, above what is in runs.
//!
//! Reading a key is here; reading in order is in `tree/scan.rs`, all writing in `tree/settle.rs`, scrubbing
//! in `tree/verify.rs`.

pub(crate) mod scan;
mod settle;
pub(crate) mod verify;

use std::path::Path;

use crate::cache::Cache;
use crate::changes::Changes;
use crate::codec::Keys;
use crate::directory::Directory;
use crate::error::TreeError;
use crate::head::Head;
use crate::run::Run;
use crate::sync::{
    Arc, AtomicBool, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use stash_disk::IoError;

/// Bytes that an owner may keep in HEAD: such as a position in what the map is made from.
pub const LONGEST_HEAD: usize = 4 * 1024 * 1024;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Limits of memory, and a number, that a tree is opened with.
#[derive(Debug, Clone, Copy)]
pub struct TreeLimits {
    /// Bytes of blocks that are kept in memory once read.
    pub cache_bytes: usize,
    /// A random number, used when the tree is empty: its runs are counted from there on, so that
    /// what a disk kept of a file from before the last wipe does not pass for a part of a new one.
    pub salt: u64,
}

/// Figures of a tree: what it has, and what it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeStats {
    /// Files that HEAD names.
    pub runs: u64,
    /// Entries in runs and in memory; one that was changed, and not merged yet, counts again.
    pub entries: u64,
    /// Bytes of the runs.
    pub disk_bytes: u64,
    /// Bytes of memory: tables, filters, fences, and cached blocks.
    pub memory_bytes: u64,
}

/// Changes that were set aside to be written, with the owner's words.
struct Frozen {
    changes: Changes,
    words: Vec<u8>,
}

/// Everything below the active table. It is replaced, never changed.
#[derive(Default)]
pub(crate) struct Below {
    frozen: Option<Arc<Frozen>>,
    /// Newest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// The words of the last durable checkpoint.
    words: Option<Vec<u8>>,
}

struct State {
    active: Changes,
    below: Arc<Below>,
    next_id: u64,
}

/// An ordered map of bytes: immutable sorted files on disk, and in memory what came since.
///
/// Locks are taken in this order: `checkpointing` or `merging`, `settling`, `state`. Those before
/// `state` are held while the disk works; no reader and no writer of entries waits for them.
pub struct Tree {
    directory: Directory,
    keys: Keys,
    cache: Cache,
    state: RwLock<State>,
    checkpointing: Mutex<()>,
    merging: Mutex<()>,
    /// Held by who replaces HEAD; has the sync that failed, if one did.
    settling: Mutex<Option<IoError>>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tree").field(&self.directory.path).field(&self.stats()).finish()
    }
}

impl Tree {
    /// Opens what the directory holds. A directory without a HEAD is an empty tree. Files that HEAD
    /// does not name are removed. With another `key` than the one that it was written with, all of
    /// it is damaged.
    pub fn open(
        directory: &Directory,
        key: [u8; 32],
        limits: TreeLimits,
    ) -> Result<Tree, TreeError> {
        let keys = Keys::new(&key);
        let (mut below, mut next_id) = (Below::default(), limits.salt >> 1);
        match Head::read(directory, &keys)? {
            Some((head, _)) => {
                let open =
                    |&(id, len): &(u64, u64)| Run::open(directory, keys, id, len).map(Arc::new);
                let runs: Result<Vec<_>, TreeError> = head.runs.iter().map(open).collect();
                (below.runs, below.words, next_id) = (runs?, Some(head.words), head.next_id);
            }
            None => directory.make()?,
        }
        let known: Vec<&Path> = below.runs.iter().map(|run| &*run.path).collect();
        next_id = next_id.max(directory.remove_strangers(&known)? + 1);
        Ok(Tree {
            directory: directory.clone(),
            keys,
            cache: Cache::new(limits.cache_bytes),
            state: RwLock::new(State {
                active: Changes::default(),
                below: Arc::new(below),
                next_id,
            }),
            checkpointing: Mutex::default(),
            merging: Mutex::default(),
            settling: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Removes all files of a tree: the next open makes an empty one. Nobody has it open.
    pub fn wipe(directory: &Directory) -> Result<(), IoError> {
        if directory.exists()? {
            Head::remove(directory)?;
            directory.remove_strangers(&[])?;
        }
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn below(&self) -> Arc<Below> {
        Arc::clone(&self.state().below)
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state_mut();
        state.next_id += 1;
        state.next_id - 1
    }

    /// The opaque bytes that the last durable checkpoint carried.
    pub fn head(&self) -> Option<Vec<u8>> {
        self.below().words.clone()
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        let below = {
            let state = self.state();
            if let Some(value) = state.active.get(key) {
                return Ok(value.map(<[u8]>::to_vec));
            }
            Arc::clone(&state.below)
        };
        if let Some(value) = below.frozen.as_ref().and_then(|frozen| frozen.changes.get(key)) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        let hash = self.keys.filter_hash(key);
        for run in &below.runs {
            if let Some(slot) = run.get(key, hash, &self.cache)? {
                return Ok(slot.map(Vec::from));
            }
        }
        Ok(None)
    }

    /// Like [`Tree::get`], with `over` on top of everything.
    pub fn get_over(&self, over: &Changes, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        match over.get(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.get(key),
        }
    }

    /// Makes changes visible, all at once, to everybody.
    pub fn publish(&self, changes: Changes) {
        self.state_mut().active.absorb(changes);
    }

    /// Bytes of memory that the changes take which are not set aside yet.
    pub fn active_bytes(&self) -> u64 {
        self.state().active.bytes()
    }

    /// Sets the changes in memory aside to be written, with `head`. False, and nothing is done,
    /// while older ones are still waiting. `head` is what [`Tree::head`] gives once they are durable.
    ///
    /// # Panics
    ///
    /// If `head` has more than [`LONGEST_HEAD`] bytes.
    pub fn freeze(&self, head: Vec<u8>) -> bool {
        assert!(head.len() <= LONGEST_HEAD, "{} bytes to be kept in HEAD", head.len());
        let mut state = self.state_mut();
        if state.below.frozen.is_some() {
            return false;
        }
        let changes = std::mem::take(&mut state.active);
        let frozen = Some(Arc::new(Frozen { changes, words: head }));
        let Below { runs, words, .. } = &*state.below;
        state.below = Arc::new(Below { frozen, runs: runs.clone(), words: words.clone() });
        true
    }

    /// True if something was set aside and is not written yet.
    pub fn has_frozen(&self) -> bool {
        self.state().below.frozen.is_some()
    }

    /// The figures of now.
    pub fn stats(&self) -> TreeStats {
        let state = self.state();
        let (active, below) = (&state.active, &state.below);
        let tables = [Some(active), below.frozen.as_ref().map(|frozen| &frozen.changes)];
        let tables = tables.into_iter().flatten();
        let (entries, bytes) = tables
            .fold((0, 0), |(n, bytes), table| (n + table.len() as u64, bytes + table.bytes()));
        let runs = below.runs.iter();
        let memory = runs.clone().map(|run| run.memory() as u64).sum::<u64>();
        TreeStats {
            runs: below.runs.len() as u64,
            entries: entries + runs.clone().map(|run| run.layout.entries).sum::<u64>(),
            disk_bytes: runs.map(|run| run.len).sum(),
            memory_bytes: bytes + memory + self.cache.bytes() as u64,
        }
    }
}
