//! Results of challenges to members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use stash_crypto::{Address, NodeId, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::rows;
use crate::lock::lock;

/// Challenges in a row that a member in doubt has to stand.
const CLEARED: u32 = 10;

/// Challenges in a row that a member may leave unanswered while it is connected: an hour, if nothing else was set.
const UNANSWERED: u32 = 12;

/// A member that said openly that it lacks something has said the contrary since, once its word on all that it has was
/// compared so often: the first time may have begun before.
const COMPARED: u64 = 2;

/// Results of challenges to a member. Counts are since the start; `failed` of a member in doubt
/// outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Time of its last challenge, in seconds since 1970.
    pub at: Option<u64>,
    /// Chunks and records that it has shown.
    pub shown: u64,
    /// Chunks and records that it said it had, and did not show.
    pub failed: u64,
    /// Time since which it is in doubt, in seconds since 1970.
    pub doubted: Option<u64>,
}

/// Results of challenges to all members.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<NodeId, Kept>>);

#[derive(Clone, Debug, Default)]
struct Kept {
    trial: Trial,
    /// Samples that it failed to show, in this run: they are asked for again.
    again: BTreeSet<Sample>,
    /// Samples that it said openly it had not, each with how often what it has had been compared by then.
    admitted: BTreeMap<Sample, u64>,
    /// Challenges that it has stood since.
    stood: u32,
    /// Challenges in a row that it has not answered.
    unanswered: u32,
}

/// A record or chunk to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sample {
    /// The record.
    pub(crate) record: RecordHash,
    /// A chunk of it; the record itself if there is none.
    pub(crate) chunk: Option<Address>,
    /// Draws a leaf of the chunk, where the asker has no bytes of it.
    pub(crate) draw: u32,
}

impl Suspects {
    /// Loads the members that are in doubt.
    pub(crate) fn load(store: &Store) -> Result<Suspects, ReadError> {
        let kept = |(key, value): (Vec<u8>, Vec<u8>)| {
            let node = NodeId::from_bytes(key.strip_prefix(rows::SUSPECT)?.try_into().ok()?);
            let ([since, failed], []) = value.as_chunks::<8>() else { return None };
            let failed = u64::from_le_bytes(*failed);
            let doubted = Some(u64::from_le_bytes(*since));
            let trial = Trial { failed, doubted, ..Trial::default() };
            Some((node, Kept { trial, ..Kept::default() }))
        };
        Ok(Suspects(Mutex::new(store.rows(rows::SUSPECT)?.into_iter().filter_map(kept).collect())))
    }

    pub(crate) fn of(&self, node: &NodeId) -> Trial {
        lock(&self.0).get(node).map(|kept| kept.trial.clone()).unwrap_or_default()
    }

    /// Members whose word is not to be taken.
    pub(crate) fn doubted(&self) -> BTreeSet<NodeId> {
        let all = lock(&self.0);
        all.iter().filter(|(_, kept)| kept.trial.doubted.is_some()).map(|(node, _)| *node).collect()
    }

    /// A member was removed.
    pub(crate) fn forget(&self, node: &NodeId) {
        lock(&self.0).remove(node);
    }

    /// Samples that a member failed to show.
    pub(crate) fn again(&self, node: &NodeId) -> Vec<Sample> {
        lock(&self.0).get(node).map(|kept| kept.again.iter().copied().collect()).unwrap_or_default()
    }

    /// Samples that a member said openly it had not.
    pub(crate) fn admitted(&self, node: &NodeId) -> Vec<Sample> {
        let all = lock(&self.0);
        all.get(node).map(|kept| kept.admitted.keys().copied().collect()).unwrap_or_default()
    }

    /// A member says openly that it has not got these; `compared` is how often all that it has was compared with what it is
    /// believed to have, and was the same. Returns those of which it had said so before, and the contrary since.
    pub(crate) fn admits(&self, node: NodeId, samples: &[Sample], compared: u64) -> Vec<Sample> {
        let mut all = lock(&self.0);
        let admitted = &mut all.entry(node).or_default().admitted;
        let mut lies = Vec::new();
        for sample in samples {
            match admitted.get(sample) {
                Some(before) if compared >= before + COMPARED => lies.push(*sample),
                Some(_) => {}
                None if admitted.len() < ASKED => drop(admitted.insert(*sample, compared)),
                None => {}
            }
        }
        lies
    }

    /// A member that is connected has not answered a challenge. True if it came into doubt with it.
    pub(crate) fn unanswered(&self, node: NodeId, now: u64) -> bool {
        let mut all = lock(&self.0);
        let kept = all.entry(node).or_default();
        (kept.unanswered, kept.stood) = (kept.unanswered.saturating_add(1), 0);
        let comes = kept.unanswered >= UNANSWERED && kept.trial.doubted.is_none();
        if comes {
            kept.trial.doubted = Some(now);
        }
        comes
    }

