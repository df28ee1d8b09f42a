//! Evicting without holds: when a chunk is proven, when it is dropped, and that its room is back
//! everywhere once nothing names it. The other side speaks `docs/protocol.md` by an implementation
//! of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::client::{
    Act, Answer, Ask, Client, NamedBy, Script, Session, Together, joined_up, proof, script, within,
};
use crate::support::{Node, Stash, addresses, all_connected, now, until};
use futures::FutureExt;
use serde_bytes::ByteBuf;
use stash_crypto::{
    Address, ChunkRef, Clear, ForgetKind, Manifest, NodeId, Record, RecordDraft, RecordHash,
    RecordKind, Role, StashId,
};
use stash_p2p::CloseReason;
use stash_server::store::Batch;
use stash_server::transfers::EvictStop;
use stash_server::{EvictError, Position, Wait, Write};

async fn here(node: &Node, chunks: &[ChunkRef]) -> Vec<bool> {
    node.engine.chunks_here(&addresses(chunks)).await.unwrap()
}

async fn read(node: &Node, chunks: &[ChunkRef]) -> Vec<Vec<u8>> {
    let mut fetch = node.engine.fetch(chunks.to_vec(), false);
    let mut read = Vec::new();
    while let Some(chunk) = within("a chunk", fetch.next()).await {
        read.push(chunk.unwrap().to_vec());
    }
    read
}

/// Forgets a name as `rm --purge` does.
async fn purge(stash: &Stash, node: &Node, key: &str) {
    let (keys, root, name) = (Arc::clone(&node.keys), stash.root(), stash.name(key));
    let draft = move |position: Position| {
        let clear = Clear {
            stash: position.stash,
            kind: RecordKind::Forget(ForgetKind::Dead),
            name: position.name,
            dot: position.dot,
            previous: position.previous,
            height: position.height,
            epoch: 0,
            seen: position.seen,
            manifest: Manifest::Direct(vec![]),
        };
        RecordDraft { clear, meta: None }.sign(keys.signer(), &root.read_root().meta_keys())
    };
    let upload = node.engine.upload(Wait::All);
    let write = Write { name, draft: Box::new(draft) };
    upload.commit(vec![write]).await.unwrap().wait().await;
}

fn file_bytes(node: &Node) -> u64 {
    node.store.stats().bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_evicted_and_then_forgotten_is_gone_from_every_member() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let mut nodes = vec![founder];
    for members in [2, 3] {
        nodes.push(stash.joined(&nodes[0], Role::Owner).await);
        assert_eq!(nodes.len(), members);
        all_connected(&nodes.iter().collect::<Vec<_>>()).await;
        let before: Vec<u64> = nodes.iter().map(file_bytes).collect();
        let lens = [1 << 20, 1 << 20, 300_000];
        let (chunks, outcome) = stash.put(&nodes[0], "evicted", &lens, Wait::All).await;
        assert_eq!(outcome.copies, members);
        // One after the other, as many as may.
        for node in &nodes[..members - 1] {
            assert_eq!(node.engine.evict(addresses(&chunks)).await.unwrap().chunks, 3);
        }
        purge(&stash, &nodes[0], "evicted").await;
        let hash = outcome.records[0].hash();
        for (node, before) in nodes.iter().zip(before) {
            until("the forget has arrived", || {
                !node.store.has_records(&[*hash.as_bytes()]).unwrap()[0]
            })
            .await;
            node.engine.collect(true, |_| true).await.unwrap();
            assert_eq!(here(node, &chunks).await, [false; 3]);
            assert_eq!(file_bytes(node), before, "of {members} members");
        }
    }
}

/// A verifier that asks a node.
struct Verifier {
    session: Session,
    client: Client,
}

impl Verifier {
    async fn of(stash: &Stash, node: &Node) -> Verifier {
        let client = Client::member(stash, node, Role::Keeper).await;
        let session = client.connect(node).await;
        Verifier { session, client }
    }

    async fn ask(&self, groups: Vec<Together>) -> Answer {
        self.session.ask(&Ask::Evict { nonce: ByteBuf::from(vec![7; 32]), groups }).await
    }

