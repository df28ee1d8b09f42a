//! Members that are full: they ask nobody for what they cannot keep, learn what has ended, and take
//! the rest once there is room.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Duration;

use crate::support::{Node, Stash, addresses, all_connected, now, until};
use stash_crypto::{ChunkRef, Clear, Manifest, RecordDraft, RecordKind, Role};
use stash_server::store::{Quota, Room};
use stash_server::{Wait, Write};

const MIB: u64 = 1 << 20;

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

fn limit(node: &Node, bytes: Option<u64>) {
    node.store.set_quota(Quota { hard: bytes, ..Quota::default() });
}

/// Room for so many bytes more than there are.
fn room_for(node: &Node, bytes: u64) {
    limit(node, Some(node.store.stats().used_bytes + bytes));
}

fn whole(node: &Node, chunks: &[ChunkRef]) -> bool {
    now(node.engine.chunks_here(&addresses(chunks))).unwrap().iter().all(|here| *here)
}

fn is_full(node: &Node) -> bool {
    matches!(node.store.stats().room, Room::Refusing(_))
}

fn received(node: &Node) -> u64 {
    now(node.engine.status()).unwrap().transferred.bytes_in
}

/// A dead forget of all that is held of a name.
fn forget(stash: &Stash, node: &Node, key: &str) -> Write {
    let (keys, root) = (node.keys.clone(), stash.root());
    Write {
        name: stash.name(key),
        draft: Box::new(move |position| {
            let clear = Clear {
                stash: position.stash,
                kind: RecordKind::Forget(stash_crypto::ForgetKind::Dead),
                name: position.name,
                dot: position.dot,
                previous: position.previous,
                height: position.height,
                epoch: 0,
                seen: position.seen,
                manifest: Manifest::Direct(Vec::new()),
            };
            let draft = RecordDraft { clear, meta: None };
            draft.sign(keys.signer(), &root.read_root().meta_keys())
        }),
    }
}

async fn purge(stash: &Stash, node: &Node, key: &str) {
    let upload = node.engine.upload(Wait::Local);
    upload.commit(vec![forget(stash, node, key)]).await.unwrap().wait().await;
}

/// Files of 1 MiB each, put while nobody else is there.
async fn put_alone(stash: &Stash, node: &Node, keys: impl Iterator<Item = char>) -> Vec<ChunkRef> {
    let mut chunks = Vec::new();
    for key in keys {
        chunks.extend(stash.put(node, &key.to_string(), &[1 << 20], Wait::Local).await.0);
    }
    chunks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_keeper_does_not_download_again() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stopped(&keeper).await;
    let chunks = put_alone(&stash, &founder, 'a'..='x').await;
    room_for(&keeper, 8 * MIB);
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    until("the keeper is full", || is_full(&keeper)).await;
    // News make it look again, and nothing that it looks at says that there is room.
    for key in 'A'..='H' {
        stash.put(&founder, &key.to_string(), &[9_000], Wait::Local).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let kept = keeper.store.stats().bytes;
    assert!(kept > 7 * MIB, "{kept} bytes are kept");
    let received = received(&keeper);
    assert!(received < kept * 21 / 20, "{received} bytes received, {kept} kept");
    let replicated = keeper.engine.status().await.unwrap().replicated;
    assert!(replicated.came <= replicated.kept + MIB / 8, "{replicated:?}");
    assert!(!whole(&keeper, &chunks));
    // Once there is room, it takes the rest by itself.
    limit(&keeper, None);
    until("everything is there", || whole(&keeper, &chunks)).await;
    let status = || now(keeper.engine.status()).unwrap();
    until("nothing is wanted any more", || status().incomplete == 0 && status().refused == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_to_a_full_keeper_sends_it_nothing_and_says_so_in_words() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    room_for(&keeper, 2 * MIB);
    let before = received(&keeper);
    let lens = [1 << 20; 6];
    let (_, outcome) = stash.put(&founder, "a", &lens, Wait::All).await;
    assert!(outcome.short);
    let why = &outcome.missing[0].1;
    assert!(why.contains("full") && !why.contains("reset"), "{why}");
    let came = received(&keeper) - before;
    assert!(came < 5 * MIB / 2, "{came} bytes came for room of 2 MiB");
    // The lane goes on: what there is room for is taken.
    let (small, outcome) = stash.put(&founder, "small", &[], Wait::All).await;
    assert!(small.is_empty());
    assert!(!outcome.short || outcome.missing[0].1.contains("full"), "{outcome:?}");
    // And the founder knows how full it is.
    until("the founder knows", || {
        let members = founder.engine.members();
        members.iter().any(|member| !member.this && member.room.is_some_and(|room| room.full))
    })
    .await;
    limit(&keeper, None);
    until("the founder hears that there is room", || {
        let members = founder.engine.members();
        members.iter().all(|member| member.room.is_some_and(|room| !room.full))
    })
    .await;
    until("the file goes there", || now(founder.engine.status()).unwrap().missing_copies == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_keeper_that_was_away_learns_the_purge_that_frees_it_and_puts_fit_again() {
    let mut stash = Stash::new();
    stash.housekeeping.gc_grace = Duration::ZERO;
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (victim, outcome) = stash.put(&founder, "victim", &[1 << 20; 4], Wait::All).await;
    assert!(!outcome.short);
    stopped(&keeper).await;
    // More puts than there is room for, before and behind what frees some.
    let mut chunks = put_alone(&stash, &founder, 'a'..='c').await;
    for n in 0..300 {
        stash.put(&founder, &format!("inline {n}"), &[], Wait::Local).await;
    }
    purge(&stash, &founder, "victim").await;
    chunks.extend(put_alone(&stash, &founder, 'd'..='d').await);
    room_for(&keeper, 0);
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let name = stash.name("victim");
    until("the keeper learns the purge", || {
        let held = now(keeper.engine.records_of(name)).unwrap();
        held.len() == 1 && held[0].clear().kind != RecordKind::Put
    })
    .await;
    keeper.engine.collect(true, |_| true).await.unwrap();
    assert!(!whole(&keeper, &victim), "the room is back");
    // The others' records and some of their chunks fit now, and come by themselves.
    until("what was refused is asked for again", || {
        let (mine, theirs) = (keeper.store.record_totals(), founder.store.record_totals());
        mine == theirs
    })
    .await;
    until("puts fit again", || chunks.iter().any(|chunk| whole(&keeper, &[*chunk]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_still_known_after_a_restart_and_asked_for_when_there_is_room() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stopped(&keeper).await;
    for n in 0..40 {
        stash.put(&founder, &format!("inline {n}"), &[], Wait::Local).await;
    }
    limit(&keeper, Some(0));
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let status = |node: &Node| now(node.engine.status()).unwrap();
    until("all are refused", || status(&keeper).refused == 40).await;
    until("one exchange has ended all the same", || status(&keeper).synchronised).await;
    let rows = keeper.store.rows(b"refused/").unwrap();
    assert_eq!(rows.len(), 40);
    stopped(&keeper).await;
    limit(&keeper, None);
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    until("all are there", || keeper.store.record_totals() == founder.store.record_totals()).await;
    until("none is refused any more", || status(&keeper).refused == 0).await;
    assert_eq!(keeper.store.rows(b"refused/").unwrap(), []);
}
