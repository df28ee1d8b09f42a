//! Names whose history has more writers than a record can name: they can be written and ended.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::{Act, Answer, Ask, Client, Fate, clear, put_of, script, signed};
use crate::support::{Node, Stash, admit_entry, all_connected, now, until};
use serde_bytes::ByteBuf;
use stash_crypto::record::MAX_SEEN;
use stash_crypto::{
    Clear, Dot, ForgetKind, Incarnation, JoinRequest, Manifest, NodeId, NodeKeys, Record,
    RecordDraft, RecordKind, Role, TicketId, Vector, Writer,
};
use stash_server::records::NameFull;
use stash_server::{PutError, Wait, Write, WriteError};

fn dot(node: NodeId, incarnation: u8, n: u64) -> Dot {
    Dot { writer: Writer { node, incarnation: Incarnation::from_bytes([incarnation; 8]) }, n }
}

/// As many incarnations of a node as a record can name, none of which ever wrote.
fn made_up(node: NodeId) -> Vector {
    let mut seen = Vector::new();
    for incarnation in (100..).take(MAX_SEEN) {
        seen.insert(dot(node, incarnation, 1)).unwrap();
    }
    seen
}

fn held(node: &Node, stash: &Stash, key: &str) -> Vec<Record> {
    now(node.engine.records_of(stash.name(key))).unwrap()
}

async fn write(node: &Node, write: Write) -> Result<Record, PutError> {
    let pending = node.engine.upload(Wait::Local).commit(vec![write]).await?;
    Ok(pending.wait().await.records.remove(0))
}

/// Forgets all that its author holds of a name, as `rm --purge` does.
fn purge(stash: &Stash, keys: &Arc<NodeKeys>, key: &str) -> Write {
    let (keys, root, name) = (Arc::clone(keys), stash.root(), stash.name(key));
    let draft = move |position: stash_server::Position| {
        let clear = Clear {
            stash: position.stash,
            kind: RecordKind::Forget(ForgetKind::Dead),
            name,
            dot: position.dot,
            previous: position.previous,
            height: position.height,
            epoch: 0,
            seen: position.seen,
            manifest: Manifest::EMPTY,
        };
        let draft = RecordDraft { clear, meta: None };
        draft.sign(keys.signer(), &root.read_root().meta_keys())
    };
    Write { name, draft: Box::new(draft) }
}