    /// The one chunk of one group, proven or not.
    async fn proof_of(&self, chunk: &ChunkRef, named: NamedBy) -> [u8; 32] {
        let groups = vec![Together { chunks: joined_up(&[chunk.address]), named }];
        let Answer::Kept { proofs, reason } = self.ask(groups).await else {
            panic!("no answer to the question of evicting");
        };
        assert_eq!(proofs[..] == [0; 32], !reason.is_empty(), "it says why");
        proofs[..].try_into().unwrap()
    }
}

fn records(hashes: &[RecordHash]) -> NamedBy {
    let hashes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    NamedBy::Records { hashes: ByteBuf::from(hashes) }
}

fn digest(hashes: &[RecordHash]) -> NamedBy {
    let mut hashes: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
    hashes.sort_unstable();
    NamedBy::Digest { digest: ByteBuf::from(blake3::hash(&hashes.concat()).as_bytes().to_vec()) }
}

// Fault case 19, seen from the other side: the second implementation verifies what the engine proves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_is_proven_only_to_who_names_records_that_are_held() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, outcome) = stash.put(&node, "a", &[300_000], Wait::Local).await;
    let upload = node.engine.upload(Wait::Local);
    assert!(upload.known(chunks[0]).await.unwrap());
    let write = stash.write(&node.keys, "the same", chunks.clone());
    let second = upload.commit(vec![write]).await.unwrap().wait().await;
    let (one, two) = (outcome.records[0].hash(), second.records[0].hash());
    let unknown = RecordHash::from_bytes([9; 32]);
    let sealed = read(&node, &chunks).await.remove(0);
    let verifier = Verifier::of(&stash, &node).await;
    let session = verifier.session.peer.handshake_hash();
    let (nonce, me, prover) = ([7; 32], verifier.client.keys.node_id(), node.keys.node_id());
    let right = proof(&nonce, &stash.id(), &me, &prover, &session, &sealed);
    for (named, proven) in [
        (records(&[one]), true),
        (records(&[two, one]), true),
        (records(&[one, unknown]), false),
        (records(&[unknown]), false),
        (digest(&[one, two]), true),
        (digest(&[one]), false),
        (digest(&[one, two, unknown]), false),
    ] {
        let expected = if proven { right } else { [0; 32] };
        assert_eq!(verifier.proof_of(&chunks[0], named.clone()).await, expected, "{named:?}");
    }
    let absent = ChunkRef { address: Address::of(b"absent"), sealed_len: 7 };
    assert_eq!(verifier.proof_of(&absent, records(&[one])).await, [0; 32]);
}

// Fault case 29.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_evicting_beyond_its_limits_is_refused() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let verifier = Verifier::of(&stash, &node).await;
    let chunks = |from: u8, to: u8| (from..to).map(|n| Address::of(&[n])).collect::<Vec<_>>();
    let hashes = |count: usize| NamedBy::Records { hashes: ByteBuf::from(vec![1; count * 32]) };
    let group = |chunks: &[Address], named| Together { chunks: joined_up(chunks), named };
    let full = vec![group(&chunks(0, 32), hashes(2_048)), group(&chunks(32, 64), hashes(2_048))];
    let Answer::Kept { proofs, reason } = verifier.ask(full.clone()).await else {
        panic!("64 chunks and 4,096 hashes are refused");
    };
    assert!(proofs[..] == [0; 64 * 32] && !reason.is_empty());
    let one = chunks(0, 1);
    for (what, groups) in [
        ("65 chunks", vec![group(&chunks(0, 65), hashes(1))]),
        ("65 chunks in two groups", [&full[..], &[group(&chunks(64, 65), hashes(0))]].concat()),
        ("4,097 hashes", vec![group(&one, hashes(2_049)), group(&chunks(1, 2), hashes(2_048))]),
        ("no hashes", vec![group(&one, hashes(0))]),
        ("no chunks", vec![group(&[], hashes(1))]),
        ("a chunk twice", vec![group(&[one[0], one[0]], hashes(1))]),
        ("a chunk in two groups", vec![group(&one, hashes(1)), group(&one, hashes(2))]),
    ] {
        assert_eq!(verifier.ask(groups).await.refusal(), "malformed", "{what}");
    }
    let answer = verifier.ask(vec![]).await;
    assert_eq!(answer, Answer::Kept { proofs: ByteBuf::new(), reason: String::new() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_before_evicting_writes_nothing_to_the_disk_of_who_answers() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, outcome) = stash.put(&node, "a", &[1 << 20, 5_000], Wait::Local).await;
    let named = records(&[outcome.records[0].hash()]);
    let verifier = Verifier::of(&stash, &node).await;
    until("what came with the member is written", || {
        let before = node.store.stats().batches;
        now(tokio::time::sleep(Duration::from_millis(200)));
        node.store.stats().batches == before
    })
    .await;
    let before = node.store.stats();
    for _ in 0..200 {
        for chunk in &chunks {
            assert_ne!(verifier.proof_of(chunk, named.clone()).await, [0; 32]);
        }
    }
    let after = node.store.stats();
    assert_eq!((after.batches, after.log_bytes), (before.batches, before.log_bytes));
    // Nor does it keep anything from going.
    purge(&stash, &node, "a").await;
    node.engine.collect(true, |_| true).await.unwrap();
    assert_eq!(here(&node, &chunks).await, [false; 2]);
}

