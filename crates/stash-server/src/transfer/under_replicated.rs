//! Records that members do not have whole: remembered, so that it is known of each record who has it, and
//! made good when the members without a copy are there.
//!
//! They stand in the store and nowhere else: while a member is away, it may be every record. Beside them stand, in memory,
//! their number and sum for each member: what this node holds, without them, is what the member is believed to have whole,
//! and says itself in as many bytes (`replication/believing.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stash_crypto::member::RecordSum;
use stash_crypto::{NodeId, RecordHash};
use stash_store::{ReadError, Store};

use crate::ledger::{rows, sums};
use crate::lock::lock;
use crate::message::Holding;

/// Rows that are counted at a time.
const PAGE: usize = 4_096;

/// Bytes of a member in a row: its id and its state.
const MEMBER: usize = 33;

/// The members that do not have a record whole, as far as this node knows, and what each has instead.
pub(crate) type Lacking = BTreeMap<NodeId, Holding>;

/// Changes who lacks a record.
type Update = Box<dyn Fn(&RecordHash, &mut Lacking) + Send + Sync>;

/// A change of who lacks some records.
pub(crate) struct Change {
    pub(crate) hashes: Vec<RecordHash>,
    pub(crate) update: Update,
    /// Set once it is durable.
    pub(crate) is_done: Arc<AtomicBool>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change({} records)", self.hashes.len())
    }
}

/// State beside the rows.
#[derive(Debug)]
pub(crate) struct UnderReplicated {
    /// Held by whoever writes: reading a row and writing it is one step.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Changes that wait for whoever writes next. Each belongs to one that waits for its turn.
    pub(crate) waiting: Mutex<Vec<Change>>,
    /// False if there are no rows, and so nothing to look up.
    some: AtomicBool,
    /// What the rows come to; `None` before they were counted. Rows of records that go are struck out with them,
    /// and stay counted until the next count.
    counts: Mutex<Option<Counts>>,
}

/// What the rows come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that some member lacks.
    pub(crate) lacked: u64,
    members: BTreeMap<NodeId, NotWhole>,
}

/// The records that a member does not have whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotWhole {
    /// All of them.
    pub(crate) all: RecordSum,
    /// Those of which it has given up the bytes.
    pub(crate) given_up: u64,
}

impl UnderReplicated {
    pub(crate) fn load(store: &Store) -> Result<UnderReplicated, ReadError> {
        let some = !store.rows_after(rows::LACKED, &[], 1)?.is_empty();
        let counts = (!some).then(Counts::default);
        let (turn, waiting) = (Arc::default(), Mutex::default());
        Ok(UnderReplicated { turn, waiting, some: some.into(), counts: Mutex::new(counts) })
    }

    /// False if every member has all that is held here, as far as this node knows.
    pub(crate) fn some(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }

    /// What the rows come to, if they were counted.
    pub(crate) fn counts(&self) -> Option<Counts> {
        lock(&self.counts).clone()
    }

    /// The records that a member does not have whole, if that was counted.
    pub(crate) fn of(&self, node: &NodeId) -> Option<NotWhole> {
        lock(&self.counts).as_ref().map(|counts| counts.of(node))
    }

    /// A row was changed.
    pub(crate) fn changed(&self, record: &RecordHash, old: &Lacking, new: &Lacking) {
        if !new.is_empty() {
            self.some.store(true, Ordering::Relaxed);
        }
        if let Some(counts) = &mut *lock(&self.counts) {
            counts.take(record, old);
            counts.add(record, new);
        }
    }

    /// Counts all rows. The caller has the turn.
    pub(crate) fn count(&self, store: &Store) -> Result<(), ReadError> {
        let (mut counts, mut after) = (Counts::default(), Vec::new());
        loop {
            let page = store.rows_after(rows::LACKED, &after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            let some = page.iter().filter_map(|(key, value)| Some((record_of(key)?, value)));
            some.for_each(|(record, value)| counts.add(&record, &decode(value)));
        }
        self.some.store(!counts.members.is_empty(), Ordering::Relaxed);
        *lock(&self.counts) = Some(counts);
        Ok(())
    }
}

impl Counts {
    fn of(&self, node: &NodeId) -> NotWhole {
        self.members.get(node).copied().unwrap_or_default()
    }

