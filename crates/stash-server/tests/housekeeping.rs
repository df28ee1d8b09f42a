//! Work that a node does by itself: it collects, and heals from others what it finds damaged.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Node, Stash, addresses, all_connected, until};
use stash_crypto::{Address, ChunkRef, Role};
use stash_server::Wait;
use stash_server::store::{Batch, Blob};
use stash_server::transfers::Damage;

/// Flips a byte of the file that has these bytes of a chunk in it.
fn flip(node: &Node, chunk: &ChunkRef) {
    let (path, at) = find(&node.dir.path().join("store"), &bytes_of(node, chunk)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

fn bytes_of(node: &Node, chunk: &ChunkRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(node.store.read_into(&at(&chunk.address), &mut bytes).unwrap());
    bytes
}

fn at(address: &Address) -> stash_server::store::Address {
    stash_server::store::Address::from_bytes(*address.as_bytes())
}

/// The file below a directory that has these bytes in it, and where.
fn find(dir: &Path, needle: &[u8]) -> Option<(PathBuf, usize)> {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = if path.is_dir() {
            find(&path, needle)
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(needle.len()).position(|window| window == needle);
            at.map(|at| (path, at))
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

async fn here(node: &Node, chunks: &[ChunkRef]) -> Vec<bool> {
    node.engine.chunks_here(&addresses(chunks)).await.unwrap()
}

// Fault case 105. The file's chunks are here already, and nothing names them; the collection has no
// grace, and never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_safe_from_a_collection_without_grace_beside_it() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (done, lens) = (AtomicBool::new(false), [1 << 20, 5_000]);
    let collecting = async {
        let mut chunks = 0;
        loop {
            let last = done.load(Ordering::Relaxed);
            for node in [&founder, &keeper] {
                chunks += node.engine.collect(true, |_| true).await.unwrap().chunks;
            }
            if last {
                return chunks;
            }
        }
    };
    let putting = async {
        for round in 0..25 {
            let first = b'a' + round;
            let key = format!("{} {round}", char::from(first));
            // An upload that is given up leaves the same chunks for the next one to find.
            let abandoned = founder.engine.upload(Wait::All);
            for (seed, len) in (first..).zip(lens) {
                stash.chunk(&founder, &abandoned, seed, len).await;
            }
            stash.chunk(&founder, &abandoned, 250, 200_000).await;
            founder.store.flush().unwrap();
            drop(abandoned);
            let (chunks, outcome) = stash.put(&founder, &key, &lens, Wait::All).await;
            assert!(!outcome.short, "{outcome:?}");
            for node in [&founder, &keeper] {
                assert_eq!(here(node, &chunks).await, [true, true], "round {round}");
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let (collected, ()) = tokio::join!(collecting, putting);
    assert!(collected > 0, "nothing was ever collected, so nothing was tested");
}

// Fault cases 21 and 78.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_heals_flipped_chunks_from_a_member_and_needs_no_key() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (chunks, outcome) = stash.put(&founder, "a", &[1 << 20, 1 << 20, 9_000], Wait::All).await;
    assert!(!outcome.short);
    for node in [&keeper, &founder] {
        chunks.iter().for_each(|chunk| flip(node, chunk));
        let report = node.engine.scrub(|_| true).await.unwrap();
        assert!(report.found >= 3, "{report:?}");
        assert_eq!((report.healed, report.unhealed), (3, 0), "{report:?}");
        for chunk in &chunks {
            assert_eq!(Address::of(&bytes_of(node, chunk)), chunk.address);
        }
        let again = node.engine.collect(false, |_| true).await;
        assert!(again.is_ok(), "{again:?}");
        let again = node.engine.scrub(|_| true).await.unwrap();
        assert_eq!((again.found, again.unhealed), (0, 0), "{again:?}");
        let checked = node.engine.check(true).await.unwrap();
        assert!(checked.report.is_sound(), "{checked:?}");
    }
}

// Fault case 21.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_read_meets_is_healed_though_the_reader_keeps_nothing() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    let (chunks, _) = stash.put(&founder, "a", &[300_000], Wait::All).await;
    flip(&founder, &chunks[0]);
    let mut fetch = founder.engine.fetch(chunks.clone(), false);
    let sealed = fetch.next().await.unwrap().unwrap();
    assert_eq!(Address::of(&sealed), chunks[0].address);
    until("the chunk is whole again", || founder.store.has(&[at(&chunks[0].address)]).unwrap()[0])
        .await;
    until("the healing is counted", || {
        let house = crate::support::now(founder.engine.status()).unwrap().house;
        (house.found, house.healed, house.unhealed) == (1, 1, 0)
    })
    .await;
}

// Fault case 21. Nobody reads the chunk but to prove it, or to check what another member proves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_proof_meets_is_healed() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    for (damaged, key) in [(&keeper, "a"), (&founder, "b")] {
        let (chunks, outcome) = stash.put(&founder, key, &[300_000], Wait::All).await;
        assert!(!outcome.short);
        flip(damaged, &chunks[0]);
        let refused = founder.engine.evict(addresses(&chunks)).await;
        assert!(refused.is_err(), "{key}: {refused:?}");
        let chunk = at(&chunks[0].address);
        until("the chunk is whole again", || damaged.store.has(&[chunk]).unwrap()[0]).await;
    }
}

// Fault case 78.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_fetched_again_from_a_member() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let keeper = stash.joined(&founder, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    stash.put(&founder, "b", &[], Wait::All).await;
    stash.put(&founder, "a", &[], Wait::All).await;
    for node in [&founder, &keeper] {
        let record = node.engine.records_of(stash.name("a")).await.unwrap().remove(0);
        let (path, at) = find(&node.dir.path().join("store/log"), record.bytes()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at + 200] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut mended = node.engine.mended();
        // Listings go on, whatever the damage.
        assert_eq!(node.engine.record_log(0, 10).await.unwrap().len(), 2);
        assert_eq!(mended.recv().await.unwrap(), stash.name("a"));
        assert_eq!(node.engine.records_of(stash.name("a")).await.unwrap(), [record]);
        let report = node.engine.scrub(|_| true).await.unwrap();
        assert_eq!(report.unhealed, 0, "{report:?}");
    }
}

// Fault case 119: what nobody else has stays quarantined, is named, and is healed once somebody
// comes who has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_no_member_can_heal_is_named_until_one_can() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let (chunks, outcome) = stash.put(&founder, "a", &[300_000], Wait::Local).await;
    let sealed = bytes_of(&founder, &chunks[0]);
    flip(&founder, &chunks[0]);
    let report = founder.engine.scrub(|_| true).await.unwrap();
    assert_eq!((report.healed, report.unhealed), (0, 1));
    let [damaged] = &report.damaged[..] else { panic!("{report:?}") };
    assert_eq!(damaged.damage, Damage::Chunk(chunks[0].address));
    assert_eq!(damaged.names, [stash.name("a")]);
    assert_eq!(damaged.records, [outcome.records[0].hash()]);
    assert!(damaged.why.contains("no other member is connected"), "{damaged:?}");
    let mut fetch = founder.engine.fetch(chunks.clone(), false);
    assert!(fetch.next().await.unwrap().is_err(), "never served");

    let keeper = stash.joined(&founder, Role::Keeper).await;
    keeper.store.stage(Blob::hash(sealed)).unwrap();
    keeper.store.flush().unwrap();
    // Coming back is what tells the founder to ask.
    keeper.engine.shutdown(Duration::from_secs(5)).await;
    let keeper = stash.restarted(keeper, Role::Keeper).await;
    all_connected(&[&founder, &keeper]).await;
    until("the chunk is whole again", || founder.store.has(&[at(&chunks[0].address)]).unwrap()[0])
        .await;
    until("nothing is unhealed", || {
        crate::support::now(founder.engine.status()).unwrap().house.unhealed == 0
    })
    .await;
    until("nothing is written down", || founder.store.rows(b"damaged/").unwrap().is_empty()).await;
}

