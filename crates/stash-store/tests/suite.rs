//! A suite that runs on every disk and with both committers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Random, places, put, read, record};
use stash_store::{
    Address, Batch, Blob, ChunkState, CollectOptions, CommitError, OpenError, Options, Ref, Staged,
    Store,
};

/// Sizes of blobs, each with its reason.
const SIZES: [usize; 7] = [
    0,         // nothing
    1,         // the least
    1023,      // just below `small`: in the log
    1024,      // at `small`: a file
    1025,      // just above
    5000,      // not a multiple of anything
    1_048_624, // a sealed chunk of 1 MiB
];

#[test]
fn what_was_committed_is_there_before_and_after_reopening() {
    for (name, place) in places() {
        let mut random = Random(1);
        let blobs: Vec<Vec<u8>> = SIZES.iter().map(|len| random.bytes(*len)).collect();
        let store = place.create();
        assert_eq!(store.opens(), 1, "{name}");
        for blob in &blobs {
            assert_eq!(store.stage(Blob::hash(blob.clone())).unwrap(), Staged::New, "{name}");
        }
        let big = Address::of(&blobs[6]);
        let entry = record(1, &[(big, 1_048_624)], b"record");
        let receipt = store
            .commit(Batch::new().require(big).record(entry.clone()).row(b"a/1", Some(b"x")))
            .unwrap();
        assert_eq!(receipt.new_records, 1);
        for round in 0..2 {
            let store = if round == 0 { store.clone() } else { place.open().unwrap() };
            check_contents(name, &store, &blobs, &entry);
            if round == 1 {
                assert_eq!(store.opens(), 2, "{name}");
                assert_eq!(store.open_report().index_rebuilt, None, "{name}");
                assert_eq!(store.open_report().torn_bytes, 0, "{name}");
            }
            if round == 0 {
                drop(store);
                // The last clone goes with the end of this round.
                let held = place.open();
                assert!(matches!(held, Err(OpenError::Locked { .. })), "{name}: fault case 89");
                break;
            }
        }
        drop(store);
        let store = place.open().unwrap();
        check_contents(name, &store, &blobs, &entry);
        assert_eq!(store.opens(), 2, "{name}");
        assert_eq!(store.open_report().index_rebuilt, None, "{name}");
        assert_eq!(store.open_report().torn_bytes, 0, "{name}");
    }
}

fn check_contents(name: &str, store: &Store, blobs: &[Vec<u8>], entry: &stash_store::RecordEntry) {
    for blob in blobs {
        let address = Address::of(blob);
        assert_eq!(read(store, &address).as_ref(), Some(blob), "{name}");
        let len = u32::try_from(blob.len()).unwrap();
        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Here { len }, "{name}");
        assert_eq!(store.stage(Blob::hash(blob.clone())).unwrap(), Staged::Present, "{name}");
    }
    let found = store.record(&entry.hash).unwrap().unwrap();
    assert_eq!(found.bytes, entry.bytes);
    assert_eq!(store.records_of(&entry.name).unwrap(), std::slice::from_ref(&found));
    assert_eq!(store.records_after(0, 10).unwrap(), std::slice::from_ref(&found));
    assert_eq!(store.records_after(found.sequence, 10).unwrap(), []);
    assert_eq!(store.last_sequence(), found.sequence);
    assert_eq!(store.dot(&entry.writer, 1).unwrap(), Some(entry.hash));
    assert_eq!(store.last_of(&entry.writer).unwrap(), Some((1, entry.hash)));
    assert_eq!(store.row(b"a/1").unwrap(), Some(b"x".to_vec()));
    assert_eq!(store.rows(b"a/").unwrap(), [(b"a/1".to_vec(), b"x".to_vec())]);
    assert_eq!(store.referrers(&Address::of(&blobs[6])).unwrap(), [entry.hash]);
    let stats = store.stats();
    assert_eq!((stats.records, stats.chunks), (1, blobs.len() as u64));
    assert_eq!(stats.bytes, blobs.iter().map(|b| b.len() as u64).sum::<u64>());
    assert_eq!(store.has(&[Address::of(b"never")]).unwrap(), [false]);
}

