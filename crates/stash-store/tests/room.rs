//! Quota, reserve and ballast: a store that refuses before anything breaks.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Random, dir, inline, put, read, record};
use stash_store::{
    Address, Batch, Blob, ChunkState, CollectOptions, CommitError, Committer, Disk, Fault, MemDisk,
    Options, Quota, Resource, Room, Shortage, StageError, Store,
};

/// Bytes that a blob in a file takes in the log: its announcement and the mark after it.
const ANNOUNCED: u64 = 72 + 72;
/// What the tests leave of a disk.
const RESERVE: u64 = 50_000;

/// One segment of the log, and an index that is written when the store is closed.
fn options(disk: &MemDisk) -> Options {
    let later = 1 << 20;
    Options { segment_bytes: later, checkpoint_bytes: later, memory_bytes: later, ..inline(disk) }
}

fn reserve(bytes: u64, inodes: u64) -> Quota {
    Quota { reserve_bytes: Some(bytes), reserve_inodes: Some(inodes), ..Quota::default() }
}

fn hard(bytes: u64) -> Quota {
    Quota { hard: Some(bytes), ..Quota::default() }
}

/// No room is granted to anybody.
#[track_caller]
fn is_settled(store: &Store) {
    let stats = store.stats();
    assert_eq!(stats.used_bytes, stats.file_bytes + stats.log_bytes + stats.index_bytes);
}

fn free(disk: &MemDisk) -> u64 {
    disk.space(dir()).unwrap().free
}

/// Files and directories that there are.
fn inodes(disk: &MemDisk) -> u64 {
    let many = 1 << 40;
    disk.set_inodes(Some(many));
    let left = disk.space(dir()).unwrap().free_inodes.unwrap();
    disk.set_inodes(None);
    many - left
}

/// Names below the store's directory that begin so.
fn names(disk: &MemDisk, prefix: &str) -> usize {
    let prefix = format!("/store/{prefix}");
    disk.files().iter().filter(|(path, _)| path.to_str().unwrap().starts_with(&prefix)).count()
}

/// Blobs of `len` bytes each, stored.
fn stored(store: &Store, n: u64, len: usize) -> Vec<(Address, Vec<u8>)> {
    let blobs = (0..n).map(|i| Random(i << 32 | len as u64).bytes(len));
    blobs.map(|bytes| (put(store, &bytes), bytes)).collect()
}

fn evict(address: Address) -> Batch {
    Batch::new().evict(vec![address], true)
}

#[test]
fn a_hard_quota_refuses_exactly_above_it() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    for (len, cost) in [(5000, 5000 + ANNOUNCED), (500, 32 + 32 + 500 + 4 + 72)] {
        let used = store.stats().used_bytes;
        let bytes = Random(len).bytes(usize::try_from(len).unwrap());
        let limit = used + cost - 1;
        store.set_quota(hard(limit));
        let error = store.stage(Blob::hash(bytes.clone())).unwrap_err();
        let StageError::Quota { used: said, limit: allowed } = error else { panic!("{error}") };
        assert_eq!((said, allowed), (used, limit));
        assert!(error.is_full() && error.to_string().contains("raise the quota"), "{error}");
        assert_eq!((store.stats().used_bytes, names(&disk, "tmp/")), (used, 0));
        assert!(matches!(store.stats().room, Room::Refusing(Shortage::Quota { .. })));
        store.set_quota(hard(used + cost));
        put(&store, &bytes);
        assert_eq!(store.stats().used_bytes, used + cost);
        // What is here takes no room.
        put(&store, &bytes);
    }
    is_settled(&store);
}

#[test]
fn above_the_quota_records_and_manifests_are_refused_and_other_batches_are_not() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let (held, other) = (put(&store, b"held"), put(&store, b"other"));
    store.set_quota(hard(store.stats().used_bytes));
    for batch in [
        Batch::new().record(record(1, &[], b"r")),
        Batch::new().manifest(held, Vec::new()).row(b"k", Some(b"v")),
    ] {
        let error = store.commit(batch).unwrap_err();
        assert!(matches!(error, CommitError::Quota { .. }) && error.is_full(), "{error}");
    }
    assert_eq!(store.row(b"k").unwrap(), None);
    store.commit(Batch::new().row(b"k", Some(b"v")).hold(held, [1; 32])).unwrap();
    store.commit(Batch::new().release(held, [1; 32])).unwrap();
    store.commit(evict(held)).unwrap();
    store.commit(Batch::new().record(record(2, &[], b"tombstone")).even_if_full()).unwrap();
    store.flush().unwrap();
    assert_eq!(read(&store, &other), Some(b"other".to_vec()));
    is_settled(&store);
}

