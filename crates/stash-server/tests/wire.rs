//! What a node answers on the wire, and what it makes of an initiator that breaks
//! `docs/protocol.md` part B: put streams, requests, joins and news of members.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::Duration;

use client::{
    Act, Answer, Ask, Client, Fate, Session, joined_up, next, pack, put_of, script, sealed, within,
};
use futures::FutureExt;
use serde_bytes::ByteBuf;
use stash_crypto::{
    Address, ChunkRef, JoinRequest, MemberChange, MemberEntry, MemberLog, NodeKeys, Role, TicketId,
};
use stash_p2p::{Frame, StreamError};
use stash_server::{JoinError, Wait, join};
use support::{Node, PATIENCE, Stash, admit_entry};

/// Smallest and largest sealed length of B.3, 2.
const SEALED: [u32; 2] = [48, 4_198_400];

struct Scene {
    stash: Stash,
    node: Node,
    owner: Client,
    session: Session,
}

async fn scene() -> Scene {
    let stash = Stash::new();
    let node = stash.founder().await;
    let owner = Client::member(&stash, &node, Role::Owner).await;
    let session = owner.connect(&node).await;
    Scene { stash, node, owner, session }
}

impl Scene {
    async fn here(&self, chunk: &ChunkRef) -> bool {
        self.node.engine.chunks_here(&[chunk.address]).await.unwrap()[0]
    }

    /// Puts one file on a stream of its own, as an honest owner does.
    async fn put(&self, key: &str, n: u64) -> (ChunkRef, Vec<u8>) {
        let (chunk, bytes) = sealed(&self.stash, key, 5_000);
        let record = put_of(&self.stash, &self.owner.keys, key, n, &[chunk]);
        let fates = self.session.give(&[(chunk, bytes.clone())], &[record.bytes()]).await;
        assert_eq!(fates, [Fate::Stored {}], "{key}");
        (chunk, bytes)
    }

    /// After a fault: nothing was kept, and the same connection still puts, gets and is a peer.
    async fn works_on(&self, records: u64) {
        let held = self.node.engine.status().await.unwrap();
        assert_eq!(held.records, records, "no record was kept");
        let (chunk, bytes) = self.put(&format!("later {records}"), 1_000 + records).await;
        assert_eq!(self.session.get(chunk.address).await, Some(bytes));
    }
}

fn unknown_chunk(n: u32, sealed_len: u32) -> ChunkRef {
    let address = Address::of(&n.to_le_bytes());
    ChunkRef { address, sealed_len }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wants_are_exactly_what_is_not_here_and_was_not_asked_for() {
    let scene = scene().await;
    let (here, _) = scene.put("here", 1).await;
    let mut offered: Vec<ChunkRef> = (0..11).map(|n| unknown_chunk(n, 500)).collect();
    offered[3] = here;
    offered[8] = here;
    offered[10] = offered[0];
    let mut put = scene.session.put().await;
    let mut expected = vec![true; 11];
    (expected[3], expected[8], expected[10]) = (false, false, false);
    assert_eq!(put.offer(&offered).await, expected);
    assert_eq!(put.offer(&offered[..4]).await, [false; 4], "asked for already");
    assert_eq!(put.offer(&[]).await, Vec::<bool>::new());
    let other = scene.session.put().await.offer(&offered[..4]).await;
    assert_eq!(other, [true, true, true, false], "another stream knows nothing of this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_may_be_cut_anywhere_and_chunks_of_any_allowed_length_arrive() {
    let scene = scene().await;
    let smallest = sealed(&scene.stash, "smallest", 1);
    let small = sealed(&scene.stash, "small", 3);
    let large = sealed(&scene.stash, "large", 1 << 20);
    let largest = sealed(&scene.stash, "largest", 4 << 20);
    assert_eq!(smallest.0.sealed_len, SEALED[0] + 1, "an empty file has no chunk");
    let chunks = [smallest, small, large, largest];
    let refs: Vec<ChunkRef> = chunks.iter().map(|(chunk, _)| *chunk).collect();
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&refs).await, [true; 4]);
    let all: Vec<u8> = chunks.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    // Pieces of lengths that have nothing to do with chunks or with frames.
    let mut rest = &all[..];
    for step in [1_usize, 46, 3, 99, 1, 65_507, 262_144, 300_000].into_iter().cycle() {
        let (piece, later) = rest.split_at(step.min(rest.len()));
        if piece.is_empty() {
            break;
        }
        put.data(piece.to_vec()).await.unwrap();
        rest = later;
    }
    for (n, chunk) in (1..).zip(&refs) {
        let key = format!("k{n}");
        let record = put_of(&scene.stash, &scene.owner.keys, &key, n, &[*chunk]);
        assert_eq!(put.records(&[record.bytes()]).await, [Fate::Stored {}], "{key}");
    }
    for (chunk, bytes) in chunks {
        assert!(scene.session.get(chunk.address).await == Some(bytes), "{}", chunk.address);
    }
}

