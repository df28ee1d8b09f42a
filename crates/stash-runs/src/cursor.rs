//! Going through entries in order: of one run, and of several sources as one.

use crate::block::Walk;
use crate::changes::Slots;
use crate::error::TreeError;
use crate::fences::Places;
use crate::run::{Blocks, Run};
use crate::sync::Arc;

/// Stands on an entry of a run.
pub(crate) struct Cursor<'a> {
    run: &'a Run,
    blocks: Blocks<'a>,
    places: Places,
    block: Option<Arc<[u8]>>,
    walk: Walk,
}

impl<'a> Cursor<'a> {
    /// Stands on the first entry whose key is not before `from`.
    pub(crate) fn new(
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
pub(crate) enum Source<'a> {
    Run(Cursor<'a>),
    Changes { slots: Slots<'a>, current: Option<(&'a [u8], Option<&'a [u8]>)> },
}

impl<'a> Source<'a> {
    pub(crate) fn changes(slots: Slots<'a>) -> Source<'a> {
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
pub(crate) struct Merged<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
    /// The source whose entry is next; it has one unless all are at their end.
    lead: usize,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(sources: Vec<Source<'a>>) -> Merged<'a> {
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
    pub(crate) fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let lead = self.sources.get(self.lead)?;
        Some((lead.key()?, lead.value()))
    }

    /// Goes beyond the entry that is next, and what older sources say of its key.
    pub(crate) fn advance(&mut self) -> Result<(), TreeError> {
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
