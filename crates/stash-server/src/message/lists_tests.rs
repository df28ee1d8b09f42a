//! Every list in a message, with its limit. A new one does not compile until it is named here; then
//! it has to be in `docs/protocol.md`, B.2, with its limit, and `tests/wire/lists.rs` asks a node
//! for one more than that.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_bytes::ByteBuf;

use crate::founder::writers::unpack_cuts;
use crate::message::encoding::{flags, together, unpack, unpack_hashes, unpack_references};
use crate::message::put::{Put, PutReply, RecordResult};
use crate::message::reply::Reply;
use crate::message::request::{FindPuts, Request, Which};
use crate::message::room::MemberRoom;
use crate::replication::difference;

/// The document, which names every request's fields. Only the repository has it.
static PROTOCOL: LazyLock<String> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    fs::read_to_string(path).expect("docs/protocol.md of the repository")
});

/// The name of a request, and its lists with the words of the document that limit them. No `..`: a
/// field that is added has to be looked at.
fn lists(request: &Request) -> (&'static str, Vec<(&'static str, &'static str)>) {
    match request {
        Request::Put {} => ("put", vec![]),
        Request::Get { address: [..] } => ("get", vec![]),
        Request::Have { chunks: _ } => ("have", vec![("chunks", "addresses")]),
        // Lists in a list: `tests/evicting.rs` asks for one more of each.
        Request::Evict { nonce: [..], groups: _ } => {
            ("evict", vec![("groups", "at most 64 chunks and 4,096 record hashes")])
        }
        Request::Prove { nonce: [..], chunks: _ } => ("prove", vec![("chunks", "at most 16")]),
        Request::Leaves { drawn: _ } => ("leaves", vec![("drawn", "at most 16")]),
        Request::Members { from: 0..=u64::MAX } => ("members", vec![]),
        Request::Announce { entries: _, addresses: _ } => {
            ("announce", vec![("entries", "at most 192 KiB"), ("addresses", "at most 48 KiB")])
        }
        Request::Log { log: [..], after: 0..=u64::MAX } => ("log", vec![]),
        Request::All {} => ("all", vec![]),
        Request::Turned { run: 0..=u64::MAX, after: 0..=u64::MAX } => ("turned", vec![]),
        Request::Sums { prefixes: _, length: 0..=u8::MAX, which: _ } => {
            ("sums", vec![("prefixes", "at most 64")])
        }
        Request::Ids { parts: _, size: 0..=u8::MAX, which: _ } => {
            ("ids", vec![("parts", "1 to 4,096")])
        }
        Request::Match { halves: _ } => ("match", vec![("halves", "at most 4,096")]),
        Request::News {} => ("news", vec![]),
        Request::Lack { hashes: _ } => ("lack", vec![("hashes", "hashes")]),
        Request::Holding { hashes: _ } => ("holding", vec![("hashes", "at most 256")]),
        Request::Writers { node: [..], from: [..] } => ("writers", vec![]),
        Request::Cuts { list: [..], from: 0..=u64::MAX } => ("cuts", vec![]),
        Request::Find { hashes: _, puts: _ } => ("find", vec![("hashes", "hashes")]),
        Request::Room(MemberRoom { used: _, limit: _, full: _, lacks: _ }) => ("room", vec![]),
        Request::State { statements: _, met: _ } => {
            ("state", vec![("statements", "at most 48 KiB"), ("met", "at most 4,096")])
        }
        // Signed, and decoded whole.
        Request::Join { request: _ } => ("join", vec![]),
        Request::Confirmed { confirmation: _ } => ("confirmed", vec![]),
    }
}

/// A request of each kind.
fn requests() -> Vec<Request> {
    let (hash, list) = ([0; 32], ByteBuf::new);
    vec![
        Request::Put {},
        Request::Get { address: hash },
        Request::Have { chunks: list() },
        Request::Evict { nonce: hash, groups: vec![] },
        Request::Prove { nonce: hash, chunks: list() },
        Request::Leaves { drawn: list() },
        Request::Members { from: 0 },
        Request::Announce { entries: vec![], addresses: vec![] },
        Request::Log { log: [0; 16], after: 0 },
        Request::All {},
        Request::Turned { run: 0, after: 0 },
        Request::Sums { prefixes: list(), length: 0, which: Which::Held },
        Request::Ids { parts: list(), size: 16, which: Which::Held },
        Request::Match { halves: list() },
        Request::News {},
        Request::State { statements: vec![], met: list() },
        Request::Lack { hashes: list() },
        Request::Holding { hashes: list() },
        Request::Writers { node: hash, from: [0; 8] },
        Request::Cuts { list: hash, from: 0 },
        Request::Find { hashes: list(), puts: FindPuts::All },
        Request::Room(MemberRoom::default()),
        Request::Join { request: list() },
        Request::Confirmed { confirmation: list() },
    ]
}

#[test]
fn every_list_of_a_request_stands_in_the_document_with_its_limit() {
    for request in requests() {
        let (name, lists) = lists(&request);
        let row = PROTOCOL.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let fields = row.and_then(|row| row.split('|').nth(2)).unwrap_or_default();
        for (field, limit) in lists {
            assert!(fields.contains(&format!("`{field}`")), "{name}.{field}: {fields}");
            assert!(fields.contains(limit), "{name}.{field} {limit}: {fields}");
        }
    }
    // One of each: the names are those of the document, in whatever order.
    let mut names: Vec<_> = requests().iter().map(|request| lists(request).0).collect();
    names.sort_unstable();
    let mut documented: Vec<_> = PROTOCOL
        .split("| request | fields |")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    documented.sort_unstable();
    assert_eq!(names, documented);
}

