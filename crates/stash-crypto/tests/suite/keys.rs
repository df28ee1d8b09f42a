//! Keys of files, ids, epochs, wrapping, signatures at the edge.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use stash_crypto::chunk::*;
use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

#[test]
fn keys_follow_their_rules() {
    let long = "k".repeat(1024);
    for good in ["a", "a/b", "...", "a/..b/.c", " ", "C:\\x", "über/☃", long.as_str()] {
        assert_eq!(Key::new(good).unwrap().as_str(), good);
    }
    let too_long = "k".repeat(1025);
    let bad = [
        ("", KeyError::Empty),
        (too_long.as_str(), KeyError::TooLong { len: 1025 }),
        ("/", KeyError::EmptySegment { at: 0 }),
        ("/a", KeyError::EmptySegment { at: 0 }),
        ("a//b", KeyError::EmptySegment { at: 2 }),
        ("a/", KeyError::EmptySegment { at: 2 }),
        (".", KeyError::DotSegment { at: 0 }),
        ("a/../b", KeyError::DotSegment { at: 2 }),
        ("a/.", KeyError::DotSegment { at: 2 }),
        ("a\0", KeyError::Nul { at: 1 }),
    ];
    for (text, error) in bad {
        assert_eq!(Key::new(text), Err(error), "{text:?}");
    }
}

#[test]
fn names_are_not_normalised_and_differ_between_stashes() {
    let names = root().read_root().name_key();
    let composed = names.name_id(&Key::new("\u{fc}").unwrap());
    let decomposed = names.name_id(&Key::new("u\u{308}").unwrap());
    assert_ne!(composed, decomposed);
    let other = RootSecret::from_bytes([99; 32]).read_root().name_key();
    assert_ne!(names.name_id(&key()), other.name_id(&key()));
}

#[test]
fn ids_have_one_text() {
    let id = stash();
    let text = id.to_string();
    assert_eq!(text.parse(), Ok(id));
    assert_eq!(id.short(), text[..10]);
    let error = |text: &str| text.parse::<StashId>().unwrap_err();
    assert_eq!(error(&text[1..]), IdError::Length { expected: 64, got: 63 });
    assert_eq!(error(&format!("{text} ")), IdError::Length { expected: 64, got: 65 });
    let upper = format!("A{}", &text[1..]);
    assert_eq!(error(&upper), IdError::Digit { at: 0 });
    assert_eq!(error(&format!("{}g", &text[..63])), IdError::Digit { at: 63 });
    assert_eq!("0102030405060708".parse(), Ok(Incarnation::from_bytes([1, 2, 3, 4, 5, 6, 7, 8])));
}

// Fault cases 8 and 57.
#[test]
fn no_two_keys_of_a_stash_are_equal() {
    let (root, node, ticket) = (root(), node(), ticket());
    let keys = [
        *root.expose(),
        *root.noise_static().expose(),
        *root.wrap_secret().expose(),
        *root.network_key().expose(),
        *root.read_root().expose(),
        root.network_key().peer_tag_key(),
        *root.network_key().peer_psk(),
        *node.expose(),
        *node.noise_secret().expose(),
        *node.wrap_secret().expose(),
        ticket.join_tag_key(),
        *ticket.join_psk(),
    ];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
}

// Fault case 8.
#[test]
fn a_signature_for_one_purpose_is_none_for_another() {
    let signed = signed_addresses();
    let mut record = put_inline().bytes().to_vec();
    let len = record.len();
    record[len - 64..].copy_from_slice(&signed.signature);
    assert!(Record::decode(&record).unwrap().verify().is_err());
    let record = put_inline();
    let signature = *record.bytes().last_chunk::<64>().unwrap();
    assert!(SignedAddresses { signature, ..signed }.verify(&stash()).is_err());
    assert!(Statement { signature, ..statement() }.verify(&stash()).is_err());
    assert!(Confirmation { signature, ..confirmation() }.verify(&stash()).is_err());
    let request = JoinRequest::sign(&node(), &stash(), ticket().id, "x").unwrap();
    assert!(JoinRequest { signature, ..request }.verify(&stash()).is_err());
}

// Fault case 8.
#[test]
fn what_one_purpose_sealed_another_does_not_open() {
    let read = root().read_root();
    let label = read.label_keys().seal("attic", &node().node_id()).unwrap();
    let later = ReadRoot::from_parts(1, *read.expose());
    assert_eq!(later.open_previous(&label[4..]).err(), Some(NotAPrevious));
    let mut chunk = [&sealed(64)[..16], &label[4..]].concat();
    assert_eq!(read.chunk_keys().open_in_place(&mut chunk), Err(OpenError::NotAuthentic));
}

#[test]
fn each_read_root_opens_the_one_before() {
    let first = root().read_root();
    let second = ReadRoot::generate(1, &mut Counting(0));
    let sealed = second.seal_previous(&first);
    let opened = second.open_previous(&sealed).unwrap();
    assert_eq!((opened.epoch(), opened.expose()), (0, first.expose()));
    let third = ReadRoot::from_parts(2, *second.expose());
    assert_eq!(third.open_previous(&sealed).err(), Some(NotAPrevious));
    assert_eq!(first.open_previous(&sealed).err(), Some(NotAPrevious));
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(second.open_previous(&flipped).err(), Some(NotAPrevious), "bit {bit}");
    }
}

