//! Members that were away, that were restored from a copy, or that never met: what they miss comes
//! without anybody putting it again.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::time::Duration;

use crate::support::{Node, Stash, addresses, all_connected, copy, now, until};
use stash_crypto::{ChunkRef, Role};
use stash_server::store::{Batch, Options, Store};
use stash_server::{Rate, Wait};

/// Sizes of a file's chunks: in a file of its own, and in the log of the store.
const SIZES: [usize; 2] = [1 << 20, 5_000];

async fn stopped(node: &Node) {
    node.engine.shutdown(Duration::from_secs(5)).await;
}

fn records(node: &Node) -> u64 {
    node.store.record_totals().count
}

fn whole(node: &Node, chunks: &[ChunkRef]) -> bool {
    now(node.engine.chunks_here(&addresses(chunks))).unwrap().iter().all(|here| *here)
}

/// Waits until the nodes hold the same records, and so many.
async fn equal(nodes: &[&Node], count: u64) {
    until("all nodes hold the same records", || {
        let totals: Vec<_> = nodes.iter().map(|node| node.store.record_totals()).collect();
        totals.iter().all(|one| *one == totals[0] && one.count == count)
    })
    .await;
}

async fn status(node: &Node) -> stash_server::EngineStatus {
    node.engine.status().await.unwrap()
}

// Fault cases 95 and 118.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_gets_records_and_chunks_when_it_is_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stash.put(&founder, "before", &SIZES, Wait::All).await;
    stopped(&keeper).await;
    until("the keeper is gone", || founder.engine.members().iter().any(|m| !m.connected)).await;
    let mut files = Vec::new();
    for key in ["a", "b", "c"] {
        let (chunks, outcome) = stash.put(&founder, key, &SIZES, Wait::Local).await;
        assert_eq!(outcome.copies, 1);
        files.push(chunks);
    }
    until("the founder knows what is short", || now(status(&founder)).missing_copies == 3).await;
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    equal(&[&founder, &keeper], 4).await;
    until("the chunks are there", || files.iter().all(|chunks| whole(&keeper, chunks))).await;
    until("nothing is short any more", || now(status(&founder)).missing_copies == 0).await;
    until("nothing is wanted any more", || now(status(&keeper)).incomplete == 0).await;
    assert!(status(&keeper).await.alarms.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_comes_no_faster_than_it_may_and_a_reader_does_not_wait_for_it() {
    let mut stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stopped(&keeper).await;
    let (chunks, _) = stash.put(&founder, "while it was away", &[1 << 20; 4], Wait::Local).await;
    let rate = Rate::new(1 << 20).unwrap();
    stash.traffic.background_down = Some(rate);
    let started = std::time::Instant::now();
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    assert_eq!(status(&keeper).await.traffic, stash.traffic);
    until("the records are there", || records(&keeper) == 1).await;
    let mut read = keeper.engine.fetch(chunks.clone(), false);
    while let Some(chunk) = read.next().await {
        chunk.unwrap();
    }
    let read = started.elapsed();
    until("the chunks are there", || whole(&keeper, &chunks)).await;
    let brought = started.elapsed();
    // What a pause saves up is a twentieth of a second.
    let least = rate.time(4 << 20) - Duration::from_millis(50);
    assert!(brought >= least, "{brought:?}, at least {least:?}");
    assert!(read < brought, "a reader waited for {read:?}");
}

// Fault case 96: two that never meet learn everything from a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_member_wrote_comes_from_another_one() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (owner, keeper) =
        (stash.joined(&founder, Role::Owner).await, stash.joined(&founder, Role::Keeper).await);
    all_connected(&[&founder, &owner, &keeper]).await;
    stopped(&keeper).await;
    let (chunks, _) = stash.put(&owner, "file", &SIZES, Wait::Local).await;
    equal(&[&founder, &owner], 1).await;
    until("the founder has it whole", || whole(&founder, &chunks)).await;
    stopped(&owner).await;
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    equal(&[&founder, &keeper], 1).await;
    until("the keeper has it whole", || whole(&keeper, &chunks)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_everything_that_was_stored_before() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (chunks, _) = stash.put(&founder, "old", &SIZES, Wait::Local).await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    equal(&[&founder, &keeper], 1).await;
    until("the chunks are there", || whole(&keeper, &chunks)).await;
    until("one exchange has ended", || now(status(&keeper)).synchronised).await;
}

// Or else everything would be compared each time that there is news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_not_known_any_more_is_replaced_though_nothing_new_comes() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    stash.put(&owner, "file", &[], Wait::All).await;
    equal(&[&founder, &owner], 1).await;
    stopped(&founder).await;
    let cursor = [b"cursor/", &owner.engine.node_id().as_bytes()[..]].concat();
    let batch = Batch::new().row(&cursor, Some(&[7; 24]));
    founder.store.commit(batch).unwrap();
    let founder = stash.restarted_there(founder, Role::Owner).await;
    until("the founder keeps a position in the order as it is now", || {
        let kept = founder.store.row(&cursor).unwrap().unwrap();
        owner.store.rows(b"log/").unwrap().iter().any(|(_, log)| kept.starts_with(log))
    })
    .await;
}

