//! Many threads on one store.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::sick::SickDisk;
use crate::common::stress::{Stress, check, lively};
use crate::common::{Random, dir, put, read, record};
use stash_store::{Address, Batch, Blob, CommitError, MemDisk, Options, Store};

#[test]
fn batches_of_64_threads_share_syncs_and_all_survive() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("store");
    let options = Options::default();
    let store = Store::create(&dir, &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..64_u64 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..20 {
                    let n = thread * 1000 + i;
                    let bytes = Random(n).bytes(100);
                    let blob = Blob::hash(bytes);
                    let entry = record(n, &[(blob.address(), 100)], b"r");
                    let require = blob.address();
                    store.stage(blob).unwrap();
                    store.commit(Batch::new().require(require).record(entry)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.records, stats.chunks, stats.outstanding_bytes), (1280, 1280, 0));
    assert!(stats.groups * 2 < stats.batches, "{} groups", stats.groups);
    drop(store);
    let store = Store::open(&dir, &options).unwrap();
    assert_eq!(store.records_after(0, 10_000).unwrap().len(), 1280);
}

#[test]
fn a_record_that_was_taken_is_never_evicted_over() {
    let options = Options { disk: Arc::new(MemDisk::new(1)), small: 64, ..Options::default() };
    let store = Store::create(dir(), &options).unwrap();
    let bytes = Random(1).bytes(500);
    let address = put(&store, &bytes);
    let (taken, evicted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, bytes, taken, evicted) = (&store, &bytes, &taken, &evicted);
            scope.spawn(move || {
                for round in 0..150 {
                    if thread % 2 == 0 {
                        name_once(store, address, bytes, thread * 1_000 + round, taken);
                    } else {
                        let batch = Batch::new().evict_known(vec![address], Arc::default());
                        match store.commit(batch) {
                            Ok(receipt) => {
                                evicted.fetch_add(receipt.evicted, Ordering::Relaxed);
                            }
                            Err(CommitError::Named { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        store.stage(Blob::hash(bytes.clone())).unwrap();
                        store.flush().unwrap();
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() > 0 && evicted.into_inner() > 0);
    assert_eq!(store.stats().quarantined, 0, "a file was removed that was here");
}

fn name_once(store: &Store, address: Address, bytes: &[u8], n: u64, taken: &AtomicU64) {
    let entry = record(n, &[(address, 500)], b"names it");
    let hash = entry.hash;
    match store.commit(Batch::new().require(address).record(entry)) {
        Ok(_) => {
            taken.fetch_add(1, Ordering::Relaxed);
            assert_eq!(read(store, &address).as_deref(), Some(bytes), "named and gone");
            store.commit(Batch::new().drop_record(hash)).unwrap();
        }
        Err(CommitError::MissingChunk { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn staging_more_than_the_queue_holds_waits_and_goes_on_without_a_commit() {
    for len in [600_usize, 5000] {
        let options = Options {
            disk: Arc::new(MemDisk::new(1)),
            small: 1024,
            queue_bytes: 10_000,
            ..Options::default()
        };
        let store = Store::create(dir(), &options).unwrap();
        for i in 0..200 {
            store.stage(Blob::hash(Random(i).bytes(len))).unwrap();
        }
        store.flush().unwrap();
        assert_eq!(store.stats().chunks, 200);
        assert_eq!(store.stats().outstanding_bytes, 0);
    }
}

#[test]
fn a_store_whose_last_clone_is_dropped_by_a_callback_closes() {
    let options = Options { disk: Arc::new(MemDisk::new(1)), ..Options::default() };
    let store = Store::create(dir(), &options).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let clone = store.clone();
    store.commit_then(Batch::new().row(b"k", Some(b"v")), move |result| {
        drop(clone);
        sender.send(result.is_ok()).unwrap();
    });
    drop(store);
    assert!(receiver.recv().unwrap());
    // The threads may still be closing it.
    let store = loop {
        match Store::open(dir(), &options) {
            Ok(store) => break store,
            Err(stash_store::OpenError::Locked { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(store.row(b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn no_live_blob_is_lost_beside_collections() {
    // Fault cases 105, 106 and 109; `examples/stress_collect.rs` does a million.
    let options = lively(Options { disk: Arc::new(MemDisk::new(1)), ..Options::default() });
    let store = Store::create(dir(), &options).unwrap();
    let stress = Stress { seed: crate::common::seed(1), threads: 8, operations: 20_000 };
    let (tally, needed) = stress.run(&store);
    assert_eq!(tally.lost, 0, "{tally:?}");
    assert!(tally.collections > 2 && tally.collected > 0 && tally.segments > 0, "{tally:?}");
    drop(store);
    assert_eq!(check(&Store::open(dir(), &options).unwrap(), &needed), 0);
}

#[test]
fn a_blob_staged_again_while_the_index_is_made_anew_keeps_its_file() {
    let disk = MemDisk::new(1);
    // Nothing is remembered, so that damage is found.
    let options = Options { disk: Arc::new(disk.clone()), small: 64, ..Options::default() };
    let options = Options { cache_bytes: 0, ..options };
    let store = Store::create(dir(), &options).unwrap();
    let (bytes, other) = (Random(1).bytes(500), Random(2).bytes(50));
    let (address, other) = (put(&store, &bytes), put(&store, &other));
    store.commit(Batch::new().evict(vec![address])).unwrap();
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    let files = |below: &str| {
        let below = dir().join(below);
        let files = disk.files().into_iter().filter(move |(path, _)| path.starts_with(&below));
        files.collect::<Vec<_>>()
    };
    store.stage(Blob::hash(bytes.clone())).unwrap();
    // Beside the marker.
    while files("chunks").len() < 2 {
        std::thread::yield_now();
    }
    for (path, len) in files("index").iter().filter(|(path, _)| !path.ends_with("head")) {
        (0..*len).step_by(16).for_each(|byte| disk.flip_bit(path, byte * 8).unwrap());
    }
    assert_eq!(store.has(&[other, address]).unwrap(), [true, true]);
    store.commit(Batch::new().require(address)).unwrap();
    assert_eq!(read(&store, &address), Some(bytes));
}

// A merge of large runs takes seconds: callers waited for it once memory was full.
#[test]
fn what_is_set_aside_is_written_while_runs_are_merged() {
    let disk = Arc::new(SickDisk::new(MemDisk::new(1)));
    let memory_bytes = 256 * 1024;
    let options = Options { disk: disk.clone(), memory_bytes, ..Options::default() };
    let store = Store::create(dir(), &options).unwrap();
    let beside = (0..4000_u64).find(|batch| {
        let records = (0..64).map(|n| record(batch * 64 + n, &[], b"r"));
        store.commit(records.fold(Batch::new(), Batch::record)).unwrap();
        disk.most_runs_written_at_once() > 1
    });
    assert!(beside.is_some(), "no run was written beside another");
}

// The indexer was not told to try again, and the committer waited for it for ever.
#[test]
fn an_index_that_cannot_be_written_refuses_commits_until_it_can() {
    let disk = Arc::new(SickDisk::new(MemDisk::new(1)));
    let memory_bytes = 16 * 1024;
    let options = Options { disk: disk.clone(), memory_bytes, ..Options::default() };
    let store = Store::create(dir(), &options).unwrap();
    // Too many open files.
    disk.fail_runs(Some(24));
    let (sender, receiver) = std::sync::mpsc::channel();
    let committing = store.clone();
    std::thread::spawn(move || {
        let mut batches =
            (0..10_000_u64).map(|n| committing.commit(Batch::new().record(record(n, &[], b"r"))));
        let _ = sender.send(batches.find_map(Result::err));
    });
    let refused = receiver.recv_timeout(Duration::from_secs(60)).expect("commits end");
    assert!(
        matches!(&refused, Some(CommitError::Io(error)) if error.op == "create"),
        "{refused:?}"
    );
    assert!(disk.runs_failed() > 0);
    disk.fail_runs(None);
    // Each attempt has the indexer try.
    while store.commit(Batch::new().row(b"k", Some(b"v"))).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(store.stats().read_only, None);
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(store.row(b"k").unwrap(), Some(b"v".to_vec()));
}