/// A node, and a scripted member with a copy of its only file.
struct Scene {
    stash: Stash,
    node: Node,
    chunks: Vec<ChunkRef>,
    bytes: Arc<Vec<(Address, Vec<u8>)>>,
    prover: Client,
}

async fn scene(lens: &[usize]) -> Scene {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, _) = stash.put(&node, "a", lens, Wait::Local).await;
    let bytes = read(&node, &chunks).await;
    let bytes = chunks.iter().map(|chunk| chunk.address).zip(bytes).collect();
    let prover = Client::member(&stash, &node, Role::Keeper).await;
    Scene { stash, node, chunks, bytes: Arc::new(bytes), prover }
}

/// The answers of an honest member to the question of evicting.
#[derive(Clone)]
struct Honest {
    stash: StashId,
    verifier: NodeId,
    prover: NodeId,
    bytes: Arc<Vec<(Address, Vec<u8>)>>,
}

impl Honest {
    fn of(scene: &Scene) -> Honest {
        Honest {
            stash: scene.stash.id(),
            verifier: scene.node.keys.node_id(),
            prover: scene.prover.keys.node_id(),
            bytes: Arc::clone(&scene.bytes),
        }
    }

    fn answer(&self, nonce: &[u8], groups: &[Together], session: [u8; 32]) -> Act {
        let mut proofs = Vec::new();
        for chunk in groups.iter().flat_map(|group| group.chunks.chunks(32)) {
            let (_, sealed) =
                self.bytes.iter().find(|(address, _)| address.as_bytes() == chunk).unwrap();
            let Honest { stash, verifier, prover, .. } = self;
            proofs.extend(proof(nonce, stash, verifier, prover, &session, sealed));
        }
        Act::Say(Answer::Kept { proofs: ByteBuf::from(proofs), reason: String::new() })
    }
}

