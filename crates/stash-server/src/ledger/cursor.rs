//! Names for the stretches of this store's order of records.
//!
//! A member that catches up keeps a position in this order. The order is cut back when the store is
//! restored from a copy, and grows again with other records under the same numbers. So every time
//! the engine starts, a new stretch begins, with a name that nobody can guess: a position of a
//! stretch that is not known here, or beyond its end, was given by a store that is no more.

use rand::CryptoRng;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::rows;
use crate::message::LogId;

/// Stretches that are remembered, 24 bytes each. A member that comes back with an older one
/// compares all that it holds.
const MOST: usize = 1_024;

/// A position in the order of another store: what comes after it has not been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The stretch that `after` belongs to; zeros at the very beginning.
    pub(crate) log: LogId,
    /// The sequence number of the last record that was seen.
    pub(crate) after: u64,
}

/// The stretches of this store, in order.
#[derive(Debug)]
pub(crate) struct Stretches(Vec<(u64, LogId)>);

impl Stretches {
    /// Begins a stretch. It is durable when this returns, if the store takes writes; if not, no
    /// record can be written in it either.
    pub(crate) fn open(store: &Store, rng: &mut impl CryptoRng) -> Result<Stretches, ReadError> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let first = key.strip_prefix(rows::STRETCH)?.try_into().ok().map(u64::from_be_bytes)?;
            Some((first, value.try_into().ok()?))
        };
        let mut stretches: Vec<_> =
            store.rows(rows::STRETCH)?.into_iter().filter_map(decode).collect();
        let first = store.last_sequence() + 1;
        let mut id = LogId::default();
        rng.fill_bytes(&mut id);
        // One in which nothing was written is replaced, and so is what was cut back.
        let kept = stretches.partition_point(|(begin, _)| *begin < first);
        let (old, gone) = (kept.saturating_sub(MOST - 1), stretches.split_off(kept));
        let gone = gone.iter().chain(&stretches[..old]).filter(|(begin, _)| *begin != first);
        let batch =
            gone.fold(Batch::new(), |batch, (begin, _)| batch.row(&rows::stretch(*begin), None));
        let batch = batch.row(&rows::stretch(first), Some(&id)).even_if_full();
        if let Err(error) = store.commit(batch) {
            tracing::warn!(%error, "members that catch up here will compare everything");
        }
        stretches.drain(..old);
        stretches.push((first, id));
        Ok(Stretches(stretches))
    }

    /// True if a position was given by this store as it is, whose last sequence number is `last`.
    pub(crate) fn knows(&self, cursor: &Cursor, last: u64) -> bool {
        if *cursor == Cursor::default() {
            return true;
        }
        let Some(at) = self.0.iter().position(|(_, id)| *id == cursor.log) else {
            return false;
        };
        let end = self.0.get(at + 1).map_or(last, |(next, _)| next - 1);
        (self.0[at].0 - 1..=end).contains(&cursor.after)
    }

    /// The position behind a sequence number.
    pub(crate) fn cursor(&self, after: u64) -> Cursor {
        let at = self.0.partition_point(|(first, _)| first - 1 <= after);
        let log = at.checked_sub(1).map_or(LogId::default(), |at| self.0[at].1);
        Cursor { log, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> Stretches {
        Stretches(vec![(1, [1; 16]), (11, [2; 16]), (31, [3; 16])])
    }

    #[test]
    fn a_position_belongs_to_the_newest_stretch_that_begins_with_it() {
        let of = |after| logs().cursor(after).log[0];
        assert_eq!([0, 9, 10, 29, 30, 99].map(of), [1, 1, 2, 2, 3, 3]);
    }

    // Fault case 114.
    #[test]
    fn a_position_beyond_the_end_of_its_stretch_is_not_known() {
        let logs = logs();
        let knows = |id: u8, after, last| logs.knows(&Cursor { log: [id; 16], after }, last);
        assert!(logs.knows(&Cursor::default(), 40), "the very beginning");
        assert!(knows(1, 0, 40) && knows(1, 10, 40) && knows(2, 10, 40) && knows(3, 40, 40));
        assert!(!knows(1, 11, 40), "it was given before the order was cut back to 10");
        assert!(!knows(3, 41, 40), "there is no such record yet");
        assert!(!knows(2, 9, 40) && !knows(4, 20, 40) && !knows(0, 1, 40));
    }

    #[test]
    fn each_start_begins_a_stretch_and_one_without_records_is_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::create(&temp.path().join("s"), &Default::default()).unwrap();
        let record = |n: u8| stash_store::RecordEntry {
            hash: [n; 32],
            name: [0; 32],
            writer: [0; 40],
            n: n.into(),
            refs: Vec::new(),
            bytes: [n].as_slice().into(),
        };
        let first = Stretches::open(&store, &mut rand::rng()).unwrap();
        let second = Stretches::open(&store, &mut rand::rng()).unwrap();
        assert_eq!((first.0.len(), second.0.len()), (1, 1));
        assert_ne!(first.0[0].1, second.0[0].1);
        store.commit(Batch::new().record(record(1)).record(record(2))).unwrap();
        let third = Stretches::open(&store, &mut rand::rng()).unwrap();
        assert_eq!(third.0[0], second.0[0]);
        assert!(third.knows(&second.cursor(store.last_sequence()), store.last_sequence()));
        assert_eq!(store.rows(rows::STRETCH).unwrap().len(), 2);
    }
}