    /// A member has to show these no more.
    pub(crate) fn excuse<'a>(&self, node: &NodeId, samples: impl Iterator<Item = &'a Sample>) {
        if let Some(kept) = lock(&self.0).get_mut(node) {
            samples.for_each(|sample| {
                kept.again.remove(sample);
                kept.admitted.remove(sample);
            });
        }
    }

    /// Notes the outcome of a challenge. True if the member came into doubt with it, or out of it.
    pub(crate) fn note(&self, node: NodeId, now: u64, shown: &[Sample], failed: &[Sample]) -> bool {
        let mut all = lock(&self.0);
        let kept = all.entry(node).or_default();
        kept.trial.at = Some(now);
        kept.trial.shown += shown.len() as u64;
        kept.trial.failed += failed.len() as u64;
        kept.unanswered = 0;
        shown.iter().for_each(|sample| {
            kept.again.remove(sample);
            kept.admitted.remove(sample);
        });
        failed.iter().for_each(|sample| {
            kept.admitted.remove(sample);
        });
        let room = ASKED.saturating_sub(kept.again.len());
        kept.again.extend(failed.iter().take(room));
        kept.stood = if failed.is_empty() { kept.stood.saturating_add(1) } else { 0 };
        let before = kept.trial.doubted;
        if !failed.is_empty() {
            kept.trial.doubted = before.or(Some(now));
        } else if kept.stood >= CLEARED && kept.again.is_empty() {
            kept.trial.doubted = None;
        }
        kept.trial.doubted != before
    }

    /// The row of a member, as it is to be.
    pub(crate) fn write(&self, batch: Batch, node: &NodeId) -> Batch {
        let trial = self.of(node);
        let value = |since: u64| [since.to_le_bytes(), trial.failed.to_le_bytes()].concat();
        batch.row(&[rows::SUSPECT, node.as_bytes()].concat(), trial.doubted.map(value).as_deref())
    }

    /// The alarms that members in doubt raise; nodes that were removed raise none.
    pub(crate) fn alarms(&self, is_member: impl Fn(&NodeId) -> bool) -> Vec<String> {
        let all = lock(&self.0);
        let in_doubt = all.iter().filter(|(_, kept)| kept.trial.doubted.is_some());
        let doubted = in_doubt.filter(|(node, _)| is_member(node));
        let text = |(node, kept): (&NodeId, &Kept)| {
            let why = match kept.trial.failed {
                0 => "does not answer when it is to show what it has".to_owned(),
                failed => format!("did not show {failed} chunks or records that it said it had"),
            };
            format!("member {} {why}: what it says is not counted as a copy", node.short())
        };
        doubted.map(text).collect()
    }
}

/// Samples in a challenge, at most: 64 MiB are read on either side, if all are the largest.
pub(crate) const ASKED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u8) -> Sample {
        Sample { record: RecordHash::from_bytes([n; 32]), chunk: None, draw: 0 }
    }

    #[test]
    fn a_member_that_failed_is_believed_again_once_it_has_shown_that_and_stood_ten_challenges() {
        let (trials, node) = (Suspects::default(), NodeId::from_bytes([1; 32]));
        assert!(!trials.note(node, 5, &[sample(1), sample(2)], &[]));
        assert!(trials.note(node, 6, &[], &[sample(1)]), "it comes into doubt");
        assert_eq!(trials.of(&node).doubted, Some(6));
        assert_eq!(trials.again(&node), [sample(1)]);
        for now in 7..30 {
            assert!(!trials.note(node, now, &[sample(2)], &[]), "it has not shown it");
        }
        assert!(trials.note(node, 30, &[sample(1)], &[]));
        let trial = trials.of(&node);
        assert_eq!((trial.doubted, trial.shown, trial.failed), (None, 26, 1));
        trials.note(node, 31, &[], &[sample(3)]);
        for now in 0..9 {
            assert!(!trials.note(node, now, &[sample(3)], &[]), "it has stood {now}");
        }
        assert!(trials.note(node, 50, &[], &[]));
    }

    #[test]
    fn a_member_that_says_now_that_it_has_something_and_now_that_it_has_not_lies() {
        let (trials, node) = (Suspects::default(), NodeId::from_bytes([1; 32]));
        assert_eq!(trials.admits(node, &[sample(1), sample(2)], 7), []);
        assert_eq!(
            trials.admits(node, &[sample(1)], 8),
            [],
            "what it has was asked before it said so"
        );
        trials.note(node, 1, &[sample(2)], &[]);
        assert_eq!(trials.admitted(&node), [sample(1)], "it has shown the other one");
        assert_eq!(trials.admits(node, &[sample(1), sample(2)], 9), [sample(1)]);
        trials.excuse(&node, [sample(1)].iter());
        assert_eq!(trials.admits(node, &[sample(1)], 20), [], "it was known to lack it");
    }

    #[test]
    fn a_member_that_answers_no_challenge_for_an_hour_comes_into_doubt() {
        let (trials, node) = (Suspects::default(), NodeId::from_bytes([1; 32]));
        for round in 0..3 {
            for now in 0..u64::from(UNANSWERED) - 1 {
                assert!(!trials.unanswered(node, now), "round {round}");
            }
            trials.note(node, 1, &[sample(1)], &[]);
        }
        let comes: Vec<bool> = (0..20).map(|now| trials.unanswered(node, now)).collect();
        assert_eq!(comes.iter().filter(|comes| **comes).count(), 1, "it is told once");
        assert_eq!(trials.of(&node).doubted, Some(11));
        assert!(trials.alarms(|_| true)[0].contains("does not answer"));
        for now in 0..9 {
            assert!(!trials.note(node, now, &[], &[]));
        }
        assert!(trials.note(node, 9, &[], &[]), "it has stood ten");
    }

    #[test]
    fn what_was_forgotten_keeps_no_member_in_doubt() {
        let (trials, node) = (Suspects::default(), NodeId::from_bytes([1; 32]));
        trials.note(node, 1, &[], &[sample(1), sample(2)]);
        trials.excuse(&node, [sample(1)].iter());
        assert_eq!(trials.again(&node), [sample(2)]);
        for now in 0..CLEARED {
            trials.note(node, now.into(), &[sample(2)], &[]);
        }
        assert_eq!(trials.of(&node).doubted, None);
    }

    #[test]
    fn what_a_member_in_doubt_has_to_show_is_bounded() {
        let (trials, node) = (Suspects::default(), NodeId::from_bytes([1; 32]));
        for n in 0..100 {
            trials.note(node, 1, &[], &[sample(n)]);
        }
        assert_eq!(trials.again(&node).len(), ASKED);
    }
}
