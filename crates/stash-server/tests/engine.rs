//! Engines that find each other, replicate, fetch, evict and admit, over real sockets and disks.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::support::{Stash, addresses, all_connected, until};
use stash_crypto::{Address, ChunkRef, RecordHash, RecordKind, Role};
use stash_server::transfers::EvictStop;
use stash_server::{EvictError, InviteError, PutError, Wait, WriteError};

async fn three(stash: &Stash) -> [crate::support::Node; 3] {
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &keeper, &owner]).await;
    [founder, keeper, owner]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_on_every_member_and_any_member_reads_it() {
    let stash = Stash::new();
    let nodes = three(&stash).await;
    let (chunks, outcome) =
        stash.put(&nodes[0], "a", &[1 << 20, 1 << 20, 1 << 20, 200_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (3, 3, false), "{outcome:?}");
    for node in &nodes {
        let here = node.engine.chunks_here(&addresses(&chunks)).await.unwrap();
        assert_eq!(here, vec![true; 4]);
        let held = node.engine.records_of(stash.name("a")).await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].clear().kind, RecordKind::Put);
        let mut fetch = node.engine.fetch(chunks.clone(), true);
        let keys = stash.root().read_root().chunk_keys();
        for _ in &chunks {
            let mut sealed = fetch.next().await.unwrap().unwrap();
            keys.open_in_place(&mut sealed).unwrap();
        }
        assert!(fetch.next().await.is_none());
    }
    let located = nodes[1].engine.locate(&addresses(&chunks)).await;
    assert!(located.iter().all(|(_, answer)| *answer == Ok(vec![true; 4])), "{located:?}");
}

