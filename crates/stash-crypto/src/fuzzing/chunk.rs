//! Sealed chunks, manifest chunks, padding.

use std::sync::LazyLock;

use arbitrary::Unstructured;

use super::ROOT;
use crate::chunk::seal::manifest_header;
use crate::chunk::{
    CHUNK_HEADER, CHUNK_OVERHEAD, ChunkKind, MAX_CHUNK_PLAIN, chunk_header, decode_manifest_chunk,
    last_chunk_padding, manifest_chunks, padme,
};
use crate::{Address, ChunkKeys};

static KEYS: LazyLock<ChunkKeys> = LazyLock::new(|| ROOT.read_root().chunk_keys());

/// A chunk as a disk or a peer gives it.
pub fn chunk(bytes: &[u8]) -> bool {
    if let Ok(header) = chunk_header(bytes) {
        assert!(header.padded_len as usize <= MAX_CHUNK_PLAIN);
        if header.kind == ChunkKind::Manifest {
            assert_eq!(bytes[..CHUNK_HEADER], manifest_header(header.padded_len));
        }
    }
    let mut buffer = bytes.to_vec();
    if let Ok(plain) = KEYS.open_in_place(&mut buffer) {
        assert_eq!(sealed(plain), bytes, "opened, and seals differently");
        return true;
    }
    assert!(buffer.iter().all(|byte| *byte == 0), "unverified bytes are left");
    false
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; CHUNK_OVERHEAD];
    buffer.extend_from_slice(plain);
    let tag = KEYS.tag(&buffer);
    let sealed = KEYS.seal_in_place(&mut buffer).expect("shorter than a chunk may be");
    assert_eq!((sealed.tag, sealed.address), (tag, Address::of(&buffer)));
    buffer
}

/// Any plaintext, and any one change to what it was sealed to: 4 bytes of place, 1 of change.
pub fn seal(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (place, change): (u32, u8) = input.arbitrary().unwrap_or_default();
    let plain = input.take_rest();
    let sealed = sealed(plain);
    let mut opened = sealed.clone();
    assert_eq!(KEYS.open_in_place(&mut opened), Ok(plain));
    if change != 0 {
        let mut changed = sealed;
        let place = place as usize % changed.len();
        changed[place] ^= change;
        assert!(KEYS.open_in_place(&mut changed).is_err(), "byte {place} xor {change}");
        assert!(changed.iter().all(|byte| *byte == 0));
    }
    true
}

/// A manifest chunk as a disk or a peer gives it.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(refs) = decode_manifest_chunk(bytes) else {
        return false;
    };
    let again = manifest_chunks(&refs);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1, bytes);
    assert_eq!(again[0].0.sealed_len as usize, bytes.len());
    true
}

/// Lengths: padding never shrinks, costs little, and is done at once.
pub fn padding(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let (len, other): (u64, u64) = input.arbitrary().unwrap_or_default();
    let padded = padme(len);
    assert!(padded >= len && (padded == u64::MAX || padded - len <= len.div_ceil(8)));
    assert!(padded == u64::MAX || padme(padded) == padded);
    assert!(padme(len.max(other)) >= padme(len.min(other)));
    let chunk_size = 1 << (12 + other % 11);
    let last = u32::try_from(len % u64::from(chunk_size)).unwrap_or(0) + 1;
    assert!((last..=chunk_size).contains(&last_chunk_padding(last, chunk_size)));
    true
}
