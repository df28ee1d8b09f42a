//! A map in sorted runs that is bound to a store, and begins anew when it is damaged.
//!
//! Changes are visible at once, and durable when enough of them wait, or at [`Map::sync`]: with them, in
//! the same step, what they were made from ([`At`]). So a power cut loses the work since, and nothing
//! else. Only what can be made again may stand here.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use stash_runs::disk::{Disk, IoError, RealDisk};
use stash_runs::{Changes, Directory, Tree, TreeError, TreeLimits};
use stash_server::store::Quota;
use tokio::sync::watch;

use super::fault::{IndexError, IndexFault};
use super::words::{self, At, Binding};

/// Purpose and bounds of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Version of its words.
    pub(crate) version: u8,
    /// Its directory below the data directory.
    pub(crate) directory: &'static str,
    /// Message for the log when it begins anew.
    pub(crate) anew: &'static str,
    /// Context of the key of its tags.
    pub(crate) context: &'static str,
    /// Bytes of blocks that are kept in memory.
    pub(crate) cache: usize,
    /// Bytes of changes that wait in memory before they are written.
    pub(crate) waiting: u64,
}

/// The data directory, on its disk.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: std::path::PathBuf,
    /// The quota that the store leaves of that disk.
    pub(crate) quota: Quota,
}

impl Root {
    /// A directory on the disk of the operating system.
    pub(crate) fn real(directory: &Path, quota: Quota) -> Result<Root, IndexFault> {
        let path = RealDisk.resolve(directory);
        let path = path.map_err(|e| IoError::new("resolve", directory, e))?;
        Ok(Root { disk: Arc::new(RealDisk), path, quota })
    }
}

/// The end of a merge that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// Nothing is to be merged any more, or the map is about to be closed.
    Done,
    /// The disk has not so many bytes above its reserve: the map has more files, until there is room.
    Waits {
        /// Bytes that the merge would write.
        bytes: u64,
    },
}

/// The tree of one generation: begun anew, a map has another one.
pub(crate) struct Slot {
    pub(crate) tree: Tree,
    pub(crate) generation: u64,
    at: RwLock<At>,
}

impl Slot {
    fn new((tree, at): (Tree, At), generation: u64) -> Slot {
        Slot { tree, generation, at: RwLock::new(at) }
    }

    /// State of the tree; while this is kept, no change becomes visible.
    pub(crate) fn at(&self) -> RwLockReadGuard<'_, At> {
        self.at.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The map. All methods block, but for [`Map::moves`].
///
/// Locks are taken in this order: `writing`, `merging`, `slot`, `at`. Nobody reads or changes a tree that was
/// replaced but who found it before; nobody writes its files any more.
pub(crate) struct Map {
    kind: Kind,
    root: Root,
    directory: Directory,
    binding: Binding,
    slot: RwLock<Arc<Slot>>,
    writing: Mutex<()>,
    merging: Mutex<()>,
    cursor: watch::Sender<u64>,
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(kind: Kind, directory: &Directory, binding: &Binding) -> Result<(Tree, At), IndexFault> {
    let limits = TreeLimits { cache_bytes: kind.cache, salt: rand::random() };
    let tree = Tree::open(directory, binding.key(kind.context), limits)?;
    let Some(head) = tree.head() else {
        return Ok((tree, At::default()));
    };
    let at = words::decode(kind.version, &head, binding)?;
    Ok((tree, at))
}

impl Map {
    /// Opens the map, or begins a new one if there is none, it is damaged, belongs to another store,
    /// or does not fit.
    pub(crate) fn open(
        kind: Kind,
        root: &Root,
        binding: Binding,
        fits: impl FnOnce(At) -> bool,
    ) -> Result<Map, IndexError> {
        let directory = Directory::new(Arc::clone(&root.disk), root.path.join(kind.directory));
        let (tree, at) = match open(kind, &directory, &binding) {
            Ok((tree, at)) if fits(at) => (tree, at),
            Ok(_) => begin_anew(kind, &directory, &binding)?,
            Err(fault) => {
                tracing::warn!(%fault, "{}", kind.anew);
                begin_anew(kind, &directory, &binding)?
            }
        };
        let (cursor, slot) = (watch::Sender::new(at.cursor), Slot::new((tree, at), 0));
        let slot = RwLock::new(Arc::new(slot));
        let (writing, merging) = (Mutex::default(), Mutex::default());
        let root = root.clone();
        Ok(Map { kind, root, directory, binding, slot, writing, merging, cursor })
    }

