//! Objects that can be made again from a seed and a number.

use std::sync::Arc;

use stash_store::{Blob, RecordEntry};

/// Something to store, like nothing else.
pub struct Object {
    pub number: u64,
    pub key: [u8; 32],
    pub name: [u8; 32],
    pub bytes: Vec<u8>,
}

/// The one writer of all records.
pub const WRITER: [u8; 40] = [1; 40];

impl Object {
    pub fn new(seed: u64, number: u64, size: usize) -> Object {
        let mut random = Random::of(seed, number);
        let (key, name) = (random.array(), random.array());
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        Object { number, key, name, bytes }
    }

    /// The hash of a record, without making its bytes.
    pub fn key_of(seed: u64, number: u64) -> [u8; 32] {
        Random::of(seed, number).array()
    }

    /// A record with random hash and name.
    pub fn record(self) -> RecordEntry {
        RecordEntry {
            hash: self.key,
            name: self.name,
            writer: WRITER,
            n: self.number,
            refs: Vec::new(),
            bytes: Arc::from(self.bytes),
        }
    }

    /// A blob, hashed.
    pub fn blob(self) -> Blob {
        Blob::hash(self.bytes)
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64, number: u64) -> Random {
        // Two steps apart, or the streams of neighbours would be one stream, shifted.
        Random(Random(Random(seed).next() ^ number).next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not 0; evenly enough for a bench.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn array(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.fill(&mut out);
        out
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}
