//! Lists on the wire: each is taken at its limit and refused one beyond it.

use serde::Serialize;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::path::Path;

use crate::client::{self, Fate, pack};
use crate::scene::scene;

/// Bytes of one item of a list of items that have no length of their own, and what the document
/// counts for it.
const ITEM: usize = 1_024 - 5;

/// A field of a request.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Value {
    Packed(ByteBuf),
    Items(Vec<ByteBuf>),
    Number(u64),
}

/// A list of a request, as `docs/protocol.md`, B.2, has it.
struct List {
    request: &'static str,
    field: &'static str,
    /// Items that it may have.
    most: usize,
    /// Bytes of an item in a packed list; 0 for an array, whose items are of [`ITEM`] bytes.
    each: usize,
    /// The fields beside it.
    beside: &'static [(&'static str, Beside)],
}

/// A field that is no list under test.
enum Beside {
    Nonce,
    Number(u64),
    Bytes,
    Nothing,
}

const fn of(
    (request, field): (&'static str, &'static str),
    most: usize,
    each: usize,
    beside: &'static [(&'static str, Beside)],
) -> List {
    List { request, field, most, each, beside }
}

const NONCE: &[(&str, Beside)] = &[("nonce", Beside::Nonce)];

const LISTS: &[List] = &[
    of(("have", "chunks"), 4_096, 32, &[]),
    of(("prove", "chunks"), 16, 32, NONCE),
    of(("leaves", "drawn"), 16, 36, &[]),
    of(("announce", "entries"), 192, 0, &[("addresses", Beside::Nothing)]),
    of(("announce", "addresses"), 48, 0, &[("entries", Beside::Nothing)]),
    of(("find", "hashes"), 4_096, 32, &[]),
    of(("sums", "prefixes"), 64, 1, &[("length", Beside::Number(1))]),
    of(("ids", "parts"), 4_096, 2, &[("size", Beside::Number(16))]),
    of(("match", "halves"), 4_096, 16, &[]),
    of(("lack", "hashes"), 4_096, 32, &[]),
    of(("holding", "hashes"), 256, 32, &[]),
    of(("state", "statements"), 48, 0, &[("met", Beside::Bytes)]),
    of(("state", "met"), 4_096, 8, &[("statements", Beside::Nothing)]),
];

impl List {
    /// The request with so many items in the list.
    fn with(&self, count: usize) -> Vec<u8> {
        let list = match self.each {
            0 => Value::Items(vec![ByteBuf::from(vec![0; ITEM]); count]),
            each => Value::Packed(ByteBuf::from(vec![0; each * count])),
        };
        let beside = self.beside.iter().map(|(name, beside)| {
            let value = match beside {
                Beside::Nonce => Value::Packed(ByteBuf::from(vec![0; 32])),
                Beside::Number(number) => Value::Number(*number),
                Beside::Bytes => Value::Packed(ByteBuf::new()),
                Beside::Nothing => Value::Items(vec![]),
            };
            (*name, value)
        });
        let fields: BTreeMap<_, _> = beside.chain([(self.field, list)]).collect();
        pack(&BTreeMap::from([(self.request, fields)]))
    }
}

// Fault case 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_of_a_request_is_taken_at_its_limit_and_refused_one_beyond() {
    let scene = scene().await;
    for list in LISTS {
        let what = format!("{} {} of {}", list.most, list.field, list.request);
        let answer = scene.session.ask_raw(list.with(list.most)).await;
        if let client::Answer::Refused { code, .. } = &answer {
            // Its items are nothing; that there are so many is no fault.
            assert_eq!((list.each, code.as_str()), (0, "failed"), "{what}: {answer:?}");
        }
        let beyond = scene.session.ask_raw(list.with(list.most + 1)).await;
        assert_eq!(beyond.refusal(), "malformed", "one more than {what}");
    }
    scene.works_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_192_kib_are_answered_and_more_reset_the_stream() {
    let scene = scene().await;
    let junk = vec![0; ITEM];
    let many: Vec<&[u8]> = vec![&junk; 193];
    let put = &mut scene.session.put().await;
    let fates = put.records(&many[..192]).await;
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Refused { .. })), "{:?}", fates[0]);
    let mut put = scene.session.put().await;
    put.say_records(&many).await.unwrap();
    put.must_be_reset("193 KiB of records").await;
    let mut put = scene.session.put().await;
    put.say_records(&vec![&[][..]; 40_000]).await.unwrap();
    put.must_be_reset("40,000 records of nothing").await;
    scene.works_on(0).await;
}

#[test]
fn every_list_of_the_document_is_in_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let protocol = std::fs::read_to_string(path).expect("docs/protocol.md of the repository");
    let table =
        protocol.split("| request | fields |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut lists = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').collect();
        let (name, fields) = (cells[1].trim().trim_matches('`'), cells[2]);
        for field in fields.split(['`']).skip(1).step_by(2) {
            let is_list = [
                "chunks",
                "hashes",
                "entries",
                "addresses",
                "prefixes",
                "parts",
                "halves",
                "statements",
                "met",
                "drawn",
            ]
            .contains(&field);
            let known = LISTS.iter().any(|list| list.request == name && list.field == field);
            let single = [
                ["nonce", "address", "from", "log", "after", "length", "size", "node"].as_slice(),
                &["puts", "all", "naming", "none", "used", "limit", "full", "lacks", "list"],
                &["run", "which", "held", "whole", "sums"],
            ]
            .concat();
            // Groups are lists of lists, and have tests of their own.
            let nested = ("evict", "groups") == (name, field);
            // Signed, and decoded whole.
            let whole =
                [("join", "request"), ("confirmed", "confirmation")].contains(&(name, field));
            let is_other = single.contains(&field) || nested || whole;
            assert!(is_list != is_other, "{name}.{field} is new: is it a list?");
            assert_eq!(is_list, known, "{name}.{field}");
            lists += usize::from(is_list);
        }
    }
    assert_eq!(lists, LISTS.len());
}
