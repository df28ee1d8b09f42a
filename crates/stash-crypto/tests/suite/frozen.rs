//! Bytes that must never change: `vectors/*.txt` and `vectors/malformed/*.txt`.
//!
//! A failing test here means a changed format: change the code back, or give the format a new
//! version. `STASH_WRITE_VECTORS=1` writes files for new formats; it is for adding, not for
//! making a test pass.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use stash_crypto::chunk::*;
use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::*;

use crate::fixtures::*;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn check(name: &str, text: &str) {
    let path = directory().join(name);
    if std::env::var_os("STASH_WRITE_VECTORS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let frozen = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(text, frozen, "{name} differs");
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

#[test]
fn keys_of_a_stash_are_frozen() {
    let (root, node) = (root(), node());
    let (network, read) = (root.network_key(), root.read_root());
    let rows = [
        ("root", hex(root.expose())),
        ("stash-id", stash().to_string()),
        ("root-noise-public", root.noise_static().public().to_string()),
        ("root-wrap-public", root.wrap_public().to_string()),
        ("network-0", hex(network.expose())),
        ("peer-tag-key", hex(&network.peer_tag_key())),
        ("peer-psk", hex(&*network.peer_psk())),
        ("lan-tag-hour-500000", hex(&network.lan_tag(&node.node_id(), 500_000))),
        ("lan-tag-hour-500001", hex(&network.lan_tag(&node.node_id(), 500_001))),
        ("meeting-noise-public", network.meeting_static().public().to_string()),
        ("read-0", hex(read.expose())),
        ("name", hex(key().as_str().as_bytes())),
        ("name-id", read.name_key().name_id(&key()).to_string()),
        ("node-seed", hex(node.expose())),
        ("node-id", node.node_id().to_string()),
        ("node-noise-public", node.noise_public().to_string()),
        ("node-wrap-public", node.wrap_public().to_string()),
        ("join-tag-key", hex(&ticket().join_tag_key())),
        ("join-psk", hex(&*ticket().join_psk())),
    ];
    check("keys.txt", &rows.map(|(name, value)| format!("{name} = {value}\n")).concat());
}

#[test]
fn sealed_chunks_are_frozen() {
    let mut text = "# Read root of keys.txt; plaintext 00 01 .. fa 00 01 ..\n".to_owned();
    for len in [0, 1, 4096, 1 << 20] {
        let mut buffer = buffer(len);
        let sealed = chunk_keys().seal_in_place(&mut buffer).unwrap();
        text += &format!("tag-{len} = {}\naddress-{len} = {}\n", sealed.tag, sealed.address);
        if len <= 4096 {
            text += &format!("sealed-{len} = {}\n", hex(&buffer));
        } else {
            text += &format!("first-64-{len} = {}\n", hex(&buffer[..64]));
        }
    }
    check("sealed-chunks.txt", &text);
}

/// Every format with one valid encoding.
static FORMATS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(formats);

fn formats() -> Vec<(String, Vec<u8>)> {
    let mut formats = [
        ("record-3-put-inline", put_inline().bytes().to_vec()),
        ("record-3-put-chunks", put_chunks().bytes().to_vec()),
        ("record-3-put-indirect", put_indirect().bytes().to_vec()),
        ("record-3-tombstone", tombstone().bytes().to_vec()),
        ("record-3-put-written", put_written().bytes().to_vec()),
        ("record-3-put-link", put_link().bytes().to_vec()),
        ("record-3-put-directory", put_directory().bytes().to_vec()),
        ("record-3-put-holes", put_holes().bytes().to_vec()),
        ("record-3-tombstone-written", tombstone_written().bytes().to_vec()),
        ("record-3-forget-covered", forget(ForgetKind::Covered).bytes().to_vec()),
        ("record-3-forget-dead", forget(ForgetKind::Dead).bytes().to_vec()),
        ("record-4-forget-nodes", forget_by_node().bytes().to_vec()),
        ("manifest-chunk", manifest_chunk()),
        ("join", JoinRequest::sign(&keeper(), &stash(), ticket().id, "attic").unwrap().encode()),
        ("addresses", frozen("addresses")),
        ("addresses-2", signed_addresses().encode()),
        ("confirmation", confirmation().encode()),
        ("statement", statement().encode()),
        ("entry-demote", demotion().encode()),
        ("entry-lapse", lapse(true).encode()),
        ("entry-cuts", ending().encode()),
        ("cuts", cut_list().encode()),
        ("grant", grant().encode().unwrap().to_vec()),
        ("wrap", wrap(&node().wrap_public(), &stash(), b"plain", &mut Counting(0)).unwrap()),
        ("label", root().read_root().label_keys().seal("attic", &node().node_id()).unwrap()),
        ("ticket", ticket().to_text().as_bytes().to_vec()),
        ("ticket-2", named_ticket().to_text().as_bytes().to_vec()),
        ("recovery", recovery().to_text().as_bytes().to_vec()),
        ("recovery-2", named_recovery().to_text().as_bytes().to_vec()),
        ("keyring-plain", keyring_bytes(&Protection::None)),
        ("keyring-passphrase", keyring_bytes(&Protection::Passphrase(b"correct horse"))),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec();
    let names = ["root", "admit-owner", "admit-keeper", "role", "remove", "epoch"];
    for (entry, name) in entries().iter().zip(names) {
        formats.push((format!("entry-{name}"), entry.encode()));
    }
    formats.extend(OLD_RECORDS.iter().map(|(name, _)| ((*name).to_owned(), frozen(name))));
    formats
}

/// A frozen record, and what the same draft gives now.
type Old = (&'static str, fn() -> Record);

/// Records of formats 1 and 2, which nobody writes any more.
const OLD_RECORDS: &[Old] = &[
    ("record-put-inline", put_inline),
    ("record-put-chunks", put_chunks),
    ("record-put-indirect", put_indirect),
    ("record-tombstone", tombstone),
    ("record-put-written", put_written),
    ("record-tombstone-written", tombstone_written),
    ("record-forget-covered", || forget(ForgetKind::Covered)),
    ("record-forget-dead", || forget(ForgetKind::Dead)),
    ("record-forget-nodes", forget_by_node),
];

/// The bytes of a file that must never change.
fn frozen(name: &str) -> Vec<u8> {
    let path = directory().join(format!("{name}.txt"));
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    HEXLOWER.decode(text.trim_end().as_bytes()).unwrap()
}

#[test]
fn records_that_were_signed_over_their_body_still_verify_and_say_the_same() {
    for (name, now) in OLD_RECORDS {
        let (old, now) = (Record::decode(&frozen(name)).unwrap(), now());
        assert_eq!(old.verify(), Ok(()), "{name}");
        assert_eq!(old.clear(), now.clear(), "{name}");
        assert_eq!(old.open_meta(&meta_keys()), now.open_meta(&meta_keys()), "{name}");
        assert_eq!(old.bytes()[2] + 2, now.bytes()[2], "{name}: the format byte");
        assert_ne!(old.hash(), now.hash(), "{name}: the format is part of what is hashed");
        let mut forged = now.bytes().to_vec();
        let at = forged.len() - 64;
        forged[at..].copy_from_slice(&old.bytes()[old.bytes().len() - 64..]);
        assert!(Record::decode(&forged).unwrap().verify().is_err(), "{name}");
    }
}

fn keyring_bytes(protection: &Protection<'_>) -> Vec<u8> {
    keyring().encode(protection, &mut Counting(0)).unwrap().to_vec()
}

#[test]
fn every_format_is_frozen() {
    for (name, bytes) in &*FORMATS {
        check(&format!("{name}.txt"), &format!("{}\n", hex(bytes)));
    }
}

fn format(name: &str) -> Vec<u8> {
    let (_, bytes) = FORMATS.iter().find(|(format, _)| format == name).unwrap();
    bytes.clone()
}

/// What decoding says, as text.
fn decode(name: &str, bytes: &[u8]) -> String {
    fn error<T, E: Debug>(result: Result<T, E>) -> String {
        result.err().map_or("accepted".to_owned(), |error| format!("{error:?}"))
    }
    match name.split('-').next().unwrap() {
        "record" => error(Record::decode(bytes)),
        "entry" => error(MemberEntry::decode(bytes)),
        "cuts" => error(CutList::decode(bytes)),
        "manifest" => error(decode_manifest_chunk(bytes)),
        "chunk" => error(chunk_keys().open_in_place(&mut bytes.to_vec())),
        "join" => error(JoinRequest::decode(bytes)),
        "addresses" => error(SignedAddresses::decode(bytes)),
        "confirmation" => error(Confirmation::decode(bytes)),
        "statement" => error(Statement::decode(bytes)),
        "grant" => error(KeyGrant::decode(bytes)),
        "wrap" => error(unwrap(node().wrap_secret(), &stash(), bytes)),
        "keyring" => error(Keyring::decode(bytes, Some(b"correct horse"))),
        "label" => error(root().read_root().label_keys().open(bytes, &node().node_id())),
        "ticket" => error(std::str::from_utf8(bytes).unwrap().parse::<Ticket>()),
        "recovery" => error(RecoveryText::parse(std::str::from_utf8(bytes).unwrap())),
        other => panic!("no decoder for {other}"),
    }
}

#[test]
fn every_frozen_format_decodes() {
    for (name, bytes) in &*FORMATS {
        assert_eq!(decode(name, bytes), "accepted", "{name}");
    }
}

/// What to write over a valid encoding, and where.
type Edit = (&'static str, &'static str, usize, &'static [u8]);

/// Offsets as `docs/format.md` has them.
const EDITS: &[Edit] = &[
    ("record-put-inline", "magic", 0, b"XR"),
    ("record-put-inline", "format", 2, &[5]),
    ("record-put-inline", "kind", 3, &[5]),
    ("record-put-inline", "number-zero", 108, &[0; 8]),
    ("record-put-inline", "number-at-2-63", 108, &[0, 0, 0, 0, 0, 0, 0, 0x80]),
    ("record-put-inline", "previous-of-first", 116, &[1]),
    ("record-put-inline", "height", 148, &[1, 0, 0, 0, 0, 0, 1, 0]),
    ("record-put-inline", "seen-65", 160, &[65]),
    ("record-put-inline", "manifest-kind", 161, &[2]),
    ("record-put-inline", "manifest-65", 162, &[65]),
    ("record-put-inline", "meta-length-odd", 163, &[33]),
    ("record-put-inline", "meta-length-bomb", 163, &[0xff; 4]),
    ("record-put-chunks", "seen-order", 161, &[0xff; 32]),
    ("record-put-chunks", "seen-double", 209, &[0; 32]),
    ("record-put-chunks", "seen-number-zero", 201, &[0; 8]),
    ("record-put-chunks", "reference-length", 291, &[0xff; 4]),
    ("record-put-indirect", "manifest-length", 195, &[17]),
    ("record-put-indirect", "manifest-total", 199, &[66]),
    ("record-put-indirect", "manifest-none", 162, &[0]),
    ("record-tombstone", "as-put-of-forget", 3, &[3]),
    ("record-forget-dead", "as-put", 3, &[1]),
    ("record-forget-nodes", "format-1", 2, &[1]),
    ("record-forget-nodes", "none", 257, &[0]),
    ("record-forget-nodes", "entries-65", 257, &[63]),
    ("record-forget-nodes", "node-order", 258, &[0xff; 32]),
    ("record-forget-nodes", "node-double", 298, &[7; 32]),
    ("record-forget-nodes", "node-and-writer", 258, &[1; 32]),
    ("record-3-put-inline", "format-0", 2, &[0]),
    ("record-3-put-inline", "as-format-4", 2, &[4]),
    ("record-3-put-inline", "kind", 3, &[5]),
    ("record-3-put-inline", "meta-length-odd", 163, &[33]),
    ("record-4-forget-nodes", "as-format-3", 2, &[3]),
    ("record-4-forget-nodes", "none", 257, &[0]),
    ("entry-root", "magic", 0, b"XM"),
    ("entry-root", "format", 2, &[2]),
    ("entry-root", "kind", 3, &[0xff]),
    ("entry-admit-owner", "role", 172, &[4]),
    ("entry-admit-owner", "label-length", 189, &[99]),
    ("entry-admit-owner", "label-bomb", 189, &[0xff, 0xff]),
    ("entry-role", "role", 108, &[0]),
    ("entry-demote", "cuts-bomb", 109, &[0xff, 0xff]),
    ("entry-demote", "cuts-order", 111, &[0xff; 8]),
    ("entry-demote", "number-zero", 119, &[0; 8]),
    ("entry-lapse", "lapsed", 108, &[2]),
    ("entry-cuts", "count-zero", 108, &[0; 4]),
    ("entry-cuts", "count-bomb", 108, &[0xff; 4]),
    ("cuts", "order", 0, &[0xff; 8]),
    ("cuts", "double", 48, &[4; 8]),
    ("cuts", "number-zero", 8, &[0; 8]),
    ("entry-remove", "cuts-bomb", 108, &[0xff, 0xff]),
    ("entry-remove", "number-zero", 118, &[0; 8]),
    ("entry-epoch", "previous-length", 80, &[63]),
    ("entry-epoch", "wraps-bomb", 146, &[0xff, 0xff]),
    ("entry-epoch", "wrap-order", 148, &[0xff; 32]),
    ("entry-epoch", "wrap-kind", 180, &[3]),
    ("entry-epoch", "wrap-length", 181, &[65]),
    ("manifest-chunk", "magic", 0, b"XC"),
    ("manifest-chunk", "format", 2, &[2]),
    ("manifest-chunk", "suite", 3, &[1]),
    ("manifest-chunk", "kind", 4, &[3]),
    ("manifest-chunk", "kind-file", 3, &[1, 1]),
    ("manifest-chunk", "reserved", 5, &[1]),
    ("manifest-chunk", "epoch", 8, &[1]),
    ("manifest-chunk", "length", 12, &[71]),
    ("manifest-chunk", "length-bomb", 12, &[0xff; 4]),
    ("manifest-chunk", "reference-length", 48, &[47, 0, 0, 0]),
    ("join", "magic", 0, b"XJ"),
    ("join", "format", 2, &[2]),
    ("join", "reserved", 3, &[1]),
    ("join", "name-length", 116, &[65]),
    ("join", "name-control", 117, &[0]),
    ("join", "name-utf8", 117, &[0xff]),
    ("addresses", "magic", 0, b"XA"),
    ("addresses", "format", 2, &[3]),
    ("addresses-2", "sequence", 43, &[0x80]),
    ("addresses-2", "kind", 53, &[5]),
    ("addresses-2", "name-upper", 84, b"N"),
    ("addresses-2", "name-port-zero", 99, &[0, 0]),
    ("addresses", "count", 44, &[9]),
    ("addresses", "family", 45, &[5]),
    ("addresses", "port-zero", 50, &[0, 0]),
    ("confirmation", "magic", 0, b"XF"),
    ("confirmation", "format", 2, &[2]),
    ("confirmation", "empty", 4, &[0; 8]),
    ("grant", "format", 0, &[2]),
    ("grant", "count-bomb", 1, &[0xff, 0xff]),
    ("wrap", "format", 0, &[2]),
    ("wrap", "weak-ephemeral", 1, &[0; 32]),
    ("wrap", "tag", 33, &[0; 32]),
    ("label", "epoch", 0, &[1]),
    ("label", "tag", 4, &[0; 32]),
    ("keyring-plain", "magic", 0, b"X"),
    ("keyring-plain", "checksum", 16, &[2]),
    ("keyring-passphrase", "checksum", 16, &[0xff; 4]),
];

fn malformed() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, what, at, new) in EDITS {
        let mut bytes = format(name);
        bytes[*at..at + new.len()].copy_from_slice(new);
        all.push((format!("{name}-{what}"), bytes));
    }
    for (name, bytes) in &*FORMATS {
        if !["wrap", "label", "ticket", "ticket-2", "recovery", "recovery-2"]
            .contains(&name.as_str())
        {
            all.push((format!("{name}-trailing-byte"), [&bytes[..], &[0]].concat()));
        }
        all.push((format!("{name}-cut-short"), bytes[..bytes.len() - 1].to_vec()));
    }
    all.extend(malformed_chunks());
    all
}

fn malformed_chunks() -> Vec<(String, Vec<u8>)> {
    let edit = |at: usize, new: u8| {
        let mut bytes = sealed(1);
        bytes[at] = new;
        bytes
    };
    let named = |(what, bytes)| (format!("chunk-{what}"), bytes);
    [
        ("empty", vec![]),
        ("header-only", sealed(1)[..16].to_vec()),
        ("suite-0", edit(3, 0)),
        ("suite-2", edit(3, 2)),
        ("manifest", manifest_chunk()),
        ("epoch", edit(8, 1)),
        ("length", edit(12, 2)),
        ("length-bomb", edit(15, 0xff)),
        ("tag", edit(16, 0)),
        ("body", edit(48, 0)),
        ("trailing-byte", [&sealed(1)[..], &[0]].concat()),
    ]
    .map(named)
    .into()
}

#[test]
fn every_malformation_gives_exactly_its_error() {
    for (name, bytes) in malformed() {
        let error = decode(&name, &bytes);
        assert_ne!(error, "accepted", "{name}");
        check(
            &format!("malformed/{name}.txt"),
            &format!("error = {error}\nbytes = {}\n", hex(&bytes)),
        );
    }
}

#[test]
fn every_file_of_malformations_is_checked() {
    let known: Vec<String> =
        malformed().into_iter().map(|(name, _)| format!("{name}.txt")).collect();
    let mut files = 0;
    for file in fs::read_dir(directory().join("malformed")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name} is not checked");
        files += 1;
    }
    assert_eq!(files, known.len());
}
