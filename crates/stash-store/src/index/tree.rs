//! An ordered map of bytes in one directory: the engine under the index.
//!
//! It knows keys and values, not tables, and nothing of the log. New entries are in memory until
//! its owner has them written, as a run: an immutable sorted file. Runs are merged into larger
//! ones. HEAD names the runs that count, and is replaced as a whole. It has no thread of its own.

mod block;
mod cache;
mod changes;
mod codec;
mod cursor;
mod directory;
mod error;
mod fences;
mod filter;
mod head;
mod layout;
mod run;
mod scan;
mod settle;
#[cfg(test)]
mod tests;
mod tiers;
mod verify;
mod writer;

use crate::IoError;
use crate::files::Files;
use crate::sync::{
    Arc, AtomicBool, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use cache::Cache;
pub(crate) use changes::Changes;
use codec::Keys;
use directory::{make_directory, remove_strangers};
pub(crate) use error::TreeError;
use head::Head;
use run::Run;
pub(crate) use verify::TreeCursor;

/// Bytes at the start of a key that the filters know: a table's number and a hash.
pub(crate) const PREFIX: usize = 33;

/// Bytes that an owner may keep in HEAD: a position in the log, some sums, and 24 bytes for each
/// segment of the log.
pub(crate) const LONGEST_HEAD: usize = 4 * 1024 * 1024;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tree is opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeLimits {
    /// Bytes of blocks that are kept in memory once read.
    pub(crate) cache_bytes: usize,
    /// A random number, used when the tree is empty: its runs are counted from there on, so that
    /// what a disk kept of a file from before the last wipe does not pass for a part of a new one.
    pub(crate) salt: u64,
}

/// What a tree has and takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TreeStats {
    pub(crate) runs: u64,
    /// Entries in runs and in memory; one that was changed, and not merged yet, counts again.
    pub(crate) entries: u64,
    /// Bytes of the runs.
    pub(crate) disk_bytes: u64,
    /// Bytes of memory: tables, filters, fences, and cached blocks.
    pub(crate) memory_bytes: u64,
}

/// Changes that were set aside to be written, with the owner's words.
struct Frozen {
    changes: Changes,
    words: Vec<u8>,
}

/// Everything below the active table. It is replaced, never changed.
#[derive(Default)]
struct Below {
    frozen: Option<Arc<Frozen>>,
    /// Newest first.
    runs: Vec<Arc<Run>>,
    /// What the last durable checkpoint carried.
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
pub(crate) struct Tree {
    files: Arc<Files>,
    keys: Keys,
    cache: Cache,
    state: RwLock<State>,
    checkpointing: Mutex<()>,
    merging: Mutex<()>,
    /// Held by who replaces HEAD; has the sync that failed, if one did.
    settling: Mutex<Option<IoError>>,
    stopped: AtomicBool,
}

impl Tree {
    /// Opens what `index/` holds. A directory without a HEAD is an empty tree. Files that HEAD
    /// does not name are removed.
    pub(crate) fn open(
        files: &Arc<Files>,
        key: [u8; 32],
        limits: TreeLimits,
    ) -> Result<Tree, TreeError> {
        let keys = Keys::new(&key);
        let (mut below, mut next_id) = (Below::default(), limits.salt >> 1);
        match Head::read(files, &keys)? {
            Some((head, _)) => {
                let open = |&(id, len): &(u64, u64)| Run::open(files, keys, id, len).map(Arc::new);
                let runs: Result<Vec<_>, TreeError> = head.runs.iter().map(open).collect();
                (below.runs, below.words, next_id) = (runs?, Some(head.words), head.next_id);
            }
            None => make_directory(files)?,
        }
        next_id = next_id.max(remove_strangers(files, &below.runs)? + 1);
        Ok(Tree {
            files: Arc::clone(files),
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

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self) -> Arc<Below> {
        Arc::clone(&self.state().below)
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state_mut();
        state.next_id += 1;
        state.next_id - 1
    }

    /// The opaque bytes that the last durable checkpoint carried.
    pub(crate) fn head(&self) -> Option<Vec<u8>> {
        self.below().words.clone()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
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

    /// Makes changes visible, all at once, to everybody.
    pub(crate) fn publish(&self, changes: Changes) {
        self.state_mut().active.absorb(changes);
    }

    /// Bytes of memory that the changes take which are not set aside yet.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.state().active.bytes()
    }

    /// Sets the changes in memory aside to be written, with `head`. False, and nothing is done,
    /// while older ones are still waiting. `head` has at most [`LONGEST_HEAD`] bytes.
    pub(crate) fn freeze(&self, head: Vec<u8>) -> bool {
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

    pub(crate) fn has_frozen(&self) -> bool {
        self.state().below.frozen.is_some()
    }

    pub(crate) fn stats(&self) -> TreeStats {
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
