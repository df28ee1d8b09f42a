//! The contents of the fixture stores, and the making of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stash_store::disk::OpenMode;
use stash_store::{Batch, Blob, ChunkState, CollectOptions, Disk, MemDisk, Options, Ref, Store};

use super::{Random, dir, files_below, make_dirs, read, record};

const BLOBS: u64 = 12;
const RECORDS: u64 = 20;
const EVICTED: [u64; 2] = [5, 6];

fn blob(i: u64) -> Blob {
    let len = if i % 3 == 2 { 1500 } else { 200 + i * 10 };
    Blob::hash(Random(i).bytes(usize::try_from(len).unwrap()))
}

fn reference(i: u64) -> Ref {
    let blob = blob(i);
    Ref { address: blob.address(), sealed_len: u32::try_from(blob.bytes().len()).unwrap() }
}

/// The blobs that a record names.
fn named(i: u64) -> Vec<u64> {
    let mut named = vec![i % BLOBS];
    if i == 7 {
        named.push(3);
    }
    named
}

fn entry(i: u64) -> stash_store::RecordEntry {
    let refs: Vec<_> = named(i).iter().map(|i| reference(*i)).collect();
    let refs: Vec<_> = refs.iter().map(|r| (r.address, r.sealed_len)).collect();
    record(i, &refs, &Random(100 + i).bytes(300))
}

fn key(i: u64) -> [u8; 1] {
    [u8::try_from(i % 7).unwrap()]
}

/// Makes the store of a fixture.
pub fn make(dir: &Path, options: &Options) {
    let store = Store::create(dir, options).unwrap();
    for i in 0..BLOBS {
        store.stage(blob(i)).unwrap();
    }
    store.flush().unwrap();
    for i in 0..RECORDS {
        let row = i.to_le_bytes();
        store.commit(Batch::new().record(entry(i)).row(&key(i), Some(&row))).unwrap();
    }
    let refs = vec![reference(1), reference(2)];
    let evicted = EVICTED.map(|i| blob(i).address()).to_vec();
    for batch in [
        Batch::new().row(&[6], None),
        Batch::new().manifest(blob(0).address(), refs),
        Batch::new().evict(evicted),
    ] {
        store.commit(batch).unwrap();
    }
    grow_old(&store);
    rot(&store, dir);
    drop(store);
    drop(Store::open(dir, options).unwrap());
}

/// Damages one file on the real disk, has it found, and stores the blob again.
fn rot(store: &Store, dir: &Path) {
    let file = files_below(&dir.join("chunks")).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    for i in 0..BLOBS {
        let blob = blob(i);
        let damaged = store.read_into(&blob.address(), &mut Vec::new()).is_err();
        if damaged {
            store.stage(blob).unwrap();
            store.flush().unwrap();
        }
    }
}

/// Everything that a collection does, of which nothing can be seen in the end.
fn grow_old(store: &Store) {
    let names = reference(20);
    for i in [20, 21, 23] {
        store.stage(blob(i)).unwrap();
    }
    let refs = vec![reference(21), reference(23)];
    let dropped = record(50, &[(names.address, names.sealed_len)], b"dropped");
    let hash = dropped.hash;
    store.commit(Batch::new().record(dropped).manifest(names.address, refs)).unwrap();
    for i in 0..80_u64 {
        let value = Random(i).bytes(300);
        store.commit(Batch::new().row(&[9], (i < 79).then_some(&value[..]))).unwrap();
    }
    store.commit(Batch::new().drop_record(hash)).unwrap();
    store.add_uptime(Duration::from_secs(2 * 24 * 60 * 60)).unwrap();
    let collected = store.collect(CollectOptions::default()).unwrap();
    assert!(collected.chunks == 3 && collected.segments > 0, "{collected:?}");
}

/// Checks every record, row and blob.
pub fn check(store: &Store, context: &str) {
    for i in 0..BLOBS {
        let (blob, expected) = (blob(i), if EVICTED.contains(&i) { None } else { Some(()) });
        let state = store.chunk_state(&blob.address()).unwrap();
        let len = u32::try_from(blob.bytes().len()).unwrap();
        let right = expected.map_or(ChunkState::Evicted, |()| ChunkState::Here { len });
        assert_eq!(state, right, "{context}: blob {i}");
        let bytes = expected.map(|()| blob.bytes().to_vec());
        assert_eq!(read(store, &blob.address()), bytes, "{context}: blob {i}");
        check_referrers(store, i, context);
    }
    let mut last = 0;
    for i in 0..RECORDS {
        let entry = entry(i);
        let found = store.record(&entry.hash).unwrap().unwrap();
        assert_eq!(found.bytes, entry.bytes, "{context}: record {i}");
        assert!(found.sequence > last, "{context}: record {i}");
        last = found.sequence;
        assert!(store.records_of(&entry.name).unwrap().contains(&found), "{context}: record {i}");
        assert_eq!(store.dots(&entry.writer, i).unwrap(), [entry.hash], "{context}: record {i}");
    }
    assert_eq!(store.records_after(0, u64::MAX).unwrap().len(), 20, "{context}");
    for i in 0..7_u64 {
        // The last that wrote it: 14 to 19; the row of 6, 13 was removed.
        let value = (14 + i).to_le_bytes().to_vec();
        assert_eq!(store.row(&key(i)).unwrap(), (i < 6).then_some(value), "{context}: row {i}");
    }
    assert_eq!(store.rows(b"").unwrap().len(), 6, "{context}");
    let stats = store.stats();
    let sums = (stats.records, stats.chunks, stats.evicted, stats.quarantined);
    assert_eq!(sums, (RECORDS, 10, 2, 0), "{context}");
}

fn check_referrers(store: &Store, i: u64, context: &str) {
    // Through the manifest, who names blob 0 names 1 and 2.
    let names = |n: u64| named(n).contains(&i) || ([1, 2].contains(&i) && named(n).contains(&0));
    let mut expected: Vec<_> = (0..RECORDS).filter(|n| names(*n)).map(|n| entry(n).hash).collect();
    let mut referrers = store.referrers(&blob(i).address()).unwrap();
    expected.sort_unstable();
    referrers.sort_unstable();
    assert_eq!(referrers, expected, "{context}: blob {i}");
}

/// Where a fixture lies.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn write(disk: &MemDisk, path: &Path, bytes: &[u8]) {
    make_dirs(disk, path.parent().unwrap());
    disk.open(path, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
}

/// A disk with a copy of a fixture, all of it durable.
pub fn copy(name: &str, seed: u64) -> MemDisk {
    let (disk, root) = (MemDisk::new(seed), path(name));
    for file in files_below(&root) {
        let to = dir().join(file.strip_prefix(&root).unwrap());
        write(&disk, &to, &std::fs::read(&file).unwrap());
    }
    disk.fork(seed)
}
