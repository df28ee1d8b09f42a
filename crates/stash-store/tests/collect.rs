//! Collections: blobs that nothing needs any more go, and those that are needed stay.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use crate::common::{Random, dir, inline, put, read, record};
use stash_store::disk::OpenMode;
use stash_store::{
    Address, Batch, Blob, ChunkState, CollectOptions, Disk, MemDisk, Options, Ref, Store,
};

/// Everything that may go goes now.
fn all() -> CollectOptions {
    CollectOptions { grace: Duration::ZERO, dead_percent: 1, ..CollectOptions::default() }
}

fn store(seed: u64) -> (MemDisk, Options, Store) {
    let disk = MemDisk::new(seed);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    (disk, options, store)
}

fn stage(store: &Store, seed: u64, len: usize) -> (Address, u32) {
    let blob = Blob::hash(Random(seed).bytes(len));
    let address = blob.address();
    store.stage(blob).unwrap();
    (address, u32::try_from(len).unwrap())
}

fn state(store: &Store, address: &Address) -> ChunkState {
    store.chunk_state(address).unwrap()
}

/// Half of what is in the store: in files and in the log, with records and without.
fn fill(store: &Store, count: u64) -> Vec<[u8; 32]> {
    let mut hashes = Vec::new();
    for i in 0..count {
        let file = stage(store, 10_000 + i, 1500);
        let small = stage(store, 20_000 + i, 700);
        let entry = record(i, &[file, small], &Random(i).bytes(200));
        hashes.push(entry.hash);
        store.commit(Batch::new().require(file.0).require(small.0).record(entry)).unwrap();
    }
    hashes
}

#[test]
fn a_dry_run_promises_the_bytes_that_a_collection_frees() {
    let (disk, _, store) = store(1);
    let hashes = fill(&store, 100);
    for hash in hashes.iter().skip(1).step_by(2) {
        store.commit(Batch::new().drop_record(*hash)).unwrap();
    }
    let promised = store.collectable(&all()).unwrap();
    let before = disk.used();
    let freed = store.collect(all()).unwrap();
    let back = before - disk.used();
    assert_eq!((freed.chunks, freed.file_bytes), (promised.chunks, promised.file_bytes));
    assert_eq!((promised.chunks, promised.file_bytes), (100, 50 * 1500));
    let (promised, freed) = (promised.bytes(), freed.bytes());
    // Segment headers, and entries that say that something is gone, come on top.
    assert!(
        freed >= promised && (freed - promised) * 10 <= promised,
        "promised {promised}, freed {freed}"
    );
    // What collecting itself writes down comes off.
    assert!(back * 10 >= promised * 9, "promised {promised}, {back} are back");
    assert_eq!(store.collectable(&all()).unwrap().chunks, 0);
}

#[test]
fn a_blob_that_nothing_names_goes_after_its_grace_and_not_before() {
    let (_, options, store) = store(2);
    let address = put(&store, &Random(1).bytes(1500));
    let hour = CollectOptions { grace: Duration::from_secs(3600), ..all() };
    assert_eq!(store.collect(hour.clone()).unwrap().chunks, 0);
    store.add_uptime(Duration::from_secs(3599)).unwrap();
    assert_eq!(store.collect(hour.clone()).unwrap().chunks, 0);
    let waiting = store.collectable(&hour).unwrap();
    assert_eq!((waiting.chunks, waiting.waiting_chunks, waiting.waiting_bytes), (0, 1, 1500));
    drop(store);
    // The clock stands while the store is closed, and goes on where it was.
    let store = Store::open(dir(), &options).unwrap();
    store.add_uptime(Duration::from_secs(1)).unwrap();
    assert_eq!(store.collect(hour).unwrap().chunks, 1);
    assert_eq!(state(&store, &address), ChunkState::Absent);
}