fn full(result: Result<Record, PutError>) -> NameFull {
    match result {
        Err(PutError::Write(WriteError::TooManyWriters(full))) => full,
        other => panic!("not for want of room: {other:?}"),
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_somebody_made_up_keep_nobody_from_a_name() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let other = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &other]).await;
    let bad = Client::member(&stash, &founder, Role::Owner).await;
    let session = bad.connect(&founder).await;
    let mut n = 0;
    for (key, of) in [("founder", &founder.keys), ("other", &other.keys), ("own", &bad.keys)] {
        n += 1;
        let seen = made_up(of.node_id());
        let record = Clear { seen, height: 9, ..clear(&stash, &bad.keys, key, n) };
        let record = signed(&stash, &bad.keys, key, record);
        assert_eq!(session.give(&[], &[record.bytes()]).await, [Fate::Stored {}], "{key}");
        let put = write(&founder, stash.write(&founder.keys, key, vec![])).await.unwrap();
        assert!(put.clear().seen.covers(&record.clear().dot), "{key}: it covers what it saw");
        assert_eq!(put.clear().height, 10);
        assert_eq!(stash_crypto::record::head(&held(&founder, &stash, key)), Some(&put), "{key}");
        let purged = write(&founder, purge(&stash, &founder.keys, key)).await.unwrap();
        assert_eq!(held(&founder, &stash, key), [purged], "{key}");

        // A dead forget stays for good, and whoever writes after it has seen its vector.
        n += 1;
        let kind = RecordKind::Forget(ForgetKind::Dead);
        let forget =
            Clear { kind, seen: made_up(of.node_id()), ..clear(&stash, &bad.keys, key, n) };
        let forget = signed(&stash, &bad.keys, key, forget);
        assert_eq!(session.give(&[], &[forget.bytes()]).await, [Fate::Stored {}], "{key}");
        for _ in 0..3 {
            write(&founder, stash.write(&founder.keys, key, vec![])).await.unwrap();
        }
    }
    founder.engine.remove_member(bad.keys.node_id()).await.unwrap();
    for key in ["founder", "other", "own"] {
        until("the other owner has the name", || held(&other, &stash, key).len() > 3).await;
        write(&other, stash.write(&other.keys, key, vec![])).await.unwrap();
        write(&other, purge(&stash, &other.keys, key)).await.unwrap();
        let versions = |record: &&Record| record.clear().kind.is_version();
        assert_eq!(held(&other, &stash, key).iter().filter(versions).count(), 0, "{key}");
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_too_many_real_writers_ends_once_their_node_is_removed() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let bad = Client::member(&stash, &founder, Role::Owner).await;
    let id = bad.keys.node_id();
    let of = |incarnation: u8, n: u64, key: &str| {
        let clear = Clear { dot: dot(id, incarnation, n), ..clear(&stash, &bad.keys, key, 1) };
        signed(&stash, &bad.keys, key, clear)
    };
    // The first of its incarnation goes to nobody yet; the second, of another name, is before the cut.
    let (unseen, after) = (of(1, 1, "k"), of(1, 2, "else"));
    let many: Vec<Record> = (100..170).map(|at| of(at, 1, "k")).chain([after]).collect();
    let session = bad.connect(&founder).await;
    let bytes: Vec<&[u8]> = many.iter().map(Record::bytes).collect();
    assert!(session.give(&[], &bytes).await.iter().all(|fate| *fate == Fate::Stored {}));
    until("the keeper has them", || keeper.store.record_totals() == founder.store.record_totals())
        .await;
    keeper.engine.shutdown(Duration::from_secs(5)).await;

    let put = || stash.write(&founder.keys, "k", vec![]);
    let refused = full(write(&founder, put()).await);
    assert_eq!((refused.node, refused.count, refused.removed), (id, 70, false));
    assert_eq!(full(write(&founder, purge(&stash, &founder.keys, "k")).await), refused);
    assert!(!founder.engine.has_room_for_version(stash.name("k")).await.unwrap());
    founder.engine.remove_member(id).await.unwrap();
    let refused = full(write(&founder, put()).await);
    assert_eq!((refused.node, refused.count, refused.removed), (id, 70, true));
    assert!(refused.to_string().contains("purge the name"), "{refused}");
    let purged = write(&founder, purge(&stash, &founder.keys, "k")).await.unwrap();
    let log = founder.engine.member_log();
    let removed_at = log.removal(&id).unwrap().removed_at;
    assert_eq!(purged.clear().seen.nodes().collect::<Vec<_>>(), [(id, removed_at)]);
    assert_eq!(purged.bytes()[2], 4, "of the format that names nodes");
    let again = write(&founder, put()).await.unwrap();
    assert_eq!(again.clear().seen, purged.clear().seen);
    assert_eq!(held(&founder, &stash, "k"), [purged.clone(), again.clone()]);

    // It comes to who was away, with the removal, and what nobody had seen is forgotten too.
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    until("the keeper has forgotten", || {
        keeper.store.record_totals() == founder.store.record_totals()
    })
    .await;
    assert_eq!(held(&keeper, &stash, "k").len(), 2);
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    until("the keeper knows it", || keeper.engine.members().len() == 3).await;
    for node in [&founder, &keeper] {
        let session = owner.connect(node).await;
        let fate = session.give(&[], &[unseen.bytes()]).await.remove(0);
        assert!(fate.refusal().contains("a dead forget names it"));
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_nodes_that_the_log_has_removed_are_named_as_a_whole() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let bad = Client::member(&stash, &founder, Role::Owner).await;
    let session = bad.connect(&founder).await;
    let len = founder.engine.member_log().len();
    let cases = [
        (founder.keys.node_id(), 1, "does not remove"),
        (founder.keys.node_id(), len, "are known here"),
        (NodeId::from_bytes([9; 32]), 1, "does not remove"),
    ];
    for ((node, index, why), n) in cases.into_iter().zip(1..) {
        for kind in [RecordKind::Put, RecordKind::Forget(ForgetKind::Dead)] {
            let mut seen = Vector::new();
            seen.insert_node(node, index).unwrap();
            let record = Clear { kind, seen, ..clear(&stash, &bad.keys, "k", n) };
            let record = signed(&stash, &bad.keys, "k", record);
            let fate = session.give(&[], &[record.bytes()]).await.remove(0);
            let reason = fate.refusal();
            assert!(reason.contains(why), "{reason}");
        }
    }
}

// Fault case 23.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_names_a_stranger_is_asked_for_again_once_the_log_has_grown() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let keeper = Client::member(&stash, &founder, Role::Keeper).await;
    let stranger = NodeKeys::generate(&mut rand::rng());
    let mut seen = Vector::new();
    seen.insert(dot(stranger.node_id(), 1, 1)).unwrap();
    let record = Clear { seen, ..clear(&stash, &owner.keys, "k", 1) };
    let record = signed(&stash, &owner.keys, "k", record);
    let session = owner.connect(&founder).await;
    let refused = session.give(&[], &[record.bytes()]).await.remove(0).refusal();
    assert!(refused.contains("does not know as a member"), "{refused}");

    // A member that holds it, and says that it holds what the founder holds. However often it is compared
    // with, what counts is how much of the member log the founder had by then.
    let (compared, counts) = (Arc::new(AtomicU64::new(0)), founder.store.clone());
    let (known, told) = (Arc::clone(&compared), record.clone());
    let engine = founder.engine.clone();
    let script = script(move |ask, _| match ask {
        Ask::Log { after: 0, .. } => Act::Say(Answer::Log {
            known: true,
            hashes: ByteBuf::from(told.hash().as_bytes().to_vec()),
            log: ByteBuf::from(vec![9; 16]),
            last: 5,
        }),
        Ask::Find { .. } => {
            Act::Say(Answer::Records { records: vec![ByteBuf::from(told.bytes().to_vec())] })
        }
        Ask::All {} => {
            known.fetch_max(engine.member_log().len(), Ordering::Relaxed);
            let totals = counts.record_totals();
            let sum = ByteBuf::from(totals.sum.to_vec());
            Act::Say(Answer::All { n: totals.count, sum, log: 0 })
        }
        _ => Act::Default,
    });
    let _keeper = keeper.connect_with(&founder, script).await;
    let log = founder.engine.member_log();
    until("it was compared", || compared.load(Ordering::Relaxed) == log.len()).await;
    assert_eq!(held(&founder, &stash, "k"), []);

    let ticket = TicketId::from_bytes([7; 16]);
    let request = JoinRequest::sign(&stranger, &stash.id(), ticket, "x").unwrap();
    let entry = admit_entry(&stash.root(), &log, &request, Role::Owner);
    let entries = vec![ByteBuf::from(entry.bytes().to_vec())];
    let told = session.ask(&Ask::Announce { entries, addresses: vec![] }).await;
    assert_eq!(told, Answer::Done {});
    until("it is compared again", || compared.load(Ordering::Relaxed) > log.len()).await;
    assert_eq!(session.give(&[], &[record.bytes()]).await, [Fate::Stored {}]);
    let plain = put_of(&stash, &owner.keys, "plain", 2, &[]);
    assert_eq!(session.give(&[], &[plain.bytes()]).await, [Fate::Stored {}]);
}
