//! Every target, from what a store writes on: random, with a seed.

use stash_fuzz::{Corpus, Seed, Target, seed};

use super::{KEY, SEGMENT};
use crate::entry::{Header, Mark, Op};
use crate::format::Format;
use crate::log::segment_header;
use crate::{Address, Nest, Ref};

fn replay(target: &'static str, mutations: u32, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(mutations);
}

/// Entries with what follows their fields. Kinds that are added later belong here, too.
fn entries() -> Vec<(&'static str, Op, &'static [u8])> {
    let address = Address::of(b"a");
    let refs = vec![Ref { address, sealed_len: 9 }; 2];
    let holder = [9; 32];
    let record =
        Op::Record { hash: [1; 32], name: [2; 32], writer: [3; 40], n: 4, refs: refs.clone() };
    let (hash, name, writer) = ([1; 32], [2; 32], [3; 40]);
    let drop = Op::Drop { hash, name, writer, n: 4, sequence: 5, refs: refs.clone() };
    let unref = Op::Unref { manifest: address, next: 9, last: true, addresses: vec![address; 2] };
    vec![
        ("record", record, b"bytes"),
        ("small-chunk", Op::SmallChunk { address }, b"blob"),
        ("file-chunk", Op::FileChunk { address, len: 7 }, b""),
        ("manifest", Op::Manifest { address, refs }, b""),
        ("row-set", Op::Row { key: b"k".to_vec(), value: Some(b"v".to_vec()) }, b""),
        ("row-remove", Op::Row { key: b"k".to_vec(), value: None }, b""),
        ("hold", Op::Hold { address, holder }, b""),
        ("release", Op::Release { address, holder }, b""),
        ("evict", Op::Evict { address }, b""),
        ("quarantine", Op::Quarantine { address }, b""),
        ("open", Op::Open { opens: 7 }, b""),
        ("commit", Op::Commit(Mark { first: 1, count: 2, durable: 3, digest: [4; 16] }), b""),
        ("drop", drop, b""),
        ("moved", Op::Moved { sequence: 6, op: Box::new(Op::SmallChunk { address }) }, b"blob"),
        ("retire", Op::Retire { segment: 7, floor: 3 }, b""),
        ("dead", Op::Dead { address, manifest: true }, b""),
        ("unref", unref, b""),
        ("uptime", Op::Uptime { seconds: 10 }, b""),
    ]
}

fn body(op: &Op, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    op.encode(payload, &mut body);
    body
}

// Fault case 91.
#[test]
fn formats_and_headers_hold_their_promises_whatever_the_bytes() {
    let format = Format::from_seed(&[7; 32], Nest::SEED);
    let mut newer = format.encode();
    newer[16] = 9;
    let seeds = [seed("layout", format.encode()), seed("refused-newer", newer)];
    replay("format", 4000, super::format, &seeds);
    let header = segment_header(&Format::from_seed(&[7; 32], Nest::default()), 3, 77);
    replay("segment_header", 2000, super::segment_header, &[seed("third", header)]);
    let header = Header { len: 40, kind: 12, sequence: 9, crc: 5 }.encode(&KEY, SEGMENT, 256);
    let at = [&256_u64.to_le_bytes()[..], &header].concat();
    replay("log_header", 4000, super::log_header, &[seed("commit", at)]);
}

// Fault case 78.
#[test]
fn scrub_files_hold_their_promises_whatever_the_bytes() {
    let seeds = crate::scrub::Pass::samples();
    let named =
        |(n, pass): (usize, &crate::scrub::Pass)| seed(&format!("pass-{n}"), pass.encode(&[7; 16]));
    let seeds: Vec<_> = seeds.iter().enumerate().map(named).collect();
    replay("scrub", 4000, super::scrub, &seeds);
}

#[test]
fn entries_hold_their_promises_whatever_the_bytes() {
    let mut seeds: Vec<_> = entries()
        .iter()
        .map(|(name, op, payload)| {
            seed(name, [&[op.kind() as u8][..], &body(op, payload)].concat())
        })
        .collect();
    // Fault case 31.
    let bomb = [&[4][..], &[7; 32], &[0xff; 4]].concat();
    seeds.push(seed("refused-bomb", bomb));
    replay("log_entry", 6000, super::log_entry, &seeds);
}

#[test]
fn segments_hold_their_promises_whatever_the_bytes() {
    let piece = |kind: u8, entry: u8, content: &[u8]| {
        let len = u16::try_from(content.len()).unwrap().to_le_bytes();
        [&[kind, entry][..], &len, content].concat()
    };
    let all: Vec<u8> = entries()
        .iter()
        .flat_map(|(_, op, payload)| piece(0, op.kind() as u8, &body(op, payload)))
        .collect();
    let (_, record, bytes) = &entries()[0];
    let good = piece(0, 1, &body(record, bytes));
    let hurt = [
        vec![0, 0],
        piece(2, 0, b"garbage"),
        good.clone(),
        piece(1, 1, b"its checksum is wrong"),
        piece(3, 0, b""),
        good.clone(),
        piece(0, 99, b"not understood"),
    ];
    let cut = [vec![20, 0], good.clone(), good];
    let seeds = [
        seed("every-kind", [vec![0, 0], all].concat()),
        seed("refused-hurt", hurt.concat()),
        seed("refused-cut", cut.concat()),
    ];
    replay("scan", 4000, super::scan, &seeds);
}
