//! Which records are whole is known, whatever comes and goes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{Random, dir, inline, put, record};
use stash_store::disk::OpenMode;
use stash_store::{Address, Batch, Blob, Committer, Disk, MemDisk, Options, Ref, Store, TurnedAt};

fn lacks(store: &Store, records: &[[u8; 32]]) -> Vec<bool> {
    store.are_lacking(records).unwrap().expect("what is inline settles at once")
}

/// A manifest of these blobs, which is one itself.
fn manifest(store: &Store, seed: u64, children: &[Address]) -> Address {
    let address = put(store, &Random(seed).bytes(2_000));
    say(store, address, children);
    address
}

fn say(store: &Store, manifest: Address, children: &[Address]) {
    let refs = children.iter().map(|child| Ref { address: *child, sealed_len: 1 }).collect();
    store.commit(Batch::new().manifest(manifest, refs)).unwrap();
}

fn add(store: &Store, n: u64, refs: &[Address]) -> [u8; 32] {
    let refs: Vec<_> = refs.iter().map(|address| (*address, 1)).collect();
    let entry = record(n, &refs, b"record");
    let hash = entry.hash;
    store.commit(Batch::new().record(entry)).unwrap();
    hash
}

fn evict(store: &Store, address: Address) {
    store.commit(Batch::new().evict(vec![address])).unwrap();
}

#[test]
fn a_record_lacks_something_while_any_blob_of_it_is_away() {
    let disk = MemDisk::new(1);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let blobs: Vec<Vec<u8>> = (0..6).map(|seed| Random(seed).bytes(1_500)).collect();
    let chunks: Vec<Address> = blobs.iter().map(|bytes| put(&store, bytes)).collect();
    let through = manifest(&store, 7, &chunks[2..5]);
    let direct = add(&store, 1, &chunks[..2]);
    let indirect = add(&store, 2, &[through, chunks[5]]);
    let nothing = add(&store, 3, &[]);
    let all = [direct, indirect, nothing];
    assert_eq!(lacks(&store, &all), [false; 3]);
    let start = store.turned_since(TurnedAt::default(), 99).position;
    for (at, address) in chunks.iter().enumerate() {
        evict(&store, *address);
        let expected = [at < 2, at >= 2, false];
        assert_eq!(lacks(&store, &all), expected, "without {at}");
        assert_eq!(store.wholeness().lacking.count, 1);
        let other = (at + 1) % 6;
        evict(&store, chunks[other]);
        put(&store, &blobs[at]);
        let expected = [other < 2, other >= 2, false];
        assert_eq!(lacks(&store, &all), expected, "with {at} again, without {other}");
        put(&store, &blobs[other]);
        assert_eq!(lacks(&store, &all), [false; 3], "with all again");
    }
    let turned = store.turned_since(start, 99);
    assert!(turned.known && turned.records.first() == Some(&(direct, false)));
    assert_eq!(
        turned.records.last(),
        Some(&(direct, true)),
        "the last two were the last and the first"
    );
    assert!(store.turned_since(turned.position, 99).records.is_empty());
    let mut new = Vec::new();
    store.lacking_hashes_under(&[], &mut |hash| new.push(*hash)).unwrap();
    assert!(new.is_empty());
    let later = [add(&store, 4, &[chunks[0]]), add(&store, 5, &[through]), add(&store, 6, &[])];
    let came = store.turned_since(turned.position, 99).records;
    let came: BTreeSet<_> = came.into_iter().collect();
    assert_eq!(came, later.map(|hash| (hash, true)).into(), "one that comes whole turns whole");
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(lacks(&store, &all), [false; 3]);
    assert!(!store.turned_since(turned.position, 99).known, "it was closed meanwhile");
}

