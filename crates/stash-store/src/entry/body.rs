//! The body of a log entry.

use super::op::{Kind, MOVED_PREFIX, Mark, Op, REF};
use super::reader::Reader;
use crate::Ref;

const RECORD_FIXED: usize = 120;
const DROP_FIXED: usize = 124;

impl Op {
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

fn put_refs(out: &mut Vec<u8>, refs: &[Ref]) {
    for r in refs {
        out.extend_from_slice(r.address.as_bytes());
        out.extend_from_slice(&r.sealed_len.to_le_bytes());
    }
}

fn count(refs: &[Ref]) -> [u8; 4] {
    u32::try_from(refs.len()).expect("limits are checked before a batch is queued").to_le_bytes()
}