// Fault cases 11 and 12, as the receiver: the first bit, the last bit, one in between, and another
// chunk that is good in itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_do_not_match_reset_the_stream_and_are_not_kept() {
    let scene = scene().await;
    let bystander = Client::member(&scene.stash, &scene.node, Role::Owner).await;
    let other = bystander.connect(&scene.node).await;
    let (chunk, good) = sealed(&scene.stash, "wanted", 200_000);
    let mut wrong: Vec<Vec<u8>> = [0, good.len() / 2, good.len() - 1]
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        })
        .into();
    wrong.push(sealed(&scene.stash, "another", 200_000).1);
    for (records, bytes) in (0..).zip(wrong) {
        let record = put_of(&scene.stash, &scene.owner.keys, "wanted", 1, &[chunk]);
        let mut beside = other.put().await;
        let mut put = scene.session.put().await;
        assert_eq!(put.offer(&[chunk]).await, [true]);
        put.data(bytes).await.unwrap();
        // The stream may be gone already, and then the record cannot be sent.
        let _ = put.say_records(&[record.bytes()]).await;
        put.must_be_reset("bytes that do not match").await;
        assert!(!scene.here(&chunk).await, "the wrong bytes are not kept");
        assert_eq!(scene.session.get(chunk.address).await, None);
        let unaffected = put_of(&scene.stash, &scene.owner.keys, "beside", 2, &[]);
        assert_eq!(beside.records(&[unaffected.bytes()]).await, [Fate::Stored {}]);
        scene.works_on(1 + records).await;
    }
    let record = put_of(&scene.stash, &scene.owner.keys, "wanted", 1, &[chunk]);
    let fates = scene.session.give(&[(chunk, good)], &[record.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}], "the good bytes are taken afterwards");
}

// B.3, 2: the reset does not wait for the sender's next word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_do_not_match_reset_the_stream_at_once() {
    let scene = scene().await;
    let (chunk, mut bytes) = sealed(&scene.stash, "wanted", 200_000);
    bytes[7] ^= 1;
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&[chunk]).await, [true]);
    put.data(bytes).await.unwrap();
    put.must_be_reset("bytes that do not match, and nothing after them").await;
}

// Fault case 35.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_without_an_offer_resets_the_stream() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    put.data(vec![1; 100]).await.unwrap();
    put.must_be_reset("data without an offer").await;

    let (here, bytes) = scene.put("here", 1).await;
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&[here]).await, [false]);
    put.data(bytes).await.unwrap();
    put.must_be_reset("data that was offered and not wanted").await;

    let (chunk, mut bytes) = sealed(&scene.stash, "long", 1_000);
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&[chunk]).await, [true]);
    bytes.push(0);
    put.data(bytes).await.unwrap();
    put.must_be_reset("a byte more than was wanted").await;
    scene.works_on(1).await;
}