#[test]
fn a_batch_whose_condition_fails_changes_nothing() {
    for (name, place) in places() {
        let store = place.create();
        let address = put(&store, b"held");
        let missing = Address::of(b"missing");
        let error = store.commit(Batch::new().row(b"r", Some(b"1")).require(missing)).unwrap_err();
        assert!(matches!(error, CommitError::MissingChunk { address } if address == missing));
        let entry = record(1, &[(address, 4)], b"names it");
        store.commit(Batch::new().record(entry.clone())).unwrap();
        let evict = |known: &[[u8; 32]]| {
            let known = Arc::new(known.iter().copied().collect());
            Batch::new().row(b"r", Some(b"1")).evict_known(vec![address], known)
        };
        let error = store.commit(evict(&[[7; 32]])).unwrap_err();
        assert!(
            matches!(error, CommitError::Named { record, .. } if record == entry.hash),
            "{name}"
        );
        assert_eq!(store.row(b"r").unwrap(), None, "{name}");
        assert_eq!(store.commit(evict(&[entry.hash])).unwrap().evicted, 1, "{name}");
        assert_eq!(store.row(b"r").unwrap(), Some(b"1".to_vec()), "{name}");
        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Evicted, "{name}");
    }
}

#[test]
fn an_eviction_is_refused_over_a_record_behind_manifests_that_is_not_known() {
    for (name, place) in places() {
        let store = place.create();
        let [chunk, inner, outer] = [&b"chunk"[..], b"inner", b"outer"].map(|b| put(&store, b));
        let refs = |address| vec![Ref { address, sealed_len: 5 }];
        store.commit(Batch::new().manifest(inner, refs(chunk))).unwrap();
        store.commit(Batch::new().manifest(outer, refs(inner))).unwrap();
        let near = record(1, &[(inner, 5), (chunk, 5)], b"near");
        let far = record(2, &[(outer, 5)], b"far");
        store.commit(Batch::new().record(near.clone()).record(far.clone())).unwrap();
        let both: BTreeSet<_> = [near.hash, far.hash].into();
        let all = store.referrers_of_all(&[chunk, inner, outer, Address::of(b"no")]).unwrap();
        assert_eq!(all, [both.clone(), both.clone(), [far.hash].into(), [].into()], "{name}");
        for missing in &both {
            let known = Arc::new(&both - &BTreeSet::from([*missing]));
            let error = store.commit(Batch::new().evict_known(vec![chunk], known)).unwrap_err();
            let is = matches!(error, CommitError::Named { address, record }
                if address == chunk && record == *missing);
            assert!(is, "{name}: {error}");
        }
        assert!(store.has(&[chunk]).unwrap()[0], "{name}");
        let batch = Batch::new().evict_known(vec![chunk], Arc::new(both));
        assert_eq!(store.commit(batch).unwrap().evicted, 1, "{name}");
    }
}

#[test]
fn a_batch_that_allows_no_loss_is_refused_once_a_blob_has_left() {
    for (name, place) in places() {
        let store = place.create();
        let (one, two) = (put(&store, b"one"), put(&store, b"two"));
        let losses = store.losses();
        let batch = || Batch::new().row(b"r", Some(b"1")).none_lost_since(losses);
        store.commit(batch()).unwrap();
        store.commit(Batch::new().evict(vec![one])).unwrap();
        let error = store.commit(batch()).unwrap_err();
        assert!(matches!(error, CommitError::Lost), "{name}: {error}");
        let losses = store.losses();
        let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
        store.collect(options).unwrap();
        assert!(!store.has(&[two]).unwrap()[0], "{name}: nothing names it");
        let error = store.commit(Batch::new().none_lost_since(losses)).unwrap_err();
        assert!(matches!(error, CommitError::Lost), "{name}: {error}");
    }
}