#[test]
fn the_soft_quota_is_said_and_refuses_nothing() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    assert_eq!(store.stats().room, Room::Enough);
    let soft = store.stats().used_bytes + 1000;
    store.set_quota(Quota { soft: Some(soft), ..Quota::default() });
    put(&store, &Random(1).bytes(500));
    assert_eq!(store.stats().room, Room::Enough);
    put(&store, &Random(2).bytes(5000));
    let stats = store.stats();
    assert_eq!(stats.room, Room::AboveSoft { used: stats.used_bytes, soft });
    assert!(stats.room.to_string().contains("run a collection"), "{}", stats.room);
    assert_eq!(stats.quota.soft, Some(soft));
}

#[test]
fn what_many_threads_put_stays_within_the_hard_quota() {
    let disk = MemDisk::new(1);
    let limit = 400_000;
    let options = Options { quota: hard(limit), committer: Committer::Thread, ..options(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(thread);
                for n in 0..100 {
                    let len = usize::try_from(random.below(3000)).unwrap();
                    let staged = store.stage(Blob::hash(random.bytes(len)));
                    assert!(staged.as_ref().map_or_else(StageError::is_full, |_| true));
                    let entry = record(thread * 1000 + n, &[], &random.bytes(100));
                    let committed = store.commit(Batch::new().record(entry));
                    assert!(committed.as_ref().map_or_else(CommitError::is_full, |_| true));
                    assert!(store.stats().used_bytes <= limit);
                }
            });
        }
    });
    store.flush().unwrap();
    is_settled(&store);
    let used = store.stats().used_bytes;
    assert!(used > limit - 5000 && used <= limit, "{used}");
}

/// Puts until the store refuses. What was taken.
fn put_until_refused(store: &Store, len: usize) -> (Vec<(Address, Vec<u8>)>, StageError) {
    let mut kept = Vec::new();
    for i in 0..10_000 {
        let bytes = Random(i).bytes(len);
        match store.stage(Blob::hash(bytes.clone())) {
            Ok(_) => {
                let address = Address::of(&bytes);
                store.commit(Batch::new().require(address)).unwrap();
                kept.push((address, bytes));
            }
            Err(error) => return (kept, error),
        }
    }
    panic!("nothing was refused");
}

/// What a store that refuses puts does all the same, and that it takes puts again by itself.
fn refuses_puts_only(disk: &MemDisk, len: usize, what: Resource, more: impl FnOnce()) {
    let store = Store::open(dir(), &options(disk)).unwrap();
    store.set_quota(reserve(RESERVE, 20));
    let (kept, error) = put_until_refused(&store, len);
    let StageError::Reserve { what: lacking, .. } = error else { panic!("{error}") };
    assert!(lacking == what && kept.len() > 3 && error.is_full(), "{error}, {}", kept.len());
    assert!(error.to_string().contains("free some space"), "{error}");
    let stats = store.stats();
    assert!(matches!(stats.room, Room::Refusing(Shortage::Reserve { .. })), "{:?}", stats.room);
    let space = stats.disk.unwrap();
    assert!(space.free >= RESERVE && space.free_inodes.is_none_or(|n| n >= 20), "{space:?}");
    assert_eq!((stats.read_only, names(disk, "tmp/")), (None, 0));
    store.commit(Batch::new().row(b"k", Some(b"v")).hold(kept[0].0, [1; 32])).unwrap();
    store.commit(Batch::new().release(kept[0].0, [1; 32])).unwrap();
    store.commit(Batch::new().record(record(9, &[], b"gone")).even_if_full()).unwrap();
    for (address, bytes) in &kept {
        assert_eq!(read(&store, address).as_ref(), Some(bytes));
    }
    // Room that deletions give is taken again, and so is room that comes from elsewhere.
    for (address, _) in &kept[..3] {
        assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
    }
    if len >= 1024 {
        assert_eq!(put(&store, &kept[0].1), kept[0].0);
    }
    more();
    let stats = store.stats();
    assert_eq!(stats.room, Room::Enough);
    for (address, bytes) in &kept {
        put(&store, bytes);
        assert_eq!(read(&store, address).as_ref(), Some(bytes));
    }
    is_settled(&store);
}

