//! Every decoder against flipped bits, truncation, more bytes, and noise.

use proptest::prelude::*;
use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

/// A name, a valid encoding, and whether bytes are accepted to the last check that exists.
type Case = (&'static str, Vec<u8>, fn(&[u8]) -> bool);

fn record(bytes: &[u8]) -> bool {
    Record::decode_in(&stash(), bytes).is_ok_and(|record| record.verify().is_ok())
}

fn entry(bytes: &[u8]) -> bool {
    MemberEntry::decode(bytes).is_ok_and(|entry| entry.verify(&stash()).is_ok())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![
        ("put inline", put_inline().bytes().to_vec(), record),
        ("put with chunks", put_chunks().bytes().to_vec(), record),
        ("put indirect", put_indirect().bytes().to_vec(), record),
        ("tombstone", tombstone().bytes().to_vec(), record),
        ("forget", forget(ForgetKind::Dead).bytes().to_vec(), record),
        ("addresses", signed_addresses().encode(), |bytes| {
            SignedAddresses::decode(bytes).is_ok_and(|signed| signed.verify(&stash()).is_ok())
        }),
        ("statement", statement().encode(), |bytes| {
            Statement::decode(bytes).is_ok_and(|signed| signed.verify(&stash()).is_ok())
        }),
        ("confirmation", confirmation().encode(), |bytes| {
            Confirmation::decode(bytes).is_ok_and(|signed| signed.verify(&stash()).is_ok())
        }),
        ("ticket", ticket().to_string().into_bytes(), |bytes| {
            text(bytes).is_some_and(|text| text.parse::<Ticket>().is_ok())
        }),
        ("wrap", wrap(&node().wrap_public(), &stash(), b"x", &mut Counting(0)).unwrap(), |bytes| {
            unwrap(node().wrap_secret(), &stash(), bytes).is_ok()
        }),
        ("label", root().read_root().label_keys().seal("a", &node().node_id()).unwrap(), |bytes| {
            root().read_root().label_keys().open(bytes, &node().node_id()).is_ok()
        }),
    ];
    for bytes in entries().iter().map(MemberEntry::encode) {
        cases.push(("entry", bytes, entry));
    }
    cases
}

// Fault case 51; keyrings and chunks have theirs beside their other tests.
#[test]
fn every_flipped_bit_is_refused() {
    for (name, good, accepts) in cases() {
        assert!(accepts(&good), "{name}");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepts(&bytes), "{name}: bit {bit}");
        }
    }
}

// Fault cases 32 and 33.
#[test]
fn every_truncation_and_every_trailing_byte_is_refused() {
    for (name, good, accepts) in cases() {
        for len in 0..good.len() {
            assert!(!accepts(&good[..len]), "{name}: {len} bytes");
        }
        for byte in [0, b'q', 0xff] {
            assert!(!accepts(&[&good[..], &[byte]].concat()), "{name}: {byte} follows");
        }
    }
}

#[test]
fn a_flipped_bit_of_a_recovery_text_is_an_error_or_a_letter_in_the_other_case() {
    let good = recovery().to_text();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.as_bytes().to_vec();
        let before = bytes[bit / 8];
        bytes[bit / 8] ^= 1 << (bit % 8);
        let after = bytes[bit / 8];
        let same = before.eq_ignore_ascii_case(&after)
            || (before.is_ascii_whitespace()
                && after.is_ascii()
                && char::from(after).is_whitespace());
        let parsed = text(&bytes).map(RecoveryText::parse);
        assert_eq!(parsed.is_some_and(|parsed| parsed.is_ok()), same, "bit {bit}");
    }
}

// Fault case 31.
#[test]
fn an_oversized_input_is_refused_before_it_is_looked_at() {
    let record = vec![0; MAX_RECORD + 1];
    assert_eq!(Record::decode(&record), Err(RecordError::TooLong { len: MAX_RECORD + 1 }));
    let entry = vec![0; MAX_ENTRY + 1];
    assert_eq!(MemberEntry::decode(&entry), Err(EntryError::TooLong { len: MAX_ENTRY + 1 }));
}

proptest! {
    // Fault case 32.
    #[test]
    fn noise_makes_nothing_panic(
        prefix in prop::sample::select(vec![&b"SR\x01\x01"[..], b"SM\x01\x03", b"SJ\x01\0", b"SA\x01\0", b"ST\x01\x01", b"SF\x01\0", b"stashkey\x01\x01\0\0\0\0\0\0", b""]),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [prefix, &noise].concat();
        prop_assert!(!record(&bytes));
        prop_assert!(!entry(&bytes));
        prop_assert!(Keyring::decode(&bytes, Some(b"x")).is_err());
        let _ = JoinRequest::decode(&bytes).map(|request| request.encode());
        let _ = SignedAddresses::decode(&bytes).map(|signed| signed.encode());
        let _ = Confirmation::decode(&bytes).map(|signed| signed.encode());
        let _ = Statement::decode(&bytes).map(|signed| signed.encode());
        let _ = KeyGrant::decode(&bytes).map(|grant| grant.encode());
        prop_assert!(unwrap(node().wrap_secret(), &stash(), &bytes).is_err());
    }

    // Fault case 32: one encoding per value.
    #[test]
    fn whatever_a_changed_record_decodes_to_is_not_what_was_signed(
        at in 0usize..627,
        byte in any::<u8>(),
    ) {
        let good = put_chunks();
        let mut bytes = good.bytes().to_vec();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(other) = Record::decode(&bytes) {
            prop_assert_eq!(other.bytes(), &bytes[..]);
            prop_assert!(other.verify().is_err());
            prop_assert!(other.hash() != good.hash() || at >= bytes.len() - 64);
        }
    }

    #[test]
    fn random_text_is_no_ticket(text in "(stashticket1)?[a-z0-9 ]{0,300}") {
        prop_assert!(text.parse::<Ticket>().is_err());
        prop_assert!(RecoveryText::parse(&text).is_err());
    }
}
