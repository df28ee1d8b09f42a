//! Log entries: how one looks on disk.

use crate::{Address, Ref};

pub(crate) const HEADER: usize = 32;
pub(crate) const HEADER_U32: u32 = 32;
/// Bytes of a body at most: a manifest of [`crate::MAX_MANIFEST_REFS`], or a blob of
/// [`crate::MAX_SMALL`], with room.
pub(crate) const MAX_BODY: u32 = 2 * 1024 * 1024;
const RECORD_FIXED: usize = 120;
const DROP_FIXED: usize = 124;
const REF: usize = 36;

/// What an entry is. Numbers are for good; see the format document for the reserved ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Record = 1,
    SmallChunk = 2,
    FileChunk = 3,
    Manifest = 4,
    RowSet = 5,
    RowRemove = 6,
    Hold = 7,
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
    fn from_byte(byte: u8) -> Option<Kind> {
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

/// Hashes the header tags of a batch's entries.
#[derive(Debug, Clone)]
pub(crate) struct BatchDigest(blake3::Hasher);

impl BatchDigest {
    pub(crate) fn new(log_key: &[u8; 32]) -> BatchDigest {
        BatchDigest(blake3::Hasher::new_keyed(log_key))
    }

    pub(crate) fn add(&mut self, header: &[u8]) {
        self.0.update(&header[24..HEADER]);
    }

    pub(crate) fn add_tag(&mut self, tag: &[u8; 8]) {
        self.0.update(tag);
    }

    pub(crate) fn finish(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        digest
    }
}

/// A header whose tag was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
}

fn tag(log_key: &[u8; 32], segment: u64, offset: u64, fields: &[u8]) -> [u8; 8] {
    let mut input = [0; 40];
    input[..8].copy_from_slice(&segment.to_le_bytes());
    input[8..16].copy_from_slice(&offset.to_le_bytes());
    input[16..].copy_from_slice(fields);
    let hash = blake3::keyed_hash(log_key, &input);
    let mut tag = [0; 8];
    tag.copy_from_slice(&hash.as_bytes()[..8]);
    tag
}

impl Header {
    pub(crate) fn encode(&self, log_key: &[u8; 32], segment: u64, offset: u64) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind;
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..20].copy_from_slice(&self.crc.to_le_bytes());
        let tag = tag(log_key, segment, offset, &out[..24]);
        out[24..].copy_from_slice(&tag);
        out
    }

    /// `None` if these bytes are not a header that was written at exactly this place.
    pub(crate) fn decode(
        bytes: &[u8],
        log_key: &[u8; 32],
        segment: u64,
        offset: u64,
    ) -> Option<Header> {
        let mut reader = Reader(bytes.get(..HEADER)?);
        let len = reader.u32()?;
        let kind = reader.take(4)?;
        let sequence = reader.u64()?;
        let crc = reader.u32()?;
        let zero = reader.u32()?;
        // Cheap tests first: while looking for the next entry after damage, nearly every place
        // fails here.
        if len > MAX_BODY || kind[1..] != [0, 0, 0] || zero != 0 || kind[0] == 0 {
            return None;
        }
        let right = tag(log_key, segment, offset, &bytes[..24]) == bytes[24..HEADER];
        right.then_some(Header { len, kind: kind[0], sequence, crc })
    }
}

/// Bytes that an entry takes in the log, header and padding included.
pub(crate) fn entry_len(body: u64) -> u64 {
    (HEADER as u64 + body).next_multiple_of(8)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u32()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn address(&mut self) -> Option<Address> {
        self.array().map(Address::from_bytes)
    }

    fn refs(&mut self, count: u32) -> Option<Vec<Ref>> {
        let count = usize::try_from(count).ok()?;
        if self.0.len() / REF < count {
            return None;
        }
        let mut refs = Vec::with_capacity(count);
        for _ in 0..count {
            refs.push(Ref { address: self.address()?, sealed_len: self.u32()? });
        }
        Some(refs)
    }
}

fn put_refs(out: &mut Vec<u8>, refs: &[Ref]) {
    for r in refs {
        out.extend_from_slice(r.address.as_bytes());
        out.extend_from_slice(&r.sealed_len.to_le_bytes());
    }
}