#[test]
fn below_the_reserve_of_bytes_only_puts_are_refused_until_there_is_room_again() {
    // Fault case 44.
    for len in [500, 3000] {
        let disk = MemDisk::new(1);
        drop(Store::create(dir(), &options(&disk)).unwrap());
        disk.set_capacity(Some(disk.used() + RESERVE + 30_000));
        refuses_puts_only(&disk, len, Resource::Bytes, || disk.set_capacity(None));
    }
}

#[test]
fn below_the_reserve_of_inodes_only_puts_are_refused_until_there_is_room_again() {
    // Fault case 45.
    let disk = MemDisk::new(1);
    drop(Store::create(dir(), &options(&disk)).unwrap());
    disk.set_inodes(Some(inodes(&disk) + 20 + 40));
    refuses_puts_only(&disk, 2000, Resource::Inodes, || disk.set_inodes(None));
}

#[test]
fn the_default_reserve_is_a_part_of_a_small_disk() {
    let disk = MemDisk::new(1);
    disk.set_capacity(Some(1_000_000));
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let (_, error) = put_until_refused(&store, 5000);
    assert!(matches!(error, StageError::Reserve { reserve: 20_000, .. }), "{error}");
    assert!((20_000..30_000).contains(&free(&disk)), "{}", free(&disk));
}

#[test]
fn on_a_disk_that_others_filled_the_ballast_is_for_deletions_and_comes_back() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let blobs = stored(&store, 12, 500);
    assert_eq!(names(&disk, "BALLAST"), 3);
    disk.set_capacity(Some(disk.used()));
    for batch in [
        Batch::new().row(b"k", Some(b"v")),
        Batch::new().hold(blobs[0].0, [1; 32]),
        Batch::new().row(b"k", Some(b"v")).evict(vec![blobs[0].0], true),
    ] {
        let error = store.commit(batch).unwrap_err();
        assert!(matches!(error, CommitError::Full(_)) && error.is_full(), "{error}");
    }
    assert_eq!(names(&disk, "BALLAST"), 3, "nobody of these is worth it");
    let error = store.stage(Blob::hash(Random(99).bytes(500))).unwrap_err();
    assert!(matches!(error, StageError::Reserve { free: 0, .. }), "{error}");
    for (address, _) in &blobs[..4] {
        assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
    }
    store.commit(Batch::new().record(record(1, &[], b"tombstone")).even_if_full()).unwrap();
    assert_eq!(names(&disk, "BALLAST"), 0);
    // The room that it held is not for puts.
    assert!(store.stage(Blob::hash(Random(99).bytes(500))).unwrap_err().is_full());
    assert_eq!((store.stats().read_only, names(&disk, "tmp/")), (None, 0));
    for (address, bytes) in &blobs[4..] {
        assert_eq!(read(&store, address).as_ref(), Some(bytes));
    }
    disk.set_capacity(None);
    put(&store, &blobs[0].1);
    assert_eq!(names(&disk, "BALLAST"), 3, "it is back");
    is_settled(&store);
    drop(store);
    let store = Store::open(dir(), &options(&disk)).unwrap();
    let here = |address| matches!(store.chunk_state(address), Ok(ChunkState::Here { .. }));
    let left: Vec<bool> = blobs.iter().map(|(address, _)| here(address)).collect();
    assert_eq!(left, [&[true, false, false, false][..], &[true; 8]].concat());
}

