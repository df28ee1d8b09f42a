//! Sealed chunks.

use std::collections::HashMap;

use proptest::prelude::*;
use stash_crypto::chunk::*;
use stash_crypto::keys::*;
use stash_crypto::*;

use crate::fixtures::*;

#[test]
fn sealing_and_opening_give_the_same_bytes_back() {
    for len in [0, 1, 15, 16, 17, 1007, 1008, 1009, 4096, 65_536, MAX_CHUNK_PLAIN] {
        let plain = buffer(len);
        let mut bytes = plain.clone();
        let tag = chunk_keys().tag(&bytes);
        let made = chunk_keys().seal_in_place(&mut bytes).unwrap();
        assert_eq!((made.tag, made.address), (tag, Address::of(&bytes)), "{len}");
        let header = chunk_header(&bytes).unwrap();
        assert_eq!((header.kind, header.epoch), (ChunkKind::File, 0));
        assert_eq!(header.padded_len as usize, len);
        assert_eq!(chunk_keys().open_in_place(&mut bytes), Ok(&plain[CHUNK_OVERHEAD..]));
    }
}

#[test]
fn a_buffer_without_room_or_beyond_the_limit_is_refused_and_unchanged() {
    let mut short = vec![7; 47];
    assert_eq!(chunk_keys().seal_in_place(&mut short), Err(SealError::NoRoom { got: 47 }));
    assert_eq!(short, vec![7; 47]);
    let mut long = vec![7; CHUNK_OVERHEAD + MAX_CHUNK_PLAIN + 1];
    let padded_len = MAX_CHUNK_PLAIN + 1;
    assert_eq!(chunk_keys().seal_in_place(&mut long), Err(SealError::TooLong { padded_len }));
    assert!(long.iter().all(|byte| *byte == 7));
}

// Fault cases 51 and 60.
#[test]
fn every_flipped_bit_is_an_error_and_leaves_no_plaintext() {
    let good = sealed(40);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = chunk_keys().open_in_place(&mut bytes).unwrap_err();
        if bit >= 16 * 8 {
            assert_eq!(error, OpenError::NotAuthentic, "bit {bit}");
        }
        assert!(bytes.iter().all(|byte| *byte == 0), "bit {bit} left bytes behind");
    }
}

// Fault case 33.
#[test]
fn every_truncation_is_an_error_and_leaves_no_plaintext() {
    let good = sealed(40);
    for len in 0..good.len() {
        let mut bytes = good[..len].to_vec();
        assert!(chunk_keys().open_in_place(&mut bytes).is_err(), "{len} bytes");
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}

// Fault case 54.
#[test]
fn a_chunk_opens_under_no_other_stash_and_no_other_epoch() {
    let other = RootSecret::from_bytes([99; 32]).read_root().chunk_keys();
    assert_eq!(other.open_in_place(&mut sealed(40)), Err(OpenError::NotAuthentic));
    let later = ReadRoot::from_parts(1, *root().read_root().expose()).chunk_keys();
    let wrong = OpenError::Epoch { sealed: 0, keys: 1 };
    assert_eq!(later.open_in_place(&mut sealed(40)), Err(wrong));
    let same_epoch = ReadRoot::from_parts(0, [98; 32]).chunk_keys();
    assert_eq!(same_epoch.open_in_place(&mut sealed(40)), Err(OpenError::NotAuthentic));
}

#[test]
fn the_epoch_is_authenticated_even_under_the_same_key_bytes() {
    let mut bytes = sealed(40);
    bytes[8] = 1;
    let later = ReadRoot::from_parts(1, *root().read_root().expose()).chunk_keys();
    assert_eq!(later.open_in_place(&mut bytes), Err(OpenError::NotAuthentic));
}

/// Tags of this many seals are compared in CI; the case names 10 million.
const SEALS: u32 = 200_000;

// Fault case 50.
#[test]
fn no_two_plaintexts_share_a_keystream() {
    let keys = chunk_keys();
    let mut ivs = HashMap::with_capacity(SEALS as usize);
    for number in 0..SEALS {
        // Length and content vary, so equal prefixes with other padding are among them.
        let mut plain = vec![0; CHUNK_OVERHEAD + 4 + (number as usize % 64)];
        plain[CHUNK_OVERHEAD..][..4].copy_from_slice(&(number / 64).to_le_bytes());
        let tag = keys.tag(&plain);
        let iv: [u8; 16] = tag.as_bytes()[..16].try_into().unwrap();
        assert_eq!(ivs.insert(iv, number), None, "seal {number} repeats an IV");
    }
}

proptest! {
    // Fault case 50.
    #[test]
    fn equal_plaintexts_seal_equally_and_others_do_not(
        a in prop::collection::vec(any::<u8>(), 0..300),
        b in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let seal = |plain: &[u8]| {
            let mut bytes = [&[0; CHUNK_OVERHEAD], plain].concat();
            let made = chunk_keys().seal_in_place(&mut bytes).unwrap();
            (bytes, made)
        };
        prop_assert_eq!(seal(&a), seal(&a));
        let (left, right) = (seal(&a).1, seal(&b).1);
        prop_assert_eq!(a == b, left.tag.as_bytes()[..16] == right.tag.as_bytes()[..16]);
        prop_assert_eq!(a == b, left.address == right.address);
    }

    #[test]
    fn no_bytes_make_a_header_or_a_manifest_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = chunk_header(&bytes).is_ok();
        prop_assert!(decode_manifest_chunk(&bytes).is_err());
        prop_assert!(chunk_keys().open_in_place(&mut bytes.clone()).is_err());
    }
}

#[test]
fn manifest_chunks_hold_any_number_of_references_in_order() {
    for count in [1, 64, 65, MANIFEST_ENTRIES_MAX, MANIFEST_ENTRIES_MAX + 1] {
        let refs: Vec<ChunkRef> = (0..count).map(|i| chunk_ref(i.to_le_bytes()[0], 4096)).collect();
        let chunks = manifest_chunks(&refs);
        let mut back = Vec::new();
        for (named, bytes) in &chunks {
            assert!(bytes.len() <= MANIFEST_CHUNK_MAX);
            assert_eq!(named.address, Address::of(bytes));
            assert_eq!(named.sealed_len as usize, bytes.len());
            assert_eq!(chunk_header(bytes).unwrap().kind, ChunkKind::Manifest);
            back.extend(decode_manifest_chunk(bytes).unwrap());
        }
        assert_eq!(back, refs, "{count}");
    }
    assert!(manifest_chunks(&[]).is_empty());
}