#[test]
fn a_leased_blob_stays_until_the_lease_ends() {
    // Fault case 105.
    let (_, _, store) = store(3);
    let here = put(&store, &Random(1).bytes(1500));
    let coming = Address::of(&Random(2).bytes(800));
    let lease = store.lease();
    assert_eq!(lease.add(&[here, coming]).unwrap(), [true, false]);
    stage(&store, 2, 800);
    store.flush().unwrap();
    assert_eq!(store.collect(all()).unwrap().chunks, 0);
    assert_eq!(store.has(&[here, coming]).unwrap(), [true, true]);
    let entry = record(1, &[(here, 1500)], b"r");
    store.commit(Batch::new().require(here).record(entry)).unwrap();
    drop(lease);
    assert_eq!(store.collect(all()).unwrap().chunks, 1);
    assert_eq!(store.has(&[here, coming]).unwrap(), [true, false]);
}

#[test]
fn a_commit_after_a_collection_learns_that_its_blob_is_gone() {
    // Fault case 105.
    let (_, _, store) = store(4);
    let bytes = Random(1).bytes(1500);
    let address = put(&store, &bytes);
    store.collect(all()).unwrap();
    let batch = || Batch::new().require(address).record(record(1, &[(address, 1500)], b"r"));
    let error = store.commit(batch()).unwrap_err();
    assert!(error.to_string().contains("is not here"), "{error}");
    assert_eq!(store.stats().records, 0);
    put(&store, &bytes);
    store.commit(batch()).unwrap();
    assert_eq!(read(&store, &address), Some(bytes));
}

#[test]
fn a_record_that_is_dropped_is_found_no_more_and_takes_its_blobs_along() {
    let (_, options, store) = store(5);
    let shared = stage(&store, 1, 1500);
    let own = stage(&store, 2, 1500);
    let (first, second) = (record(1, &[shared, own], b"1"), record(6, &[shared], b"2"));
    store.commit(Batch::new().record(first.clone()).record(second.clone())).unwrap();
    store.commit(Batch::new().drop_record(first.hash).drop_record([9; 32])).unwrap();
    let check = |store: &Store| {
        assert_eq!(store.record(&first.hash).unwrap(), None);
        let hashes = |found: Vec<stash_store::StoredRecord>| {
            found.into_iter().map(|r| r.hash).collect::<Vec<_>>()
        };
        assert_eq!(hashes(store.records_of(&first.name).unwrap()), [second.hash]);
        assert_eq!(hashes(store.records_after(0, 100).unwrap()), [second.hash]);
        assert_eq!(store.dot(&first.writer, 1).unwrap(), None);
        assert_eq!(store.referrers(&shared.0).unwrap(), [second.hash]);
        assert_eq!(store.stats().records, 1);
    };
    check(&store);
    assert_eq!(store.collect(all()).unwrap().chunks, 1);
    assert_eq!(store.has(&[shared.0, own.0]).unwrap(), [true, false]);
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    check(&store);
    // It can come back, as a new one.
    store.commit(Batch::new().record(first.clone())).unwrap();
    assert_eq!(store.dot(&first.writer, 1).unwrap(), Some(first.hash));
}

