//! Put streams.

use serde_bytes::ByteBuf;
use stash_crypto::{ChunkRef, Role};
use stash_p2p::StreamError;

use crate::client::{self, Ask, Client, Fate, next, pack, put_of, sealed, within};
use crate::scene::scene;
use crate::unknown_chunk;

/// Smallest and largest sealed length of B.3, 2.
const SEALED: [u32; 2] = [48, 4_198_400];

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
async fn an_offer_of_256_chunks_is_answered_and_a_longer_one_resets_the_stream() {
    let scene = scene().await;
    let chunks: Vec<ChunkRef> = (0..257).map(|n| unknown_chunk(n, 500)).collect();
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&chunks[..256]).await, vec![true; 256]);
    let mut put = scene.session.put().await;
    put.say_offer(&chunks).await.unwrap();
    put.must_be_reset("257 references").await;
    let mut put = scene.session.put().await;
    put.say(&client::Put::Offer { chunks: ByteBuf::from(vec![0; 35]) }).await.unwrap();
    put.must_be_reset("35 bytes of references").await;
    scene.works_on(0).await;
}

// Fault case 22, W10: who offers and never sends is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_256_chunks_on_offer_reset_the_stream() {
    let scene = scene().await;
    let sealed: Vec<_> = (0..3).map(|n| sealed(&scene.stash, &format!("small {n}"), 100)).collect();
    let (first, bytes) = &sealed[0];
    let others: Vec<_> = (0..255).map(|n| unknown_chunk(n, 500)).collect();
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&[*first]).await, [true]);
    assert_eq!(put.offer(&others).await, [true; 255]);
    // What has come is on offer no more.
    put.data(bytes.clone()).await.unwrap();
    assert_eq!(put.offer(&[sealed[1].0]).await, [true]);
    put.say_offer(&[sealed[2].0]).await.unwrap();
    put.must_be_reset("257 chunks on offer").await;
    scene.works_on(0).await;
}

// W10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_1024_records_in_a_message_reset_the_stream() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    let none: &[u8] = b"no record";
    let fates = put.records(&vec![none; 1_024]).await;
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Refused { .. })), "{fates:?}");
    put.say_records(&vec![none; 1_025]).await.unwrap();
    put.must_be_reset("1025 records").await;
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
async fn a_put_stream_ends_when_its_sender_is_an_owner_no_more() {
    let scene = scene().await;
    let mut put = scene.session.put().await;
    assert_eq!(put.offer(&[unknown_chunk(1, 500)]).await, [true]);
    let owner = scene.owner.keys.node_id();
    scene.node.engine.set_role(owner, Role::Reader).await.unwrap();
    let ended = within("the end of the stream", next(&mut put.recv)).await;
    assert!(matches!(ended, Err(StreamError::Reset(_))), "{ended:?}");
    let refused = scene.session.ask(&Ask::Put {}).await;
    assert_eq!(refused.refusal(), "role");
}