#[test]
fn a_record_that_came_first_is_whole_when_the_last_of_its_blobs_has_come() {
    let disk = MemDisk::new(2);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let blobs: Vec<Vec<u8>> = (0..40).map(|seed| Random(seed).bytes(1_100)).collect();
    let chunks: Vec<Address> =
        blobs.iter().map(|bytes| Blob::hash(bytes.clone()).address()).collect();
    let top = Random(99).bytes(2_000);
    let through = Blob::hash(top.clone()).address();
    let hash = add(&store, 1, &[through]);
    assert_eq!(lacks(&store, &[hash]), [true]);
    // What it names is said before it is here, or else the record would seem whole for a moment.
    say(&store, through, &chunks);
    put(&store, &top);
    let mut random = Random(5);
    let mut left: Vec<usize> = (0..40).collect();
    while !left.is_empty() {
        assert_eq!(lacks(&store, &[hash]), [true], "{} are left", left.len());
        let at = left.swap_remove(usize::try_from(random.below(left.len() as u64)).unwrap());
        put(&store, &blobs[at]);
    }
    assert_eq!(lacks(&store, &[hash]), [false]);
    store.commit(Batch::new().drop_record(hash)).unwrap();
    evict(&store, chunks[3]);
    assert_eq!(store.wholeness().lacking.count, 0, "nobody lacks what nobody names");
}

#[test]
fn an_index_that_was_lost_knows_the_same_again() {
    let disk = MemDisk::new(3);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let mut random = Random(11);
    let mut chunks = Vec::new();
    for seed in 0..30 {
        chunks.push(put(&store, &Random(seed).bytes(1_100)));
    }
    let mut records = Vec::new();
    for n in 0..60 {
        let mut refs: Vec<Address> =
            (0..2).map(|_| chunks[usize::try_from(random.below(30)).unwrap()]).collect();
        if n % 3 == 0 {
            refs = vec![manifest(&store, 1_000 + n, &refs)];
        }
        records.push(add(&store, n, &refs));
    }
    for at in [3, 7, 20] {
        evict(&store, chunks[at]);
    }
    put(&store, &Random(7).bytes(1_100));
    let before = (lacks(&store, &records), store.wholeness());
    assert!(before.0.contains(&true) && before.0.contains(&false));
    drop(store);
    disk.open(&dir().join("index/head"), OpenMode::Write).unwrap().set_len(0).unwrap();
    let store = Store::open(dir(), &options).unwrap();
    assert!(store.open_report().index_rebuilt.is_some());
    assert_eq!((lacks(&store, &records), store.wholeness()), before);
}

#[test]
fn a_blob_that_many_records_name_is_followed_beside_other_commits() {
    const MANY: u64 = 3_000;
    let disk = MemDisk::new(4);
    let options = Options { committer: Committer::Thread, ..inline(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    let zeros = vec![0; 1_500];
    let address = put(&store, &zeros);
    let records: Vec<[u8; 32]> = (0..MANY).map(|n| add(&store, n, &[address])).collect();
    let settled = |expected: bool| {
        let late = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(lacks) = store.are_lacking(&records).unwrap() {
                assert!(lacks.iter().all(|lacks| *lacks == expected));
                return;
            }
            assert!(Instant::now() < late, "it does not settle");
            // Others go on meanwhile.
            store.commit(Batch::new().row(b"row", Some(b"value"))).unwrap();
        }
    };
    settled(false);
    for _ in 0..3 {
        evict(&store, address);
        settled(true);
        assert_eq!(store.wholeness().lacking, store.record_totals());
        put(&store, &zeros);
        settled(false);
        assert_eq!(store.wholeness().lacking.count, 0);
    }
}

#[test]
fn a_record_is_not_whole_from_the_moment_on_in_which_damage_is_found() {
    let disk = MemDisk::new(3);
    // The index is told by a thread, which takes its time.
    let options = Options { committer: Committer::Thread, ..inline(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    let chunk_files = || -> BTreeSet<PathBuf> {
        let is_chunk = |path: &PathBuf| path.starts_with(dir().join("chunks"));
        disk.files().into_iter().map(|(path, _)| path).filter(is_chunk).collect()
    };
    for n in 0..50 {
        let before = chunk_files();
        let chunk = put(&store, &Random(n).bytes(3_000));
        let hash = add(&store, n, &[chunk]);
        let after = chunk_files();
        disk.remove(after.difference(&before).next().unwrap()).unwrap();
        assert!(store.read_into(&chunk, &mut Vec::new()).is_err());
        let said = store.are_lacking(&[hash]).unwrap();
        assert_ne!(said, Some(vec![false]), "blob {n}: whole, and damaged");
    }
}