#[test]
fn a_manifest_that_dies_ends_its_references_in_bounded_batches() {
    let (_, _, store) = store(6);
    let children: Vec<Ref> = (0..3000_u64)
        .map(|i| Ref { address: Address::of(&i.to_le_bytes()), sealed_len: 8 })
        .collect();
    for i in [0, 1500, 2999_u64] {
        assert_eq!(put(&store, &i.to_le_bytes()), children[usize::try_from(i).unwrap()].address);
    }
    let shared = children[1500].address;
    let (one, two) = (stage(&store, 1, 1500), stage(&store, 2, 1500));
    store.commit(Batch::new().manifest(one.0, children.clone())).unwrap();
    store.commit(Batch::new().manifest(two.0, vec![children[1500]])).unwrap();
    let (first, second) = (record(1, &[one], b"1"), record(2, &[two], b"2"));
    store.commit(Batch::new().record(first.clone()).record(second.clone())).unwrap();
    assert_eq!(store.collect(all()).unwrap().chunks, 0, "all of it is named");
    store.commit(Batch::new().drop_record(first.hash)).unwrap();
    assert_eq!(store.collectable(&all()).unwrap().chunks, 3, "the manifest and two of the three");
    let mut collector = store.collector(all());
    let (mut steps, mut most) = (0, 0);
    while let Some(work) = collector.step().unwrap() {
        steps += 1;
        most = most.max(work);
    }
    assert!(steps > 5 && most <= 2 * 1024 * 1024, "{steps} steps, at most {most} bytes");
    assert_eq!(collector.done().chunks, 3);
    assert_eq!(store.has(&[shared, one.0, two.0]).unwrap(), [true, false, true]);
    store.commit(Batch::new().drop_record(second.hash)).unwrap();
    assert_eq!(store.collect(all()).unwrap().chunks, 2);
    assert_eq!(store.stats().chunks, 0);
}

#[test]
fn a_forecast_counts_what_a_waiting_manifest_takes_with_it() {
    let (_, _, store) = store(6);
    let chunk = |n: u64| {
        let (address, sealed_len) = stage(&store, n, 1500);
        Ref { address, sealed_len }
    };
    let children: Vec<Ref> = (0..5).map(chunk).collect();
    let (one, two) = (stage(&store, 11, 300), stage(&store, 12, 300));
    store.commit(Batch::new().manifest(one.0, children[..4].to_vec())).unwrap();
    store.commit(Batch::new().manifest(two.0, children[3..].to_vec())).unwrap();
    let (first, second) = (record(1, &[one], b"1"), record(2, &[two], b"2"));
    store.commit(Batch::new().record(first.clone()).record(second.clone())).unwrap();
    let hour = CollectOptions { grace: Duration::from_secs(3600), ..all() };
    let forecast = || {
        let all = store.collectable(&hour).unwrap();
        ((all.chunks, all.file_bytes), (all.waiting_chunks, all.waiting_bytes))
    };
    store.commit(Batch::new().drop_record(first.hash)).unwrap();
    assert_eq!(forecast(), ((0, 0), (4, 4_800)), "one of its four is of the other as well");
    store.add_uptime(Duration::from_secs(1800)).unwrap();
    store.commit(Batch::new().drop_record(second.hash)).unwrap();
    assert_eq!(forecast(), ((0, 0), (7, 8_100)));
    store.add_uptime(Duration::from_secs(1800)).unwrap();
    assert_eq!(forecast(), ((4, 4_500), (3, 3_300)), "what both name goes with the later one");
    let now = store.collectable(&all()).unwrap();
    assert_eq!((now.chunks, now.file_bytes), (7, 7_500));
    assert_eq!(store.collect(hour.clone()).unwrap().chunks, 4);
    assert_eq!(store.collect(all()).unwrap().chunks, 3);
}

