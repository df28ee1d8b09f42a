//! Contents: everything follows from a number, so that two processes agree on it.

use std::sync::LazyLock;

use stash_store::{Address, RecordEntry, Ref};

/// Blobs that there are. They are staged and evicted again and again.
pub(crate) const BLOBS: u64 = 48;

/// Names that records are about.
pub(crate) const NAMES: u64 = 5;

/// Length of blob `b` at `b % 8`: either side of the `small` of 4,096 bytes, and one that would
/// not fit a segment of the log. Blob 0 has no bytes, blob 1 has one.
const LENGTHS: [usize; 8] = [12, 90, 300, 4095, 4096, 5000, 20_000, 70_000];

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

static ALL: LazyLock<Vec<(Address, Vec<u8>)>> = LazyLock::new(|| {
    let blob = |(b, len): (u64, &usize)| {
        let bytes = Random(b).bytes(if b < 2 { usize::from(b == 1) } else { *len });
        (Address::of(&bytes), bytes)
    };
    (0..BLOBS).zip(LENGTHS.iter().cycle()).map(blob).collect()
});

/// The address and the bytes of blob `b`.
pub(crate) fn blob(b: u64) -> &'static (Address, Vec<u8>) {
    &ALL[usize::try_from(b % BLOBS).expect("it is below BLOBS")]
}

/// `n`, and up to `most` bytes that follow from it.
fn after(numbers: &[u64], most: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut random = Random(numbers.iter().fold(0, |all, n| all ^ n));
    let len = usize::try_from(random.below(most)).unwrap_or(0);
    bytes.append(&mut random.bytes(len));
    bytes
}

fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for (n, bytes) in numbers.iter_mut().zip(bytes.chunks(8)) {
        *n = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(numbers)
}

pub(crate) fn row_key(row: u64) -> [u8; 8] {
    row.to_le_bytes()
}

pub(crate) fn row_value(value: u64) -> Vec<u8> {
    after(&[value], 900)
}

/// Which row this is, if it is one of ours to the last byte.
pub(crate) fn row_of(key: &[u8], bytes: &[u8]) -> Option<(u64, u64)> {
    let row = u64::from_le_bytes(key.try_into().ok()?);
    let [value] = numbers(bytes)?;
    (row_value(value) == bytes).then_some((row, value))
}

pub(crate) fn name(name: u64) -> [u8; 32] {
    *Address::of(&name.to_le_bytes()).as_bytes()
}

/// Record `n`, which names blob `b`.
pub(crate) fn record(n: u64, b: u64) -> RecordEntry {
    let bytes = after(&[n, b], 3000);
    let (address, blob) = blob(b);
    RecordEntry {
        hash: *Address::of(&bytes).as_bytes(),
        name: name(n % NAMES),
        writer: [7; 40],
        n,
        refs: vec![Ref {
            address: *address,
            sealed_len: u32::try_from(blob.len()).unwrap_or(u32::MAX),
        }],
        bytes: bytes.into(),
    }
}

/// Which record this is, if it is one of ours to the last byte.
pub(crate) fn record_of(bytes: &[u8]) -> Option<(u64, u64)> {
    let [n, b] = numbers(bytes)?;
    (*record(n, b).bytes == *bytes).then_some((n, b))
}