/// Batches that wait are committed together: one that cannot be is no reason for others to fail,
/// and the records stand in one chain without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_at_once_are_one_chain_and_one_that_fails_fails_alone() {
    const PUTS: usize = 24;
    let stash = Stash::new();
    let node = stash.founder().await;
    let absent = ChunkRef { address: Address::of(b"nowhere"), sealed_len: 1_008 };
    // The first keeps its turn until the others have had time to come; whether they have changes
    // what is tested, and not what must hold.
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut first = stash.write(&node.keys, "first", vec![]);
    let draft = first.draft;
    first.draft = Box::new(move |position| {
        let _opened_or_gone = gate.lock().unwrap().recv();
        draft(position)
    });
    let upload = node.engine.upload(Wait::Local);
    let commit = |write| {
        let upload = upload.clone();
        tokio::spawn(async move { upload.commit(vec![write]).await.map(drop) })
    };
    let mut puts = vec![commit(first)];
    for number in 0..PUTS {
        let chunks = if number == PUTS / 2 { vec![absent] } else { vec![] };
        puts.push(commit(stash.write(&node.keys, &format!("{number}"), chunks)));
    }
    tokio::task::yield_now().await;
    drop(go);
    let mut failed = 0;
    for put in puts {
        match put.await.unwrap() {
            Ok(()) => {}
            Err(PutError::Write(WriteError::ChunkGone)) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(failed, 1);
    let log = node.engine.record_log(0, 1_000).await.unwrap();
    assert_eq!(log.len(), PUTS);
    let mut previous = RecordHash::from_bytes([0; 32]);
    for (n, (_, record)) in (1..).zip(&log) {
        assert_eq!((record.clear().dot.n, record.clear().previous), (n, previous));
        previous = record.hash();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicted_bytes_come_back_from_members() {
    let stash = Stash::new();
    let nodes = three(&stash).await;
    let (chunks, _) = stash.put(&nodes[0], "e", &[1 << 20, 1 << 20, 5_000], Wait::All).await;
    let evicted = nodes[0].engine.evict(addresses(&chunks)).await.unwrap();
    assert_eq!(evicted.chunks, 3);
    assert!(!evicted.proven_by.is_empty());
    let here = nodes[0].engine.chunks_here(&addresses(&chunks)).await.unwrap();
    assert_eq!(here, vec![false; 3]);

    for keep in [false, true] {
        let mut fetch = nodes[0].engine.fetch(chunks.clone(), keep);
        for chunk in &chunks {
            let sealed = fetch.next().await.unwrap().unwrap();
            assert_eq!(Address::of(&sealed), chunk.address);
        }
    }
    let here = nodes[0].engine.chunks_here(&addresses(&chunks)).await.unwrap();
    assert_eq!(here, vec![true; 3], "fetched chunks are kept");
    // The copies came back, and so others may go.
    let again = nodes[2].engine.evict(addresses(&chunks)).await.unwrap();
    assert_eq!(again.chunks, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicting_is_refused_without_a_proof_elsewhere() {
    let stash = Stash::new();
    let alone = stash.founder().await;
    let (chunks, outcome) = stash.put(&alone, "only", &[300_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted), (1, 1));
    let refused = alone.engine.evict(addresses(&chunks)).await;
    assert!(
        matches!(refused, Err(EvictError { why: EvictStop::NotProven { .. }, .. })),
        "{refused:?}"
    );
    // A member that joined later gets the chunk, and has given its bytes up again.
    let late = stash.joined(&alone, Role::Keeper).await;
    all_connected(&[&alone, &late]).await;
    until("the chunk is there", || {
        crate::support::now(late.engine.chunks_here(&addresses(&chunks))).unwrap() == [true]
    })
    .await;
    assert_eq!(late.engine.evict(addresses(&chunks)).await.unwrap().chunks, 1);
    let refused = alone.engine.evict(addresses(&chunks)).await;
    assert!(
        matches!(refused, Err(EvictError { why: EvictStop::NotProven { .. }, .. })),
        "{refused:?}"
    );
    assert_eq!(alone.engine.chunks_here(&addresses(&chunks)).await.unwrap(), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_that_evict_at_once_never_leave_zero_copies() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    let (chunks, outcome) = stash.put(&founder, "race", &[1 << 20, 6_000], Wait::All).await;
    assert!(!outcome.short);
    let wanted = addresses(&chunks);
    let (mut both_refused, mut one) = (0, 0);
    for round in 0..50 {
        let (a, b) =
            tokio::join!(founder.engine.evict(wanted.clone()), owner.engine.evict(wanted.clone()));
        match (a.is_ok(), b.is_ok()) {
            (true, true) => panic!("round {round}: both evicted"),
            (false, false) => both_refused += 1,
            _ => one += 1,
        }
        for node in [&founder, &owner] {
            let mut fetch = node.engine.fetch(chunks.clone(), true);
            while let Some(chunk) = fetch.next().await {
                chunk.unwrap();
            }
        }
    }
    assert_eq!(both_refused + one, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_says_how_many_copies_there_are_when_a_member_is_away() {
    let stash = Stash::new();
    let [founder, keeper, owner] = three(&stash).await;
    let gone = keeper.engine.node_id();
    keeper.engine.shutdown(Duration::from_secs(2)).await;
    until("the keeper is seen to be gone", || {
        let members = founder.engine.members();
        members.iter().any(|member| member.node == gone && !member.connected)
    })
    .await;
    let (_, outcome) = stash.put(&founder, "two", &[100_000], Wait::All).await;
    assert_eq!((outcome.copies, outcome.wanted, outcome.short), (2, 3, true));
    assert_eq!(outcome.missing, [(gone, "not connected".to_owned())]);
    let (_, outcome) = stash.put(&founder, "three", &[100_000], Wait::Quorum).await;
    assert!(!outcome.short);
    until("the missing copies are written down", || {
        crate::support::now(founder.engine.status()).unwrap().missing_copies == 2
    })
    .await;
    let status = owner.engine.status().await.unwrap();
    assert_eq!((status.members, status.connected), (3, 2));
}

// Fault case 93.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_over_does_not_keep_a_node_from_stopping() {
    let stash = Stash::new();
    let nodes = three(&stash).await;
    let (_, outcome) = stash.put(&nodes[0], "over", &[1 << 20, 70_000], Wait::All).await;
    assert!(!outcome.short);
    let deadline = Duration::from_secs(60);
    for node in &nodes {
        let begun = std::time::Instant::now();
        node.engine.shutdown(deadline).await;
        assert!(begun.elapsed() < deadline / 2, "took {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_founder_invites_and_only_owners_put() {
    let stash = Stash::new();
    let [_founder, keeper, owner] = three(&stash).await;
    for node in [&keeper, &owner] {
        let refused = node.engine.invite(Role::Owner, Duration::from_secs(60)).await;
        assert!(matches!(refused, Err(InviteError::NotFounder)));
    }
    let write = stash.write(&keeper.keys, "forged", vec![]);
    let refused = keeper.engine.upload(Wait::Local).commit(vec![write]).await;
    assert!(refused.unwrap_err().to_string().contains("keeper"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_member_takes_over_all_records() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    for i in 0..20 {
        stash.put(&founder, &format!("file {i}"), &[70_000], Wait::Local).await;
    }
    let late = stash.joined(&founder, Role::Owner).await;
    until("the records have arrived", || {
        crate::support::now(late.engine.status()).unwrap().synchronised
    })
    .await;
    assert_eq!(late.engine.status().await.unwrap().records, 20);
    let held = late.engine.records_of(stash.name("file 7")).await.unwrap();
    let chunks = held[0].clear().manifest.refs().to_vec();
    let mut fetch = late.engine.fetch(chunks.clone(), true);
    assert_eq!(Address::of(&fetch.next().await.unwrap().unwrap()), chunks[0].address);
}