#[test]
fn a_log_in_which_much_comes_and_goes_does_not_grow_beside_what_stays() {
    let disk = MemDisk::new(5);
    let options = Options { segment_bytes: 16 * 1024, ..inline(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    // The first segments stay full.
    fill(&store, 60);
    let mut sizes = Vec::new();
    for round in 1..=40_u64 {
        let mut hashes = Vec::new();
        for i in 0..40 {
            let entry = record(1_000 * round + i, &[], &Random(i).bytes(100));
            hashes.push(entry.hash);
            store.commit(Batch::new().record(entry)).unwrap();
        }
        for hash in hashes {
            store.commit(Batch::new().drop_record(hash)).unwrap();
        }
        store.collect(all()).unwrap();
        sizes.push(store.stats().log_bytes);
    }
    let most = |some: &[u64]| some.iter().max().copied().unwrap();
    let (early, late) = (most(&sizes[5..15]), most(&sizes[30..]));
    assert!(late <= early + early / 4, "{early} bytes of log, and {late} later: {sizes:?}");
    assert!(store.check(true).unwrap().is_sound());
    drop(store);
    assert!(Store::open(dir(), &options).unwrap().check(true).unwrap().is_sound());
}

#[test]
fn a_manifest_said_again_while_it_dies_lives() {
    let (_, _, store) = store(7);
    let child = put(&store, b"child");
    let bytes = Random(1).bytes(1500);
    let manifest = put(&store, &bytes);
    let refs = vec![Ref { address: child, sealed_len: 5 }];
    store.commit(Batch::new().manifest(manifest, refs.clone())).unwrap();
    let mut collector = store.collector(all());
    // The first page gives the manifest up; its references have not ended yet.
    collector.step().unwrap();
    assert_eq!(store.has(&[manifest, child]).unwrap(), [false, true]);
    put(&store, &bytes);
    let entry = record(1, &[(manifest, 1500)], b"r");
    let batch = Batch::new().manifest(manifest, refs).require(child).require(manifest);
    store.commit(batch.record(entry)).unwrap();
    while collector.step().unwrap().is_some() {}
    assert_eq!(store.has(&[manifest, child]).unwrap(), [true, true]);
    assert_eq!(store.collect(all()).unwrap().chunks, 0);
}

#[test]
fn a_manifest_of_a_blob_that_was_given_up_goes_after_the_log_was_written_again() {
    let (_, _, store) = store(13);
    // Keeps an older segment alive, so that what says that the blob is gone is written again.
    let rows = |keys: std::ops::Range<u8>| {
        for key in keys {
            let value = Random(u64::from(key)).bytes(700);
            store.commit(Batch::new().row(&[key], Some(&value))).unwrap();
        }
    };
    rows(0..40);
    let manifest = put(&store, &Random(1).bytes(1500));
    let some = CollectOptions { dead_percent: 100, ..all() };
    assert_eq!(store.collect(some).unwrap().chunks, 1);
    let child = put(&store, b"child");
    let refs = vec![Ref { address: child, sealed_len: 5 }];
    store.commit(Batch::new().manifest(manifest, refs)).unwrap();
    rows(100..160);
    let lease = store.lease();
    lease.add(&[manifest]).unwrap();
    assert!(store.collect(all()).unwrap().moved_bytes > 0);
    assert_eq!(state(&store, &child), ChunkState::Here { len: 5 });
    drop(lease);
    store.collect(all()).unwrap();
    assert_eq!(state(&store, &child), ChunkState::Absent);
}

#[test]
fn records_keep_their_order_when_their_segments_are_written_again() {
    let (disk, options, store) = store(8);
    let hashes = fill(&store, 120);
    for (i, hash) in hashes.iter().enumerate() {
        if i % 3 != 0 {
            store.commit(Batch::new().drop_record(*hash)).unwrap();
        }
    }
    let listed = |store: &Store| store.records_after(0, 1000).unwrap();
    let before = listed(&store);
    assert!(store.collect(all()).unwrap().moved_bytes > 0);
    assert_eq!(listed(&store), before);
    store.collect(all()).unwrap();
    drop(store);
    for name in ["head", "nothing"] {
        // With the index, and with one made anew.
        let _ = disk.remove(&dir().join("index").join(name));
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.open_report().damage, [""; 0]);
        assert_eq!(store.open_report().index_rebuilt.is_some(), name == "head");
        assert_eq!(listed(&store), before);
        for found in &before {
            assert_eq!(store.record(&found.hash).unwrap().as_ref(), Some(found));
        }
    }
}

#[test]
fn what_was_removed_stays_removed_when_the_log_is_compacted() {
    let (disk, options, store) = store(9);
    // Long rows, in old segments that stay because half of each is alive.
    for i in 0..60_u8 {
        let value = Random(u64::from(i)).bytes(500);
        store.commit(Batch::new().row(&[i], Some(&value))).unwrap();
    }
    for i in (0..60_u8).step_by(2) {
        store.commit(Batch::new().row(&[i], None)).unwrap();
    }
    for round in 0..4 {
        let percent = [90, 50, 30, 1][round];
        store.collect(CollectOptions { dead_percent: percent, ..all() }).unwrap();
        let copy = disk.fork(1);
        copy.remove(&dir().join("LOCK")).unwrap();
        let _ = copy.remove(&dir().join("index/head"));
        let options = Options { disk: std::sync::Arc::new(copy), ..options.clone() };
        let rebuilt = Store::open(dir(), &options).unwrap();
        assert_eq!(rebuilt.rows(b"").unwrap().len(), 30, "after {percent} %");
    }
}

#[test]
fn the_log_of_a_row_that_is_set_again_and_again_stays_short() {
    let (disk, _, store) = store(10);
    let mut written = 0;
    let mut moved = 0;
    for i in 0..4000_u64 {
        store.commit(Batch::new().row(&[u8::from(i % 16 == 0)], Some(&[7; 300]))).unwrap();
        written += 300;
        if i % 100 == 0 {
            let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
            moved += store.collect(options).unwrap().moved_bytes;
        }
    }
    assert!(store.stats().log_bytes < 160 * 1024, "{} bytes of log", store.stats().log_bytes);
    assert!(disk.used() < 256 * 1024, "{} bytes in all", disk.used());
    assert!(moved <= written, "{moved} bytes were written again, {written} at first");
}

#[test]
fn a_file_that_nothing_announces_goes_and_one_that_is_no_blob_is_set_aside() {
    let (disk, _, store) = store(11);
    let announced = put(&store, &Random(1).bytes(1500));
    store.commit(Batch::new().record(record(1, &[(announced, 1500)], b"names it"))).unwrap();
    let path = |store: &Store, bytes: &[u8]| {
        // Where this blob's file lies: put there, and then collected.
        put(store, bytes);
        let files: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
        store.collect(all()).unwrap();
        let left: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
        files.into_iter().find(|f| f.starts_with("/store/chunks") && !left.contains(f)).unwrap()
    };
    let bytes = Random(2).bytes(1500);
    let (stray, foreign) = (path(&store, &bytes), path(&store, &Random(3).bytes(1500)));
    for (path, bytes) in [(&stray, bytes.as_slice()), (&foreign, b"foreign")] {
        disk.open(path, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
    }
    let coming = stage(&store, 4, 1500).0;
    let freed = store.collect(CollectOptions { strays: true, ..all() }).unwrap();
    assert_eq!((freed.strays, freed.stray_bytes), (1, 1500));
    let files: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    assert!(!files.contains(&stray) && !files.contains(&foreign));
    let aside = dir().join("quarantine").join(foreign.file_name().unwrap());
    assert!(files.contains(&aside), "{files:?}");
    store.flush().unwrap();
    assert_eq!(store.has(&[announced, coming]).unwrap(), [true, true]);
}

#[test]
fn an_index_that_rots_while_the_store_is_open_is_made_anew_and_answers() {
    // Fault case 78.
    let (disk, _, store) = store(12);
    let hashes = fill(&store, 60);
    store.collect(all()).unwrap();
    let runs = disk.files().into_iter().filter(|(p, _)| p.to_string_lossy().contains("index/run-"));
    let runs: Vec<_> = runs.collect();
    assert!(!runs.is_empty());
    for (path, len) in runs {
        for byte in (0..len).step_by(64) {
            disk.flip_bit(&path, byte * 8).unwrap();
        }
    }
    for hash in &hashes {
        assert!(store.record(hash).unwrap().is_some());
    }
    assert_eq!(store.records_after(0, 1000).unwrap().len(), 60);
    assert_eq!(store.stats().read_only, None);
    put(&store, b"and takes more");
}
