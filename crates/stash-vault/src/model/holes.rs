//! Which chunks of a file hold data, from where its file system says that there is some. Pure.

use std::ops::Range;

use stash_crypto::record::ChunkRuns;

use crate::model::plan::Plan;

/// The data of one file, as chunks.
#[derive(Debug)]
pub(crate) struct Data {
    plan: Plan,
    runs: Vec<Range<u64>>,
    bytes: u64,
}

/// What is left out of a file, and what more of it is holes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holes {
    /// The chunks that are stored; `None` for all.
    pub(crate) runs: Option<ChunkRuns>,
    /// Whether holes lie in chunks that are stored.
    pub(crate) smaller: bool,
}

impl Data {
    /// Nothing yet of a file of this plan.
    pub(crate) fn new(plan: Plan) -> Data {
        Data { plan, runs: Vec::new(), bytes: 0 }
    }

    /// There is data here. In ascending order.
    pub(crate) fn add(&mut self, extent: Range<u64>) {
        let extent = extent.start..extent.end.min(self.plan.size());
        if extent.is_empty() {
            return;
        }
        self.bytes += extent.end - extent.start;
        let run = self.plan.chunks_of(&extent);
        match self.runs.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => self.runs.push(run),
        }
    }

    /// Everything was added. Where a record has no room for so many runs, the smallest gaps are stored
    /// as zeros.
    pub(crate) fn holes(mut self) -> Holes {
        let chunks = self.plan.chunks();
        let mut least = 1;
        let runs = loop {
            if let Some(runs) = ChunkRuns::new(self.runs.clone()) {
                break runs;
            }
            let mut joined: Vec<Range<u64>> = Vec::new();
            for run in self.runs {
                match joined.last_mut() {
                    Some(last) if run.start - last.end <= least => last.end = run.end,
                    _ => joined.push(run),
                }
            }
            self.runs = joined;
            least *= 2;
        };
        let smaller = self.bytes < self.plan.stored(Some(&runs));
        Holes { runs: Some(runs).filter(|runs| runs.leave_holes_in(chunks)), smaller }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(size: u64, extents: &[Range<u64>]) -> Holes {
        let mut data = Data::new(Plan::stated(size, 4096).unwrap());
        extents.iter().for_each(|extent| data.add(extent.clone()));
        data.holes()
    }

    fn runs(runs: &[Range<u64>]) -> Option<ChunkRuns> {
        Some(ChunkRuns::new(runs.to_vec()).unwrap())
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of runs, some with one")]
    fn a_hole_is_left_out_by_whole_chunks() {
        let whole = Holes { runs: None, smaller: false };
        assert_eq!(holes(10_000, std::slice::from_ref(&(0..10_000))), whole);
        assert_eq!(holes(10_000, &[]), Holes { runs: runs(&[]), smaller: false });
        let tail = holes(10_000, std::slice::from_ref(&(8192..10_000)));
        assert_eq!(tail, Holes { runs: runs(&[2..3]), smaller: false });
        let inside = holes(10_000, &[0..1024, 2048..10_000]);
        assert_eq!(inside, Holes { runs: None, smaller: true });
        let both = holes(40_960, &[0..100, 200..300, 20_000..20_001, 24_576..99_999]);
        assert_eq!(both, Holes { runs: runs(&[0..1, 4..5, 6..10]), smaller: true });
        let near = holes(40_960, &[0..4097, 8191..8192]);
        assert_eq!(near.runs, runs(&[0..2]), "one run, not two that touch");
    }

    #[test]
    fn more_runs_than_a_record_holds_are_joined_where_least_is_lost() {
        // Gaps of one chunk, and every hundredth of a thousand.
        let mut at = 0;
        let extents: Vec<Range<u64>> = (0..10_000_u64)
            .map(|number| {
                at += if number % 100 == 0 { 1001 * 4096 } else { 2 * 4096 };
                at..at + 4096
            })
            .collect();
        let found = holes(at + 4096, &extents);
        let found = found.runs.unwrap();
        assert_eq!(found.runs().len(), 100);
        assert_eq!(found.chunks(), 100 * 199);
    }
}