/// Bounds of the lists in answers and on put streams. No `..`, as above: a list that is added needs
/// its bound here.
fn bounds_of_reply(reply: &Reply) -> &'static [&'static str] {
    match reply {
        Reply::Chunk { length: 0..=u32::MAX } | Reply::NotHere {} | Reply::Done {} => &[],
        // As many as were asked for.
        Reply::Have { chunks: _ } => &["flags"],
        Reply::Kept { proofs: _, reason: _ } => &["asked"],
        Reply::Proofs { proofs: _ } | Reply::Holding { states: _ } => &["asked"],
        Reply::Leaves { leaves: _ } => &["asked"],
        // What a message holds, entry by entry verified.
        Reply::Members { entries: _, addresses: _ } => &["message"],
        Reply::Records { records: _ } => &["message"],
        Reply::Welcome { entries: _, grant: _, addresses: _ } => &["message"],
        Reply::Log { known: _, hashes: _, log: [..], last: 0..=u64::MAX } => &["hashes"],
        // 32 bytes, or none.
        Reply::All { n: _, sum: [..], log: _, full: _, less: _ } => &[],
        // Decoded whole; more than were told change nothing.
        Reply::Turned { known: _, records: _, run: _, last: _, n: _, sum: [..] } => &["message"],
        Reply::Sums { sums: _ } | Reply::Ids { ids: _, parts: 0..=u64::MAX } => &["asked"],
        Reply::Writers { last: _ } => &["cuts"],
        // In all, what the entry says that the list has.
        Reply::Cuts { cuts: _ } => &["asked"],
        Reply::Hashes { hashes: _ } => &["hashes"],
        Reply::Refused { code: _, reason: _ } => &[],
    }
}

fn bounds_of_put(put: &Put) -> &'static [&'static str] {
    match put {
        Put::Offer { chunks: _ } => &["references"],
        Put::Records { records: _ } => &["items"],
    }
}

fn bounds_of_put_reply(reply: &PutReply) -> &'static [&'static str] {
    match reply {
        PutReply::Want { chunks: _ } => &["flags"],
        PutReply::Results { results } => match results.first() {
            // As many as were sent.
            None => &["asked"],
            Some(RecordResult::Need { chunks: _ }) => &["asked", "addresses"],
            Some(
                RecordResult::Stored {}
                | RecordResult::Refused { reason: _ }
                | RecordResult::Failed { reason: _ }
                | RecordResult::Full { used: _, limit: _ },
            ) => &["asked"],
        },
    }
}

/// Cuts at the first number, of one incarnation after another.
fn cuts(count: usize) -> Vec<u8> {
    let cut = |at: u64| [&at.to_be_bytes()[..], &1_u64.to_le_bytes(), &[0; 32]].concat();
    (0..count as u64).flat_map(cut).collect()
}

/// A decoder of a list: its most items, and whether it takes so many.
type Decoder = (&'static str, usize, fn(usize) -> bool);

const DECODERS: &[Decoder] = &[
    ("addresses", 4_096, |count| unpack(&vec![0; 32 * count]).is_ok()),
    ("hashes", 4_096, |count| unpack_hashes(&vec![0; 32 * count]).is_ok()),
    ("references", 256, |count| unpack_references(&vec![0; 36 * count]).is_ok()),
    ("cuts", 4_096, |count| unpack_cuts(&cuts(count)).is_some()),
    ("prefixes", 64, |count| difference::prefixes(&vec![0; count], 1).is_some()),
    ("no prefixes", 0, |count| difference::prefixes(&vec![0; count], 0).is_some()),
    ("parts", 4_096, |count| difference::parts(&vec![0; 2 * count], 16).is_some()),
    ("halves", 4_096, |count| difference::halves(&vec![0; 16 * count]).is_some()),
    // Of 1,019 bytes, and five more each.
    ("items", 192, |count| {
        together(&vec![ByteBuf::from(vec![0; 1_019]); count], 192 << 10).is_ok()
    }),
    ("empty items", 204, |count| together(&vec![ByteBuf::new(); count], 1_024).is_ok()),
    // The least length that holds the list, and no other.
    ("flags", 8, |count| flags(&vec![0; count.div_ceil(8)], 8).is_ok()),
];

#[test]
fn every_decoder_of_a_list_takes_its_most_and_not_one_more() {
    for (name, most, takes) in DECODERS {
        assert!(takes(*most), "{most} {name}");
        assert!(!takes(most + 1), "{} {name}", most + 1);
    }
    let one = [ByteBuf::from(vec![0; 2_000])];
    assert!(together(&one, 1_024).is_ok(), "one item alone may be larger");
}

#[test]
fn every_list_of_an_answer_or_a_put_stream_has_a_bound_that_is_tested() {
    let list = ByteBuf::new;
    let replies = [
        Reply::Have { chunks: list() },
        Reply::Log { known: true, hashes: list(), log: [0; 16], last: 0 },
        Reply::Writers { last: list() },
        Reply::Hashes { hashes: list() },
    ];
    let need = PutReply::Results { results: vec![RecordResult::Need { chunks: list() }] };
    let named = replies
        .iter()
        .flat_map(bounds_of_reply)
        .chain(bounds_of_put(&Put::Offer { chunks: list() }))
        .chain(bounds_of_put(&Put::Records { records: vec![] }))
        .chain(bounds_of_put_reply(&PutReply::Want { chunks: list() }))
        .chain(bounds_of_put_reply(&need));
    for bound in named.filter(|bound| !["asked", "message"].contains(bound)) {
        assert!(DECODERS.iter().any(|(name, ..)| name == bound), "{bound}");
    }
}
