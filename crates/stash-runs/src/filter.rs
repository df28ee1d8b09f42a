//! A filter: says that a key is certainly not in a run, or may be.

use crate::codec::{Malformed, word};

/// Bits for each entry: about one absent key in a hundred passes.
const BITS: u64 = 10;
/// Bits that are set for a key, all in one line.
const PROBES: u32 = 6;
/// Bytes of a line: what a processor fetches from memory at once.
pub(crate) const LINE: usize = 64;

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line([u64; LINE / 8]);

/// A Bloom filter whose bits for a key lie in one line of memory (Putze, Sanders, Singler:
/// "Cache-, Hash- and Space-Efficient Bloom Filters", 2007).
pub(crate) struct Filter {
    lines: Vec<Line>,
}

/// The words and bits of a line that belong to a hash.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // The line is chosen by the high bits; a product spreads the low ones anew.
    let mut bits = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (0..PROBES).map(move |_| {
        let bit = bits >> 55;
        bits = bits.rotate_left(9);
        ((bit / 64).to_le_bytes()[0].into(), 1 << (bit % 64))
    })
}

impl Filter {
    /// An empty filter for up to so many entries.
    pub(crate) fn with_room(entries: u64) -> Filter {
        let lines = (entries * BITS).div_ceil(LINE as u64 * 8).max(1);
        Filter { lines: vec![Line::default(); usize::try_from(lines).unwrap_or(usize::MAX)] }
    }

    fn line(&self, hash: u64) -> usize {
        let line = (u128::from(hash) * self.lines.len() as u128) >> 64;
        usize::try_from(line).expect("it is less than the number of lines")
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, bit) in probes(hash) {
            self.lines[line].0[word] |= bit;
        }
    }

    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let line = &self.lines[self.line(hash)];
        probes(hash).all(|(word, bit)| line.0[word] & bit != 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    /// The bytes of whole lines, a piece of at most `piece` bytes at a time.
    pub(crate) fn pieces(&self, piece: usize) -> impl Iterator<Item = Vec<u8>> {
        let words = |line: &Line| line.0.map(u64::to_le_bytes).concat();
        self.lines.chunks(piece / LINE).map(move |lines| lines.iter().flat_map(words).collect())
    }

    /// Appends the lines of a piece to those that are here.
    pub(crate) fn load(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        for bytes in piece.chunks(LINE) {
            let mut line = Line::default();
            if bytes.len() != LINE {
                return Err(Malformed);
            }
            for (to, from) in line.0.iter_mut().zip(bytes.chunks(8)) {
                *to = word(from);
            }
            self.lines.push(line);
        }
        Ok(())
    }

    /// A filter to load so many bytes into.
    pub(crate) fn for_bytes(bytes: usize) -> Filter {
        Filter { lines: Vec::with_capacity(bytes / LINE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Keys;

    const ENTRIES: u64 = 20_000;

    fn hashes(from: u64) -> impl Iterator<Item = u64> {
        let keys = Keys::new(&[5; 32]);
        (from..from + ENTRIES).map(move |n| keys.filter_hash(&n.to_be_bytes()))
    }

    fn filled() -> Filter {
        let mut filter = Filter::with_room(ENTRIES);
        hashes(0).for_each(|hash| filter.insert(hash));
        filter
    }

    #[test]
    fn what_was_inserted_passes_and_one_in_fifty_others_at_most() {
        let filter = filled();
        assert!(hashes(0).all(|hash| filter.may_have(hash)));
        let wrong = hashes(ENTRIES).filter(|hash| filter.may_have(*hash)).count() as u64;
        assert!(wrong < ENTRIES / 50, "{wrong} of {ENTRIES}");
        assert!(filter.bytes() as u64 <= ENTRIES * BITS / 8 + LINE as u64);
    }

    #[test]
    fn a_filter_survives_its_pieces() {
        let filter = filled();
        let mut again = Filter::for_bytes(filter.bytes());
        for piece in filter.pieces(1024) {
            again.load(&piece).unwrap();
        }
        assert_eq!(again.bytes(), filter.bytes());
        assert!(hashes(0).chain(hashes(ENTRIES)).all(|h| again.may_have(h) == filter.may_have(h)));
        assert_eq!(again.load(&[0; LINE + 1]), Err(Malformed));
    }
}
