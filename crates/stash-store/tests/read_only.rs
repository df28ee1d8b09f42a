//! A store that is opened only to be read is not written to.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::common::stock::Stock;
use crate::common::{Random, chunk_path, dir, fixture, inline, make_dirs, places, put};
use stash_store::collect::CollectError;
use stash_store::disk::{Fault, OpenMode};
use stash_store::{
    Address, Batch, Blob, CollectOptions, CommitError, Disk, MemDisk, OpenError, Options,
    StageError, Store,
};

fn options(disk: &MemDisk) -> Options {
    Options { segment_bytes: 8192, ..inline(disk) }
}

fn read_only(disk: &MemDisk) -> Options {
    Options { read_only: true, ..options(disk) }
}

fn stocked(seed: u64) -> (MemDisk, Stock) {
    let disk = MemDisk::new(seed);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    (disk, Stock::fill(&store, seed))
}

fn files(disk: &MemDisk, part: &str) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with(dir().join(part))).collect()
}

#[test]
fn everything_is_read_and_nothing_is_taken() {
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, 7);
        let stats = store.stats();
        drop(store);
        let options = Options { read_only: true, ..place.options.clone() };
        for _ in 0..2 {
            let store = Store::open(&place.dir, &options).unwrap();
            assert_eq!(store.opens(), 1, "{name}: it is not counted");
            stock.check_whole(&store, name);
            assert_eq!(store.stats().bytes, stats.bytes, "{name}");
            let why = store.stats().read_only.unwrap();
            assert!(why.contains("opened only to be read"), "{name}: {why}");
            let staged = store.stage(Blob::hash(vec![1; 3000]));
            assert!(matches!(staged, Err(StageError::ReadOnly { .. })), "{name}: {staged:?}");
            let committed = store.commit(Batch::new().row(b"k", Some(b"v")));
            assert!(matches!(committed, Err(CommitError::ReadOnly { .. })), "{name}");
            let collected = store.collect(CollectOptions::default());
            assert!(!matches!(collected, Err(CollectError::Io(_))), "{name}: {collected:?}");
            assert!(store.check(true).unwrap().is_sound(), "{name}");
        }
    }
}

#[test]
fn whatever_state_the_store_is_in_not_a_byte_is_written() {
    for what in ["sound", "cut", "no index", "no LOCK", "version 1", "damaged"] {
        let (mut disk, stock) = stocked(3);
        match what {
            "cut" => {
                // The rest of a write that was not acknowledged.
                let store = Store::open(dir(), &options(&disk)).unwrap();
                disk.inject(2, Fault::PowerCut);
                store.commit(Batch::new().row(b"new", Some(&[1; 500]))).unwrap_err();
                drop(store);
                disk.restart();
                let log = files(&disk, "log").pop().unwrap();
                let file = disk.open(&log, OpenMode::Write).unwrap();
                file.write_at(file.len().unwrap(), &[7; 99]).unwrap();
            }
            "no index" => {
                for path in files(&disk, "index") {
                    disk.remove(&path).unwrap();
                }
            }
            "no LOCK" => disk.remove(&dir().join("LOCK")).unwrap(),
            "version 1" => disk = fixture::copy("v1", 1),
            "damaged" => {
                let damaged = ["index", "log"].map(|part| dir().join(part));
                for (path, len) in disk.files() {
                    if damaged.iter().any(|part| path.starts_with(part)) {
                        disk.flip_bit(&path, len * 4).unwrap();
                    }
                }
            }
            _ => {}
        }
        let (before, operations) = (disk.files(), disk.operations());
        let store = Store::open(dir(), &read_only(&disk)).unwrap();
        match what {
            "version 1" => fixture::check(&store, what),
            "damaged" => stock.check(&store, what),
            _ => stock.check_whole(&store, what),
        }
        let mut scrubber = store.scrubber();
        while scrubber.step(10_000).unwrap().is_some() {}
        // An index that was made anew says what could be read.
        assert!(store.check(true).unwrap().is_sound(), "{what}");
        assert_eq!(store.open_report().damage.is_empty(), what != "damaged", "{what}");
        drop((scrubber, store));
        assert_eq!((disk.files(), disk.operations()), (before, operations), "{what}");
    }
}

#[test]
fn a_store_that_is_open_for_writing_is_not_read_beside() {
    // Fault case 89.
    let (disk, _) = stocked(3);
    let writer = Store::open(dir(), &options(&disk)).unwrap();
    let reader = Store::open(dir(), &read_only(&disk));
    assert!(matches!(reader, Err(OpenError::Locked { .. })));
    drop(writer);
    let reader = Store::open(dir(), &read_only(&disk)).unwrap();
    let writer = Store::open(dir(), &options(&disk));
    assert!(matches!(writer, Err(OpenError::Locked { .. })));
    drop(reader);
}

#[test]
fn features_that_forbid_writing_do_not_forbid_reading() {
    // Fault case 91.
    let (disk, stock) = stocked(3);
    let path = dir().join("FORMAT");
    let file = disk.open(&path, OpenMode::Write).unwrap();
    let mut bytes = vec![0; 128];
    file.read_at(0, &mut bytes).unwrap();
    bytes[32] = 8;
    let checksum = *Address::of(&bytes[..96]).as_bytes();
    bytes[96..].copy_from_slice(&checksum);
    file.write_at(0, &bytes).unwrap();
    let error = Store::open(dir(), &options(&disk)).unwrap_err();
    assert!(error.to_string().contains("features 0x8 that forbid writing"), "{error}");
    assert!(matches!(error, OpenError::NewerFormat { .. }));
    let store = Store::open(dir(), &read_only(&disk)).unwrap();
    stock.check_whole(&store, "a newer store");
}

#[test]
fn a_rebuild_that_is_only_to_be_read_tells_what_it_would_do() {
    let (disk, stock) = stocked(3);
    disk.remove(&dir().join("FORMAT")).unwrap();
    let stray = Blob::hash(Random(1).bytes(3000));
    let place = chunk_path(&stray.address());
    make_dirs(&disk, place.parent().unwrap());
    disk.open(&place, OpenMode::Create).unwrap().write_at(0, stray.bytes()).unwrap();
    let lost = files(&disk, "chunks").into_iter().find(|path| *path != place).unwrap();
    disk.remove(&lost).unwrap();
    let (before, operations) = (disk.files(), disk.operations());
    let (store, report) = Store::rebuild(dir(), &read_only(&disk)).unwrap();
    assert!(report.format_restored.is_some());
    assert_eq!(report.announced.first, [stray.address()]);
    assert_eq!(report.missing.total, 1);
    stock.check(&store, "read only");
    drop(store);
    assert_eq!((disk.files(), disk.operations()), (before, operations));
    let (store, again) = Store::rebuild(dir(), &options(&disk)).unwrap();
    assert_eq!((&again.announced, &again.missing), (&report.announced, &report.missing));
    put(&store, &stock.chunks[&report.missing.first[0]]);
    stock.check_whole(&store, "rebuilt");
}

#[test]
fn a_disk_that_cannot_be_written_can_be_read() {
    let (disk, stock) = stocked(3);
    disk.inject(1, Fault::Error { kind: ErrorKind::ReadOnlyFilesystem, times: u64::MAX / 2 });
    assert!(Store::open(dir(), &options(&disk)).is_err());
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let options = Options { read_only: true, disk, ..options(&MemDisk::new(0)) };
    stock.check_whole(&Store::open(dir(), &options).unwrap(), "on a disk that refuses");
}
