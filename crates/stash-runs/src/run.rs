//! A run: one immutable file of entries in the order of their keys.
//!
//! It is blocks of entries, the fences of the blocks, a filter, and a footer. Fences and filter
//! are cut into pieces; each block, piece, and the footer has a tag behind it. Fences and filter
//! are held in memory, 14 bits an entry, and blocks are read.

use std::path::{Path, PathBuf};

use crate::block::Walk;
use crate::cache::Cache;
use crate::changes::Slot;
use crate::codec::Keys;
use crate::directory::Directory;
use crate::error::{TreeError, read_failed};
use crate::fences::{Fences, Place};
use crate::filter::{Filter, LINE};
use crate::layout::{FOOTER, Layout, pieces};
use crate::sync::Arc;
use stash_disk::{DiskFile, OpenMode};

/// An open run.
pub(crate) struct Run {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) keys: Keys,
    pub(crate) layout: Layout,
    /// Bytes of the file.
    pub(crate) len: u64,
    pub(crate) fences: Fences,
    pub(crate) filter: Filter,
}

/// The error for a part of a file that is not what was written.
pub(crate) fn damaged(path: &Path, offset: u64) -> TreeError {
    TreeError::Damaged(format!("{} does not match its tag at {offset}", path.display()))
}

impl Run {
    /// Opens a run that HEAD names.
    pub(crate) fn open(
        directory: &Directory,
        keys: Keys,
        id: u64,
        len: u64,
    ) -> Result<Run, TreeError> {
        let path = directory.run(id);
        let file =
            directory.disk.open(&path, OpenMode::Read).map_err(read_failed("open", &path))?;
        let found = file.len().map_err(read_failed("measure", &path))?;
        let at = len.checked_sub(FOOTER as u64).filter(|_| found == len);
        let at = at.ok_or_else(|| {
            TreeError::Damaged(format!("{} has {found} bytes, not {len}", path.display()))
        })?;
        let layout = Layout { id, entries: 0, blocks: 0, fences: 0, filter: 0 };
        let (fences, filter) = (Fences::default(), Filter::for_bytes(0));
        let mut run = Run { path, file, keys, layout, len, fences, filter };
        let footer = run.stored(Place { offset: at, len: FOOTER })?;
        run.layout = Layout::decode(&footer).map_err(|_| damaged(&run.path, at))?;
        let Layout { entries, blocks, .. } = run.layout;
        // An entry has three bytes at least.
        if run.layout.file() != Some(len) || run.layout.id != id || entries > blocks {
            return Err(damaged(&run.path, at));
        }
        run.load()?;
        Ok(run)
    }

    fn load(&mut self) -> Result<(), TreeError> {
        let Layout { blocks, fences, filter, .. } = self.layout;
        let room = |bytes: u64| usize::try_from(bytes).map_err(|_| self.malformed());
        let (start, mut packed) = (self.filter_start()?, Vec::with_capacity(room(fences)?));
        let mut lines = Filter::for_bytes(room(filter)?);
        for piece in pieces(blocks, fences) {
            packed.extend_from_slice(&self.stored(piece)?);
        }
        for piece in pieces(start, filter) {
            lines.load(&self.stored(piece)?).map_err(|_| self.malformed())?;
        }
        self.fences = Fences::decode(packed).map_err(|_| self.malformed())?;
        self.filter = lines;
        if filter < LINE as u64 { Err(self.malformed()) } else { Ok(()) }
    }

    fn filter_start(&self) -> Result<u64, TreeError> {
        self.layout.filter_start().ok_or_else(|| self.malformed())
    }

    /// The error for bytes that have the right tag and make no sense.
    pub(crate) fn malformed(&self) -> TreeError {
        TreeError::Damaged(format!("{} is not what this version writes", self.path.display()))
    }

    /// Reads and verifies a part with its tag: its bytes without it.
    pub(crate) fn stored(&self, place: Place) -> Result<Vec<u8>, TreeError> {
        let end = place.offset.checked_add(place.len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(self.malformed());
        }
        let mut bytes = vec![0; place.len];
        let read = self.file.read_at(place.offset, &mut bytes);
        read.map_err(read_failed("read", &self.path))?;
        let len = self.check(place.offset, &bytes)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }

