//! The index: a checkpoint of the log, in the sorted files of `stash-runs`.

pub(crate) mod audit;
mod dots;
mod error;
pub(crate) mod read;
mod referrers;
mod state;
mod tables;
mod turns;
pub(crate) mod wholeness;
mod write;

use std::path::PathBuf;

use crate::IoError;
use crate::files::Files;
use crate::sync::{Arc, Mutex, lock};
pub(crate) use error::IndexError;
pub(crate) use referrers::Referrers;
use stash_runs::{Directory, Tree, TreeLimits};
pub(crate) use stash_runs::{TreeCursor, TreeError, TreeStats};
pub(crate) use state::{Head, State, Usage};
pub(crate) use tables::{ChunkRow, Located, ManifestRow};
pub(crate) use turns::{Turned, Turns};
pub(crate) use write::Tables;

const KEY_CONTEXT: &str = "stash-store 2026-11 index block key";

/// Where the files of the index lie.
fn directory(files: &Files) -> Directory {
    Directory::new(Arc::clone(&files.disk), files.dir.join("index"))
}

/// An open index.
pub(crate) struct Index {
    tree: Tree,
    store_id: [u8; 16],
    turns: Mutex<Turns>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Index").field(&self.stats()).finish()
    }
}

impl Index {
    /// Opens the index, or makes one if there is none. `None` for an index that is empty.
    pub(crate) fn open(
        files: &Files,
        log_key: &[u8; 32],
        store_id: [u8; 16],
        cache_bytes: usize,
        salt: u64,
    ) -> Result<(Index, Option<Head>), IndexError> {
        let key = blake3::derive_key(KEY_CONTEXT, log_key);
        let tree = Tree::open(&directory(files), key, TreeLimits { cache_bytes, salt })?;
        let head = match tree.head() {
            None => None,
            Some(bytes) => Some(
                Head::decode(&bytes, &store_id)
                    .ok_or_else(|| IndexError("it is of another store or version".into()))?,
            ),
        };
        let turns = Mutex::new(Turns::new(salt));
        Ok((Index { tree, store_id, turns }, head))
    }

    /// Removes every file of an index, also of one as older versions had it.
    pub(crate) fn wipe(files: &Files) -> Result<(), IoError> {
        Index::remove_old(files)?;
        Tree::wipe(&directory(files))
    }

    /// Removes the index of version 1, which was one file.
    pub(crate) fn remove_old(files: &Files) -> Result<(), IoError> {
        let old: PathBuf = files.dir.join("index.redb");
        match files.disk.remove(&old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(IoError::new("remove", &old, e))
            }
            _ => Ok(()),
        }
    }

    /// Runs `f` on the tables. If it succeeds, its changes become visible, all at once, and
    /// `head` follows them; `f` decides what happens before that, such as the sync of the log.
    pub(crate) fn write<T, E>(
        &self,
        head: &mut Head,
        f: impl FnOnce(&mut Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tables = Tables::new(&self.tree, head.state);
        let value = f(&mut tables)?;
        head.state = tables.state;
        head.usage.absorb(tables.usage);
        self.tree.publish(tables.changes);
        lock(&self.turns).add(tables.turned);
        Ok(value)
    }

    /// Asks the tables as the committer would.
    pub(crate) fn peek<T>(
        &self,
        f: impl FnOnce(&Tables<'_>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        f(&Tables::new(&self.tree, State::default()))
    }

    /// Records that turned whole, or stopped being so, since a position.
    pub(crate) fn turned_since(&self, position: (u64, u64), limit: usize) -> Turned {
        lock(&self.turns).since(position, limit)
    }

    /// The position behind all of them.
    pub(crate) fn turned_at(&self) -> (u64, u64) {
        lock(&self.turns).end()
    }

    /// Bytes of memory that wait for the next checkpoint.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.tree.active_bytes()
    }

    /// Sets aside what the next checkpoint writes; false while an older one waits.
    pub(crate) fn freeze(&self, head: &Head) -> bool {
        self.tree.freeze(head.encode(&self.store_id))
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.tree.has_frozen()
    }

    /// Makes durable what was set aside. False if nothing was.
    pub(crate) fn checkpoint(&self) -> Result<bool, TreeError> {
        self.tree.checkpoint()
    }

    /// Bytes that the next merge reads and about writes, if one is due.
    pub(crate) fn merge_bytes(&self) -> Option<u64> {
        self.tree.merge_bytes()
    }

    /// Merges files of the index if that is due.
    pub(crate) fn merge(
        &self,
        meanwhile: &dyn Fn() -> Result<(), TreeError>,
    ) -> Result<bool, TreeError> {
        self.tree.merge(meanwhile)
    }

    /// Ends a merge that is running, and every later one before it begins: the store closes.
    pub(crate) fn stop_merging(&self) {
        self.tree.stop_merging();
    }

    /// Reads a part of the index's files, to see that it is whole.
    pub(crate) fn verify(
        &self,
        cursor: TreeCursor,
        max_bytes: u64,
    ) -> Result<Option<(TreeCursor, u64)>, TreeError> {
        self.tree.verify(cursor, max_bytes)
    }

    pub(crate) fn stats(&self) -> TreeStats {
        self.tree.stats()
    }
}
