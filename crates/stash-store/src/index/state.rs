//! The position of the index in the log, its sums, and the use of each segment of the log.

use std::collections::{BTreeMap, BTreeSet};

use stash_runs::LONGEST_HEAD;

use crate::entry::Place;
use crate::log::Position;

const VERSION: u64 = 5;

/// A sum of hashes as 256-bit numbers, modulo 2^256; the lowest 64 bits first. It does not depend on
/// the order in which they came, and what was added can be taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HashSum([u64; 4]);

impl HashSum {
    pub(crate) fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = false;
        for (word, more) in self.0.iter_mut().zip(words(hash)) {
            let (sum, over) = word.overflowing_add(more);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, over || again);
        }
    }

    pub(crate) fn subtract(&mut self, hash: &[u8; 32]) {
        let mut borrow = false;
        for (word, less) in self.0.iter_mut().zip(words(hash)) {
            let (rest, under) = word.overflowing_sub(less);
            let (rest, again) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, under || again);
        }
    }

    /// The lowest 64 bits.
    pub(crate) fn low(self) -> u64 {
        self.0[0]
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (part, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *part = word.to_le_bytes();
        }
        bytes
    }
}

fn words(hash: &[u8; 32]) -> impl Iterator<Item = u64> {
    hash.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// The position of the index in the log, and its sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Everything in the log before it is in the index.
    pub(crate) position: Position,
    pub(crate) next_sequence: u64,
    pub(crate) last_record: u64,
    pub(crate) opens: u64,
    /// Seconds that the store has been open, as far as the log says.
    pub(crate) uptime: u64,
    pub(crate) records: u64,
    pub(crate) record_sum: HashSum,
    pub(crate) chunks: u64,
    /// Bytes of all blobs that are here.
    pub(crate) bytes: u64,
    /// Bytes of the blobs that lie in files of their own.
    pub(crate) file_bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) quarantined: u64,
    /// Records that are not known to be whole, and the sum of their hashes.
    pub(crate) lacking: u64,
    pub(crate) lacking_sum: HashSum,
    /// Pieces of work that wait; while there are any, it is not known which records are whole.
    pub(crate) unsettled: u64,
}

/// Bytes of a segment that compaction can give back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waste {
    /// Entries that mean nothing any more.
    pub(crate) dead: u64,
    /// Entries that say that something is gone: dead once no older segment is left.
    pub(crate) absent: u64,
}

/// The use that there still is for each segment of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) waste: BTreeMap<u64, Waste>,
    /// Segments, not below `floor`, that are no longer part of the log.
    pub(crate) retired: BTreeSet<u64>,
    /// No segment below is part of the log.
    pub(crate) floor: u64,
}

impl Waste {
    fn sum(&self) -> u64 {
        self.dead + self.absent
    }
}

impl Usage {
    pub(crate) fn dead(&mut self, place: &Place) {
        self.waste.entry(place.segment).or_default().dead += place.log_bytes();
    }

    pub(crate) fn absent(&mut self, place: &Place) {
        self.waste.entry(place.segment).or_default().absent += place.log_bytes();
    }

    pub(crate) fn retire(&mut self, segment: u64, floor: u64) {
        self.retired.insert(segment);
        self.raise(floor);
    }

    fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.retired = self.retired.split_off(&self.floor);
        let (retired, floor) = (&self.retired, self.floor);
        self.waste.retain(|segment, _| *segment >= floor && !retired.contains(segment));
    }

    pub(crate) fn is_retired(&self, segment: u64) -> bool {
        segment < self.floor || self.retired.contains(&segment)
    }

    /// Adds what one group changed.
    pub(crate) fn absorb(&mut self, more: Usage) {
        for (segment, waste) in more.waste {
            let sum = self.waste.entry(segment).or_default();
            sum.dead += waste.dead;
            sum.absent += waste.absent;
        }
        if more.floor > 0 {
            self.retired.extend(more.retired);
            self.raise(more.floor);
        }
    }
}

/// State that goes with a checkpoint of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) state: State,
    pub(crate) usage: Usage,
}

impl Head {
    pub(crate) fn encode(&self, store_id: &[u8; 16]) -> Vec<u8> {
        let (state, usage) = (&self.state, &self.usage);
        let mut words = vec![
            VERSION,
            state.position.segment,
            state.position.offset,
            state.next_sequence,
            state.last_record,
            state.opens,
            state.uptime,
            state.records,
            state.chunks,
            state.bytes,
            state.file_bytes,
            state.evicted,
            state.quarantined,
            state.record_sum.0[0],
            state.record_sum.0[1],
            state.record_sum.0[2],
            state.record_sum.0[3],
            state.lacking,
            state.lacking_sum.0[0],
            state.lacking_sum.0[1],
            state.lacking_sum.0[2],
            state.lacking_sum.0[3],
            state.unsettled,
            usage.floor,
            usage.retired.len() as u64,
        ];
        words.extend(&usage.retired);
        // Of more segments than fit, those with the least waste are left out: they are compacted later.
        let room = (LONGEST_HEAD - store_id.len() - 8 * words.len().min(LONGEST_HEAD / 16)) / 24;
        let mut least = 0;
        if usage.waste.len() > room {
            let mut sums: Vec<u64> = usage.waste.values().map(Waste::sum).collect();
            let (_, at, _) = sums.select_nth_unstable(usage.waste.len() - room);
            least = *at;
        }
        let kept = usage.waste.iter().filter(|(_, waste)| waste.sum() >= least).take(room);
        for (segment, waste) in kept {
            words.extend([*segment, waste.dead, waste.absent]);
        }
        let mut out = store_id.to_vec();
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        out
    }