/// A keeper that asks for proofs without end keeps nobody from evicting what it asks about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_for_proofs_without_end_forbids_no_eviction() {
    let scene = scene(&[1 << 20, 5_000]).await;
    let named = {
        let held = scene.node.engine.records_of(scene.stash.name("a")).await.unwrap();
        records(&held.iter().map(Record::hash).collect::<Vec<_>>())
    };
    let verifier = Verifier::of(&scene.stash, &scene.node).await;
    let (chunks, asked) = (scene.chunks.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let asking = tokio::spawn(async move {
        loop {
            for chunk in &chunks {
                let chunks = joined_up(&[chunk.address]);
                let answer = verifier.ask(vec![Together { chunks, named: named.clone() }]).await;
                assert!(matches!(answer, Answer::Kept { .. }), "{answer:?}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    until("it asks", || asked.load(Ordering::Relaxed) > 20).await;
    let honest = Honest::of(&scene);
    let mind = script(move |ask, hash| match ask {
        Ask::Evict { nonce, groups } => honest.answer(&nonce, &groups, hash),
        _ => Act::Default,
    });
    let _session = scene.prover.connect_with(&scene.node, mind).await;
    let before = asked.load(Ordering::Relaxed);
    let evicted = within("an eviction", scene.node.engine.evict(addresses(&scene.chunks))).await;
    assert_eq!(evicted.unwrap().chunks, 2);
    assert_eq!(here(&scene.node, &scene.chunks).await, [false; 2]);
    until("it still asks", || asked.load(Ordering::Relaxed) > before).await;
    assert!(!asking.is_finished(), "it is answered all the time");
    asking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_stored_while_others_are_asked_keeps_its_bytes() {
    let scene = scene(&[300_000]).await;
    let honest = Honest::of(&scene);
    let (engine, keys) = (scene.node.engine.clone(), Arc::clone(&scene.node.keys));
    let (root, chunk) = (scene.stash.root, scene.chunks[0]);
    let asked = Arc::new(AtomicUsize::new(0));
    let mind: Script = Arc::new(move |ask, session| {
        let Ask::Evict { nonce, groups } = ask else {
            return std::future::ready(Act::Default).boxed();
        };
        let (honest, engine, keys) = (honest.clone(), engine.clone(), Arc::clone(&keys));
        let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if is_first {
                let upload = engine.upload(Wait::Local);
                assert!(upload.known(chunk).await.unwrap());
                let write = Stash::of(root).write(&keys, "the same", vec![chunk]);
                upload.commit(vec![write]).await.unwrap();
            }
            honest.answer(&nonce, &groups, session)
        }
        .boxed()
    });
    let _session = scene.prover.connect_with(&scene.node, mind).await;
    let evict = || scene.node.engine.evict(addresses(&scene.chunks));
    let refused = within("an eviction", evict()).await;
    let is_named = matches!(refused, Err(EvictError { why: EvictStop::Named { .. }, .. }));
    assert!(is_named, "{refused:?}");
    assert_eq!(here(&scene.node, &scene.chunks).await, [true]);
    // With both records in the question, the copy may go.
    assert_eq!(within("an eviction", evict()).await.unwrap().chunks, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_asked_to_prove_a_chunk_does_not_get_it_from_who_asks() {
    let scene = scene(&[300_000]).await;
    let session: Arc<OnceLock<Session>> = Arc::default();
    let (bystander, me) =
        (Client::member(&scene.stash, &scene.node, Role::Keeper).await, Arc::clone(&session));
    let bystander = Arc::new(bystander.connect(&scene.node).await);
    let got: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (honest, note, chunk) = (Honest::of(&scene), Arc::clone(&got), scene.chunks[0].address);
    let other = Arc::clone(&bystander);
    let mind: Script = Arc::new(move |ask, hash| {
        let Ask::Evict { nonce, groups } = ask else {
            return std::future::ready(Act::Default).boxed();
        };
        let (me, other, honest, note) =
            (Arc::clone(&me), Arc::clone(&other), honest.clone(), Arc::clone(&note));
        async move {
            let mine = me.get().unwrap().get(chunk).await.is_some();
            let others = other.get(chunk).await.is_some();
            let drawn = ByteBuf::from([&chunk.as_bytes()[..], &[0; 4]].concat());
            let leaf = me.get().unwrap().ask(&Ask::Leaves { drawn }).await;
            assert_eq!(leaf.refusal(), "failed", "nor a piece of it");
            note.lock().unwrap().extend([mine, others]);
            honest.answer(&nonce, &groups, hash)
        }
        .boxed()
    });
    let connected = scene.prover.connect_with(&scene.node, mind).await;
    assert!(connected.get(chunk).await.is_some(), "before it is asked");
    let drawn = ByteBuf::from([&chunk.as_bytes()[..], &[0; 4]].concat());
    let shown = connected.ask(&Ask::Leaves { drawn }).await;
    assert!(matches!(&shown, Answer::Leaves { leaves } if leaves[0].len() > 1_024), "{shown:?}");
    session.set(connected).ok().unwrap();
    // The bystander may be asked, too, and first; it proves nothing.
    let evicted = within("an eviction", scene.node.engine.evict(vec![chunk])).await.unwrap();
    assert_eq!(evicted.chunks, 1);
    let got = got.lock().unwrap().clone();
    let bystander_was_asked = scene.prover.keys.node_id() > *evicted.proven_by.first().unwrap();
    assert!(!got[0], "who is asked got the chunk: {got:?}, {bystander_was_asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evict_whose_prover_goes_away_says_how_far_it_came_and_goes_on_later() {
    let stash = Stash::new();
    let node = stash.founder().await;
    // One chunk a file: two pages.
    let mut chunks = Vec::new();
    for seed in b'0'..b'0' + 67 {
        let key = char::from(seed).to_string();
        let (some, _) = stash.put(&node, &key, &[5_000], Wait::Local).await;
        chunks.extend(some);
    }
    let bytes = read(&node, &chunks).await;
    let bytes = Arc::new(chunks.iter().map(|chunk| chunk.address).zip(bytes).collect());
    let prover = Client::member(&stash, &node, Role::Keeper).await;
    let scene = Scene { stash, node, chunks, bytes, prover };
    let (honest, asked) = (Honest::of(&scene), Arc::new(AtomicUsize::new(0)));
    let session: Arc<OnceLock<Session>> = Arc::default();
    let (engine, all) = (scene.node.engine.clone(), addresses(&scene.chunks));
    let gone = Arc::clone(&session);
    let mind: Script = Arc::new(move |ask, hash| {
        let Ask::Evict { nonce, groups } = ask else {
            return std::future::ready(Act::Default).boxed();
        };
        // Two pages are under way, in whatever order they come: the last one is not full.
        let named: usize = groups.iter().map(|group| group.chunks.len() / 32).sum();
        let is_last = named < 64 && asked.fetch_add(1, Ordering::Relaxed) == 0;
        let (honest, engine, all, gone) =
            (honest.clone(), engine.clone(), all.clone(), Arc::clone(&gone));
        async move {
            if !is_last {
                return honest.answer(&nonce, &groups, hash);
            }
            let left = || async {
                let here = engine.chunks_here(&all).await.unwrap();
                here.into_iter().filter(|here| *here).count()
            };
            while left().await > 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            gone.get().unwrap().peer.close(CloseReason::Shutdown);
            Act::Nothing
        }
        .boxed()
    });
    session.set(scene.prover.connect_with(&scene.node, Arc::clone(&mind)).await).ok().unwrap();
    let evict = || scene.node.engine.evict(addresses(&scene.chunks));
    let before = scene.node.store.stats().batches;
    let error = within("an eviction", evict()).await.unwrap_err();
    let commits = scene.node.store.stats().batches - before;
    assert!(commits < 16, "{commits} commits for a page of 64 chunks");
    assert!(matches!(error.why, EvictStop::NotProven { .. }), "{error:?}");
    let left = here(&scene.node, &scene.chunks).await.iter().filter(|here| **here).count();
    assert_eq!((error.done.chunks, left), (64, 3), "{error:?}");
    assert_eq!(error.done.proven_by, [scene.prover.keys.node_id()].into());
    assert!(error.done.bytes > 64 * 5_000, "{error:?}");
    let _session = scene.prover.connect_with(&scene.node, mind).await;
    assert_eq!(within("an eviction", evict()).await.unwrap().chunks, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_in_doubt_is_not_asked_to_prove() {
    let scene = scene(&[300_000]).await;
    let honest = Honest::of(&scene);
    let mind = script(move |ask, hash| match ask {
        Ask::Evict { nonce, groups } => honest.answer(&nonce, &groups, hash),
        _ => Act::Default,
    });
    let Scene { stash, node, chunks, prover, .. } = scene;
    node.engine.shutdown(Duration::from_secs(5)).await;
    let row = [b"doubt/", &prover.keys.node_id().as_bytes()[..]].concat();
    node.store.commit(Batch::new().row(&row, Some(&[0; 16]))).unwrap();
    let node = stash.restarted(node, Role::Owner).await;
    let _session = prover.connect_with(&node, mind).await;
    let refused = within("an eviction", node.engine.evict(addresses(&chunks))).await.unwrap_err();
    let asked = match refused.why {
        EvictStop::NotProven { asked, .. } => asked,
        why => panic!("{why}"),
    };
    let why = "in doubt: it did not show what it said it had".to_owned();
    assert_eq!(asked, [(prover.keys.node_id(), why)]);
    assert_eq!(here(&node, &chunks).await, [true]);
}