fn count(refs: &[Ref]) -> [u8; 4] {
    u32::try_from(refs.len()).expect("limits are checked before a batch is queued").to_le_bytes()
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
            Op::Row { value: None, .. }
            | Op::Release { .. }
            | Op::Drop { .. }
            | Op::Dead { .. }
            | Op::Unref { .. } => true,
            Op::Moved { op, .. } => op.is_absence(),
            _ => false,
        }
    }

    /// Bytes of the body, when `payload` bytes of a record or small blob follow.
    pub(crate) fn body_len(&self, payload: usize) -> u64 {
        let len = match self {
            Op::Record { refs, .. } => RECORD_FIXED + refs.len() * REF,
            Op::Manifest { refs, .. } => 36 + refs.len() * REF,
            Op::Row { key, value } => 2 + key.len() + value.as_ref().map_or(0, Vec::len),
            Op::FileChunk { .. } => 36,
            Op::Hold { .. } | Op::Release { .. } => 64,
            Op::SmallChunk { .. } | Op::Evict { .. } | Op::Quarantine { .. } => 32,
            Op::Dead { .. } => 36,
            Op::Open { .. } | Op::Uptime { .. } => 8,
            Op::Commit(_) => 40,
            Op::Drop { refs, .. } => DROP_FIXED + refs.len() * REF,
            Op::Moved { op, .. } => return u64::from(MOVED_PREFIX) + op.body_len(payload),
            Op::Retire { .. } => 16,
            Op::Unref { addresses, .. } => 44 + addresses.len() * 32,
        };
        (len + payload) as u64
    }

    /// Appends the body; `payload` is the record's or small blob's bytes.
    pub(crate) fn encode(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Op::Record { hash, name, writer, n, refs } => {
                out.extend_from_slice(hash);
                out.extend_from_slice(name);
                out.extend_from_slice(writer);
                out.extend_from_slice(&n.to_le_bytes());
                out.extend_from_slice(&count(refs));
                let len = u32::try_from(payload.len()).expect("a record is at most 64 KiB");
                out.extend_from_slice(&len.to_le_bytes());
                put_refs(out, refs);
            }
            Op::FileChunk { address, len } => {
                out.extend_from_slice(address.as_bytes());
                out.extend_from_slice(&len.to_le_bytes());
            }
            Op::Manifest { address, refs } => {
                out.extend_from_slice(address.as_bytes());
                out.extend_from_slice(&count(refs));
                put_refs(out, refs);
            }
            Op::Row { key, value } => {
                let len = u16::try_from(key.len()).expect("a row's key is at most 256 bytes");
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            Op::Hold { address, holder } | Op::Release { address, holder } => {
                out.extend_from_slice(address.as_bytes());
                out.extend_from_slice(holder);
            }
            Op::SmallChunk { address } | Op::Evict { address } | Op::Quarantine { address } => {
                out.extend_from_slice(address.as_bytes());
            }
            Op::Open { opens: count } | Op::Uptime { seconds: count } => {
                out.extend_from_slice(&count.to_le_bytes());
            }
            Op::Drop { .. }
            | Op::Moved { .. }
            | Op::Retire { .. }
            | Op::Dead { .. }
            | Op::Unref { .. } => return self.encode_upkeep(payload, out),
            Op::Commit(mark) => {
                out.extend_from_slice(&mark.first.to_le_bytes());
                out.extend_from_slice(&mark.count.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&mark.durable.to_le_bytes());
                out.extend_from_slice(&mark.digest);
            }
        }
        out.extend_from_slice(payload);
    }

    /// The bodies of entries that only the store itself writes, for its own upkeep.
    fn encode_upkeep(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Op::Drop { hash, name, writer, n, sequence, refs } => {
                out.extend_from_slice(hash);
                out.extend_from_slice(name);
                out.extend_from_slice(writer);
                out.extend_from_slice(&n.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&count(refs));
                put_refs(out, refs);
            }
            Op::Moved { sequence, op } => {
                out.extend_from_slice(&sequence.to_le_bytes());
                out.push(op.kind() as u8);
                out.extend_from_slice(&[0; 7]);
                op.encode(payload, out);
            }
            Op::Dead { address, manifest } => {
                out.extend_from_slice(address.as_bytes());
                out.extend_from_slice(&u32::from(*manifest).to_le_bytes());
            }
            Op::Retire { segment, floor } => {
                out.extend_from_slice(&segment.to_le_bytes());
                out.extend_from_slice(&floor.to_le_bytes());
            }
            Op::Unref { manifest, next, last, addresses } => {
                out.extend_from_slice(manifest.as_bytes());
                out.extend_from_slice(&next.to_le_bytes());
                out.extend_from_slice(&u32::from(*last).to_le_bytes());
                let count = u32::try_from(addresses.len()).expect("at most a step of a manifest");
                out.extend_from_slice(&count.to_le_bytes());
                for address in addresses {
                    out.extend_from_slice(address.as_bytes());
                }
            }
            _ => {}
        }
    }

    /// Decodes a body whose checksum was right. `None` for an unknown kind or a body that is not
    /// exactly as this version writes it.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Option<Op> {
        let kind = Kind::from_byte(kind)?;
        let mut r = Reader(body);
        let op = match kind {
            Kind::Record => {
                let (hash, name, writer, n) = (r.array()?, r.array()?, r.array()?, r.u64()?);
                let (count, len) = (r.u32()?, r.u32()?);
                let refs = r.refs(count)?;
                r.take(usize::try_from(len).ok()?)?;
                Op::Record { hash, name, writer, n, refs }
            }
            Kind::SmallChunk => {
                let address = r.address()?;
                r.take(r.0.len())?;
                Op::SmallChunk { address }
            }
            Kind::FileChunk => Op::FileChunk { address: r.address()?, len: r.u32()? },
            Kind::Manifest => {
                let (address, count) = (r.address()?, r.u32()?);
                Op::Manifest { address, refs: r.refs(count)? }
            }
            Kind::RowSet | Kind::RowRemove => {
                let len = usize::from(u16::from_le_bytes(r.array()?));
                let key = r.take(len)?.to_vec();
                let value =
                    if kind == Kind::RowSet { Some(r.take(r.0.len())?.to_vec()) } else { None };
                Op::Row { key, value }
            }
            Kind::Hold => Op::Hold { address: r.address()?, holder: r.array()? },
            Kind::Release => Op::Release { address: r.address()?, holder: r.array()? },
            Kind::Evict => Op::Evict { address: r.address()? },
            Kind::Quarantine => Op::Quarantine { address: r.address()? },
            Kind::Open => Op::Open { opens: r.u64()? },
            Kind::Commit => {
                let (first, count, zero) = (r.u64()?, r.u32()?, r.u32()?);
                let (durable, digest) = (r.u64()?, r.array()?);
                if zero != 0 {
                    return None;
                }
                Op::Commit(Mark { first, count, durable, digest })
            }
            Kind::Drop | Kind::Moved | Kind::Retire | Kind::Dead | Kind::Unref => {
                Op::decode_upkeep(kind, &mut r)?
            }
            Kind::Uptime => Op::Uptime { seconds: r.u64()? },
        };
        r.0.is_empty().then_some(op)
    }

    fn decode_upkeep(kind: Kind, r: &mut Reader<'_>) -> Option<Op> {
        Some(match kind {
            Kind::Drop => {
                let (hash, name, writer) = (r.array()?, r.array()?, r.array()?);
                let (n, sequence, count) = (r.u64()?, r.u64()?, r.u32()?);
                Op::Drop { hash, name, writer, n, sequence, refs: r.refs(count)? }
            }
            Kind::Moved => {
                let (sequence, kind) = (r.u64()?, r.take(8)?);
                // One level only; and a commit mark stays where it was written.
                let nested = [Kind::Moved as u8, Kind::Commit as u8].contains(&kind[0]);
                if kind[1..] != [0; 7] || nested {
                    return None;
                }
                let op = Box::new(Op::decode(kind[0], r.take(r.0.len())?)?);
                Op::Moved { sequence, op }
            }
            Kind::Retire => Op::Retire { segment: r.u64()?, floor: r.u64()? },
            Kind::Dead => Op::Dead { address: r.address()?, manifest: r.flag()? },
            _ => {
                let (manifest, next, last) = (r.address()?, r.u32()?, r.flag()?);
                let count = usize::try_from(r.u32()?).ok()?;
                if r.0.len() / 32 < count {
                    return None;
                }
                let mut addresses = Vec::with_capacity(count);
                for _ in 0..count {
                    addresses.push(r.address()?);
                }
                Op::Unref { manifest, next, last, addresses }
            }
        })
    }
}

/// The record's own bytes inside the body of its entry.
pub(crate) fn record_bytes<'a>(body: &'a [u8], hash: &[u8; 32]) -> Option<&'a [u8]> {
    let mut r = Reader(body);
    if r.take(32)? != hash {
        return None;
    }
    r.take(80)?;
    let (count, len) = (r.u32()?, r.u32()?);
    r.take(usize::try_from(count).ok()?.checked_mul(REF)?)?;
    let bytes = r.take(usize::try_from(len).ok()?)?;
    r.0.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
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
    const FROZEN: &str = include_str!("../tests/fixtures/entries.txt");

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
    fn a_header_is_valid_at_its_own_place_only() {
        let header = Header { len: 5, kind: 1, sequence: 6, crc: 7 };
        let bytes = header.encode(&[1; 32], 3, 256);
        assert_eq!(Header::decode(&bytes, &[1; 32], 3, 256), Some(header));
        assert_eq!(Header::decode(&bytes, &[1; 32], 3, 264), None);
        assert_eq!(Header::decode(&bytes, &[1; 32], 4, 256), None);
        assert_eq!(Header::decode(&bytes, &[2; 32], 3, 256), None);
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, &[1; 32], 3, 256), None, "bit {bit}");
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