#[test]
fn an_evicted_blob_is_gone_from_disk_and_can_come_back() {
    for (name, place) in places() {
        let store = place.create();
        for len in [10, 5000] {
            let bytes = Random(len).bytes(usize::try_from(len).unwrap());
            let address = put(&store, &bytes);
            store.commit(Batch::new().evict(vec![address])).unwrap();
            assert_eq!(read(&store, &address), None, "{name}");
            let error = store.commit(Batch::new().require(address)).unwrap_err();
            assert!(matches!(error, CommitError::MissingChunk { .. }), "{name}");
            assert_eq!(put(&store, &bytes), address);
            assert_eq!(read(&store, &address), Some(bytes), "{name}");
        }
        drop(store);
        assert_eq!(place.open().unwrap().stats().chunks, 2, "{name}");
    }
}

#[test]
fn referrers_are_found_through_manifests_and_records_under_one_dot_are_all_kept() {
    for (_, place) in places() {
        let store = place.create();
        let (chunk, manifest) = (Address::of(b"chunk"), put(&store, b"manifest"));
        let (a, b) = (record(7, &[(manifest, 8)], b"a"), record(7, &[(chunk, 5)], b"b"));
        let refs = vec![Ref { address: chunk, sealed_len: 5 }];
        store.commit(Batch::new().record(a.clone()).manifest(manifest, refs)).unwrap();
        assert_eq!(store.referrers(&chunk).unwrap(), [a.hash]);
        store.commit(Batch::new().record(b.clone()).record(a.clone())).unwrap();
        let mut both = [a.hash, b.hash];
        both.sort_unstable();
        assert_eq!(store.referrers(&chunk).unwrap(), both);
        assert_eq!(store.referrers(&manifest).unwrap(), [a.hash]);
        assert_eq!(store.dots(&a.writer, 7).unwrap(), [a.hash, b.hash]);
        assert_eq!(store.dot(&a.writer, 7).unwrap(), Some(a.hash));
        assert_eq!(store.last_of(&a.writer).unwrap(), Some((7, a.hash)));
        assert_eq!(store.stats().records, 2);
    }
}

