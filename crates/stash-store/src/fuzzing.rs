//! The functions that a fuzzer runs: one for each thing that is read from a disk, which panics when a
//! promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin. Whole directories and rows of
//! operations need no more than what everybody sees: they are in `tests/common`.

#[cfg(test)]
mod tests;

use std::path::Path;

use arbitrary::Unstructured;

use crate::disk::OpenMode;
use crate::entry::{HEADER, Header, Op, entry_len, record_bytes};
use crate::format::{FORMAT_LEN, Format};
use crate::log::{SEGMENT_HEADER, read_segment_header};
use crate::scan::{Scan, Scanned};
use crate::scrub::Pass;
use crate::{Disk, MemDisk, Nest};

/// The key under which headers of the log are tagged here.
const KEY: [u8; 32] = [7; 32];

/// The segment that is scanned here.
const SEGMENT: u64 = 3;

/// Pieces of one segment.
const PIECES: usize = 64;

/// A FORMAT file, with its checksum put right if it has the length of one.
pub fn format(bytes: &[u8]) -> bool {
    let dir = Path::new("/store");
    // As it is: a checksum that is right by chance is none.
    let plain = Format::decode(bytes, dir).is_ok();
    let mut file = bytes.to_vec();
    if file.len() == FORMAT_LEN {
        let sum = blake3::hash(&file[..96]);
        file[96..].copy_from_slice(sum.as_bytes());
    }
    let Ok(format) = Format::decode(&file, dir) else {
        return false;
    };
    assert_eq!(format.encode(), file[..], "FORMAT has another encoding");
    assert!(!plain || file == bytes);
    true
}

/// A SCRUB file, with its checksum put right.
pub fn scrub(bytes: &[u8]) -> bool {
    let mut file = bytes.to_vec();
    if let Some((content, sum)) = file.split_last_chunk_mut::<32>() {
        *sum = *blake3::hash(content).as_bytes();
    }
    let pass = Pass::decode(&file, &[7; 16]);
    assert!(Pass::decode(bytes, &[7; 16]).is_none() || file == bytes);
    assert!(Pass::decode(&file, &[8; 16]).is_none(), "accepted for another store");
    pass.inspect(|pass| assert_eq!(pass.encode(&[7; 16]), file)).is_some()
}

/// The header of a segment, with its checksum put right.
pub fn segment_header(bytes: &[u8]) -> bool {
    let format = Format::from_seed(&[7; 32], Nest::default());
    let mut header = [0; 256];
    let len = bytes.len().min(header.len());
    header[..len].copy_from_slice(&bytes[..len]);
    let plain = read_segment_header(&format, &header).is_ok();
    let sum = blake3::keyed_hash(&format.log_key, &header[..96]);
    let right = header[96..128] == *sum.as_bytes();
    assert!(!plain || right, "accepted with a wrong checksum");
    header[96..128].copy_from_slice(sum.as_bytes());
    read_segment_header(&format, &header).is_ok()
}

/// An entry of the log: 1 byte of kind, then its body.
pub fn log_entry(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let kind: u8 = input.arbitrary().unwrap_or_default();
    let body = input.take_rest();
    let Some(op) = Op::decode(kind, body) else {
        return false;
    };
    assert_eq!(op.kind() as u8, kind);
    let fixed = usize::try_from(op.body_len(0)).unwrap_or(usize::MAX);
    let payload = &body[fixed..];
    let mut again = Vec::new();
    op.encode(payload, &mut again);
    assert_eq!(again, body, "the entry has another encoding");
    if let Op::Record { hash, .. } = &op {
        assert_eq!(record_bytes(body, hash), Some(payload));
    }
    true
}

/// An entry in a segment, and whether its body is as it should be.
struct Piece {
    at: u64,
    end: u64,
    good: bool,
}