// Fault case 31.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_no_sealed_chunk_has_reset_the_stream() {
    let scene = scene().await;
    for length in [0, 1, 47, SEALED[1] + 1, 1 << 30, u32::MAX] {
        let mut put = scene.session.put().await;
        put.say_offer(&[unknown_chunk(1, 500), unknown_chunk(2, length)]).await.unwrap();
        put.must_be_reset(&format!("a sealed length of {length}")).await;
    }
    for length in SEALED {
        let mut put = scene.session.put().await;
        assert_eq!(put.offer(&[unknown_chunk(3, length)]).await, [true], "{length}");
    }
    scene.works_on(0).await;
}

// Fault cases 22 and 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_of_4096_chunks_is_answered_and_a_longer_one_resets_the_stream() {
    let scene = scene().await;
    let chunks: Vec<ChunkRef> = (0..4_097).map(|n| unknown_chunk(n, 500)).collect();
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&chunks[..4_096]).await, vec![true; 4_096]);
    let mut put = scene.session.put().await;
    put.say_offer(&chunks).await.unwrap();
    put.must_be_reset("4097 references").await;
    let mut put = scene.session.put().await;
    put.say(&client::Put::Offer { chunks: ByteBuf::from(vec![0; 35]) }).await.unwrap();
    put.must_be_reset("35 bytes of references").await;
    scene.works_on(0).await;
}

// Fault case 22: who offers and never sends is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_without_end_reset_the_stream() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    let mut reset = false;
    for page in 0..16_u32 {
        let first = page * 4_096;
        let chunks: Vec<_> = (first..first + 4_096).map(|n| unknown_chunk(n, 500)).collect();
        if put.say_offer(&chunks).await.is_err() {
            reset = true;
            break;
        }
        match within("a want or a reset", next(&mut put.recv)).await {
            Ok(Some(Answer::Want { .. })) => {}
            Err(StreamError::Reset(_)) => {
                reset = true;
                break;
            }
            other => panic!("offers without end were answered with {other:?}"),
        }
    }
    assert!(reset, "65,536 chunks are outstanding on one stream");
    scene.works_on(0).await;
}

// Fault case 35.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_before_the_wanted_chunks_reset_the_stream() {
    let scene = scene().await;
    let (chunk, bytes) = sealed(&scene.stash, "late", 5_000);
    let record = put_of(&scene.stash, &scene.owner.keys, "late", 1, &[chunk]);
    for sent in [0, 1, bytes.len() - 1] {
        let mut put = scene.session.put().await;
        assert_eq!(put.offer(&[chunk]).await, [true]);
        put.data(bytes[..sent].to_vec()).await.unwrap();
        put.say_records(&[record.bytes()]).await.unwrap();
        put.must_be_reset(&format!("records after {sent} of {} bytes", bytes.len())).await;
        assert!(!scene.here(&chunk).await);
    }
    scene.works_on(0).await;
}

// Fault cases 32 and 33.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_messages_that_do_not_decode_reset_the_stream() {
    let scene = scene().await;
    let offer = pack(&client::Put::Offer { chunks: ByteBuf::new() });
    let bad: [(&str, Vec<u8>); 8] = [
        ("nothing", vec![]),
        ("a trailing byte", [&offer[..], &[0]].concat()),
        ("a message cut short", offer[..offer.len() - 1].to_vec()),
        ("an array bomb", b"\x81\xa7records\x81\xa7records\xdd\xff\xff\xff\xff".to_vec()),
        ("a map bomb", b"\xdf\xff\xff\xff\xff".to_vec()),
        ("a nesting bomb", vec![0x91; 100_000]),
        ("an unknown message", b"\x81\xa5dance\x80".to_vec()),
        ("a missing field", b"\x81\xa5offer\x80".to_vec()),
    ];
    for (what, bytes) in bad {
        let mut put = scene.session.put().await;
        put.send.message(bytes).await.unwrap();
        put.must_be_reset(what).await;
    }
    scene.works_on(0).await;
}