#[test]
fn a_wrap_opens_for_its_recipient_and_stash_only() {
    let to = node().wrap_public();
    let wrapped = wrap(&to, &stash(), b"secret", &mut Counting(0)).unwrap();
    assert_eq!(unwrap(node().wrap_secret(), &stash(), &wrapped).unwrap().as_slice(), b"secret");
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    assert_eq!(unwrap(node().wrap_secret(), &other, &wrapped), Err(WrapError::NotAuthentic));
    let wrong = unwrap(keeper().wrap_secret(), &stash(), &wrapped);
    assert_eq!(wrong, Err(WrapError::NotAuthentic));
    assert_ne!(wrapped, wrap(&to, &stash(), b"secret", &mut Counting(1)).unwrap());
}

/// Points of small order of Curve25519, as cr.yp.to/ecdh.html lists them.
const WEAK_X25519: [&str; 4] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn nothing_is_wrapped_to_a_key_of_small_order() {
    for weak in WEAK_X25519 {
        let to: WrapPublic = weak.parse().unwrap();
        let refused = wrap(&to, &stash(), b"secret", &mut Counting(0));
        assert_eq!(refused, Err(WrapError::WeakKey), "{weak}");
    }
}

/// Points of small order of edwards25519: of order 1, 2, 4 and 8.
const WEAK_ED25519: [&str; 6] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

/// The same put in both forms: signed over its body, and over its hash.
fn both_forms() -> [Record; 2] {
    [old_put_inline(), put_inline()]
}

#[test]
fn a_writer_with_a_key_of_small_order_signs_nothing() {
    for (record, weak) in both_forms().iter().flat_map(|one| WEAK_ED25519.map(|weak| (one, weak))) {
        let node: NodeId = weak.parse().unwrap();
        let mut bytes = record.bytes().to_vec();
        bytes[68..100].copy_from_slice(node.as_bytes());
        // R = identity and s = 0 verify under a small-order key if the check is not strict.
        let signature = bytes.len() - 64;
        bytes[signature..].fill(0);
        bytes[signature] = 1;
        let key = *node.as_bytes();
        let refused = Record::decode(&bytes).unwrap().verify();
        assert_eq!(refused, Err(SignatureError::Key { key }), "{weak}");
    }
}

#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    let file = include_str!("../../vectors/ed25519-small-order-r.txt");
    let names = ["signature = ", "signature-3 = "];
    for (record, name) in both_forms().into_iter().zip(names) {
        let hex = file.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let signature = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let mut bytes = record.bytes().to_vec();
        let start = bytes.len() - 64;
        bytes[start..].copy_from_slice(&signature);

        let (tag, hash) = (&mut [0; 32], record.hash());
        tag[..15].copy_from_slice(if bytes[2] == 1 {
            b"stash v1 record"
        } else {
            b"stash v2 record"
        });
        let body = if bytes[2] == 1 { &bytes[..start] } else { &hash.as_bytes()[..] };
        let message = [&tag[..], stash().as_bytes(), body].concat();
        let key = *node().node_id().as_bytes();
        let point = VerifyingKey::from_bytes(&key).unwrap();
        let parsed = Signature::from_slice(&signature).unwrap();
        assert!(point.verify(&message, &parsed).is_ok(), "the loose rule accepts it");
        let refused = Record::decode(&bytes).unwrap().verify();
        assert_eq!(refused, Err(SignatureError::Signature { key }));
    }
}

/// The order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn a_signature_has_one_form_only() {
    for record in both_forms() {
        let mut bytes = record.bytes().to_vec();
        let scalar = bytes.len() - 32;
        let mut carry = 0;
        for (byte, order) in bytes[scalar..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        let key = *node().node_id().as_bytes();
        let again = Record::decode(&bytes).unwrap();
        assert_eq!(again.verify(), Err(SignatureError::Signature { key }));
        assert_eq!(again.hash(), record.hash(), "the hash excludes the signature");
    }
}

#[test]
fn grants_are_read_back_and_keepers_get_no_read_root() {
    let grant = KeyGrant { network: vec![root().network_key()], read: vec![] };
    let back = KeyGrant::decode(&grant.encode().unwrap()).unwrap();
    assert_eq!((back.network.len(), back.read.len()), (1, 0));
    assert_eq!(back.network[0].expose(), root().network_key().expose());
    let twice = || vec![root().read_root(), root().read_root()];
    let bad = KeyGrant { network: vec![], read: twice() };
    assert_eq!(bad.encode(), Err(GrantError::Order { epoch: 0 }));
    let one = [0; 36];
    let bytes = [&[1, 2, 0][..], &one, &one, &[0, 0]].concat();
    assert_eq!(KeyGrant::decode(&bytes).unwrap_err(), GrantError::Order { epoch: 0 });
}
