//! Which runs to merge: those of about the same size, once there are enough of them.

use std::ops::Range;

/// Runs of one tier that are merged into one of the next. Each entry is written once for every
/// tier it passes, and a look-up may meet one run fewer in each: with tables of 32 MiB in memory
/// and 40 million entries, about 5 times and 16 runs.
const FANOUT: usize = 5;
/// Bytes up to which runs are of the lowest tier: what is written at once anyway.
const SMALLEST: u64 = 1024 * 1024;
/// Runs that are merged at once at most: bounds the buffers.
const WIDEST: usize = 32;

fn tier(bytes: u64) -> u32 {
    let (mut tier, mut limit) = (0, SMALLEST);
    while bytes > limit {
        (tier, limit) = (tier + 1, limit.saturating_mul(FANOUT as u64));
    }
    tier
}

/// The runs to merge, of runs of these sizes, newest first. They lie side by side, since between
/// two entries of one key the newer must stay on top; so a run behind a larger, newer one counts
/// as being of that one's tier.
pub(crate) fn due(sizes: &[u64]) -> Option<Range<usize>> {
    let (mut start, mut highest) = (0, 0);
    for (n, size) in sizes.iter().enumerate() {
        let tier = tier(*size);
        if tier > highest {
            if n - start >= FANOUT {
                return Some(widest(start..n));
            }
            (start, highest) = (n, tier);
        }
    }
    (sizes.len() - start >= FANOUT).then(|| widest(start..sizes.len()))
}

fn widest(group: Range<usize>) -> Range<usize> {
    group.end.saturating_sub(WIDEST).max(group.start)..group.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn runs_of_one_tier_are_merged_once_there_are_five() {
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[1; 4]), None);
        assert_eq!(due(&[1; 5]), Some(0..5));
        assert_eq!(due(&[1, 1, 1, 1, 2 * MIB, 2 * MIB, 2 * MIB, 2 * MIB]), None);
        assert_eq!(due(&[1, 2 * MIB, 3 * MIB, 4 * MIB, 5 * MIB, 2 * MIB, 6 * MIB]), Some(1..6));
        assert_eq!(due(&[1; 40]), Some(8..40), "not more than 32 at once");
    }

    #[test]
    fn a_small_run_behind_a_larger_one_counts_as_large() {
        assert_eq!(due(&[9 * MIB, 1, 1, 1]), None);
        assert_eq!(due(&[1, 9 * MIB, 1, 1, 1, 1]), Some(1..6));
    }

    /// Flushes of one size: bytes written for each byte flushed, and the most runs there were.
    fn simulate(flush: u64, total: u64) -> (f64, usize) {
        let (mut runs, mut written, mut most) = (Vec::new(), 0, 0);
        for _ in 0..total / flush {
            runs.insert(0, flush);
            written += flush;
            while let Some(range) = due(&runs) {
                let merged = runs[range.clone()].iter().sum();
                written += merged;
                runs.splice(range, [merged]);
            }
            most = most.max(runs.len());
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio of megabytes")]
        let amplification = written as f64 / total as f64;
        (amplification, most)
    }

    #[test]
    fn forty_million_entries_are_written_about_five_times_and_lie_in_twenty_runs() {
        // 75 bytes an entry; runs of 4 to 32 MiB.
        for flush in [4 * MIB, 7 * MIB, 16 * MIB, 32 * MIB] {
            let (amplification, runs) = simulate(flush, 3000 * MIB);
            assert!(amplification <= 5.5, "{amplification} with {flush}");
            assert!(runs <= 20, "{runs} runs with {flush}");
        }
    }
}
