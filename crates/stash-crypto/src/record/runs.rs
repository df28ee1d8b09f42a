//! Which chunks of a file with holes are stored: runs of them, and gaps that are left out.

use std::ops::Range;

/// Most bytes of an encoded list: it stands where inline bytes would, so that no record grows.
pub const RUNS_MAX: usize = 4096;

/// The chunks of a file that are stored, by their places on the grid of its chunk size: ascending
/// runs with at least one chunk between two of them. What lies between, and behind the last one, is a
/// hole: it reads as zeros, and costs no byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkRuns(Vec<Range<u64>>);

impl ChunkRuns {
    /// `None` if the runs are empty ones, out of order, without a gap between them, or too many for
    /// [`RUNS_MAX`].
    #[must_use]
    pub fn new(runs: Vec<Range<u64>>) -> Option<Self> {
        let ascending = runs.windows(2).all(|pair| pair[0].end < pair[1].start);
        let filled = runs.iter().all(|run| run.start < run.end);
        let runs = Self(runs);
        (ascending && filled && runs.encode().len() <= RUNS_MAX).then_some(runs)
    }

    /// The runs, ascending.
    #[must_use]
    pub fn runs(&self) -> &[Range<u64>] {
        &self.0
    }

    /// How many chunks are stored. Saturates: such a list fits no file.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.0.iter().fold(0, |sum, run| sum.saturating_add(run.end - run.start))
    }

    /// True if these are chunks of a file of so many, and not all of them.
    #[must_use]
    pub fn leave_holes_in(&self, chunks: u64) -> bool {
        self.0.last().is_none_or(|run| run.end <= chunks) && self.chunks() < chunks
    }

    /// The places of the stored chunks, from the stored chunk number `first` on.
    pub fn places(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        let mut skip = first;
        self.0.iter().flat_map(move |run| {
            let passed = skip.min(run.end - run.start);
            skip -= passed;
            run.start + passed..run.end
        })
    }

    /// Pairs of numbers (LEB128): chunks left out, chunks stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 * self.0.len());
        let mut end = 0;
        for run in &self.0 {
            put_number(&mut out, run.start - end);
            put_number(&mut out, run.end - run.start);
            end = run.end;
        }
        out
    }

    /// `None` if no list of ours has this encoding.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RUNS_MAX {
            return None;
        }
        let (mut runs, mut end) = (Vec::new(), 0_u64);
        while !bytes.is_empty() {
            let gap = number(&mut bytes)?;
            let length = number(&mut bytes)?;
            if length == 0 || (gap == 0 && !runs.is_empty()) {
                return None;
            }
            let start = end.checked_add(gap)?;
            end = start.checked_add(length)?;
            runs.push(start..end);
        }
        Some(Self(runs))
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// One number in its shortest form.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // The tenth byte has one bit of the 64 left.
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return (*byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(run: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(run).collect()
    }

    #[test]
    fn runs_have_the_encoding_of_the_format() {
        let runs = ChunkRuns::new(vec![0..1, 300..302]).unwrap();
        assert_eq!(runs.encode(), [0, 1, 0xab, 2, 2]);
        assert_eq!(ChunkRuns::decode(&runs.encode()), Some(runs.clone()));
        assert_eq!(runs.chunks(), 3);
        assert!(runs.places(0).eq([0, 300, 301]) && runs.places(2).eq([301]));
        assert_eq!(runs.places(3).count(), 0);
        assert!(!runs.leave_holes_in(301) && runs.leave_holes_in(302));
        assert!(!ChunkRuns::new(one(0..3)).unwrap().leave_holes_in(3));
        assert!(ChunkRuns::default().leave_holes_in(1) && !ChunkRuns::default().leave_holes_in(0));
        let last = ChunkRuns::new(one(u64::MAX - 1..u64::MAX)).unwrap();
        assert_eq!(ChunkRuns::decode(&last.encode()), Some(last));
    }

    #[test]
    fn a_list_has_one_encoding() {
        let eleven = [[0xff; 10].as_slice(), &[1, 1]].concat();
        let beyond = [[0xff; 9].as_slice(), &[2, 1]].concat();
        let wrapped = [[0xff; 9].as_slice(), &[1, 1]].concat();
        for bad in [
            &[0][..],
            &[0x80],
            &[0, 0],
            &[1, 0],
            &[0, 1, 0, 1],
            &[0x80, 0, 1],
            &[0, 0x81, 0],
            &eleven,
            &beyond,
            &wrapped,
            &[1; RUNS_MAX + 2],
        ] {
            assert_eq!(ChunkRuns::decode(bad), None, "{bad:?}");
        }
        assert_eq!(ChunkRuns::decode(&[1; RUNS_MAX]).unwrap().runs().len(), RUNS_MAX / 2);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of runs, some with one")]
    fn runs_out_of_order_and_too_many_are_refused() {
        for bad in [vec![2..3, 0..1], vec![0..1, 1..2], vec![0..0], vec![0..2, 1..3]] {
            assert_eq!(ChunkRuns::new(bad), None);
        }
        let many = |count: u64| (0..count).map(|at| 2 * at..2 * at + 1).collect::<Vec<_>>();
        assert!(ChunkRuns::new(many(RUNS_MAX as u64 / 2)).is_some());
        assert!(ChunkRuns::new(many(RUNS_MAX as u64 / 2 + 1)).is_none());
    }
}
