//! The cut of a file into chunks. Pure: sizes in, sizes out.

use std::ops::Range;

use stash_crypto::ChunkRef;
use stash_crypto::chunk::{CHUNK_OVERHEAD, last_chunk_padding};
use stash_crypto::record::{ChunkRuns, INLINE_MAX};

/// Chunk size of files up to [`LARGE_FILE`], and of streams of unknown length, in bytes.
pub(crate) const CHUNK: u32 = 1 << 20;
/// Chunk size of larger files, in bytes.
pub(crate) const LARGE_CHUNK: u32 = 4 << 20;
/// Files above this many bytes are cut into [`LARGE_CHUNK`]s.
pub(crate) const LARGE_FILE: u64 = 4 << 30;
/// A new version keeps the chunk size of the old one until its length is this many times beyond
/// the border between the two sizes: otherwise a file that grows past it would be sent whole.
const KEEP_FACTOR: u64 = 4;

/// True if a file of this many bytes lives inside its record.
pub(crate) fn is_inline(size: u64) -> bool {
    size <= INLINE_MAX as u64
}

/// The chunks of one file: all of `chunk_size` but the last, which is padded by Padmé.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    size: u64,
    chunk_size: u32,
}

impl Plan {
    /// The plan of a new version of `size` bytes whose predecessor had chunks of `previous`.
    pub(crate) fn new(size: u64, previous: Option<u32>) -> Plan {
        let keep = match previous {
            Some(CHUNK) => size <= LARGE_FILE * KEEP_FACTOR,
            Some(LARGE_CHUNK) => size >= LARGE_FILE / KEEP_FACTOR,
            _ => false,
        };
        let fresh = if size > LARGE_FILE { LARGE_CHUNK } else { CHUNK };
        Plan { size, chunk_size: previous.filter(|_| keep).unwrap_or(fresh) }
    }