/// A segment of pieces: 1 byte of kind, 1 of the entry's kind, and bytes with their length (u16)
/// before them. An entry with the right tag is found behind any garbage, and only as it was
/// written; nothing else is found. What is cut off ends the segment.
pub fn scan(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let cut: u16 = input.arbitrary().unwrap_or_default();
    let (mut file, mut pieces) = (vec![0; 256], Vec::new());
    for sequence in 0..PIECES as u64 {
        if input.is_empty() {
            break;
        }
        let (kind, entry, len): (u8, u8, u16) = input.arbitrary().unwrap_or_default();
        let content = input.bytes(input.len().min(len.into())).unwrap_or_default();
        let at = file.len() as u64;
        match kind % 4 {
            0 | 1 => {
                let crc = crc32fast::hash(content) ^ u32::from(kind % 4);
                let len = u32::try_from(content.len()).expect("it was 16 bits");
                let header = Header { len, kind: entry.max(1), sequence, crc };
                file.extend_from_slice(&header.encode(&KEY, SEGMENT, at));
                file.extend_from_slice(content);
                let good = kind % 4 == 0 && Op::decode(entry.max(1), content).is_some();
                pieces.push(Piece { at, end: at + entry_len(len.into()), good });
            }
            2 => file.extend_from_slice(content),
            // A header from elsewhere: right in every byte, and not at its place.
            _ => {
                let header = Header { len: 8, kind: 1, sequence, crc: 0 };
                file.extend_from_slice(&header.encode(&KEY, SEGMENT, at + 8));
            }
        }
        file.resize(file.len().next_multiple_of(8), 0);
    }
    let len = (file.len() as u64).saturating_sub(cut.into()).max(SEGMENT_HEADER);
    file.truncate(usize::try_from(len).unwrap_or(0));
    check(&file, &pieces)
}

/// True if all of the segment was understood.
fn check(file: &[u8], pieces: &[Piece]) -> bool {
    let (disk, path) = (MemDisk::new(1), Path::new("/segment"));
    let handle = disk.open(path, OpenMode::Create).expect("an empty disk");
    handle.write_at(0, file).expect("an empty disk");
    let scan = Scan::new((handle, path), KEY, SEGMENT, SEGMENT_HEADER);
    let mut scan = scan.expect("the file is there");
    let mut expected = pieces.iter();
    let (mut last, mut understood) = (SEGMENT_HEADER, true);
    loop {
        match scan.next().expect("the disk is in order") {
            Scanned::Entry { place, end, op, .. } => {
                let at = u64::from(place.offset);
                assert!(at >= last && end > at && end <= file.len() as u64);
                let Some(piece) = expected.next() else {
                    panic!("an entry at {at} that nobody wrote: {op:?}");
                };
                assert_eq!((piece.at, piece.end, piece.good), (at, end, true));
                last = end;
            }
            Scanned::Damaged { from, to, .. } => {
                understood = false;
                assert!(from >= last && to > from && to <= file.len() as u64);
                // Either garbage before the next entry, or an entry that is not as it should be.
                if let Some(Piece { at, end, good: false }) = expected.as_slice().first()
                    && *at == from
                {
                    assert_eq!(*end, to);
                    expected.next();
                }
                last = to;
            }
            Scanned::End { at } => {
                assert!(at >= last && at <= file.len() as u64);
                // Whatever is left was cut off.
                for Piece { at, end, .. } in expected {
                    assert!(*end > file.len() as u64, "the entry at {at} was not found");
                }
                return understood && at == file.len() as u64;
            }
        }
    }
}

/// A header of the log: 8 bytes of offset, then 32 of header, whose tag is put right.
pub fn log_header(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (offset, raw): (u64, [u8; HEADER]) = input.arbitrary().unwrap_or_default();
    let field = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    let sequence = u64::from(field(8)) | u64::from(field(12)) << 32;
    let header = Header { len: field(0), kind: raw[4], sequence, crc: field(16) };
    let tagged = header.encode(&KEY, SEGMENT, offset);
    if let Some(strange) = Header::decode(&raw, &KEY, SEGMENT, offset) {
        assert_eq!(strange.encode(&KEY, SEGMENT, offset), raw);
    }
    assert_eq!(Header::decode(&tagged, &KEY, SEGMENT, offset.wrapping_add(8)), None);
    assert_eq!(Header::decode(&tagged, &KEY, SEGMENT + 1, offset), None);
    match Header::decode(&tagged, &KEY, SEGMENT, offset) {
        Some(decoded) => {
            assert_eq!(decoded, header);
            true
        }
        None => false,
    }
}