// Fault case 25: storage-only peers put nothing, whatever they sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keepers_and_readers_open_no_put_stream() {
    let scene = scene().await;
    for role in [Role::Keeper, Role::Reader] {
        let member = Client::member(&scene.stash, &scene.node, role).await;
        let session = member.connect(&scene.node).await;
        assert_eq!(session.ask(&Ask::Put {}).await.refusal(), "role", "a {role}");
        let address = scene.put(&role.to_string(), 1 + role as u64).await.0.address;
        assert!(session.get(address).await.is_some(), "a {role} gets");
    }
    scene.works_on(2).await;
}

// Fault cases 32 and 34.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_malformed_requests_are_refused_and_the_connection_stays() {
    let scene = scene().await;
    let have = pack(&Ask::Have { chunks: ByteBuf::new() });
    let bad: [(&str, Vec<u8>); 9] = [
        ("an unknown request", b"\x81\xa5dance\x80".to_vec()),
        ("nothing", vec![]),
        ("no map", b"\xa3put".to_vec()),
        ("two requests", b"\x82\xa3put\x80\xa3put\x80".to_vec()),
        ("a trailing byte", [&have[..], &[0xc0]].concat()),
        ("a request cut short", have[..have.len() - 1].to_vec()),
        ("a missing field", b"\x81\xa3get\x80".to_vec()),
        ("an address of 31 bytes", pack(&Ask::Get { address: ByteBuf::from(vec![0; 31]) })),
        ("a nesting bomb", vec![0x91; 100_000]),
    ];
    for (what, bytes) in bad {
        assert_eq!(scene.session.ask_raw(bytes).await.refusal(), "unknown", "{what}");
    }
    for chunks in [vec![0; 33], vec![0; 32 * 4_097]] {
        let chunks = ByteBuf::from(chunks);
        for ask in [
            Ask::Have { chunks: chunks.clone() },
            Ask::Hold { nonce: ByteBuf::from(vec![0; 32]), chunks: chunks.clone() },
            Ask::Release { chunks: chunks.clone() },
        ] {
            assert_eq!(scene.session.ask(&ask).await.refusal(), "malformed", "{}", chunks.len());
        }
    }
    let mut data_first = scene.session.open().await;
    data_first.data(vec![1; 10]).await.unwrap();
    let answer = within("an answer", next(&mut data_first.recv)).await.unwrap().unwrap();
    assert_eq!(answer.refusal(), "unknown");
    let join = Ask::Join { request: ByteBuf::new() };
    assert_eq!(scene.session.ask(&join).await.refusal(), "unknown", "outside the join realm");
    scene.works_on(0).await;
}

