//! Adds up the outcomes of many batches.

use std::collections::BTreeMap;

use stash_crypto::NodeId;
use stash_server::Outcome;

/// The copies of everything that one command wrote.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    batches: u64,
    pub(crate) records: u64,
    pub(crate) copies: usize,
    pub(crate) wanted: usize,
    pub(crate) short: bool,
    missing: BTreeMap<NodeId, String>,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.copies = match self.batches {
            0 => outcome.copies,
            _ => self.copies.min(outcome.copies),
        };
        self.batches += 1;
        self.records += outcome.records.len() as u64;
        self.wanted = self.wanted.max(outcome.wanted);
        self.short |= outcome.short;
        for (node, why) in outcome.missing {
            self.missing.entry(node).or_insert(why);
        }
    }

    pub(crate) fn missing(self) -> Vec<(NodeId, String)> {
        self.missing.into_iter().collect()
    }
}

impl From<Outcome> for Tally {
    fn from(outcome: Outcome) -> Tally {
        let mut tally = Tally::default();
        tally.add(outcome);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(copies: usize, missing: &[u8]) -> Outcome {
        let missing: Vec<_> =
            missing.iter().map(|n| (NodeId::from_bytes([*n; 32]), "away".to_owned())).collect();
        let short = !missing.is_empty();
        Outcome { records: Vec::new(), copies, wanted: 3, short, missing }
    }

    #[test]
    fn a_put_has_as_many_copies_as_its_worst_batch() {
        let mut tally = Tally::default();
        tally.add(outcome(3, &[]));
        tally.add(outcome(2, &[7]));
        tally.add(outcome(2, &[7]));
        assert_eq!((tally.copies, tally.wanted, tally.short), (2, 3, true));
        assert_eq!(tally.missing(), vec![(NodeId::from_bytes([7; 32]), "away".to_owned())]);
    }
}
