//! The meaning of a log entry, and its place.

use crate::{Address, Ref};

pub(crate) const HEADER: usize = 32;
/// Bytes of a body at most: a manifest of [`crate::batch::MAX_MANIFEST_REFS`], or a blob of
/// [`crate::MAX_SMALL`], with room.
pub(crate) const MAX_BODY: u32 = 2 * 1024 * 1024;
/// Bytes of a reference.
pub(super) const REF: usize = 36;

/// Kinds of entries. Numbers are for good; see the format document for the reserved ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Record = 1,
    SmallChunk = 2,
    FileChunk = 3,
    Manifest = 4,
    RowSet = 5,
    RowRemove = 6,
    /// Written by older versions; means nothing any more.
    Hold = 7,
    /// The same.
    Release = 8,
    Evict = 9,
    Quarantine = 10,
    Open = 11,
    Commit = 12,
    Drop = 13,
    Moved = 14,
    Retire = 15,
    Dead = 16,
    Unref = 17,
    Uptime = 18,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Record,
            2 => Kind::SmallChunk,
            3 => Kind::FileChunk,
            4 => Kind::Manifest,
            5 => Kind::RowSet,
            6 => Kind::RowRemove,
            7 => Kind::Hold,
            8 => Kind::Release,
            9 => Kind::Evict,
            10 => Kind::Quarantine,
            11 => Kind::Open,
            12 => Kind::Commit,
            13 => Kind::Drop,
            14 => Kind::Moved,
            15 => Kind::Retire,
            16 => Kind::Dead,
            17 => Kind::Unref,
            18 => Kind::Uptime,
            _ => return None,
        })
    }
}

/// Where an entry begins, and how long its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Bytes of the whole body.
    pub(crate) len: u32,
    /// The body is that of a [`Kind::Moved`] entry: the original body follows its prefix.
    pub(crate) moved: bool,
}

/// Bytes before the original body in the body of a [`Kind::Moved`] entry.
pub(crate) const MOVED_PREFIX: u32 = 16;

impl Place {
    /// Where the original body lies in its segment, and its length.
    pub(crate) fn body(&self) -> (u64, u32) {
        let skip = if self.moved { MOVED_PREFIX } else { 0 };
        let at = u64::from(self.offset) + HEADER as u64 + u64::from(skip);
        (at, self.len.saturating_sub(skip))
    }

    /// Bytes of log that the entry takes.
    pub(crate) fn log_bytes(&self) -> u64 {
        entry_len(u64::from(self.len))
    }
}

/// A decoded entry: what the index learns from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Record {
        hash: [u8; 32],
        name: [u8; 32],
        writer: [u8; 40],
        n: u64,
        refs: Vec<Ref>,
    },
    SmallChunk {
        address: Address,
    },
    FileChunk {
        address: Address,
        len: u32,
    },
    Manifest {
        address: Address,
        refs: Vec<Ref>,
    },
    Row {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    Hold {
        address: Address,
        holder: [u8; 32],
    },
    Release {
        address: Address,
        holder: [u8; 32],
    },
    Evict {
        address: Address,
    },
    Quarantine {
        address: Address,
    },
    Open {
        opens: u64,
    },
    Commit(Mark),
    /// A record is no longer held: with all that the index has under it.
    Drop {
        hash: [u8; 32],
        name: [u8; 32],
        writer: [u8; 40],
        n: u64,
        sequence: u64,
        refs: Vec<Ref>,
    },
    /// An entry that was in another segment, under its first sequence number.
    Moved {
        sequence: u64,
        op: Box<Op>,
    },
    /// A segment is no longer part of the log; none below `floor` is.
    Retire {
        segment: u64,
        floor: u64,
    },
    /// A blob that nothing refers to was given up; with `manifest`, also what it names as one.
    Dead {
        address: Address,
        manifest: bool,
    },
    /// A manifest that is dead refers to these no longer; with `last`, to nothing.
    Unref {
        manifest: Address,
        next: u32,
        last: bool,
        addresses: Vec<Address>,
    },
    /// Seconds that the store has been open, in all its life.
    Uptime {
        seconds: u64,
    },
}

/// The end of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Sequence number of the first entry of the batch.
    pub(crate) first: u64,
    /// Entries of the batch, the mark not counted.
    pub(crate) count: u32,
    /// Everything in this segment before this offset was durable when the batch was written.
    pub(crate) durable: u64,
    /// Binds the entries to the mark; see [`BatchDigest`].
    pub(crate) digest: [u8; 16],
}

/// Bytes that an entry takes in the log, header and padding included.
pub(crate) fn entry_len(body: u64) -> u64 {
    (HEADER as u64 + body).next_multiple_of(8)
}