// Fault case 36.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_stops_half_way_leaves_nothing_visible() {
    let scene = scene().await;
    let (chunk, bytes) = sealed(&scene.stash, "half", 1 << 20);
    for ending in ["reset", "drop", "end", "connection"] {
        let session = match ending {
            "connection" => {
                let gone = Client::member(&scene.stash, &scene.node, Role::Owner).await;
                let session = gone.connect(&scene.node).await;
                let mut put = session.put().await;
                assert_eq!(put.offer(&[chunk]).await, [true]);
                put.data(bytes[..600_000].to_vec()).await.unwrap();
                drop((put, session, gone));
                continue;
            }
            _ => &scene.session,
        };
        let mut put = session.put().await;
        assert_eq!(put.offer(&[chunk]).await, [true], "the {ending} before left nothing");
        put.data(bytes[..600_000].to_vec()).await.unwrap();
        match ending {
            "reset" => put.send.reset(7),
            "end" => put.send.finish(),
            _ => drop(put),
        }
        assert!(!scene.here(&chunk).await, "after a {ending}");
        assert_eq!(scene.session.get(chunk.address).await, None);
    }
    scene.works_on(0).await;
    let record = put_of(&scene.stash, &scene.owner.keys, "half", 1, &[chunk]);
    let fates = scene.session.give(&[(chunk, bytes)], &[record.bytes()]).await;
    assert_eq!(fates, [Fate::Stored {}], "the whole one is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_reads_what_is_here_by_the_document_alone() {
    let scene = scene().await;
    let (first, _) = scene.put("first", 1).await;
    let absent = unknown_chunk(1, 500);
    let have = Ask::Have { chunks: joined_up(&[absent.address, first.address, absent.address]) };
    let bits = Answer::Have { chunks: ByteBuf::from(vec![0b010]) };
    assert_eq!(scene.session.ask(&have).await, bits);
    assert_eq!(scene.session.get(absent.address).await, None);

    let start = Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 };
    let Answer::Log { known: true, hashes, log: stretch, last } = scene.session.ask(&start).await
    else {
        panic!("no page of the order");
    };
    assert_eq!(hashes.len(), 32);
    let rest = Ask::Log { log: stretch.clone(), after: last };
    let end = |known, log, last| Answer::Log { known, hashes: ByteBuf::new(), log, last };
    let nothing = scene.session.ask(&rest).await;
    assert_eq!(nothing, end(true, stretch.clone(), last), "no more");
    for (log, after) in [(stretch.clone(), last + 1), (ByteBuf::from(vec![7; 16]), 0)] {
        let lost = scene.session.ask(&Ask::Log { log, after }).await;
        assert_eq!(lost, end(false, stretch.clone(), last), "no position of this store");
    }
    let Answer::Totals { records: 1, sum } = scene.session.ask(&Ask::Totals {}).await else {
        panic!("no totals");
    };
    assert_eq!(sum, hashes, "of one record, its hash");
    let Answer::Records { records } =
        scene.session.ask(&Ask::Find { hashes: hashes.clone() }).await
    else {
        panic!("no records");
    };
    let found = stash_crypto::Record::decode(&records[0]).unwrap();
    assert_eq!(found.hash().as_bytes(), hashes.as_slice());
    let both = ByteBuf::from([&hashes[..], &[9; 32]].concat());
    let states = scene.session.ask(&Ask::Holding { hashes: both }).await;
    assert_eq!(states, Answer::Holding { states: ByteBuf::from(vec![2, 0]) });

    let log = log_of(&scene.session, 0).await;
    assert_eq!(log.len(), 3, "the root's keys, the founder, this owner");
    assert_eq!(log_of(&scene.session, 2).await, log[2..]);
    assert_eq!(log_of(&scene.session, u64::MAX).await, Vec::<ByteBuf>::new());
}

/// The encoded member log from an index on.
async fn log_of(session: &Session, from: u64) -> Vec<ByteBuf> {
    match session.ask(&Ask::Members { from }).await {
        Answer::Members { entries, .. } => entries,
        other => panic!("answered members with {other:?}"),
    }
}

fn folded(stash: &Stash, entries: &[ByteBuf]) -> MemberLog {
    let mut log = MemberLog::new(stash.id());
    entries.iter().for_each(|bytes| log.push(MemberEntry::decode(bytes).unwrap()).unwrap());
    log
}

async fn announce(session: &Session, entries: &[&MemberEntry]) -> Answer {
    let entries = entries.iter().map(|entry| ByteBuf::from(entry.bytes().to_vec())).collect();
    session.ask(&Ask::Announce { entries, addresses: vec![] }).await
}

/// An admission of fresh keys at the end of `log`, signed by `root`.
fn admission(root: &Stash, of: &Stash, log: &MemberLog) -> MemberEntry {
    let keys = NodeKeys::generate(&mut rand::rng());
    let ticket = TicketId::from_bytes(rand::random());
    let request = JoinRequest::sign(&keys, &of.id(), ticket, "x").unwrap();
    admit_entry(&root.root(), log, &request, Role::Owner)
}