    /// Number of records that each member lacks, and has not given up.
    pub(crate) fn by_member(&self) -> BTreeMap<NodeId, u64> {
        let lacks = |count: &NotWhole| count.all.count.saturating_sub(count.given_up);
        self.members.iter().map(|(node, count)| (*node, lacks(count))).collect()
    }

    fn add(&mut self, record: &RecordHash, lacking: &Lacking) {
        self.lacked += u64::from(is_lacked(lacking));
        for (node, state) in lacking {
            let count = self.members.entry(*node).or_default();
            sums::add(&mut count.all, record);
            count.given_up += u64::from(*state == Holding::GivenUp);
        }
    }

    fn take(&mut self, record: &RecordHash, lacking: &Lacking) {
        self.lacked = self.lacked.saturating_sub(u64::from(is_lacked(lacking)));
        for (node, state) in lacking {
            let count = self.members.entry(*node).or_default();
            sums::take(&mut count.all, record);
            count.given_up = count.given_up.saturating_sub(u64::from(*state == Holding::GivenUp));
            if *count == NotWhole::default() {
                self.members.remove(node);
            }
        }
    }
}

/// True if a member should have bytes that it has not.
fn is_lacked(lacking: &Lacking) -> bool {
    lacking.values().any(|state| state.is_lacking())
}

/// The record that a row is about.
pub(crate) fn record_of(key: &[u8]) -> Option<RecordHash> {
    key.strip_prefix(rows::LACKED)?.try_into().ok().map(RecordHash::from_bytes)
}

/// The members that do not have a record whole, as far as this node knows.
pub(crate) fn without(store: &Store, record: &RecordHash) -> Result<Lacking, ReadError> {
    Ok(decode(&store.row(&rows::lacked(record))?.unwrap_or_default()))
}

pub(crate) fn decode(value: &[u8]) -> Lacking {
    let member = |bytes: &[u8; MEMBER]| {
        let (state, node) = bytes.split_last().expect("33 bytes have a last");
        let node = NodeId::from_bytes(node.try_into().expect("33 less 1 are 32"));
        Some((node, Holding::of_byte(*state)?))
    };
    value.as_chunks().0.iter().filter_map(member).collect()
}

pub(crate) fn encode(lacking: &Lacking) -> Vec<u8> {
    let member = |(node, state): (&NodeId, &Holding)| {
        node.as_bytes().iter().copied().chain([*state as u8]).collect::<Vec<u8>>()
    };
    lacking.iter().flat_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> RecordHash {
        RecordHash::from_bytes([n; 32])
    }

    fn lacking(states: &[(u8, Holding)]) -> Lacking {
        states.iter().map(|(node, state)| (NodeId::from_bytes([*node; 32]), *state)).collect()
    }

    #[test]
    fn rows_say_who_lacks_a_record_and_how() {
        let some =
            lacking(&[(1, Holding::Absent), (2, Holding::GivenUp), (9, Holding::Incomplete)]);
        let bytes = encode(&some);
        assert_eq!(bytes.len(), 3 * MEMBER);
        assert_eq!((bytes[32], bytes[33], bytes[65]), (0, 2, 3));
        assert_eq!(decode(&bytes), some);
        assert_eq!(decode(&[]), Lacking::new());
    }

    #[test]
    fn counts_follow_changes_to_what_a_count_from_the_start_gives() {
        let (given_up, absent) = (Holding::GivenUp, Holding::Absent);
        let mut counts = Counts::default();
        let rows = [
            (record(1), lacking(&[(1, absent), (2, given_up)])),
            (record(2), lacking(&[(2, given_up)])),
        ];
        rows.iter().for_each(|(record, lacking)| counts.add(record, lacking));
        assert_eq!(counts.lacked, 1, "what was given up is lacked by nobody");
        let two = counts.of(&NodeId::from_bytes([2; 32]));
        assert_eq!((two.all.count, two.given_up, two.all.sum), (2, 2, [3; 32]));
        assert_eq!(counts.by_member().into_values().collect::<Vec<_>>(), [1, 0]);
        for (record, lacking) in &rows {
            counts.take(record, lacking);
        }
        assert_eq!(counts, Counts::default());
    }
}