#[test]
fn on_a_full_disk_records_are_dropped_and_collections_make_room_for_puts() {
    // Fault case 44. Below the reserve, and with nothing left at all; large blobs, and small ones,
    // whose room only compaction gives back.
    const BALLAST: u64 = 96 * 1024;
    for (len, left) in [(3000, None), (400, None), (3000, Some(0)), (400, Some(0))] {
        let disk = MemDisk::new(1);
        let options =
            Options { segment_bytes: 16 * 1024, ballast_bytes: BALLAST, ..options(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        store.set_quota(reserve(RESERVE, 0));
        disk.set_capacity(Some(disk.used() + RESERVE + 120_000));
        // Each with a record that names it: half of the room is for these.
        let kept = stored(&store, 40_000 / (len as u64 + 200), len);
        let name = |(address, _): &(Address, Vec<u8>), i| record(i, &[(*address, 1)], b"names it");
        let records: Vec<_> = kept.iter().zip(0..).map(|(blob, i)| name(blob, i)).collect();
        for record in &records {
            store.commit(Batch::new().record(record.clone())).unwrap();
        }
        put_until_refused(&store, len);
        disk.set_capacity(Some(disk.used() + left.unwrap_or(RESERVE)));
        for record in &records[1..] {
            store.commit(Batch::new().drop_record(record.hash)).unwrap();
        }
        let more = Random(1 << 40).bytes(len);
        assert!(store.stage(Blob::hash(more.clone())).unwrap_err().is_full());
        let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
        let collected = store.collect(options).unwrap();
        assert!(collected.chunks >= kept.len() as u64 - 1, "{collected:?}");
        assert!(collected.bytes() > 20_000, "{collected:?}");
        if left.is_some() {
            // What another program filled is not given back by that.
            disk.set_capacity(Some(disk.used() + free(&disk) + RESERVE + BALLAST));
        }
        put(&store, &more);
        assert_eq!(read(&store, &kept[0].0).as_ref(), Some(&kept[0].1));
        assert_eq!(store.stats().read_only, None);
        is_settled(&store);
    }
}

#[test]
fn without_inodes_deletions_still_begin_a_new_segment() {
    // Fault case 45.
    let disk = MemDisk::new(1);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let blobs = stored(&store, 80, 200);
    let segments = store.stats().log_segments;
    disk.set_inodes(Some(inodes(&disk)));
    for (address, _) in &blobs {
        assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
    }
    assert_eq!(store.stats().log_segments, segments + 1);
    assert_eq!(names(&disk, "BALLAST"), 0);
    disk.set_inodes(None);
    put(&store, &blobs[0].1);
    assert_eq!(names(&disk, "BALLAST"), 3);
}

#[test]
fn an_index_without_room_waits_in_memory_and_is_written_once_there_is_some() {
    // Fault case 44.
    for committer in [Committer::Inline, Committer::Thread] {
        let disk = MemDisk::new(1);
        let options = Options { committer, memory_bytes: 2048, ..options(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        let blobs = stored(&store, 300, 100);
        let mut evicted = 0;
        let refused = blobs.iter().find_map(|(address, _)| {
            // Enough for the log, and not for a file of the index.
            disk.set_capacity(Some(disk.used() + 300));
            let result = store.commit(evict(*address));
            evicted += u64::from(result.is_ok());
            result.err()
        });
        assert!(matches!(refused, Some(CommitError::Full(_))), "{refused:?}");
        assert!(evicted > 20, "{evicted}");
        assert_eq!(names(&disk, "BALLAST"), 0, "the index was worth it");
        assert_eq!(store.stats().evicted, evicted);
        disk.set_capacity(None);
        // With threads, the first who asks again has the index written for the next.
        let mut tries = 0..1_000_000;
        let again = |_: u64| store.commit(evict(blobs[299].0)).is_ok();
        assert!(tries.any(again), "it does not work again");
        assert_eq!(store.stats().read_only, None);
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.open_report().index_rebuilt, None);
        assert_eq!(store.stats().evicted, evicted + 1);
    }
}

/// Evicts blobs one by one, with errors from operation `at` on; `false` once that is beyond.
fn evict_on_a_full_disk(at: u64, times: u64) -> bool {
    let context = format!("{times} errors from operation {at}");
    let disk = MemDisk::new(at);
    let options = Options { segment_bytes: 4096, checkpoint_bytes: 2048, ..inline(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    let mut blobs = stored(&store, 10, 300);
    blobs.extend(stored(&store, 10, 2000));
    let begun = disk.operations();
    disk.inject(at, Fault::Error { kind: ErrorKind::StorageFull, times });
    let mut gone = Vec::new();
    for (address, bytes) in &blobs {
        match store.commit(evict(*address)) {
            Ok(receipt) => {
                assert_eq!(receipt.evicted, 1, "{context}");
                gone.push(*address);
            }
            Err(CommitError::ReadOnly { .. }) => {}
            Err(error) => {
                assert!(error.is_full() && times > 1, "{context}: {error}");
                assert_eq!(read(&store, address).as_ref(), Some(bytes), "{context}");
            }
        }
    }
    let reached = disk.operations() - begun >= at;
    disk.heal();
    let works = store.stats().read_only.is_none();
    if works {
        for (address, _) in blobs.iter().filter(|(address, _)| !gone.contains(address)) {
            store.commit(evict(*address)).unwrap();
        }
        is_settled(&store);
        gone = blobs.iter().map(|(address, _)| *address).collect();
    }
    drop(store);
    disk.restart();
    let store = Store::open(dir(), &options).unwrap_or_else(|e| panic!("{context}: {e}"));
    for (address, bytes) in &blobs {
        let found = read(&store, address);
        assert!(found.is_none() || found.as_ref() == Some(bytes), "{context}");
        assert!(!(gone.contains(address) && found.is_some()), "{context}: {address} is back");
    }
    put(&store, &blobs[0].1);
    reached
}

#[test]
fn a_full_disk_at_any_operation_of_deletions_loses_nothing_and_one_error_is_made_good() {
    // Fault cases 44, 79.
    for times in [1, 2, 7] {
        let mut at = 1;
        while evict_on_a_full_disk(at, times) {
            at += 1;
        }
        assert!(at > 50, "only {at} operations failed");
    }
}

#[test]
fn a_blob_that_was_lost_fails_those_who_count_on_it_and_nobody_else() {
    // Fault case 45.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let bytes = Random(1).bytes(3000);
    let lost = Address::of(&bytes);
    let lose = || {
        store.stage(Blob::hash(bytes.clone())).unwrap();
        // Its directory cannot be made any more.
        disk.set_inodes(Some(inodes(&disk)));
        store.commit(Batch::new().row(b"another's", Some(b"1"))).unwrap();
        disk.set_inodes(None);
        assert_eq!(names(&disk, "tmp/"), 0);
    };
    let is_told = |batch: Batch| store.commit(batch).is_err_and(|error| error.is_full());
    let naming = || record(1, &[(lost, 3000)], b"names it");
    lose();
    assert!(is_told(Batch::new()), "a flush");
    store.flush().unwrap();
    assert!(is_told(Batch::new().require(lost)), "who requires it, after a flush of another");
    let error = store.commit(Batch::new().require(lost)).unwrap_err();
    assert!(matches!(error, CommitError::MissingChunk { .. }), "{error}");
    lose();
    assert!(is_told(Batch::new().record(naming())), "who refers to it");
    store.flush().unwrap();
    store.commit(Batch::new().record(naming())).unwrap();
    lose();
    assert_eq!(put(&store, &bytes), lost, "staged again, it is not lost");
    store.flush().unwrap();
    is_settled(&store);
}

#[test]
fn a_blob_that_is_lost_beside_a_batch_of_another_is_told_to_its_own_caller() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let gone = put(&store, b"to be evicted");
    for bytes in [Random(1).bytes(800), Random(2).bytes(3000)] {
        store.stage(Blob::hash(bytes.clone())).unwrap();
        disk.set_capacity(Some(disk.used()));
        store.commit(evict(gone)).unwrap();
        disk.set_capacity(None);
        assert_eq!((names(&disk, "tmp/"), names(&disk, "chunks/")), (0, 0));
        let error = store.flush().unwrap_err();
        assert!(matches!(error, CommitError::Full(_)), "{error}");
        store.flush().unwrap();
        assert_eq!(put(&store, b"to be evicted"), gone);
    }
    is_settled(&store);
}

#[test]
fn what_waits_in_memory_does_not_get_below_the_reserve() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let options = Options { ballast_bytes: 0, ..options(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    store.set_quota(reserve(RESERVE, 0));
    disk.set_capacity(Some(disk.used() + RESERVE + 30_000));
    let staged = (0..1000).take_while(|i| {
        let staged = store.stage(Blob::hash(Random(*i).bytes(500)));
        staged.as_ref().map_or_else(|error| !error.is_full(), |_| true)
    });
    assert!((20..60).contains(&staged.count()));
    store.flush().unwrap();
    assert!((RESERVE..RESERVE + 10_000).contains(&free(&disk)), "{}", free(&disk));
    is_settled(&store);
}

#[test]
fn a_store_opens_on_a_full_disk_and_writes_once_there_is_room() {
    // Fault case 44.
    for ballast_bytes in [0, 2048] {
        let disk = MemDisk::new(1);
        let options = Options { ballast_bytes, ..options(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        let blobs = stored(&store, 4, 500);
        drop(store);
        disk.set_capacity(Some(disk.used()));
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!((store.opens(), store.stats().read_only), (2, None));
        let evicted = store.commit(evict(blobs[0].0));
        assert_eq!(evicted.is_ok(), ballast_bytes > 0, "{evicted:?}");
        assert_eq!(read(&store, &blobs[1].0).as_ref(), Some(&blobs[1].1));
        disk.set_capacity(None);
        put(&store, b"room again");
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!((store.opens(), store.stats().chunks), (3, 5 - u64::from(ballast_bytes > 0)));
    }
}

#[test]
fn the_ballast_has_the_size_that_was_asked_for_and_is_made_only_where_there_is_room() {
    let disk = MemDisk::new(1);
    let with = |ballast_bytes| Options { ballast_bytes, ..options(&disk) };
    let held = || {
        let files = disk.files();
        files.into_iter().find(|(path, _)| path.ends_with("BALLAST")).map(|(_, len)| len)
    };
    drop(Store::create(dir(), &with(3000)).unwrap());
    assert_eq!(held(), Some(3000));
    drop(Store::open(dir(), &with(5000)).unwrap());
    assert_eq!(held(), Some(5000));
    drop(Store::open(dir(), &with(0)).unwrap());
    assert_eq!((held(), names(&disk, "BALLAST")), (None, 0));
    disk.set_capacity(Some(disk.used() + 10_000));
    let store = Store::open(dir(), &with(3000)).unwrap();
    assert_eq!(held(), None, "it would be most of what is left");
    put(&store, b"works without");
}

/// A file system that goes when the test ends.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _lazily = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn tmpfs(options: &str) -> Option<Mounted> {
    let temp = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(temp.path()).stderr(Stdio::null());
    if mount.status().is_ok_and(|status| status.success()) {
        return Some(Mounted(temp));
    }
    eprintln!("SKIPPED, CANNOT MOUNT A tmpfs: a store on a small disk, {options}");
    None
}

/// Another program that fills the disk: all its bytes, or all its inodes.
fn fill(dir: &Path, what: Resource) {
    std::fs::create_dir(dir).unwrap();
    let filled = match what {
        Resource::Bytes => std::fs::write(dir.join("0"), vec![1; 16 << 20]),
        Resource::Inodes => {
            (0..2000).try_for_each(|i| std::fs::write(dir.join(i.to_string()), b""))
        }
    };
    assert_eq!(filled.unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_small_real_disk_that_fills_refuses_puts_and_takes_deletions_and_works_again() {
    // Fault cases 44, 45.
    let disks = [
        (Resource::Bytes, "size=16m,nr_inodes=10000,mode=0700"),
        (Resource::Inodes, "size=64m,nr_inodes=600,mode=0700"),
    ];
    for (what, mount) in disks {
        let Some(mounted) = tmpfs(mount) else {
            return;
        };
        let options = Options {
            small: 1024,
            ballast_bytes: 256 * 1024,
            segment_bytes: 256 * 1024,
            ..Options::default()
        };
        let dir = mounted.0.path().join("store");
        let store = Store::create(&dir, &options).unwrap();
        let small = stored(&store, 20, 900);
        let (kept, error) = put_until_refused(&store, 50_000);
        assert!(matches!(error, StageError::Reserve { what: w, .. } if w == what), "{error}");
        assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
        store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap();
        let other = mounted.0.path().join("other");
        fill(&other, what);
        assert!(store.stage(Blob::hash(Random(1 << 40).bytes(50_000))).unwrap_err().is_full());
        // Some room is left in the last page of the segment, and in the segment.
        for i in 0..5000_u32 {
            if !dir.join("BALLAST").exists() {
                break;
            }
            let key = i.to_le_bytes();
            store.commit(Batch::new().row(&key, Some(&[7; 200])).even_if_full()).unwrap();
        }
        assert!(!dir.join("BALLAST").exists(), "{what}: the ballast is used");
        for (address, _) in small.iter().chain(&kept[..20]) {
            assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
        }
        for (address, bytes) in &kept[20..] {
            assert_eq!(read(&store, address).as_ref(), Some(bytes));
        }
        std::fs::remove_dir_all(&other).unwrap();
        put(&store, &kept[0].1);
        assert_eq!(store.stats().read_only, None);
        drop(store);
        let store = Store::open(&dir, &options).unwrap();
        assert_eq!(store.stats().chunks, kept.len() as u64 - 19);
        is_settled(&store);
    }
}
