//! Stores that older builds wrote: every later build opens them, and finds what was put in.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Random, dir, files_below, fixture, inline};
use stash_store::disk::{Fault, OpenMode};
use stash_store::{Address, CollectOptions, Disk, MemDisk, OpenError, Options, Store};

/// Where the features lie in FORMAT that a reader must know.
const INCOMPATIBLE: usize = 40;

/// A store of each format that was ever released.
const FIXTURES: [&str; 2] = ["v1", "v2"];

fn contents(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn options(disk: &MemDisk) -> Options {
    Options { segment_bytes: 8192, ..inline(disk) }
}

fn features(disk: &MemDisk) -> u8 {
    contents(disk, &dir().join("FORMAT"))[INCOMPATIBLE]
}

#[test]
fn every_fixture_opens_and_is_what_was_put_in() {
    // Fault case 91.
    for name in FIXTURES {
        let disk = fixture::copy(name, 1);
        for opens in 3..6 {
            let store = Store::open(dir(), &options(&disk)).unwrap();
            assert_eq!(store.opens(), opens, "{name}");
            assert_eq!(store.open_report().damage, [""; 0], "{name}");
            fixture::check(&store, name);
        }
    }
}

/// The kinds of all entries in the segments of a fixture.
fn kinds(name: &str) -> Vec<u8> {
    let disk = fixture::copy(name, 1);
    let mut kinds = std::collections::BTreeSet::new();
    for (path, _) in disk.files().iter().filter(|(path, _)| path.starts_with(dir().join("log"))) {
        let (bytes, mut at) = (contents(&disk, path), 256);
        while let Some(header) = bytes.get(at..at + 32) {
            kinds.insert(header[4]);
            let len = u32::from_le_bytes(*header.first_chunk().unwrap());
            at += (32 + usize::try_from(len).unwrap()).next_multiple_of(8);
        }
    }
    kinds.into_iter().collect()
}

#[test]
fn the_fixtures_have_entries_of_every_kind() {
    // What the collection in v2 leaves out as dead is in v1.
    let in_either: std::collections::BTreeSet<u8> =
        kinds("v1").into_iter().chain(kinds("v2")).collect();
    assert_eq!(in_either.into_iter().collect::<Vec<_>>(), (1..=18).collect::<Vec<_>>());
    assert_eq!(kinds("v1").last(), Some(&12), "version 1 knew no more");
}

#[test]
fn a_fixture_opens_on_a_real_disk() {
    for name in FIXTURES {
        let temp = tempfile::tempdir().unwrap();
        let (root, to) = (fixture::path(name), temp.path().join("store"));
        for path in files_below(&root) {
            let to = to.join(path.strip_prefix(&root).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&path, &to).unwrap();
        }
        let options = Options { small: 1024, segment_bytes: 8192, ..Options::default() };
        for _ in 0..2 {
            fixture::check(&Store::open(&to, &options).unwrap(), name);
        }
    }
}

#[test]
fn a_store_of_version_one_is_migrated_by_opening_it() {
    // Fault case 91. The old index is not understood any more, whatever it is.
    let disk = fixture::copy("v1", 1);
    let old = dir().join("index.redb");
    fixture::write(&disk, &old, &[0xa5; 20_000]);
    let segments = log_files(&disk);
    assert_eq!(features(&disk), 0);
    drop(Store::open(dir(), &options(&disk)).unwrap());
    assert_eq!(features(&disk), 3);
    assert!(disk.open(&old, OpenMode::Read).is_err(), "the old index goes");
    assert_eq!(log_files(&disk), segments + 1, "the log goes on where its header says so");
    drop(Store::open(dir(), &options(&disk)).unwrap());
    assert_eq!(log_files(&disk), segments + 1, "once");
}

#[test]
fn a_store_without_records_that_are_signed_over_their_hash_says_that_it_may_have_some() {
    // Fault case 91.
    let disk = fixture::copy("v2", 1);
    let segments = log_files(&disk);
    assert_eq!(features(&disk), 1);
    for _ in 0..2 {
        fixture::check(&Store::open(dir(), &options(&disk)).unwrap(), "v2");
        assert_eq!(features(&disk), 3);
        assert_eq!(log_files(&disk), segments + 1, "the log goes on where its header says so");
    }
}

/// A store of an older version, with its index, in which two blobs were kept by holds alone, and a third
/// one by a record, too. A collection had looked at them all.
#[test]
fn what_only_holds_of_an_older_version_kept_is_given_up_after_the_grace() {
    // Fault case 91.
    let disk = fixture::copy("holds", 1);
    let blobs = [(1, 1500), (2, 300), (3, 1500)].map(|(n, len)| Random(n).bytes(len));
    let addresses = blobs.each_ref().map(|bytes| Address::of(bytes));
    let store = Store::open(dir(), &options(&disk)).unwrap();
    assert_eq!(store.open_report().damage, [""; 0]);
    assert_eq!(store.has(&addresses).unwrap(), [true; 3]);
    assert_eq!(store.referrers(&addresses[2]).unwrap().len(), 1);
    let grace = Duration::from_secs(3_600);
    let collect = || store.collect(CollectOptions { grace, ..CollectOptions::default() }).unwrap();
    // The store has been open for 30 days since the last record went.
    assert_eq!(collect().chunks, 2);
    assert_eq!(store.has(&addresses).unwrap(), [false, false, true]);
    drop(store);
    let store = Store::open(dir(), &options(&disk)).unwrap();
    assert_eq!(store.has(&addresses).unwrap(), [false, false, true]);
    assert!(store.check(true).unwrap().is_sound());
}

fn log_files(disk: &MemDisk) -> usize {
    disk.files().iter().filter(|(path, _)| path.starts_with(dir().join("log"))).count()
}

/// Opens a copy of version 1, with the power going at operation `at`; false once that is behind
/// the end.
fn cut_migration(at: u64) -> bool {
    let disk = fixture::copy("v1", at);
    fixture::write(&disk, &dir().join("index.redb"), &[0xa5; 5000]);
    let disk = disk.fork(at);
    disk.inject(at, Fault::PowerCut);
    let opened = Store::open(dir(), &options(&disk)).is_ok();
    let cut = !disk.is_powered();
    assert!(opened || cut, "operation {at}");
    disk.restart();
    for _ in 0..2 {
        let store = Store::open(dir(), &options(&disk)).unwrap();
        fixture::check(&store, &format!("cut at operation {at}"));
    }
    assert_eq!(features(&disk), 3, "operation {at}");
    let left = disk.files().into_iter().any(|(path, _)| path.ends_with("index.redb"));
    assert!(!left, "operation {at}");
    cut
}

#[test]
fn a_migration_can_be_cut_at_every_operation() {
    // Fault case 91.
    let mut at = 1;
    while cut_migration(at) {
        at += 1;
    }
    println!("{at} operations");
    assert!(at > 12, "only {at} operations");
}

#[test]
fn a_full_disk_has_room_for_the_migration_where_the_old_index_was() {
    let disk = fixture::copy("v1", 1);
    fixture::write(&disk, &dir().join("index.redb"), &[0xa5; 20_000]);
    disk.set_capacity(Some(disk.used()));
    let store = Store::open(dir(), &options(&disk)).unwrap();
    fixture::check(&store, "on a full disk");
}

#[test]
fn a_full_disk_has_room_for_the_migration_where_the_ballast_was() {
    let disk = fixture::copy("v2", 1);
    fixture::write(&disk, &dir().join("BALLAST"), &[0; 20_000]);
    disk.set_capacity(Some(disk.used()));
    let store = Store::open(dir(), &options(&disk)).unwrap();
    fixture::check(&store, "on a full disk");
    assert_eq!(features(&disk), 3);
}

/// FORMAT with one of its bytes changed, and a checksum that fits.
fn reformat(disk: &MemDisk, at: usize, byte: u8) {
    let path = dir().join("FORMAT");
    let mut bytes = contents(disk, &path);
    bytes[at] = byte;
    let checksum = *Address::of(&bytes[..96]).as_bytes();
    bytes[96..].copy_from_slice(&checksum);
    disk.open(&path, OpenMode::Write).unwrap().write_at(0, &bytes).unwrap();
}

#[test]
fn a_newer_store_is_refused_with_a_sentence_and_left_alone() {
    // Fault case 91.
    for (at, byte, what) in [
        (16, 9, "it has format version 9, newest known 1"),
        (INCOMPATIBLE, 0x81, "it uses unknown incompatible features 0x80"),
        (32, 2, "it uses unknown features 0x2 that forbid writing"),
    ] {
        let disk = fixture::copy("v2", 1);
        reformat(&disk, at, byte);
        let (files, operations) = (disk.files(), disk.operations());
        let error = Store::open(dir(), &options(&disk)).unwrap_err();
        assert!(matches!(&error, OpenError::NewerFormat { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("update this one"), "{error}");
        assert_eq!((disk.files(), disk.operations()), (files, operations), "{what}");
    }
}

#[test]
fn features_that_only_a_segment_tells_of_count_too() {
    // FORMAT of an old backup, beside the log of a newer program.
    let disk = fixture::copy("v2", 1);
    let format = dir().join("FORMAT");
    let old = contents(&disk, &format);
    reformat(&disk, INCOMPATIBLE, 0x81);
    let newer = contents(&disk, &format);
    disk.open(&format, OpenMode::Write).unwrap().write_at(0, &old).unwrap();
    let segment = disk.files().into_iter().find(|(path, _)| path.starts_with(dir().join("log")));
    let file = disk.open(&segment.unwrap().0, OpenMode::Write).unwrap();
    file.write_at(128, &newer).unwrap();
    let error = Store::open(dir(), &options(&disk)).unwrap_err();
    assert!(error.to_string().contains("unknown incompatible features 0x80"), "{error}");
    // One that may be ignored is kept.
    file.write_at(128, &old).unwrap();
    reformat(&disk, 24, 4);
    drop(Store::open(dir(), &options(&disk)).unwrap());
    assert_eq!(contents(&disk, &format)[24], 4);
}

#[test]
fn directories_that_a_copy_left_out_are_made() {
    let disk = fixture::copy("v2", 1);
    let options = Options { disk: Arc::new(disk.clone()), ..options(&disk) };
    assert!(disk.list(&dir().join("quarantine")).is_err());
    drop(Store::open(dir(), &options).unwrap());
    assert!(disk.list(&dir().join("quarantine")).is_ok());
}
