//! The parts of a run's file, and the footer that tells them apart.

use crate::codec::{Keys, Malformed, TAG, word};
use crate::fences::Place;

const MAGIC: &[u8; 8] = b"stashrun";
const VERSION: u64 = 1;
/// Bytes of fences or filter that have a tag together, so that they can be verified bit by bit.
pub(crate) const PIECE: usize = 64 * 1024;
/// Bytes of a footer: magic, version, id, entries, bytes of blocks, of fences, of the filter; tag.
pub(crate) const FOOTER: usize = 7 * 8 + TAG;

/// The bytes of the parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) id: u64,
    pub(crate) entries: u64,
    /// Bytes of the blocks with their tags: the fences begin there.
    pub(crate) blocks: u64,
    /// Bytes of the fences without tags.
    pub(crate) fences: u64,
    /// Bytes of the filter without tags.
    pub(crate) filter: u64,
}

/// Bytes of a part that is stored in pieces.
fn stored(bytes: u64) -> Option<u64> {
    bytes.checked_add(bytes.div_ceil(PIECE as u64) * TAG as u64)
}

/// The pieces of a part: where each lies, and how long it is with its tag.
pub(crate) fn pieces(start: u64, bytes: u64) -> impl Iterator<Item = Place> {
    (0..bytes.div_ceil(PIECE as u64)).map(move |n| {
        let len = (bytes - n * PIECE as u64).min(PIECE as u64);
        let len = usize::try_from(len).expect("a piece is short") + TAG;
        Place { offset: start + n * (PIECE + TAG) as u64, len }
    })
}

impl Layout {
    pub(crate) fn encode(&self, keys: &Keys) -> Option<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        for word in [VERSION, self.id, self.entries, self.blocks, self.fences, self.filter] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let tag = keys.tag(self.id, self.footer()?, &out);
        out.extend_from_slice(&tag);
        Some(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Layout, Malformed> {
        let words: Vec<u64> = bytes.chunks(8).map(word).collect();
        match words[..] {
            [magic, VERSION, id, entries, blocks, fences, filter]
                if magic.to_le_bytes() == *MAGIC =>
            {
                Ok(Layout { id, entries, blocks, fences, filter })
            }
            _ => Err(Malformed),
        }
    }

    pub(crate) fn filter_start(&self) -> Option<u64> {
        self.blocks.checked_add(stored(self.fences)?)
    }

    fn footer(&self) -> Option<u64> {
        self.filter_start()?.checked_add(stored(self.filter)?)
    }

    /// Bytes of the whole file.
    pub(crate) fn file(&self) -> Option<u64> {
        self.footer()?.checked_add(FOOTER as u64)
    }
}