// Fault case 114: the numbers that the others remember mean other records in a restored store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_restored_from_a_copy_gets_what_it_lost_and_gives_what_is_new() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let mut owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    stash.put(&owner, "first", &[], Wait::All).await;
    stopped(&owner).await;
    let (dir, backup) = (owner.dir.path().join("store"), owner.dir.path().join("backup"));
    owner = stash.restarted(owner, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    stopped(&owner).await;
    let Node { engine, keys, store, dir: temp } = owner;
    drop((engine, store));
    copy(&dir, &backup);
    let reopened = Store::open(&dir, &Options::default()).unwrap();
    owner = run(&stash, reopened, keys, temp, false).await;
    all_connected(&[&founder, &owner]).await;
    for key in ["lost 1", "lost 2", "lost 3"] {
        stash.put(&owner, key, &SIZES, Wait::All).await;
    }
    equal(&[&founder, &owner], 4).await;
    // The founder has read the owner's order to its end.
    stopped(&owner).await;
    let Node { engine, keys, store, dir: temp } = owner;
    drop((engine, store));
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&backup, &dir).unwrap();
    let restored = Store::open(&dir, &Options::default()).unwrap();
    assert_eq!(restored.record_totals().count, 1, "a copy from before");
    stopped(&founder).await;
    // Alone, it writes under numbers that the founder has passed.
    owner = run(&stash, restored, keys, temp, true).await;
    stash.put(&owner, "new 1", &[], Wait::Local).await;
    stash.put(&owner, "new 2", &SIZES, Wait::Local).await;
    let founder = stash.restarted_there(founder, Role::Owner).await;
    equal(&[&founder, &owner], 6).await;
    assert!(status(&founder).await.alarms.is_empty(), "it wrote as somebody new");
}

async fn run(
    stash: &Stash,
    store: Store,
    keys: std::sync::Arc<stash_crypto::NodeKeys>,
    dir: tempfile::TempDir,
    fresh: bool,
) -> Node {
    let keys = std::sync::Arc::into_inner(keys).unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    stash.run_as(store, keys, Role::Owner, dir, false, fresh, anywhere).await
}

// The bytes of a version that were given up are not brought back; those of the next one are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_evicted_is_not_brought_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    let (chunks, outcome) = stash.put(&founder, "file", &SIZES, Wait::All).await;
    let (name, version) = (stash.name("file"), outcome.records[0].hash());
    owner.engine.evict_version(name, version, addresses(&chunks), Some(1)).await.unwrap();
    stopped(&owner).await;
    let (newer, _) = stash.put(&founder, "other", &SIZES, Wait::Local).await;
    let owner = stash.restarted(owner, Role::Owner).await;
    until("the other file is there", || whole(&owner, &newer)).await;
    until("nothing is short", || now(status(&founder)).missing_copies == 0).await;
    let here = owner.engine.chunks_here(&addresses(&chunks)).await.unwrap();
    assert!(!here.contains(&true));
}

// A restart forgets nothing of what is wanted, and what nobody has is left until somebody comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_is_still_wanted_after_a_restart() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = stash.joined(&founder, Role::Owner).await;
    all_connected(&[&founder, &owner]).await;
    let (chunks, outcome) = stash.put(&founder, "file", &SIZES, Wait::All).await;
    let (name, version) = (stash.name("file"), outcome.records[0].hash());
    // From here on only the founder has the bytes.
    owner.engine.evict_version(name, version, addresses(&chunks), Some(1)).await.unwrap();
    stopped(&founder).await;
    until("the founder is gone", || owner.engine.members().iter().any(|m| !m.connected)).await;
    // It wants them back, and nobody has them.
    owner.engine.want_version(name).await.unwrap();
    let row = [b"want/", &version.as_bytes()[..]].concat();
    owner.store.commit(Batch::new().row(&row, Some(b""))).unwrap();
    stopped(&owner).await;
    let owner = stash.restarted(owner, Role::Owner).await;
    assert_eq!(status(&owner).await.incomplete, 1);
    let founder = stash.restarted_there(founder, Role::Owner).await;
    until("the bytes are back", || whole(&owner, &chunks)).await;
    until("nothing is wanted any more", || now(status(&owner)).incomplete == 0).await;
    assert_eq!(records(&founder), records(&owner));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_while_the_chunk_files_are_away_comes_as_soon_as_they_are_back() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let store = keeper.dir.path().join("store");
    std::fs::rename(store.join("chunks"), store.join("elsewhere")).unwrap();
    let (chunks, _) = stash.put(&founder, "a file", &[300_000], Wait::Local).await;
    until("it is wanted", || now(keeper.engine.status()).unwrap().incomplete == 1).await;
    // Nobody is asked for it, and it is not put off until there is room.
    assert_eq!(keeper.engine.repair(false, |_| true).await.unwrap().left, 1);
    std::fs::rename(store.join("elsewhere"), store.join("chunks")).unwrap();
    // Whoever comes is a reason to look again, as the directory is that is back.
    let other = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper, &other]).await;
    until("it is whole", || now(keeper.engine.status()).unwrap().incomplete == 0).await;
    assert_eq!(now(keeper.engine.chunks_here(&addresses(&chunks))).unwrap(), [true]);
}