// In simulated time: three days of housekeeping, and nothing but its own clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_after_a_day_of_uptime_and_not_before() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (kept, _) = stash.put(&node, "a", &[200_000], Wait::Local).await;
    node.store.stage(Blob::hash(vec![1; 300_000])).unwrap();
    node.store.commit(Batch::new()).unwrap();
    let garbage = stash_server::store::Address::of(&[1; 300_000]);
    let promised = node.engine.collectable(false).await.unwrap();
    assert_eq!((promised.chunks, promised.waiting_chunks), (0, 1));
    assert_eq!(node.engine.collectable(true).await.unwrap().chunks, 1);

    let mut keeper = node.engine.housekeeper();
    let (mut now, mut gone) = (Duration::ZERO, None);
    let hour = Duration::from_secs(3_600);
    while now < 72 * hour {
        now = keeper.step(now).await.max(now);
        if gone.is_none() && !node.store.has(&[garbage]).unwrap()[0] {
            gone = Some(now);
        }
    }
    let gone = gone.expect("it was collected");
    assert!(gone > 24 * hour && gone < 27 * hour, "{gone:?}");
    assert_eq!(here(&node, &kept).await, [true]);
    let house = node.engine.status().await.unwrap().house;
    assert!(house.collected_at.is_some() && house.scrubbed_at.is_some(), "{house:?}");
    assert_eq!(house.collectable.waiting_chunks, 0);
}

// What a node does by itself writes no byte more than twice; who asks for the room gets more of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_a_third_dead_is_written_again_only_when_somebody_asks_for_the_room() {
    const ROWS: u32 = 1_500;
    let stash = Stash::new();
    let node = stash.founder().await;
    let write = |rows: std::ops::Range<u32>, fill| {
        let value = vec![fill; 48 * 1024];
        for n in rows {
            let key = [b"test/".as_slice(), &n.to_be_bytes()].concat();
            node.store.commit(Batch::new().row(&key, Some(&value))).unwrap();
        }
    };
    // More than a segment of 64 MiB; then a third of its first rows mean nothing any more.
    write(0..ROWS, 1);
    write(0..ROWS / 3, 2);
    let dead = u64::from(ROWS / 3) * 48 * 1024;

    let mut keeper = node.engine.housekeeper();
    let (mut now, day) = (Duration::ZERO, Duration::from_secs(86_400));
    while now < 2 * day {
        now = keeper.step(now).await.max(now);
    }
    let house = node.engine.status().await.unwrap().house;
    assert!(house.collected_at.is_some());
    assert_eq!((house.freed, house.collectable.log_bytes), (0, 0), "a third is less than a half");

    let promised = node.engine.collectable(false).await.unwrap();
    let done = node.engine.collect(false, |_| true).await.unwrap();
    assert_eq!(done.segments, 1);
    // Entries that are written again take some bytes more.
    assert!(promised.bytes() > dead && done.bytes() > dead, "{dead} dead, {promised:?}, {done:?}");
    assert!(done.bytes().abs_diff(promised.bytes()) < dead / 100, "{promised:?} {done:?}");
    assert!(done.moved_bytes < 2 * dead + dead / 5, "{done:?}");
}