// Fault cases 23 and 30: only the root's signature makes members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_member_entry_is_refused_and_the_log_is_as_it_was() {
    let scene = scene().await;
    let before = log_of(&scene.session, 0).await;
    let log = folded(&scene.stash, &before);
    let good = admission(&scene.stash, &scene.stash, &log);

    let foreign = admission(&Stash::new(), &scene.stash, &log);
    assert_eq!(announce(&scene.session, &[&foreign]).await.refusal(), "failed");
    for back in [1, 64] {
        let mut bytes = good.bytes().to_vec();
        let at = bytes.len() - back;
        bytes[at] ^= 1;
        let forged = MemberEntry::decode(&bytes).unwrap();
        assert_eq!(announce(&scene.session, &[&forged]).await.refusal(), "failed");
        let pair = announce(&scene.session, &[&good, &forged]).await;
        assert_eq!(pair.refusal(), "failed", "a good one before a forged one");
    }
    for bytes in [vec![], vec![0; 100], [good.bytes(), &[0]].concat()] {
        let entries = vec![ByteBuf::from(bytes)];
        let ask = Ask::Announce { entries, addresses: vec![] };
        assert_eq!(scene.session.ask(&ask).await.refusal(), "failed", "no entry at all");
    }
    assert_eq!(log_of(&scene.session, 0).await, before);
    assert_eq!(scene.node.engine.members().len(), 2);
    assert_eq!(announce(&scene.session, &[&good]).await, Answer::Done {}, "the good one alone");
    assert_eq!(scene.node.engine.members().len(), 3);
}

/// A scene and two entries by its root that cannot both be true: one for the place of the last
/// entry, one that follows it.
async fn forked() -> (Scene, [MemberEntry; 2]) {
    let scene = scene().await;
    let held = log_of(&scene.session, 0).await;
    let shorter = folded(&scene.stash, &held[..held.len() - 1]);
    let fork = admission(&scene.stash, &scene.stash, &shorter);
    let mut other = shorter.clone();
    other.push(fork.clone()).unwrap();
    let after = admission(&scene.stash, &scene.stash, &other);
    (scene, [fork, after])
}

// Fault case 17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_the_member_log_is_refused_and_the_log_is_as_it_was() {
    let (scene, [fork, after]) = forked().await;
    let before = log_of(&scene.session, 0).await;
    assert_eq!(announce(&scene.session, &[&fork]).await.refusal(), "failed");
    assert_eq!(announce(&scene.session, &[&after]).await.refusal(), "failed");
    assert_eq!(announce(&scene.session, &[&fork, &after]).await.refusal(), "failed");
    let (node, role) = (scene.owner.keys.node_id(), Role::Keeper);
    let gap = MemberChange::SetRole { node, role, cuts: vec![] };
    let signer = scene.stash.root().root_signer();
    let gap = MemberEntry::sign(&signer, 9, fork.hash(), gap).unwrap();
    assert_eq!(announce(&scene.session, &[&gap]).await.refusal(), "failed", "a gap");
    assert_eq!(log_of(&scene.session, 0).await, before);
    scene.works_on(0).await;
}

// Fault case 17; B.6: two different entries at one index are an alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_the_member_log_raises_an_alarm() {
    let (scene, [fork, _]) = forked().await;
    assert_eq!(announce(&scene.session, &[&fork]).await.refusal(), "failed");
    let alarms = scene.node.engine.status().await.unwrap().alarms;
    assert_eq!(alarms.len(), 1, "both were signed by the root: {alarms:?}");
}

// Fault case 23: a role that was taken away ends what it allowed, on open connections too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_became_a_keeper_is_refused_from_then_on() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    let first = put_of(&scene.stash, &scene.owner.keys, "first", 1, &[]);
    assert_eq!(put.records(&[first.bytes()]).await, [Fate::Stored {}]);
    let log = folded(&scene.stash, &log_of(&scene.session, 0).await);
    let (node, role) = (scene.owner.keys.node_id(), Role::Keeper);
    let change = MemberChange::SetRole { node, role, cuts: vec![] };
    let signer = scene.stash.root().root_signer();
    let entry = MemberEntry::sign(&signer, log.len(), log.head(), change).unwrap();
    assert_eq!(announce(&scene.session, &[&entry]).await, Answer::Done {});
    let second = put_of(&scene.stash, &scene.owner.keys, "second", 2, &[]);
    let fate = put.records(&[second.bytes()]).await.remove(0);
    assert!(fate.refusal().contains("keeper"));
    assert_eq!(scene.session.ask(&Ask::Put {}).await.refusal(), "role", "on the same connection");
}

