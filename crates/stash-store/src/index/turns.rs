//! The newest changes of which records are whole, by number.

use std::collections::VecDeque;

/// Changes that are remembered: 33 bytes each. Who missed more compares sums.
const REMEMBERED: usize = if cfg!(test) { 8 } else { 16_384 };

/// The newest changes, numbered from the opening of an index on.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Drawn anew when the index is opened or made anew: numbers of another one mean nothing here.
    run: u64,
    /// The number of the first change that is remembered.
    first: u64,
    newest: VecDeque<([u8; 32], bool)>,
}

/// Changes after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turned {
    /// False if the position is another index's, or too old: what changed since is not known.
    pub(crate) known: bool,
    /// In order: the record, and whether it is whole now.
    pub(crate) records: Vec<([u8; 32], bool)>,
    /// The position behind them; if the asked one was not known, the end.
    pub(crate) position: (u64, u64),
}

impl Turns {
    pub(super) fn new(run: u64) -> Turns {
        Turns { run, first: 0, newest: VecDeque::new() }
    }

    pub(super) fn add(&mut self, turned: Vec<([u8; 32], bool)>) {
        self.newest.extend(turned);
        let excess = self.newest.len().saturating_sub(REMEMBERED);
        self.newest.drain(..excess);
        self.first += excess as u64;
    }

    /// The position behind all changes.
    pub(super) fn end(&self) -> (u64, u64) {
        (self.run, self.first + self.newest.len() as u64)
    }

    pub(super) fn since(&self, (run, after): (u64, u64), limit: usize) -> Turned {
        let position = self.end();
        if run != self.run || !(self.first..=position.1).contains(&after) {
            return Turned { known: false, records: Vec::new(), position };
        }
        let skip = usize::try_from(after - self.first).unwrap_or(usize::MAX);
        let records: Vec<_> = self.newest.iter().skip(skip).take(limit).copied().collect();
        let position = (run, after + records.len() as u64);
        Turned { known: true, records, position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_from_a_position_on_as_long_as_they_are_remembered() {
        let mut turns = Turns::new(7);
        turns.add((0..5).map(|n| ([n; 32], false)).collect());
        let page = turns.since((7, 0), 3);
        assert!(page.known);
        assert_eq!(page.position, (7, 3));
        assert_eq!(page.records[2], ([2; 32], false));
        assert_eq!(turns.since(page.position, 9).records.len(), 2);
        assert_eq!(turns.since((7, 5), 9).records, []);
        turns.add((5..12).map(|n| ([n; 32], true)).collect());
        let lost = Turned { known: false, records: Vec::new(), position: (7, 12) };
        for position in [(7, 3), (7, 13), (8, 12)] {
            assert_eq!(turns.since(position, 9), lost, "{position:?}");
        }
        assert_eq!(turns.since((7, 4), 99).records.len(), 8);
    }
}
