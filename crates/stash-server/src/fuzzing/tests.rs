//! Every target, from valid messages on: random, with a seed.

use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef};
use stash_fuzz::{Corpus, Seed, Target, seed};

use crate::door::Hello;
use crate::ledger::tickets::{Row, Used};
use crate::message::{
    FindPuts, MemberRoom, NamedBy, Put, PutReply, RecordBytes, RecordResult, Refusal, Reply,
    Request, Together, Which, bits, encode, pack, pack_references,
};

use super::*;

fn replay(target: &'static str, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(4000);
}

fn addresses() -> [Address; 2] {
    [Address::from_bytes([7; 32]), Address::from_bytes([8; 32])]
}

fn state() -> Request {
    let (statements, met) = (vec![ByteBuf::from(vec![7; 220])], ByteBuf::from(vec![1; 8]));
    Request::State { statements, met }
}

fn room() -> MemberRoom {
    MemberRoom { used: 1 << 30, limit: 1 << 30, full: true, lacks: 2_202 }
}

fn turned() -> Reply {
    Reply::Turned { known: true, records: bytes(66), run: 1 << 60, last: 9, n: 3, sum: [4; 32] }
}

fn all(full: u64, less: ByteBuf) -> Reply {
    Reply::All { n: 7, sum: [3; 32], log: 4, full, less }
}

fn record(len: usize) -> RecordBytes {
    RecordBytes(vec![9; len].into())
}

fn bytes(len: usize) -> ByteBuf {
    ByteBuf::from(vec![9; len])
}

// Fault case 32.
#[test]
fn requests_hold_their_promises_whatever_the_bytes() {
    let chunks = pack(&addresses());
    let (entries, claims) = (vec![bytes(40)], vec![bytes(9), bytes(0)]);
    let named = [NamedBy::Records { hashes: bytes(64) }, NamedBy::Digest { digest: [2; 32] }];
    let groups = named.map(|named| Together { chunks: chunks.clone(), named }).into();
    let seeds = [
        seed("put", encode(&Request::Put {})),
        seed("get", encode(&Request::Get { address: [3; 32] })),
        seed("have", encode(&Request::Have { chunks: chunks.clone() })),
        seed("evict", encode(&Request::Evict { nonce: [1; 32], groups })),
        seed("members", encode(&Request::Members { from: 7 })),
        seed("announce", encode(&Request::Announce { entries, addresses: claims })),
        seed("confirmed", encode(&Request::Confirmed { confirmation: bytes(124) })),
        seed("log", encode(&Request::Log { log: [1; 16], after: u64::MAX })),
        seed("all", encode(&Request::All {})),
        seed("turned", encode(&Request::Turned { run: 1 << 60, after: 9 })),
        seed("sums", encode(&Request::Sums { prefixes: bytes(2), length: 1, which: Which::Held })),
        seed("ids", encode(&Request::Ids { parts: bytes(4), size: 16, which: Which::Whole })),
        seed("match", encode(&Request::Match { halves: bytes(32) })),
        seed("news", encode(&Request::News {})),
        seed("lack", encode(&Request::Lack { hashes: bytes(64) })),
        seed("holding", encode(&Request::Holding { hashes: bytes(32) })),
        seed("prove", encode(&Request::Prove { nonce: [1; 32], chunks: bytes(32) })),
        seed("leaves", encode(&Request::Leaves { drawn: bytes(72) })),
        seed("writers", encode(&Request::Writers { node: [4; 32], from: [5; 8] })),
        seed("find", encode(&Request::Find { hashes: bytes(32), puts: FindPuts::All })),
        seed("find-some", encode(&Request::Find { hashes: bytes(32), puts: FindPuts::Naming })),
        seed("room", encode(&Request::Room(room()))),
        seed("state", encode(&state())),
        seed("cuts", encode(&Request::Cuts { list: [4; 32], from: 4_096 })),
        seed("join", encode(&Request::Join { request: bytes(186) })),
        seed("refused-bomb", b"\x81\xa8announce\x82\xa7entries\xdd\xff\xff\xff\xff"),
    ];
    replay("request", request, &seeds);
}