// Fault case 27: claims about addresses count only from members, signed by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_no_member_signed_change_nothing() {
    let scene = scene().await;
    let claim = |keys: &NodeKeys, sequence| {
        let addresses = vec!["127.0.0.1:9".parse().unwrap()];
        let id = scene.stash.id();
        let claim = stash_crypto::SignedAddresses::sign(keys.signer(), &id, sequence, addresses);
        claim.unwrap().encode()
    };
    let stranger = claim(&NodeKeys::generate(&mut rand::rng()), 1);
    let mut forged = claim(&scene.owner.keys, 1);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let before = scene.node.engine.members();
    let addresses = vec![stranger, forged, vec![], vec![0; 60]];
    let addresses = addresses.into_iter().map(ByteBuf::from).collect();
    let told = Ask::Announce { entries: vec![], addresses };
    assert_eq!(scene.session.ask(&told).await, Answer::Done {});
    assert_eq!(scene.node.engine.members(), before);
    let newest = vec![ByteBuf::from(claim(&scene.owner.keys, 5))];
    let told = Ask::Announce { entries: vec![], addresses: newest };
    assert_eq!(scene.session.ask(&told).await, Answer::Done {});
    assert_ne!(scene.node.engine.members(), before, "the member's own claim counts");
}

// Fault case 30.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_request_for_other_keys_than_the_connections_is_refused() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let ticket = node.engine.invite(Role::Owner, Duration::from_secs(60)).await.unwrap();
    let (alice, bob) = (fresh(&stash), fresh(&stash));
    // Bob's own signed request, sent by alice.
    let borrowed = bob.join_request(&ticket).encode();
    // Alice's keys with bob's Noise static: the identity is part of what is signed.
    let mut mixed = alice.join_request(&ticket);
    mixed.identity.wrap = bob.keys.wrap_public();
    let other_id = TicketId::from_bytes([1; 16]);
    let other_ticket = JoinRequest::sign(&alice.keys, &stash.id(), other_id, "x").unwrap();
    let elsewhere = JoinRequest::sign(&alice.keys, &Stash::new().id(), ticket.id, "x").unwrap();
    let trailing = [alice.join_request(&ticket).encode(), vec![0]].concat();
    for (what, request) in [
        ("another node's request", borrowed),
        ("keys that were not signed", mixed.encode()),
        ("another ticket's id", other_ticket.encode()),
        ("another stash's id", elsewhere.encode()),
        ("a trailing byte", trailing),
        ("nothing", vec![]),
    ] {
        let session = alice.knock(&ticket).await;
        let answer = session.ask(&Ask::Join { request: ByteBuf::from(request) }).await;
        assert_eq!(answer.refusal(), "malformed", "{what}");
        session.peer.close(stash_p2p::CloseReason::Shutdown);
    }
    assert_eq!(node.engine.members().len(), 1, "nobody was admitted");
    let joined = join(&ticket, &alice.keys, "alice").await.unwrap();
    assert_eq!(joined.role, Role::Owner, "the ticket was not burnt by any of these");
}

fn fresh(stash: &Stash) -> Client {
    Client::new(stash, NodeKeys::generate(&mut rand::rng()))
}

