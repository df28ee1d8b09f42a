//! A full disk in memory: what still works on it, and what nobody loses by it.

use std::io::ErrorKind;
use std::time::Duration;

use stash_store::disk::{Fault, OpenMode};
use stash_store::{
    Address, Batch, Blob, CollectOptions, CommitError, Committer, Disk, MemDisk, Options, Store,
};

use crate::common::{Random, dir, inline, put, read, record};
use crate::{
    RESERVE, evict, free, inodes, is_settled, names, options, put_until_refused, reserve, stored,
};

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
        // A thread that writes the index may take the room between the look at the disk and the commit.
        if committer == Committer::Inline {
            assert!(evicted > 20, "{evicted}");
            assert_eq!(names(&disk, "BALLAST"), 0, "the index was worth it");
        }
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
        assert_eq!((names(&disk, "tmp/"), names(&disk, "chunks/")), (0, 1), "but the marker");
        let error = store.flush().unwrap_err();
        assert!(matches!(error, CommitError::Full(_)), "{error}");
        store.flush().unwrap();
        assert_eq!(put(&store, b"to be evicted"), gone);
    }
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
fn a_merge_of_the_index_waits_until_it_leaves_the_reserve_whole() {
    // Fault case 44.
    for committer in [Committer::Inline, Committer::Thread] {
        let disk = MemDisk::new(1);
        // Each commit is a run of its own.
        let options = Options { committer, checkpoint_bytes: 1, ..options(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        store.set_quota(reserve(RESERVE, 0));
        let index = |disk: &MemDisk| names(disk, "index/run-");
        let commit = |n: u64| {
            let value = Random(n).bytes(2_000);
            store.commit(Batch::new().row(&n.to_le_bytes(), Some(&value)))
        };
        if committer == Committer::Inline {
            let commit = |n: u64| {
                disk.set_capacity(Some(disk.used() + RESERVE));
                commit(n).unwrap();
            };
            let mut rounds = 0..1_000;
            let waits = |n: u64| {
                commit(n);
                store.stats().waits_to_merge.is_some()
            };
            assert!(rounds.any(waits), "no merge was due");
            assert!(index(&disk) >= 5, "{} runs", index(&disk));
            let runs = index(&disk);
            commit(1_001);
            assert!(store.stats().waits_to_merge.is_some() && index(&disk) >= runs);
        } else {
            // A thread merges when it likes: whether it waited at all is its own affair, and the disk is
            // full in the end.
            disk.set_capacity(Some(disk.used() + RESERVE + (1 << 20)));
            assert!((0..1_000).any(|n| commit(n).is_err()), "the disk is not full");
        }
        disk.set_capacity(None);
        let mut again = 20_000..1_000_000_u64;
        let merged = |n: u64| {
            store.commit(Batch::new().row(&n.to_le_bytes(), Some(b"1"))).unwrap();
            store.stats().waits_to_merge.is_none()
        };
        assert!(again.any(merged), "it waits for ever");
        assert_eq!(store.stats().read_only, None);
    }
}

#[test]
fn files_of_others_in_the_directory_of_the_log_are_no_damage() {
    let disk = MemDisk::new(1);
    let options = options(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let address = put(&store, b"kept");
    drop(store);
    let log = dir().join("log");
    for name in [".nfs0000000000a1b2c300000001", "._x", ".DS_Store"] {
        let file = disk.open(&log.join(name), OpenMode::Create).unwrap();
        file.write_at(0, &[7; 300]).unwrap();
    }
    disk.create_dir(&log.join("@eaDir")).unwrap();
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(store.open_report().damage, Vec::<String>::new());
    assert_eq!(read(&store, &address).unwrap(), b"kept");
}
