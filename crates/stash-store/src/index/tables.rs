//! Keys and values of the index.

use redb::TableDefinition;

use crate::entry::Place;
use crate::log::Position;

pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A table, and the byte that binds checksums to it.
#[derive(Clone, Copy)]
pub(super) struct Spec {
    pub(super) definition: Definition,
    pub(super) id: u8,
}

const fn spec(name: &'static str, id: u8) -> Spec {
    Spec { definition: Definition::new(name), id }
}

/// address -> [`ChunkRow`]
pub(super) const CHUNKS: Spec = spec("chunks", 1);
/// record hash -> sequence, place
pub(super) const RECORDS: Spec = spec("records", 2);
/// sequence (big-endian) -> record hash, place
pub(super) const ORDER: Spec = spec("order", 3);
/// name, sequence (big-endian) -> record hash
pub(super) const NAMES: Spec = spec("names", 4);
/// writer, n (big-endian), sequence (big-endian) -> record hash
pub(super) const DOTS: Spec = spec("dots", 5);
/// address, kind of referrer, referrer -> length
pub(super) const REFS: Spec = spec("refs", 6);
/// address, holder -> nothing
pub(super) const HOLDS: Spec = spec("holds", 7);
/// row key -> row value
pub(super) const ROWS: Spec = spec("rows", 8);
/// "state" -> [`State`]
pub(super) const META: Spec = spec("meta", 9);

pub(super) const BY_RECORD: u8 = 0;
pub(super) const BY_MANIFEST: u8 = 1;

const CHECK: usize = 4;

/// Appends a checksum over table, key and value.
pub(super) fn seal(table: u8, key: &[u8], value: &mut Vec<u8>) {
    let check = check(table, key, value);
    value.extend_from_slice(&check);
}

fn check(table: u8, key: &[u8], value: &[u8]) -> [u8; CHECK] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[table]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// The value, if its checksum is right.
pub(super) fn unseal<'a>(table: u8, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = stored.split_at_checked(stored.len().checked_sub(CHECK)?)?;
    (check(table, key, value) == sum).then_some(value)
}

/// What the index knows of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkRow {
    /// In a file of its own.
    File {
        len: u32,
    },
    /// In the log: the place of its entry.
    Log {
        place: Place,
    },
    Evicted {
        len: u32,
    },
    Quarantined {
        len: u32,
    },
}

impl ChunkRow {
    pub(crate) fn len(&self) -> u32 {
        match *self {
            ChunkRow::File { len } | ChunkRow::Evicted { len } | ChunkRow::Quarantined { len } => {
                len
            }
            ChunkRow::Log { place } => place.len.saturating_sub(32),
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
        let mut out = vec![state];
        match self {
            ChunkRow::Log { place } => put_place(&mut out, place),
            _ => out.extend_from_slice(&self.len().to_le_bytes()),
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<ChunkRow> {
        let (state, rest) = bytes.split_first()?;
        if *state == 2 {
            return Some(ChunkRow::Log { place: place(rest)? });
        }
        let len = u32::from_le_bytes(rest.try_into().ok()?);
        Some(match state {
            1 => ChunkRow::File { len },
            3 => ChunkRow::Evicted { len },
            4 => ChunkRow::Quarantined { len },
            _ => return None,
        })
    }
}

pub(super) fn put_place(out: &mut Vec<u8>, place: &Place) {
    out.extend_from_slice(&place.segment.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.extend_from_slice(&place.len.to_le_bytes());
}

pub(super) fn place(bytes: &[u8]) -> Option<Place> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    Some(Place {
        segment: u64::from_le_bytes(bytes[..8].try_into().ok()?),
        offset: u32::from_le_bytes(bytes[8..12].try_into().ok()?),
        len: u32::from_le_bytes(bytes[12..].try_into().ok()?),
    })
}

const STATE_VERSION: u64 = 1;

/// How far the index has come, and its sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Everything in the log before it is in the index.
    pub(crate) position: Position,
    pub(crate) next_sequence: u64,
    pub(crate) last_record: u64,
    pub(crate) opens: u64,
    pub(crate) records: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) quarantined: u64,
}

impl State {
    pub(super) fn encode(&self, store_id: &[u8; 16]) -> Vec<u8> {
        let mut out = Vec::with_capacity(100);
        let fields = [
            STATE_VERSION,
            self.position.segment,
            self.position.offset,
            self.next_sequence,
            self.last_record,
            self.opens,
            self.records,
            self.chunks,
            self.bytes,
            self.evicted,
            self.quarantined,
        ];
        for field in fields {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(store_id);
        out
    }

    /// `None` for another version, or another store's index.
    pub(super) fn decode(bytes: &[u8], store_id: &[u8; 16]) -> Option<State> {
        let fields = bytes.strip_suffix(store_id)?;
        let words: Vec<u64> = fields
            .chunks(8)
            .map(|word| word.try_into().ok().map(u64::from_le_bytes))
            .collect::<Option<_>>()?;
        let [
            version,
            segment,
            offset,
            next_sequence,
            last_record,
            opens,
            records,
            chunks,
            bytes,
            evicted,
            quarantined,
        ] = words[..]
        else {
            return None;
        };
        (version == STATE_VERSION).then_some(State {
            position: Position { segment, offset },
            next_sequence,
            last_record,
            opens,
            records,
            chunks,
            bytes,
            evicted,
            quarantined,
        })
    }
}