    /// `None` for another version, or another store's index.
    pub(crate) fn decode(bytes: &[u8], store_id: &[u8; 16]) -> Option<Head> {
        let bytes = bytes.strip_prefix(store_id)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return None;
        }
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        if words.next()? != VERSION {
            return None;
        }
        let position = Position { segment: words.next()?, offset: words.next()? };
        let state = State {
            position,
            next_sequence: words.next()?,
            last_record: words.next()?,
            opens: words.next()?,
            uptime: words.next()?,
            records: words.next()?,
            chunks: words.next()?,
            bytes: words.next()?,
            file_bytes: words.next()?,
            evicted: words.next()?,
            quarantined: words.next()?,
            record_sum: HashSum([words.next()?, words.next()?, words.next()?, words.next()?]),
            lacking: words.next()?,
            lacking_sum: HashSum([words.next()?, words.next()?, words.next()?, words.next()?]),
            unsettled: words.next()?,
        };
        let mut usage = Usage { floor: words.next()?, ..Usage::default() };
        for _ in 0..words.next()? {
            usage.retired.insert(words.next()?);
        }
        while let Some(segment) = words.next() {
            let waste = Waste { dead: words.next()?, absent: words.next()? };
            usage.waste.insert(segment, waste);
        }
        Some(Head { state, usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_a_round_trip_and_is_nobody_elses() {
        let mut head = Head::default();
        head.state.records = 7;
        head.state.lacking = 2;
        head.state.lacking_sum.add(&[9; 32]);
        head.state.unsettled = 1;
        head.state.position = Position { segment: 3, offset: 256 };
        let place = Place { segment: 2, offset: 256, len: 40, moved: false };
        head.usage.dead(&place);
        head.usage.absent(&place);
        head.usage.retire(5, 2);
        let bytes = head.encode(&[1; 16]);
        assert_eq!(Head::decode(&bytes, &[1; 16]), Some(head));
        assert_eq!(Head::decode(&bytes, &[2; 16]), None);
        assert_eq!(Head::decode(&bytes[..bytes.len() - 1], &[1; 16]), None);
    }

    #[test]
    fn the_head_of_a_log_of_very_many_segments_keeps_those_with_the_most_waste() {
        let mut head = Head::default();
        for segment in 0..200_000 {
            let dead = if segment % 100 == 0 { 1 << 20 } else { segment % 1_000 };
            head.usage.waste.insert(segment, Waste { dead, absent: 1 });
        }
        let bytes = head.encode(&[1; 16]);
        assert!(bytes.len() <= LONGEST_HEAD, "{} bytes", bytes.len());
        let back = Head::decode(&bytes, &[1; 16]).unwrap();
        assert!(back.usage.waste.len() > 170_000);
        let is_wasteful = |waste: &&Waste| waste.dead == 1 << 20;
        assert_eq!(back.usage.waste.values().filter(is_wasteful).count(), 2_000);
    }

    #[test]
    fn a_sum_of_hashes_forgets_their_order_and_what_was_taken_away() {
        let hashes = [[255; 32], [1; 32], [128; 32]];
        let sum = |order: &[usize]| {
            let mut sum = HashSum::default();
            order.iter().for_each(|at| sum.add(&hashes[*at]));
            sum
        };
        assert_eq!(sum(&[0, 1, 2]), sum(&[2, 0, 1]));
        let mut all = sum(&[0, 1, 2]);
        all.subtract(&hashes[0]);
        assert_eq!(all, sum(&[1, 2]));
        let mut below = HashSum::default();
        below.subtract(&hashes[1]);
        below.add(&hashes[1]);
        assert_eq!(below, HashSum::default());
        let mut over = sum(&[0]);
        over.add(&[1; 32]);
        let mut expected = [1; 32];
        expected[0] = 0;
        assert_eq!(over.to_bytes(), expected, "a carry goes through all bytes and is dropped");
    }

    #[test]
    fn a_segment_below_the_floor_is_retired_without_a_note() {
        let mut usage = Usage::default();
        usage.retire(4, 1);
        usage.retire(2, 1);
        assert!(usage.is_retired(4) && !usage.is_retired(3));
        let mut more = Usage::default();
        more.retire(3, 5);
        usage.absorb(more);
        assert!(usage.is_retired(1) && usage.is_retired(4) && usage.retired.is_empty());
    }
}