// Fault cases 3 and 30: a ticket opens one door only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_join_realm_answers_nothing_but_one_join() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, _) = stash.put(&node, "secret", &[5_000], Wait::Local).await;
    let ticket = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
    let address = ByteBuf::from(chunks[0].address.as_bytes().to_vec());
    for ask in [
        Ask::Put {},
        Ask::Get { address },
        Ask::Have { chunks: ByteBuf::new() },
        Ask::Hold { nonce: ByteBuf::from(vec![0; 32]), chunks: ByteBuf::new() },
        Ask::Release { chunks: ByteBuf::new() },
        Ask::Members { from: 0 },
        Ask::Announce { entries: vec![], addresses: vec![] },
        Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 },
        Ask::Find { hashes: ByteBuf::new() },
        Ask::Totals {},
        Ask::News {},
        Ask::Lack { hashes: ByteBuf::new() },
        Ask::Holding { hashes: ByteBuf::new() },
        Ask::Prove { nonce: ByteBuf::from(vec![0; 32]), chunks: ByteBuf::new() },
    ] {
        let stranger = fresh(&stash);
        let session = stranger.knock(&ticket).await;
        assert_eq!(session.ask(&ask).await.refusal(), "unknown", "{ask:?}");
        // The one question of this connection has been asked; a proper join elsewhere shows that
        // the node had time to answer a second one.
        let mut second = session.open().await;
        second.send.message(pack(&Ask::Members { from: 0 })).await.unwrap();
        let elsewhere = fresh(&stash);
        let other = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
        join(&other, &elsewhere.keys, "elsewhere").await.unwrap();
        let answer = second.recv.next().now_or_never();
        let answered = matches!(answer, Some(Ok(Some(Frame::Message(_) | Frame::Data(_)))));
        assert!(!answered, "a second question in a join realm was answered: {answer:?}");
    }
}

// Fault case 113: whoever holds an expired ticket is told why, inside the session; whoever used it
// while it was good gets no second answer after its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_ticket_admits_nobody_and_says_so() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let second = Duration::from_secs(1);
    let unused = node.engine.invite(Role::Owner, second).await.unwrap();
    let used = node.engine.invite(Role::Owner, second).await.unwrap();
    let keys = NodeKeys::generate(&mut rand::rng());
    let start = std::time::Instant::now();
    let expired = loop {
        match join(&used, &keys, "early").await {
            Ok(_) => assert!(start.elapsed() < PATIENCE, "the ticket never expires"),
            Err(error) => break error,
        }
    };
    assert!(matches!(expired, JoinError::Expired), "{expired:?}");
    let members = node.engine.members().len();
    // The other ticket is the older one, so it has expired as well.
    let late = NodeKeys::generate(&mut rand::rng());
    let refused = join(&unused, &late, "late").await;
    assert!(matches!(refused, Err(JoinError::Expired)), "{:?}", refused.err());
    assert_eq!(node.engine.members().len(), members);
}

// B.6: a node that has never had a full exchange takes records from a member, and each of them
// stands before the same rules as on a put stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_exchange_takes_good_records_and_leaves_bad_ones_out() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let late = stash.joined(&founder, Role::Keeper).await;
    let good = put_of(&stash, &owner.keys, "good", 1, &[]).bytes().to_vec();
    let mut bad = put_of(&stash, &owner.keys, "bad", 2, &[]).bytes().to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let hash = |bytes: &[u8]| *stash_crypto::Record::decode(bytes).unwrap().hash().as_bytes();
    let hashes = ByteBuf::from([hash(&bad), hash(&good)].concat());
    let (first, second) = (ByteBuf::from(good), ByteBuf::from(bad));
    let _session = owner
        .connect_with(
            &late,
            script(move |ask, _| match ask {
                Ask::Log { log, after: 0 } => {
                    Act::Say(Answer::Log { known: true, hashes: hashes.clone(), log, last: 1 })
                }
                Ask::Find { .. } => {
                    Act::Say(Answer::Records { records: vec![second.clone(), first.clone()] })
                }
                _ => Act::Default,
            }),
        )
        .await;
    support::until("one exchange has ended, and the good record is here", || {
        let good = support::now(late.engine.records_of(stash.name("good"))).unwrap();
        support::now(late.engine.status()).unwrap().synchronised && good.len() == 1
    })
    .await;
    assert!(late.engine.records_of(stash.name("bad")).await.unwrap().is_empty());
}