    pub(crate) fn current(&self) -> Arc<Slot> {
        Arc::clone(&self.slot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cursor, whenever it has moved or the map has begun anew.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.cursor.subscribe()
    }

    /// Asks the tree. A fault makes the map begin anew.
    pub(crate) fn read<T>(
        &self,
        ask: impl FnOnce(&Slot) -> Result<T, IndexFault>,
    ) -> Result<T, IndexError> {
        let slot = self.current();
        ask(&slot).map_err(|fault| self.failed(&slot, fault))
    }

    /// Makes changes, and what `make` puts into [`At`], visible at once; if enough of them wait, those before are
    /// written first. Does nothing if the map has begun anew since `generation`. After an error
    /// nothing is changed.
    pub(crate) fn change(
        &self,
        generation: Option<u64>,
        make: impl FnOnce(&Tree, &mut At) -> Result<Changes, IndexFault>,
    ) -> Result<(), IndexError> {
        let writing = lock(&self.writing);
        let slot = self.current();
        if generation.is_some_and(|generation| generation != slot.generation) {
            return Ok(());
        }
        let changed = self.change_slot(&slot, make);
        drop(writing);
        changed.map_err(|fault| self.failed(&slot, fault))
    }

    fn change_slot(
        &self,
        slot: &Slot,
        make: impl FnOnce(&Tree, &mut At) -> Result<Changes, IndexFault>,
    ) -> Result<(), IndexFault> {
        if slot.tree.active_bytes() >= self.kind.waiting {
            self.write(slot)?;
        }
        let mut next = *slot.at();
        let changes = make(&slot.tree, &mut next)?;
        let mut at = slot.at.write().unwrap_or_else(PoisonError::into_inner);
        slot.tree.publish(changes);
        *at = next;
        drop(at);
        self.cursor.send_replace(next.cursor);
        Ok(())
    }

    /// Makes what was changed durable.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        let writing = lock(&self.writing);
        let slot = self.current();
        let written = self.write(&slot);
        drop(writing);
        written.map_err(|fault| self.failed(&slot, fault))
    }

    /// Writes what waits; `writing` is locked.
    fn write(&self, slot: &Slot) -> Result<(), IndexFault> {
        // What an earlier attempt set aside, and could not write.
        slot.tree.checkpoint().map_err(IndexFault::writing)?;
        let at = *slot.at();
        slot.tree.freeze(words::encode(self.kind.version, &self.binding, &at));
        slot.tree.checkpoint().map_err(IndexFault::writing)?;
        Ok(())
    }

    /// True if files are to be merged.
    pub(crate) fn merge_is_due(&self) -> bool {
        self.current().tree.merge_bytes().is_some()
    }

    /// Merges files while that is due and leaves the reserve of the disk whole: seconds for a million
    /// rows. Others read and change meanwhile.
    pub(crate) fn merge(&self) -> Result<Merged, IndexError> {
        let merging = lock(&self.merging);
        let slot = self.current();
        let merged = self.merge_slot(&slot);
        drop(merging);
        merged.map_err(|error| self.failed(&slot, IndexFault::writing(error)))
    }

    fn merge_slot(&self, slot: &Slot) -> Result<Merged, TreeError> {
        while let Some(bytes) = slot.tree.merge_bytes() {
            if !self.has_room(bytes) {
                return Ok(Merged::Waits { bytes });
            }
            if !slot.tree.merge(&|| Ok(()))? {
                break;
            }
        }
        Ok(Merged::Done)
    }

    /// True if so much may be written that need not be. A merge that fills the disk takes the room of the
    /// store's log, and ends with nothing.
    fn has_room(&self, bytes: u64) -> bool {
        let space = self.root.disk.space(self.directory.path());
        // A disk that does not say what it has left may be tried.
        space.map_or(true, |space| self.root.quota.leaves_reserve(&space, bytes))
    }

    /// Ends a merge that is running, and every later one: the map is about to be closed.
    pub(crate) fn stop_merging(&self) {
        self.current().tree.stop_merging();
    }

    /// Begins anew: the map is empty, and has another generation.
    pub(crate) fn start_over(&self, why: &str) -> IndexError {
        self.begin_anew(&self.current(), &IndexFault::damaged(why))
    }

    fn failed(&self, slot: &Slot, fault: IndexFault) -> IndexError {
        match fault {
            IndexFault::Waits(_) => IndexError::Unusable(fault),
            IndexFault::Damaged(_) | IndexFault::Io(_) => self.begin_anew(slot, &fault),
        }
    }

    /// Begins anew after a fault, unless somebody else already did.
    fn begin_anew(&self, faulty: &Slot, fault: &IndexFault) -> IndexError {
        if self.current().generation != faulty.generation {
            return IndexError::Rebuilding;
        }
        faulty.tree.stop_merging();
        let _nobody_writes = lock(&self.writing);
        let _nobody_merges = lock(&self.merging);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.generation == faulty.generation {
            tracing::warn!(%fault, "{}", self.kind.anew);
            let opened = match begin_anew(self.kind, &self.directory, &self.binding) {
                Ok(opened) => opened,
                Err(error) => return error,
            };
            *slot = Arc::new(Slot::new(opened, faulty.generation + 1));
            self.cursor.send_replace(0);
        }
        IndexError::Rebuilding
    }
}

fn begin_anew(
    kind: Kind,
    directory: &Directory,
    binding: &Binding,
) -> Result<(Tree, At), IndexError> {
    Tree::wipe(directory).map_err(|error| IndexError::Unusable(error.into()))?;
    open(kind, directory, binding).map_err(IndexError::Unusable)
}
