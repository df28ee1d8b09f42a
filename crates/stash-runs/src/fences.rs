//! The block index of a run: which block a key would be in. It is held in memory, packed.

use crate::block::{Packer, Walk};
use crate::codec::{Malformed, length, number, put_number};

/// Where a stored block lies in its file, tag included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// Bytes after which a page of fences is full: a look-up reads half a page on average.
const PAGE: usize = 512;

/// A fence for each block: a key that is after all keys of the block before, and not after
/// the first of its own. Fences are packed as the entries of a block are, in pages.
#[derive(Default)]
pub(crate) struct Fences {
    /// Pages, each behind its length.
    bytes: Vec<u8>,
    /// Where each page begins and ends.
    pages: Vec<(usize, usize)>,
}

fn place(value: &[u8]) -> Result<Place, Malformed> {
    let mut at = 0;
    let place = Place { offset: number(value, &mut at)?, len: length(value, &mut at)? };
    if at == value.len() { Ok(place) } else { Err(Malformed) }
}

impl Fences {
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Fences, Malformed> {
        let (mut at, mut pages) = (0, Vec::new());
        while at < bytes.len() {
            let len = length(&bytes, &mut at)?;
            let end = at.checked_add(len).filter(|end| *end <= bytes.len() && len > 0);
            let end = end.ok_or(Malformed)?;
            pages.push((at, end));
            at = end;
        }
        Ok(Fences { bytes, pages })
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.pages.len() * size_of::<(usize, usize)>()
    }

    fn page(&self, page: usize) -> Option<&[u8]> {
        let (start, end) = *self.pages.get(page)?;
        self.bytes.get(start..end)
    }

    /// The places from the last one on whose fence `holds`; that one, if any does, must be before
    /// all for which it does not. The first place if it holds for none.
    pub(crate) fn seek(
        &self,
        mut holds: impl FnMut(&[u8], Place) -> bool,
    ) -> Result<Places, Malformed> {
        let (mut low, mut high) = (0, self.pages.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let body = self.page(middle).ok_or(Malformed)?;
            let mut walk = Walk::default();
            walk.step(body)?;
            let first = place(walk.value(body).ok_or(Malformed)?)?;
            if holds(walk.key(), first) { low = middle } else { high = middle }
        }
        let mut places = Places { page: low, walk: Walk::default(), current: None, next: None };
        places.step(self)?;
        places.take(self)?;
        while let Some(next) = places.next
            && holds(places.walk.key(), next)
        {
            places.take(self)?;
        }
        Ok(places)
    }
}

/// Goes through the places of blocks, in order.
pub(crate) struct Places {
    page: usize,
    walk: Walk,
    current: Option<Place>,
    /// The place of the fence that `walk` stands on.
    next: Option<Place>,
}

impl Places {
    fn step(&mut self, fences: &Fences) -> Result<(), Malformed> {
        self.next = None;
        while let Some(body) = fences.page(self.page) {
            if self.walk.step(body)? {
                self.next = Some(place(self.walk.value(body).ok_or(Malformed)?)?);
                break;
            }
            (self.page, self.walk) = (self.page + 1, Walk::default());
        }
        Ok(())
    }

    /// The place reached, if there is one; goes on to the one after it.
    pub(crate) fn take(&mut self, fences: &Fences) -> Result<Option<Place>, Malformed> {
        let reached = std::mem::replace(&mut self.current, self.next);
        self.step(fences)?;
        Ok(reached)
    }
}

/// Makes a block index.
#[derive(Default)]
pub(crate) struct FenceWriter {
    packer: Packer,
    fences: Fences,
}

impl FenceWriter {
    pub(crate) fn push(&mut self, fence: &[u8], place: Place) {
        let mut value = Vec::new();
        put_number(&mut value, place.offset);
        put_number(&mut value, place.len as u64);
        self.packer.push(fence, Some(&value));
        if self.packer.body().len() >= PAGE {
            self.end_page();
        }
    }

    fn end_page(&mut self) {
        let fences = &mut self.fences;
        put_number(&mut fences.bytes, self.packer.body().len() as u64);
        let start = fences.bytes.len();
        fences.bytes.extend_from_slice(self.packer.body());
        fences.pages.push((start, fences.bytes.len()));
        self.packer.clear();
    }

    pub(crate) fn finish(mut self) -> Fences {
        if !self.packer.body().is_empty() {
            self.end_page();
        }
        self.fences.bytes.shrink_to_fit();
        self.fences.pages.shrink_to_fit();
        self.fences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u64 = 1000;

    /// Block `n` begins at the key `3n`, written in eight bytes; the first with nothing.
    fn fences() -> Fences {
        let mut writer = FenceWriter::default();
        for n in 0..BLOCKS {
            let key = (3 * n).to_be_bytes();
            writer.push(if n == 0 { &[] } else { &key }, Place { offset: n * 10, len: 10 });
        }
        Fences::decode(writer.finish().encoded().to_vec()).unwrap()
    }

    fn rest(fences: &Fences, mut places: Places) -> Vec<u64> {
        std::iter::from_fn(|| places.take(fences).unwrap()).map(|place| place.offset / 10).collect()
    }

    #[test]
    fn every_key_leads_to_its_block_and_those_after_it() {
        let fences = fences();
        assert!(fences.pages.len() > 5, "several pages");
        for key in 0..3 * BLOCKS + 10 {
            let places = fences.seek(|fence, _| fence <= &key.to_be_bytes()[..]).unwrap();
            let expected: Vec<u64> = ((key / 3).min(BLOCKS - 1)..BLOCKS).collect();
            assert_eq!(rest(&fences, places), expected, "key {key}");
        }
    }

    #[test]
    fn an_offset_leads_to_its_block_too() {
        let fences = fences();
        for n in 0..BLOCKS {
            let places = fences.seek(|_, place| place.offset <= n * 10).unwrap();
            assert_eq!(rest(&fences, places)[0], n);
        }
        let none = fences.seek(|_, _| false).unwrap();
        assert_eq!(rest(&fences, none)[0], 0);
    }

    #[test]
    fn an_index_of_nothing_leads_nowhere_and_a_cut_one_is_malformed() {
        let none = Fences::default();
        assert_eq!(rest(&none, none.seek(|_, _| true).unwrap()), []);
        let whole = fences().bytes;
        for end in 1..PAGE {
            assert!(Fences::decode(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
        assert!(Fences::decode(vec![0]).is_err(), "an empty page");
    }
}
