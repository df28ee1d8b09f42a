//! Keys and values of the index.

use crate::Address;
use crate::entry::Place;

/// Tables are told apart by the first byte of a key.
pub(super) mod table {
    /// address -> [`super::ChunkRow`]
    pub(crate) const CHUNKS: u8 = 1;
    /// record hash -> sequence, place
    pub(crate) const RECORDS: u8 = 2;
    /// sequence (big-endian) -> record hash, place
    pub(crate) const ORDER: u8 = 3;
    /// name, sequence (big-endian) -> nothing
    pub(crate) const NAMES: u8 = 4;
    /// writer, n (big-endian), sequence (big-endian) -> nothing
    pub(crate) const DOTS: u8 = 5;
    /// address, kind of referrer, referrer -> length
    pub(crate) const REFS: u8 = 6;
    // 7 had the holds of version 3.
    /// row key -> place, row value
    pub(crate) const ROWS: u8 = 8;
    /// address -> uptime in seconds since which nothing may refer to it
    pub(crate) const UNNAMED: u8 = 9;
    /// address -> [`super::ManifestRow`]
    pub(crate) const MANIFESTS: u8 = 10;
    /// record hash -> spot, the blob that it watches: records that are not known to be whole
    pub(crate) const LACKING: u8 = 11;
    /// address, record hash -> nothing: the records that watch a blob
    pub(crate) const WATCHED: u8 = 12;
    /// kind of work, what it is about -> how far it came: see `wholeness.rs`
    pub(crate) const UNSETTLED: u8 = 13;
}

pub(super) const BY_RECORD: u8 = 0;
pub(super) const BY_MANIFEST: u8 = 1;

/// A key: the table's number, then parts side by side.
pub(super) fn key(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut key = Vec::with_capacity(1 + len);
    key.push(table);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The state of a blob. Each names the entry of the log that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkRow {
    /// In a file of its own.
    File {
        len: u32,
        place: Place,
    },
    /// In the log, in the entry itself.
    Log {
        place: Place,
    },
    Evicted {
        len: u32,
        place: Place,
    },
    Quarantined {
        len: u32,
        place: Place,
    },
}

impl ChunkRow {
    pub(crate) fn len(&self) -> u32 {
        match *self {
            ChunkRow::File { len, .. }
            | ChunkRow::Evicted { len, .. }
            | ChunkRow::Quarantined { len, .. } => len,
            ChunkRow::Log { place } => place.body().1.saturating_sub(32),
        }
    }

    pub(crate) fn place(&self) -> Place {
        match *self {
            ChunkRow::File { place, .. }
            | ChunkRow::Evicted { place, .. }
            | ChunkRow::Quarantined { place, .. }
            | ChunkRow::Log { place } => place,
        }
    }

    pub(crate) fn is_here(&self) -> bool {
        matches!(self, ChunkRow::File { .. } | ChunkRow::Log { .. })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self {
            ChunkRow::File { .. } => 1,
            ChunkRow::Log { .. } => 2,
            ChunkRow::Evicted { .. } => 3,
            ChunkRow::Quarantined { .. } => 4,
        };
        let mut out = Vec::with_capacity(17);
        out.push(state);
        put_place(&mut out, &self.place());
        if !matches!(self, ChunkRow::Log { .. }) {
            out.extend_from_slice(&self.len().to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<ChunkRow> {
        let (state, rest) = bytes.split_first()?;
        let (place, rest) = place(rest)?;
        if *state == 2 {
            return rest.is_empty().then_some(ChunkRow::Log { place });
        }
        let len = u32::from_le_bytes(rest.try_into().ok()?);
        Some(match state {
            1 => ChunkRow::File { len, place },
            3 => ChunkRow::Evicted { len, place },
            4 => ChunkRow::Quarantined { len, place },
            _ => return None,
        })
    }
}

/// A manifest whose references are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ManifestRow {
    /// The entry that says what it names.
    pub(crate) place: Place,
    /// The number of blobs it names.
    pub(crate) count: u32,
    /// Once it is dead: how many of them it refers to no longer, and since when it was unnamed.
    pub(crate) dying: Option<(u32, u64)>,
}

impl ManifestRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(28);
        put_place(&mut out, &self.place);
        out.extend_from_slice(&self.count.to_le_bytes());
        if let Some((next, since)) = self.dying {
            out.extend_from_slice(&next.to_le_bytes());
            out.extend_from_slice(&since.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<ManifestRow> {
        let (place, rest) = place(bytes)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let dying = match rest.split_first_chunk::<4>() {
            Some((next, since)) => {
                let since = u64::from_le_bytes(since.try_into().ok()?);
                Some((u32::from_le_bytes(*next), since))
            }
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(ManifestRow { place, count: u32::from_le_bytes(*count), dying })
    }
}

/// The top bit of the length says that the entry was moved; bodies are far shorter.
const MOVED: u32 = 1 << 31;

/// Bytes of an encoded place.
pub(super) const PLACE: usize = 12;

pub(super) fn put_place(out: &mut Vec<u8>, place: &Place) {
    let segment = u32::try_from(place.segment).expect("segments are refused long before 2^32");
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    let moved = if place.moved { MOVED } else { 0 };
    out.extend_from_slice(&(place.len | moved).to_le_bytes());
}

/// The place that `bytes` begin with, and what follows.
pub(super) fn place(bytes: &[u8]) -> Option<(Place, &[u8])> {
    let (bytes, rest) = bytes.split_first_chunk::<PLACE>()?;
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let len = word(8);
    let place = Place {
        segment: u64::from(word(0)),
        offset: word(4),
        len: len & !MOVED,
        moved: len & MOVED != 0,
    };
    Some((place, rest))
}

/// A record's place in the order and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) sequence: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) place: Place,
}

/// A value of [`table::RECORDS`].
pub(super) fn record_value(sequence: u64, place: &Place) -> Vec<u8> {
    let mut value = sequence.to_le_bytes().to_vec();
    put_place(&mut value, place);
    value
}

pub(super) fn decode_record(hash: &[u8; 32], value: &[u8]) -> Option<Located> {
    let (sequence, rest) = value.split_first_chunk::<8>()?;
    let (place, rest) = place(rest)?;
    let located = Located { sequence: u64::from_le_bytes(*sequence), hash: *hash, place };
    rest.is_empty().then_some(located)
}

/// A value of [`table::ORDER`].
pub(super) fn order_value(hash: &[u8; 32], place: &Place) -> Vec<u8> {
    let mut value = hash.to_vec();
    put_place(&mut value, place);
    value
}

/// An entry of [`table::ORDER`].
pub(super) fn decode_order(key: &[u8], value: &[u8]) -> Option<Located> {
    let sequence = u64::from_be_bytes(key.get(1..)?.try_into().ok()?);
    let (hash, rest) = value.split_first_chunk::<32>()?;
    let (place, rest) = place(rest)?;
    rest.is_empty().then_some(Located { sequence, hash: *hash, place })
}

/// The sequence number at the end of a key.
pub(super) fn sequence_at_end(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The address that follows the table's number in a key.
pub(super) fn address_of(key: &[u8]) -> Option<Address> {
    key.get(1..33)?.try_into().ok().map(Address::from_bytes)
}