    /// The plan that a version's meta states, `None` if no version can have it.
    pub(crate) fn stated(size: u64, chunk_size: u32) -> Option<Plan> {
        (chunk_size > 0).then_some(Plan { size, chunk_size })
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the file in the chunks of these runs, or in all of them.
    pub(crate) fn stored(&self, runs: Option<&ChunkRuns>) -> u64 {
        let Some(runs) = runs else { return self.size };
        let end = |run: &Range<u64>| self.offset(run.end).min(self.size);
        runs.runs().iter().map(|run| end(run) - self.offset(run.start)).sum()
    }

    /// Bytes of plaintext of every chunk but the last.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The number of chunks.
    pub(crate) fn chunks(&self) -> u64 {
        self.size.div_ceil(u64::from(self.chunk_size))
    }

    /// Where chunk `index` begins in the file.
    pub(crate) fn offset(&self, index: u64) -> u64 {
        index * u64::from(self.chunk_size)
    }

    /// Bytes of the file in chunk `index`; 0 past the end.
    pub(crate) fn plain_len(&self, index: u64) -> u32 {
        let left = self.size.saturating_sub(self.offset(index));
        u32::try_from(left.min(u64::from(self.chunk_size))).unwrap_or(self.chunk_size)
    }

    /// Bytes of chunk `index` before sealing: its plaintext and the padding.
    pub(crate) fn padded_len(&self, index: u64) -> u32 {
        last_chunk_padding(self.plain_len(index), self.chunk_size)
    }

    /// Bytes of the buffer in which chunk `index` is sealed.
    pub(crate) fn sealed_len(&self, index: u64) -> usize {
        CHUNK_OVERHEAD + self.padded_len(index) as usize
    }

    /// Whether these are the references of a file of this plan, of which these runs are stored, or
    /// all: right count, right lengths.
    pub(crate) fn matches(&self, refs: &[ChunkRef], runs: Option<&ChunkRuns>) -> bool {
        let fits = |places: &mut dyn Iterator<Item = u64>| {
            refs.iter().all(|chunk| {
                let expected = places.next().map(|place| self.sealed_len(place));
                expected == Some(chunk.sealed_len as usize)
            }) && places.next().is_none()
        };
        match runs {
            None => fits(&mut (0..self.chunks())),
            Some(runs) => fits(&mut runs.places(0)) && runs.leave_holes_in(self.chunks()),
        }
    }

    /// The chunks that hold these bytes of the file.
    pub(crate) fn chunks_of(&self, range: &Range<u64>) -> Range<u64> {
        let chunk_size = u64::from(self.chunk_size);
        range.start / chunk_size..range.end.div_ceil(chunk_size)
    }

    /// Which bytes of chunk `index` lie in this range of the file.
    pub(crate) fn part(&self, index: u64, range: &Range<u64>) -> Range<usize> {
        let begin = self.offset(index);
        let end = begin + u64::from(self.plain_len(index));
        let clamp = |at: u64| usize::try_from(at.clamp(begin, end) - begin).unwrap_or(0);
        clamp(range.start)..clamp(range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_file_is_cut_at_the_chunk_size_and_its_last_chunk_padded_by_padme() {
        for (size, chunks, last, padded) in [
            (0, 0, 0, 0),
            (1, 1, 1, 1),
            (4097, 1, 4097, 4352),
            (MIB - 1, 1, 0xf_ffff, 0x10_0000),
            (MIB, 1, 0x10_0000, 0x10_0000),
            (MIB + 1, 2, 1, 1),
            (64 * MIB, 64, 0x10_0000, 0x10_0000),
            (64 * MIB + 9, 65, 9, 10),
        ] {
            let plan = Plan::new(size, None);
            assert_eq!(plan.chunks(), chunks, "{size}");
            let index = chunks.saturating_sub(1);
            assert_eq!(plan.plain_len(index), last, "{size}");
            assert_eq!(plan.padded_len(index), padded, "{size}");
        }
    }

    #[test]
    fn a_file_above_four_gib_has_larger_chunks() {
        assert_eq!(Plan::new(LARGE_FILE, None).chunk_size(), CHUNK);
        assert_eq!(Plan::new(LARGE_FILE + 1, None).chunk_size(), LARGE_CHUNK);
    }

    #[test]
    fn a_new_version_keeps_the_chunk_size_until_it_is_four_times_off() {
        assert_eq!(Plan::new(LARGE_FILE + 1, Some(CHUNK)).chunk_size(), CHUNK);
        assert_eq!(Plan::new(4 * LARGE_FILE, Some(CHUNK)).chunk_size(), CHUNK);
        assert_eq!(Plan::new(4 * LARGE_FILE + 1, Some(CHUNK)).chunk_size(), LARGE_CHUNK);
        assert_eq!(Plan::new(LARGE_FILE / 4, Some(LARGE_CHUNK)).chunk_size(), LARGE_CHUNK);
        assert_eq!(Plan::new(LARGE_FILE / 4 - 1, Some(LARGE_CHUNK)).chunk_size(), CHUNK);
        assert_eq!(Plan::new(MIB, Some(12_345)).chunk_size(), CHUNK, "not a size of ours");
    }

    /// Fault case 14: a manifest that is cut at a chunk boundary is no manifest of its file.
    #[test]
    fn a_manifest_with_a_chunk_less_more_or_of_another_length_does_not_match() {
        let plan = Plan::new(2 * MIB + 5, None);
        let address = stash_crypto::Address::of(b"x");
        let refs: Vec<ChunkRef> = (0..3)
            .map(|i| ChunkRef { address, sealed_len: u32::try_from(plan.sealed_len(i)).unwrap() })
            .collect();
        assert!(plan.matches(&refs, None));
        assert!(!plan.matches(&refs[..2], None));
        assert!(!plan.matches(&[refs.clone(), refs[2..].to_vec()].concat(), None));
        let runs = |run| ChunkRuns::new(vec![run]);
        assert!(plan.matches(&refs[1..], runs(1..3).as_ref()));
        assert!(!plan.matches(&refs[1..], runs(0..2).as_ref()), "the last one is shorter");
        assert!(!plan.matches(&refs[1..2], runs(1..3).as_ref()));
        assert!(!plan.matches(&refs, runs(0..3).as_ref()), "that has no hole");
        let mut swapped = refs;
        swapped.swap(0, 2);
        assert!(!plan.matches(&swapped, None));
    }

    /// Fault case 40: ranges at the end of the number space do not overflow.
    #[test]
    fn a_range_touches_only_the_chunks_and_bytes_it_names() {
        let plan = Plan::new(3 * MIB + 10, None);
        let range = MIB - 1..2 * MIB + 1;
        assert_eq!(plan.chunks_of(&range), 0..3);
        assert_eq!(plan.part(0, &range), 0xf_ffff..0x10_0000);
        assert_eq!(plan.part(1, &range), 0..0x10_0000);
        assert_eq!(plan.part(2, &range), 0..1);
        assert_eq!(plan.part(3, &(0..u64::MAX)), 0..10);
        assert_eq!(plan.chunks_of(&(5..5)), 0..1);
    }
}