// Fault case 32.
#[test]
fn put_streams_hold_their_promises_whatever_the_bytes() {
    let chunk = ChunkRef { address: addresses()[0], sealed_len: 4144 };
    let puts = [
        seed("offer", encode(&Put::Offer { chunks: pack_references([&chunk]) })),
        seed("records", encode(&Put::Records { records: vec![record(300), record(1)] })),
        seed("refused-bomb", b"\x81\xa7records\x81\xa7records\xdd\xff\xff\xff\xff"),
    ];
    replay("put", put, &puts);
    let results = vec![
        RecordResult::Stored {},
        RecordResult::Need { chunks: pack(&addresses()) },
        RecordResult::Refused { reason: "a rule".to_owned() },
        RecordResult::Failed { reason: "full".to_owned() },
        RecordResult::Full { used: 1 << 30, limit: 1 << 30 },
    ];
    let replies = [
        seed("want", encode(&PutReply::Want { chunks: bits([true, false, true]) })),
        seed("results", encode(&PutReply::Results { results })),
    ];
    replay("put_reply", put_reply, &replies);
}

// Fault case 32.
#[test]
fn replies_hold_their_promises_whatever_the_bytes() {
    let (entries, claims) = (vec![bytes(40)], vec![bytes(9)]);
    let welcome =
        Reply::Welcome { entries: entries.clone(), grant: bytes(77), addresses: claims.clone() };
    let kept = Reply::Kept { proofs: bytes(64), reason: String::new() };
    let refused = Reply::Refused { code: Refusal::TicketExpired, reason: "late".to_owned() };
    let log = Reply::Log { known: true, hashes: bytes(64), log: [2; 16], last: 9 };
    let seeds = [
        seed("chunk", encode(&Reply::Chunk { length: 4144 })),
        seed("not-here", encode(&Reply::NotHere {})),
        seed("have", encode(&Reply::Have { chunks: bits([true, false]) })),
        seed("kept", encode(&kept)),
        seed("leaves", encode(&Reply::Leaves { leaves: vec![bytes(1_060), bytes(0)] })),
        seed("done", encode(&Reply::Done {})),
        seed("members", encode(&Reply::Members { entries, addresses: claims })),
        seed("records", encode(&Reply::Records { records: vec![record(200)] })),
        seed("log", encode(&log)),
        seed("all", encode(&all(0, ByteBuf::new()))),
        seed("all-without-room", encode(&all(2, bytes(32)))),
        seed("turned", encode(&turned())),
        seed("sums", encode(&Reply::Sums { sums: bytes(64) })),
        seed("ids", encode(&Reply::Ids { ids: bytes(18), parts: 1 })),
        seed("hashes", encode(&Reply::Hashes { hashes: bytes(64) })),
        seed("writers", encode(&Reply::Writers { last: bytes(96) })),
        seed("cuts", encode(&Reply::Cuts { cuts: bytes(48) })),
        seed("welcome", encode(&welcome)),
        seed("refusal", encode(&refused)),
    ];
    replay("reply", reply, &seeds);
    let hello = |room, confirmed: usize| Hello {
        members: 3,
        head: bytes(32),
        addresses: bytes(135),
        room,
        confirmed: bytes(confirmed),
        program: String::new(),
        seen: "203.0.113.7:54321".to_owned(),
    };
    let with_room = seed("hello-with-room", encode(&hello(Some(room()), 124)));
    let program = "0.2.0".to_owned();
    let with_program = seed("hello-with-program", encode(&Hello { program, ..hello(None, 0) }));
    let hello = seed("hello", encode(&hello(None, 0)));
    let old = seed("hello-without-head", b"\x82\xa7members\x03\xa9addresses\xc4\x00");
    replay("door", door, &[hello, with_room, with_program, old]);
}

#[test]
fn rows_and_lists_hold_their_promises_whatever_the_bytes() {
    let used = Used { node: [1; 32], grant: bytes(77), at: 950 };
    let open = Row {
        id: [1; 16],
        ticket: "stashticket1".to_owned(),
        role: "keeper".to_owned(),
        expires: 1_000,
        used: None,
        made: 900,
        made_at_uptime: Some(40),
        struck: false,
    };
    let burnt = Row { used: Some(used), ..open.clone() };
    let row = |row: &Row| rmp_serde::to_vec_named(row).unwrap();
    let rows = [seed("open", row(&open)), seed("used", row(&burnt))];
    replay("ticket_row", ticket_row, &rows);
    let chunk = ChunkRef { address: addresses()[0], sealed_len: 4144 };
    let cuts = [[1; 8], 7_u64.to_le_bytes(), [2; 8], [2; 8], [2; 8], [2; 8]].concat();
    let list = |count: u16, list: &[u8]| [&count.to_le_bytes(), list].concat();
    let seeds = [
        seed("addresses", list(2, &pack(&addresses()))),
        seed("references", list(1, &pack_references([&chunk]))),
        seed("cuts", list(0, &cuts)),
        seed("flags", list(11, &bits([true; 11]))),
    ];
    replay("lists", lists, &seeds);
}