impl Op {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Op::Record { .. } => Kind::Record,
            Op::SmallChunk { .. } => Kind::SmallChunk,
            Op::FileChunk { .. } => Kind::FileChunk,
            Op::Manifest { .. } => Kind::Manifest,
            Op::Row { value: Some(_), .. } => Kind::RowSet,
            Op::Row { value: None, .. } => Kind::RowRemove,
            Op::Hold { .. } => Kind::Hold,
            Op::Release { .. } => Kind::Release,
            Op::Evict { .. } => Kind::Evict,
            Op::Quarantine { .. } => Kind::Quarantine,
            Op::Open { .. } => Kind::Open,
            Op::Commit(_) => Kind::Commit,
            Op::Drop { .. } => Kind::Drop,
            Op::Moved { .. } => Kind::Moved,
            Op::Retire { .. } => Kind::Retire,
            Op::Dead { .. } => Kind::Dead,
            Op::Unref { .. } => Kind::Unref,
            Op::Uptime { .. } => Kind::Uptime,
        }
    }

    /// An entry that says that something is not there: it counts as long as an older entry that
    /// says the contrary may be found in the log.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Op::Row { value: None, .. } | Op::Drop { .. } | Op::Dead { .. } | Op::Unref { .. } => {
                true
            }
            Op::Moved { op, .. } => op.is_absence(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::*;

    fn samples() -> Vec<(Op, Vec<u8>)> {
        let address = Address::of(b"a");
        let refs = vec![Ref { address, sealed_len: 9 }; 3];
        let holder = [9; 32];
        let record =
            Op::Record { hash: [1; 32], name: [2; 32], writer: [3; 40], n: 4, refs: refs.clone() };
        let mark = Mark { first: 1, count: 2, durable: 3, digest: [4; 16] };
        vec![
            (record, b"bytes".to_vec()),
            (Op::SmallChunk { address }, b"blob".to_vec()),
            (Op::FileChunk { address, len: 7 }, vec![]),
            (Op::Manifest { address, refs }, vec![]),
            (Op::Row { key: b"k".to_vec(), value: Some(b"v".to_vec()) }, vec![]),
            (Op::Row { key: b"k".to_vec(), value: None }, vec![]),
            (Op::Hold { address, holder }, vec![]),
            (Op::Release { address, holder }, vec![]),
            (Op::Evict { address }, vec![]),
            (Op::Quarantine { address }, vec![]),
            (Op::Open { opens: 5 }, vec![]),
            (Op::Commit(mark), vec![]),
            (
                Op::Drop {
                    hash: [1; 32],
                    name: [2; 32],
                    writer: [3; 40],
                    n: 4,
                    sequence: 5,
                    refs: vec![Ref { address, sealed_len: 9 }; 2],
                },
                vec![],
            ),
            (Op::Moved { sequence: 6, op: Box::new(Op::SmallChunk { address }) }, b"b".to_vec()),
            (Op::Moved { sequence: 6, op: Box::new(Op::Evict { address }) }, vec![]),
            (Op::Retire { segment: 7, floor: 3 }, vec![]),
            (Op::Dead { address, manifest: true }, vec![]),
            (
                Op::Unref { manifest: address, next: 9, last: true, addresses: vec![address; 2] },
                vec![],
            ),
            (Op::Uptime { seconds: 10 }, vec![]),
        ]
    }

    #[test]
    fn every_kind_survives_a_round_trip_and_is_as_long_as_foretold() {
        for (op, payload) in samples() {
            let mut body = Vec::new();
            op.encode(&payload, &mut body);
            assert_eq!(body.len() as u64, op.body_len(payload.len()), "{op:?}");
            assert_eq!(Op::decode(op.kind() as u8, &body), Some(op.clone()));
        }
    }

    /// Every sample as a whole entry in hexadecimal, one a line, as they were when their kinds were
    /// given out: at offset 256 of segment 3, with sequence number 9 and a log key of sevens.
    const FROZEN: &str = include_str!("../../tests/fixtures/entries.txt");

    fn whole(op: &Op, payload: &[u8]) -> String {
        let mut body = Vec::new();
        op.encode(payload, &mut body);
        let len = u32::try_from(body.len()).unwrap();
        let crc = crc32fast::hash(&body);
        let header = Header { len, kind: op.kind() as u8, sequence: 9, crc };
        let mut bytes = header.encode(&[7; 32], 3, 256).to_vec();
        bytes.append(&mut body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        crate::hex::encode(&bytes)
    }

    #[test]
    fn every_kind_has_the_bytes_that_it_always_had() {
        // Fault case 91.
        let mut lines = FROZEN.lines();
        let mut kinds = std::collections::BTreeSet::new();
        for (op, payload) in samples() {
            let line = lines.next().unwrap_or_default();
            assert_eq!(line, whole(&op, &payload), "{op:?}");
            kinds.insert(op.kind() as u8);
        }
        assert_eq!(lines.next(), None);
        let all: Vec<u8> = (0..=u8::MAX).filter(|kind| Kind::from_byte(*kind).is_some()).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all, "every kind has a sample");
    }

    #[test]
    fn truncated_and_trailing_bytes_are_refused() {
        // Fault case 33.
        for (op, payload) in samples() {
            let kind = if let Op::Moved { op, .. } = &op { op.kind() } else { op.kind() };
            if matches!(kind, Kind::SmallChunk | Kind::RowSet) {
                continue; // Their last field takes what is left.
            }
            let mut body = Vec::new();
            op.encode(&payload, &mut body);
            for len in 0..body.len() {
                assert_eq!(Op::decode(op.kind() as u8, &body[..len]), None, "{op:?} cut to {len}");
            }
            body.push(0);
            assert_eq!(Op::decode(op.kind() as u8, &body), None, "{op:?} with a trailing byte");
        }
    }

    #[test]
    fn a_count_of_references_beyond_the_body_allocates_nothing() {
        // Fault case 31.
        let mut body = vec![0; 32];
        body.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Op::decode(Kind::Manifest as u8, &body), None);
    }
}
