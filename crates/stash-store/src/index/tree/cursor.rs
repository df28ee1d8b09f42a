//! Going through entries in order: of one run, and of several sources as one.

use super::block::Walk;
use super::cache::Cache;
use super::changes::Slots;
use super::error::{TreeError, read_failed};
use super::fences::{Place, Places};
use super::run::Run;
use crate::sync::Arc;

/// Bytes that are read at once by who goes through a whole run: 64 blocks.
const READ_AHEAD: u64 = 256 * 1024;

/// Where a cursor gets its blocks from.
pub(super) enum Blocks<'a> {
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
    pub(super) fn ahead() -> Blocks<'static> {
        Blocks::Ahead { bytes: Vec::new(), start: 0 }
    }

    pub(super) fn read(&mut self, run: &Run, place: Place) -> Result<Arc<[u8]>, TreeError> {
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

/// Stands on an entry of a run.
pub(super) struct Cursor<'a> {
    run: &'a Run,
    blocks: Blocks<'a>,
    places: Places,
    block: Option<Arc<[u8]>>,
    walk: Walk,
}

impl<'a> Cursor<'a> {
    /// Stands on the first entry whose key is not before `from`.
    pub(super) fn new(
        run: &'a Run,
        from: &[u8],
        blocks: Blocks<'a>,
    ) -> Result<Cursor<'a>, TreeError> {
        let places = run.fences.seek(|fence, _| fence <= from).map_err(|_| run.malformed())?;
        let mut cursor = Cursor { run, blocks, places, block: None, walk: Walk::default() };
        cursor.next_block()?;
        cursor.advance()?;
        while cursor.key().is_some_and(|key| key < from) {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    fn next_block(&mut self) -> Result<(), TreeError> {
        let place = self.places.take(&self.run.fences).map_err(|_| self.run.malformed())?;
        self.walk = Walk::default();
        self.block = place.map(|place| self.blocks.read(self.run, place)).transpose()?;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), TreeError> {
        while let Some(block) = &self.block {
            if self.walk.step(block).map_err(|_| self.run.malformed())? {
                break;
            }
            self.next_block()?;
        }
        Ok(())
    }

    fn key(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|_| self.walk.key())
    }

    fn value(&self) -> Option<&[u8]> {
        self.walk.value(self.block.as_ref()?)
    }
}

/// Something that has entries in order.
pub(super) enum Source<'a> {
    Run(Cursor<'a>),
    Changes { slots: Slots<'a>, current: Option<(&'a [u8], Option<&'a [u8]>)> },
}

impl<'a> Source<'a> {
    pub(super) fn changes(slots: Slots<'a>) -> Source<'a> {
        let mut source = Source::Changes { slots, current: None };
        source.next_change();
        source
    }

    fn next_change(&mut self) {
        if let Source::Changes { slots, current } = self {
            *current = slots.next().map(|(key, slot)| (&**key, slot.as_deref()));
        }
    }

    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Run(cursor) => cursor.key(),
            Source::Changes { current, .. } => current.map(|(key, _)| key),
        }
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Source::Run(cursor) => cursor.value(),
            Source::Changes { current, .. } => current.and_then(|(_, value)| value),
        }
    }

    fn advance(&mut self) -> Result<(), TreeError> {
        if let Source::Run(cursor) = self {
            return cursor.advance();
        }
        self.next_change();
        Ok(())
    }
}

/// Several sources as one. Of entries with the same key, the newest source's counts.
pub(super) struct Merged<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
    /// The source whose entry is next; it has one unless all are at their end.
    lead: usize,
}

impl<'a> Merged<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>) -> Merged<'a> {
        let mut merged = Merged { sources, lead: 0 };
        merged.choose();
        merged
    }

    fn choose(&mut self) {
        let keys = self.sources.iter().enumerate().filter_map(|(n, s)| Some((s.key()?, n)));
        // Of equal keys the first, which is the newest.
        self.lead = keys.min().map_or(0, |(_, n)| n);
    }

    /// The entry that is next; its value is `None` if the key is removed.
    pub(super) fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let lead = self.sources.get(self.lead)?;
        Some((lead.key()?, lead.value()))
    }

    /// Goes beyond the entry that is next, and what older sources say of its key.
    pub(super) fn advance(&mut self) -> Result<(), TreeError> {
        for n in self.lead + 1..self.sources.len() {
            if self.sources[n].key() == self.sources[self.lead].key() {
                self.sources[n].advance()?;
            }
        }
        if let Some(lead) = self.sources.get_mut(self.lead) {
            lead.advance()?;
        }
        self.choose();
        Ok(())
    }
}