#[test]
fn the_writers_of_a_node_are_found_with_their_last_records_and_the_records_by_number() {
    for (name, place) in places() {
        let store = place.create();
        let by = |node: u8, incarnation: u8, n: u64| {
            let mut entry = record(n, &[], &[node, incarnation, n.to_le_bytes()[0]]);
            entry.writer = [node; 40];
            entry.writer[32..].fill(incarnation);
            entry
        };
        let all = [(1, 9, 1), (2, 0, 7), (2, 0, 3), (2, 0, 300), (2, 255, 1), (3, 0, 1)];
        let all = all.map(|(node, incarnation, n)| by(node, incarnation, n));
        let batch = all.iter().fold(Batch::new(), |batch, entry| batch.record(entry.clone()));
        store.commit(batch).unwrap();
        let ends = vec![(all[1].writer, 300, all[3].hash), (all[4].writer, 1, all[4].hash)];
        assert_eq!(store.writers(&[2; 32]).unwrap(), ends, "{name}");
        assert_eq!(store.writers(&[4; 32]).unwrap(), [], "{name}");
        assert_eq!(store.writers(&[]).unwrap().len(), 4, "{name}");
        let writer = &all[1].writer;
        let found = |n, limit| store.dots_from(writer, n, limit).unwrap();
        assert_eq!(found(4, 9), [(7, all[1].hash), (300, all[3].hash)], "{name}");
        assert_eq!(found(7, 1), [(7, all[1].hash)], "{name}");
        assert_eq!(found(301, 9), [], "{name}");
        store.commit(Batch::new().drop_record(all[3].hash)).unwrap();
        assert_eq!(store.writers(&[2; 32]).unwrap()[0], (all[1].writer, 7, all[1].hash), "{name}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_anything_is_written() {
    for (_, place) in places() {
        let store = place.create();
        let long = vec![0; 70_000];
        for batch in [
            Batch::new().row(&[1; 257], Some(b"")),
            Batch::new().row(b"k", Some(&long)),
            Batch::new().record(record(1, &[], &long)),
            Batch::new().record(record(1, &[(Address::of(b""), 0); 1025], b"")),
        ] {
            let error = store.commit(batch).unwrap_err();
            assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
        }
        assert_eq!(store.stats().batches, 0);
    }
}

#[test]
fn a_directory_without_a_store_stays_without_one() {
    // Fault case 81.
    for (name, place) in places() {
        let missing = Store::open(&place.dir, &place.options);
        assert!(matches!(missing, Err(OpenError::NoStore { .. })), "{name}");
        let store = place.create();
        let id = store.store_id();
        drop(store);
        let again = Store::create(&place.dir, &place.options);
        assert!(matches!(again, Err(OpenError::Occupied { .. })), "{name}");
        // Fault case 87.
        let other = Options { expect_store: Some([9; 16]), ..place.options.clone() };
        let wrong = Store::open(&place.dir, &other);
        assert!(matches!(wrong, Err(OpenError::WrongStore { got, .. }) if got == id), "{name}");
    }
}

#[test]
fn an_index_that_is_missing_is_rebuilt_by_itself() {
    for (name, place) in places() {
        let store = place.create();
        let mut blobs = Vec::new();
        for i in 0..40_u64 {
            let bytes = Random(i).bytes(usize::try_from(i * 100).unwrap());
            let address = put(&store, &bytes);
            let entry = record(i, &[(address, 1)], &bytes[..bytes.len().min(500)]);
            store.commit(Batch::new().record(entry)).unwrap();
            blobs.push((address, bytes));
        }
        let before = (store.stats().records, store.stats().bytes, store.last_sequence());
        assert!(store.stats().log_segments > 0);
        drop(store);
        place.options.disk.remove(&place.dir.join("index/head")).unwrap();
        let store = place.open().unwrap();
        assert!(store.open_report().index_rebuilt.is_some(), "{name}");
        assert_eq!(store.open_report().damage, [""; 0], "{name}");
        let after = (store.stats().records, store.stats().bytes, store.last_sequence());
        assert_eq!(before, after, "{name}");
        for (address, bytes) in blobs {
            assert_eq!(read(&store, &address), Some(bytes), "{name}");
        }
    }
}

#[test]
fn two_stores_with_the_same_records_have_the_same_totals_in_any_order() {
    for (name, place) in places() {
        let store = place.create();
        let temp = tempfile::tempdir().unwrap();
        let other = Store::create(&temp.path().join("other"), &Options::default()).unwrap();
        let mut entries: Vec<_> = (1..=40u8).map(|n| record(n.into(), &[], &[n; 30])).collect();
        store.commit(entries.iter().cloned().fold(Batch::new(), Batch::record)).unwrap();
        entries.reverse();
        for entry in &entries[1..] {
            other.commit(Batch::new().record(entry.clone())).unwrap();
        }
        assert_eq!(other.record_totals().count, 39, "{name}");
        assert_ne!(store.record_totals().sum, other.record_totals().sum, "{name}");
        store.commit(Batch::new().drop_record(entries[0].hash)).unwrap();
        assert_eq!(store.record_totals(), other.record_totals(), "{name}");
        let mut under = Vec::new();
        for first in 0..=255 {
            store.record_hashes_under(&[first], &mut |hash| under.push(*hash)).unwrap();
        }
        let mut all: Vec<_> = entries[1..].iter().map(|entry| entry.hash).collect();
        all.sort_unstable();
        assert_eq!(under, all, "{name}");
        let hashes = [entries[0].hash, entries[1].hash];
        assert_eq!(store.has_records(&hashes).unwrap(), [false, true], "{name}");
        let totals = store.record_totals();
        drop(store);
        assert_eq!(place.open().unwrap().record_totals(), totals, "{name}");
    }
}

#[test]
fn rows_come_in_pages() {
    for (name, place) in places() {
        let store = place.create();
        let keys: Vec<_> = (0..10u8).map(|n| vec![b'p', b'/', n, n]).collect();
        let batch = keys.iter().fold(Batch::new(), |batch, key| batch.row(key, Some(key)));
        store.commit(batch.row(b"o/", Some(b"")).row(b"q/", Some(b""))).unwrap();
        let (mut after, mut found) = (Vec::new(), Vec::new());
        loop {
            let page = store.rows_after(b"p/", &after, 3).unwrap();
            assert!(page.len() <= 3, "{name}");
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            found.extend(page);
        }
        assert_eq!(found, store.rows(b"p/").unwrap(), "{name}");
        assert_eq!(found.len(), keys.len(), "{name}");
    }
}