    /// The bytes before the tag of a part that was read from `offset`.
    pub(crate) fn check<'a>(&self, offset: u64, stored: &'a [u8]) -> Result<&'a [u8], TreeError> {
        let bytes = self.keys.untag(self.layout.id, offset, stored);
        bytes.ok_or_else(|| damaged(&self.path, offset))
    }

    /// A block, from the cache if it is there.
    pub(crate) fn block(&self, place: Place, cache: &Cache) -> Result<Arc<[u8]>, TreeError> {
        let key = (self.layout.id, place.offset);
        if let Some(block) = cache.get(key) {
            return Ok(block);
        }
        let block: Arc<[u8]> = self.stored(place)?.into();
        cache.put(key, &block);
        Ok(block)
    }

    /// The entry of a key with this filter hash; `None` if the run has none.
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: u64,
        cache: &Cache,
    ) -> Result<Option<Slot>, TreeError> {
        if !self.filter.may_have(hash) {
            return Ok(None);
        }
        let malformed = |_| self.malformed();
        let mut places = self.fences.seek(|fence, _| fence <= key).map_err(malformed)?;
        let Some(place) = places.take(&self.fences).map_err(malformed)? else {
            return Ok(None);
        };
        let (block, mut walk) = (self.block(place, cache)?, Walk::default());
        while walk.step(&block).map_err(malformed)? {
            if walk.key() >= key {
                let found = walk.key() == key;
                return Ok(found.then(|| walk.value(&block).map(Box::from)));
            }
        }
        Ok(None)
    }

    /// The last entry before `before`, removed or not.
    pub(crate) fn last(
        &self,
        before: &[u8],
        cache: &Cache,
    ) -> Result<Option<(Vec<u8>, Slot)>, TreeError> {
        let malformed = |_| self.malformed();
        let mut places = self.fences.seek(|fence, _| fence < before).map_err(malformed)?;
        let mut place = places.take(&self.fences).map_err(malformed)?;
        while let Some(at) = place {
            let (block, mut walk, mut last) = (self.block(at, cache)?, Walk::default(), None);
            while walk.step(&block).map_err(malformed)? && walk.key() < before {
                let (key, slot) = last.get_or_insert((Vec::new(), None));
                key.clear();
                key.extend_from_slice(walk.key());
                *slot = walk.value(&block);
            }
            if let Some((key, slot)) = last {
                return Ok(Some((key, slot.map(Box::from))));
            }
            // The fence was before `before` and the first key not: the block before ends below.
            let end = at.offset;
            let mut places = self.fences.seek(|_, p| p.offset < end).map_err(malformed)?;
            let earlier = places.take(&self.fences).map_err(malformed)?;
            place = earlier.filter(|earlier| earlier.offset < end);
        }
        Ok(None)
    }

    /// Verifies the file from `from` on, until that were about `budget` bytes: where it stopped,
    /// the length of the file at the end.
    pub(crate) fn verify(&self, from: u64, budget: u64) -> Result<u64, TreeError> {
        let malformed = |_| self.malformed();
        let (mut at, enough) = (from, from.saturating_add(budget));
        if at < self.layout.blocks {
            let mut places = self.fences.seek(|_, p| p.offset <= from).map_err(malformed)?;
            let mut blocks = Blocks::ahead();
            while at < enough
                && let Some(place) = places.take(&self.fences).map_err(malformed)?
            {
                blocks.read(self, place)?;
                at = place.offset + place.len as u64;
            }
        }
        let Layout { blocks, fences, filter, .. } = self.layout;
        let start = self.filter_start()?;
        let footer = Place { offset: self.len - FOOTER as u64, len: FOOTER };
        let meta = pieces(blocks, fences).chain(pieces(start, filter)).chain([footer]);
        for place in meta.skip_while(|place| place.offset < from) {
            if at >= enough || place.offset != at {
                break;
            }
            self.stored(place)?;
            at = place.offset + place.len as u64;
        }
        Ok(at)
    }

    pub(crate) fn memory(&self) -> usize {
        self.fences.memory() + self.filter.bytes()
    }
}

/// Bytes that are read at once by who goes through a whole run: 64 blocks.
const READ_AHEAD: u64 = 256 * 1024;

/// Where a cursor gets its blocks from.
pub(crate) enum Blocks<'a> {
    /// The cache, one block at a time: for who stops soon, or may come again.
    Cached(&'a Cache),
    /// The file, many at a time: for who goes through all of them once.
    Ahead {
        /// Bytes of the file.
        bytes: Vec<u8>,
        /// Their offset in it.
        start: u64,
    },
}

impl Blocks<'_> {
    pub(crate) fn ahead() -> Blocks<'static> {
        Blocks::Ahead { bytes: Vec::new(), start: 0 }
    }

    pub(crate) fn read(&mut self, run: &Run, place: Place) -> Result<Arc<[u8]>, TreeError> {
        let (bytes, start) = match self {
            Blocks::Cached(cache) => return run.block(place, cache),
            Blocks::Ahead { bytes, start } => (bytes, start),
        };
        let within = |bytes: &Vec<u8>, start: u64| {
            let from = usize::try_from(place.offset.checked_sub(start)?).ok()?;
            Some(from..from.checked_add(place.len).filter(|end| *end <= bytes.len())?)
        };
        if within(bytes, *start).is_none() {
            let left = run.layout.blocks.saturating_sub(place.offset);
            let len = READ_AHEAD.max(place.len as u64).min(left);
            bytes.resize(usize::try_from(len).map_err(|_| run.malformed())?, 0);
            *start = place.offset;
            let read = run.file.read_at(*start, bytes);
            read.map_err(read_failed("read", &run.path))?;
        }
        let range = within(bytes, *start).ok_or_else(|| run.malformed())?;
        Ok(run.check(place.offset, &bytes[range])?.into())
    }
}
