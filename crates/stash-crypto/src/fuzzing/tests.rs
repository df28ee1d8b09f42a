//! Every target, from the frozen vectors on: random, with a seed.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use stash_fuzz::{Corpus, Seed, Target, seed};

use crate::MemberEntry;
use crate::chunk::padme;

/// The frozen encodings whose file names begin so, without the `.txt`.
fn vectors(prefix: &str) -> Vec<Seed> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut seeds = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_file() && name.starts_with(prefix) {
            let text = fs::read_to_string(&path).unwrap();
            seeds.push((name.to_owned(), HEXLOWER.decode(text.trim().as_bytes()).unwrap()));
        }
    }
    assert!(!seeds.is_empty(), "no vector begins with {prefix}");
    seeds
}

fn vector(name: &str) -> Vec<u8> {
    let found = vectors(name).into_iter().find(|(found, _)| found == name);
    found.unwrap().1
}

fn replay(target: &'static str, mutations: u32, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(mutations);
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

#[test]
fn chunks_hold_their_promises_whatever_the_bytes() {
    let sealed = |name: &str| {
        let text = include_str!("../../vectors/sealed-chunks.txt");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).unwrap();
        HEXLOWER.decode(line.as_bytes()).unwrap()
    };
    let seeds = [seed("empty", sealed("sealed-0")), seed("one-byte", sealed("sealed-1"))];
    replay("chunk", 4000, super::chunk, &seeds);
    let plain = [&[20, 0, 0, 0, 1][..], &[7; 100]].concat();
    replay("seal", 2000, super::seal, &[seed("a-byte-of-the-tag-changes", plain)]);
    replay("manifest", 4000, super::manifest, &vectors("manifest-chunk"));
    let lengths: Vec<_> = [9_u64, 1 << 20, padme(1 << 40) + 1]
        .map(|len| seed(&len.to_string(), [len.to_le_bytes(), len.to_be_bytes()].concat()))
        .into();
    replay("padding", 4000, super::padding, &lengths);
}

#[test]
fn records_hold_their_promises_whatever_the_bytes() {
    replay("record", 4000, super::record, &vectors("record-"));
    let key = [&[1, 7][..], &block(b"Photos/a.jpg"), &5_u64.to_le_bytes(), &[0; 4]].concat();
    let times = [&(-1_i64).to_le_bytes()[..], &[1, 2, 3, 0], &[0xa4, 1, 0, 0]].concat();
    let attribute = [&[1, 8][..], b"user.tag", &block(b"blue")].concat();
    let mut plain = [key, times, attribute, block(b"hello")].concat();
    plain.resize(256, 0);
    let inline = vector("record-put-inline");
    // Of this record, which has no vector entries and no chunks, the clear part is 163 bytes.
    let put = [block(&inline[..163]), plain.clone()].concat();
    let tombstone = [&[1, 0][..], &block(b"a"), &[0; 12], &[0]].concat();
    let mut tombstone = [block(&vector("record-tombstone")[..163 + 48]), tombstone].concat();
    tombstone.resize(2 + 163 + 48 + 256, 0);
    // The same with flag 8 and the time of writing behind the mode.
    let at = 2 + 163 + 4 + 12 + 12 + 12 + 4;
    let mut written = put.clone();
    written[2 + 163 + 1] |= 8;
    written.splice(at..at, [&7_i64.to_le_bytes()[..], &[9, 0, 0, 0]].concat());
    written.truncate(put.len());
    // A link to the inline bytes; a directory, which has none; a file of a hole of 4 KiB.
    let flagged = |flag: u8, size: u8, chunk: u8, content: &[u8]| {
        let mut other = put.clone();
        let content = block(content);
        (other[2 + 163 + 1], other[2 + 163 + 16]) = (flag, size);
        (other[2 + 163 + 17], other[2 + 163 + 25]) = (chunk, chunk);
        let at = 2 + 163 + 16 + 12 + 12 + 4 + 1 + 1 + 8 + 2 + 4;
        other.truncate(at);
        other.extend_from_slice(&content);
        other.resize(put.len(), 0);
        other
    };
    let seeds = [
        seed("put-link", flagged(16 | 7, 5, 0, b"hello")),
        seed("put-directory", flagged(32 | 7, 0, 0, b"")),
        seed("put-holes", flagged(64 | 3, 0, 16, b"")),
        seed("put", put),
        seed("put-written", written),
        seed("tombstone", tombstone),
    ];
    replay("meta", 4000, super::meta, &seeds);
}

#[test]
fn members_hold_their_promises_whatever_the_bytes() {
    let entries = vectors("entry-");
    replay("member_entry", 4000, super::member_entry, &entries);
    let step = |name: &str, node: u8| {
        let bytes = vector(name);
        let code = bytes[3];
        assert!(MemberEntry::decode(&bytes).is_ok());
        [&[code, 0, node][..], &block(&bytes[76..bytes.len() - 64])].concat()
    };
    let all = [
        step("entry-root", 0),
        step("entry-admit-owner", 0),
        step("entry-admit-keeper", 1),
        step("entry-role", 1),
        step("entry-remove", 1),
        step("entry-epoch", 0),
    ];
    replay("member_log", 200, super::member_log, &[seed("every-change", all.concat())]);
}

#[test]
fn texts_hold_their_promises_whatever_the_bytes() {
    let body = |text: &[u8]| {
        let text: String = std::str::from_utf8(text).unwrap().split_whitespace().collect();
        let (_, body) = bech32::decode(&text).unwrap();
        body
    };
    for (name, run) in [("ticket", super::ticket as Target), ("recovery", super::recovery)] {
        let text = vector(name);
        let seeds = [seed("body", body(&text)), seed("text", text)];
        replay(name, 2000, run, &seeds);
    }
    let keys = [seed("path", &b"Photos/2024/a.jpg"[..]), seed("refused-climbs", &b"a/../b"[..])];
    replay("key", 4000, super::key, &keys);
    let ids: Vec<_> = [8_u8, 16, 32]
        .map(|len| seed(&len.to_string(), HEXLOWER.encode(&vec![0xa7; len.into()])))
        .into();
    replay("id", 4000, super::id, &ids);
}

#[test]
fn keyrings_hold_their_promises_whatever_the_bytes() {
    let seeds: Vec<_> = vectors("keyring-")
        .into_iter()
        .flat_map(|(name, file)| {
            let body = file[..file.len() - 32].to_vec();
            let name = name.replace("keyring-passphrase", "refused-passphrase");
            [seed(&format!("{name}-without-its-sum"), body), (name, file)]
        })
        .collect();
    replay("keyring", 2000, super::keyring, &seeds);
}

#[test]
fn letters_hold_their_promises_whatever_the_bytes() {
    replay("join", 2000, super::join, &vectors("join"));
    replay("addresses", 2000, super::addresses, &vectors("addresses"));
    replay("statement", 2000, super::statement, &vectors("statement"));
    replay("grant", 4000, super::grant, &vectors("grant"));
    replay("wrap", 500, super::wrap, &vectors("wrap"));
    let name = seed("name", &b"attic"[..]);
    replay("label", 2000, super::label, &[vectors("label").remove(0), name]);
}
