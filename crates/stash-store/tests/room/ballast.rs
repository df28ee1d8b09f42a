//! The ballast, which deletions live on when nothing else is left.

use stash_store::room::Shortage;
use std::time::Duration;

use stash_store::{
    Batch, Blob, ChunkState, CollectOptions, CommitError, MemDisk, Options, StageError, Store,
};

use crate::common::{Random, dir, inline, put, read, record};
use crate::{evict, inodes, is_settled, names, options, stored};

#[test]
fn on_a_disk_that_others_filled_the_ballast_is_for_deletions_and_comes_back() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let blobs = stored(&store, 12, 500);
    assert_eq!(names(&disk, "BALLAST"), 2);
    disk.set_capacity(Some(disk.used()));
    for batch in [
        Batch::new().row(b"k", Some(b"v")),
        Batch::new().row(b"k", Some(b"v")).evict(vec![blobs[0].0]),
    ] {
        let error = store.commit(batch).unwrap_err();
        assert!(matches!(error, CommitError::Full(_)) && error.is_full(), "{error}");
    }
    assert_eq!(names(&disk, "BALLAST"), 2, "nobody of these is worth it");
    let error = store.stage(Blob::hash(Random(99).bytes(500))).unwrap_err();
    assert!(matches!(error, StageError::NoRoom(Shortage::Reserve { free: 0, .. })), "{error}");
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
    assert_eq!(names(&disk, "BALLAST"), 2, "it is back");
    is_settled(&store);
    drop(store);
    let store = Store::open(dir(), &options(&disk)).unwrap();
    let here = |address| matches!(store.chunk_state(address), Ok(ChunkState::Here { .. }));
    let left: Vec<bool> = blobs.iter().map(|(address, _)| here(address)).collect();
    assert_eq!(left, [&[true, false, false, false][..], &[true; 8]].concat());
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
    assert_eq!(names(&disk, "BALLAST"), 2);
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

#[test]
fn what_is_collected_with_the_room_of_the_ballast_is_counted_once() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    stored(&store, 6, 500);
    stored(&store, 6, 3000);
    disk.set_capacity(Some(disk.used()));
    let all = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
    let freed = store.collect(all).unwrap();
    assert_eq!(names(&disk, "BALLAST"), 0, "it was needed");
    assert_eq!((freed.chunks, freed.file_bytes), (12, 6 * 3000));
}
