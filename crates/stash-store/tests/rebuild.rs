//! A store is made anew from its log and its files, and says what it could not save.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};

use crate::common::stock::Stock;
use crate::common::{
    Random, chunk_path, dir, fixture, inline, make_dirs, places, put, segment_path,
};
use stash_store::disk::{Fault, OpenMode};
use stash_store::{
    Address, Batch, Blob, ChunkState, Disk, MemDisk, OpenError, Options, RebuildReport, Store,
};

fn options(disk: &MemDisk) -> Options {
    Options { segment_bytes: 8192, ..inline(disk) }
}

/// A disk with a closed store, and what is in it.
fn stocked(seed: u64) -> (MemDisk, Stock) {
    let disk = MemDisk::new(seed);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    (disk, Stock::fill(&store, seed))
}

fn files(disk: &MemDisk, part: &str) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with(dir().join(part))).collect()
}

fn write(disk: &MemDisk, path: &Path, bytes: &[u8]) {
    make_dirs(disk, path.parent().unwrap());
    disk.open(path, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
}

fn rebuild(disk: &MemDisk) -> (Store, RebuildReport) {
    Store::rebuild(dir(), &options(disk)).unwrap()
}

/// A file under a name that no blob has.
fn alien() -> PathBuf {
    dir().join("chunks").join(stash_store::nest(&[0xab; 20], stash_store::Nest::default()))
}

#[test]
fn a_sound_store_is_the_same_after_it_was_rebuilt() {
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, 7);
        let before = store.stats();
        drop(store);
        let (store, report) = Store::rebuild(&place.dir, &place.options).unwrap();
        assert!(report.is_whole() && report.entries > 60, "{name}: {report:?}");
        assert_eq!((report.announced.total, report.set_aside.total), (0, 0), "{name}");
        assert_eq!(report.format_restored, None, "{name}");
        let rebuilt = store.open_report().index_rebuilt.clone();
        assert_eq!(rebuilt.as_deref(), Some("a rebuild was asked for"), "{name}");
        let after = store.stats();
        let sums =
            |s: &stash_store::Stats| (s.records, s.chunks, s.bytes, s.evicted, s.quarantined);
        assert_eq!(sums(&after), sums(&before), "{name}");
        stock.check_whole(&store, name);
        assert!(store.check(true).unwrap().is_sound(), "{name}");
        let again = Store::rebuild(&place.dir, &place.options);
        assert!(matches!(again, Err(OpenError::Locked { .. })), "{name}: it is open");
    }
}

#[test]
fn format_comes_back_from_the_log_when_it_is_lost_or_damaged() {
    // Fault case 78.
    let (disk, stock) = stocked(1);
    let format = dir().join("FORMAT");
    for byte in 0..=128_u64 {
        let copy = disk.fork(byte);
        match byte {
            128 => copy.remove(&format).unwrap(),
            byte => copy.flip_bit(&format, byte * 8 + byte % 8).unwrap(),
        }
        // Copies that are damaged, too, do no harm as long as one is whole.
        for (path, damaged) in files(&copy, "log").iter().zip(0..2) {
            copy.flip_bit(path, (128 + (byte + damaged) % 128) * 8).unwrap();
        }
        assert!(Store::open(dir(), &options(&copy)).is_err(), "byte {byte}");
        let (store, report) = rebuild(&copy);
        assert!(report.format_restored.unwrap().contains("FORMAT"), "byte {byte}");
        stock.check_whole(&store, &format!("byte {byte}"));
        drop(store);
        stock.check_whole(&Store::open(dir(), &options(&copy)).unwrap(), "opened");
    }
}

#[test]
fn logs_of_two_stores_are_refused_and_left_alone() {
    let (disk, _) = stocked(1);
    let other = MemDisk::new(2);
    drop(Store::create(dir(), &Options { seed: Some([5; 32]), ..options(&other) }).unwrap());
    let mut header = vec![0; 256];
    other.open(&files(&other, "log")[0], OpenMode::Read).unwrap().read_at(0, &mut header).unwrap();
    let place = dir().join("log/00/00").join("0".repeat(40));
    write(&disk, &place, &header);
    disk.remove(&dir().join("FORMAT")).unwrap();
    let operations = disk.operations();
    let error = Store::rebuild(dir(), &options(&disk)).unwrap_err();
    assert!(error.to_string().contains("are of several stores"), "{error}");
    assert_eq!(disk.operations(), operations);
}

#[test]
fn a_directory_without_a_store_stays_without_one() {
    let disk = MemDisk::new(1);
    make_dirs(&disk, dir());
    write(&disk, &dir().join("notes"), b"mine");
    let before = disk.operations();
    for dir in [dir(), Path::new("/nowhere")] {
        let error = Store::rebuild(dir, &options(&disk)).unwrap_err();
        assert!(matches!(error, OpenError::NoStore { .. }), "{error}");
    }
    assert_eq!(disk.operations(), before, "not even a LOCK");
}

#[test]
fn a_newer_store_is_refused_with_a_sentence() {
    // Fault case 91.
    let (disk, _) = stocked(1);
    let path = dir().join("FORMAT");
    let mut bytes = vec![0; 128];
    disk.open(&path, OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
    bytes[40] |= 0x40;
    let checksum = *Address::of(&bytes[..96]).as_bytes();
    bytes[96..].copy_from_slice(&checksum);
    // In a copy, where FORMAT is lost; then in FORMAT.
    let log = disk.open(&files(&disk, "log")[0], OpenMode::Write).unwrap();
    log.write_at(128, &bytes).unwrap();
    disk.remove(&path).unwrap();
    for _ in 0..2 {
        let error = Store::rebuild(dir(), &options(&disk)).unwrap_err();
        assert!(error.to_string().contains("unknown incompatible features 0x40"), "{error}");
        drop(disk.open(&path, OpenMode::Create).map(|file| file.write_at(0, &bytes)));
    }
}

#[test]
fn files_without_an_entry_are_taken_in_if_they_are_blobs() {
    let (disk, stock) = stocked(3);
    let (small, large) = (Random(1).bytes(10), Random(2).bytes(5000));
    let (small, large) = (Blob::hash(small), Blob::hash(large));
    for blob in [&small, &large] {
        write(&disk, &chunk_path(&blob.address()), blob.bytes());
    }
    write(&disk, &alien(), b"what is this");
    let lost = &files(&disk, "chunks")
        .into_iter()
        .find(|path| stock.chunks.keys().any(|address| chunk_path(address) == *path));
    disk.remove(lost.as_ref().unwrap()).unwrap();
    let (store, report) = rebuild(&disk);
    let mut announced = report.announced.first.clone();
    announced.sort_unstable();
    let mut expected = [small.address(), large.address()];
    expected.sort_unstable();
    assert_eq!(announced, expected);
    assert_eq!(report.set_aside.first, [alien()]);
    let aside = dir().join("quarantine").join(alien().file_name().unwrap());
    assert!(disk.open(&aside, OpenMode::Read).is_ok());
    assert_eq!(report.missing.total, 1);
    let missing = report.missing.first[0];
    assert_eq!(store.chunk_state(&missing).unwrap(), ChunkState::Quarantined);
    assert!(!report.is_whole());
    put(&store, &stock.chunks[&missing]);
    drop(store);
    let store = Store::open(dir(), &options(&disk)).unwrap();
    assert_eq!(crate::common::read(&store, &small.address()).unwrap(), small.bytes());
    assert_eq!(crate::common::read(&store, &large.address()).unwrap(), large.bytes());
    stock.check_whole(&store, "taken in");
    assert!(store.check(true).unwrap().is_sound());
}

#[test]
fn what_was_in_damaged_parts_of_the_log_is_named() {
    // Fault cases 21, 78.
    let (disk, stock) = stocked(4);
    let log = files(&disk, "log");
    let mut random = Random(9);
    for path in &log {
        let len = disk.open(path, OpenMode::Read).unwrap().len().unwrap();
        for _ in 0..3 {
            disk.flip_bit(path, (256 + random.below(len - 256)) * 8).unwrap();
        }
    }
    let (store, report) = rebuild(&disk);
    assert!(!report.damage.is_empty() && report.lost.total > 0, "{report:?}");
    stock.check(&store, "what is left");
    let named = |what: &str| report.lost.first.iter().any(|lost| lost.contains(what));
    for hash in stock.records.keys().filter(|hash| store.record(hash).unwrap().is_none()) {
        let hash = Address::from_bytes(*hash).to_string();
        assert!(named(&hash), "record {hash} is lost in silence: {:?}", report.lost);
    }
    for (address, bytes) in &stock.chunks {
        let here = matches!(store.chunk_state(address).unwrap(), ChunkState::Here { .. });
        assert!(here || bytes.len() < 1024, "{address} has a file, and is not here");
        assert!(here || named(&address.to_string()), "{address} is lost in silence");
    }
    // What is put again is here again.
    for (address, bytes) in &stock.chunks {
        assert_eq!(put(&store, bytes), *address);
    }
    for entry in stock.entries.values() {
        store.commit(Batch::new().record(entry.clone())).unwrap();
    }
    stock.check(&store, "put again");
    assert_eq!(store.stats().records, 24);
}

/// The file of segment 1.
fn first_segment() -> PathBuf {
    segment_path(1)
}

#[test]
fn a_place_of_the_log_that_the_disk_cannot_read_is_damage_and_the_rest_is_used() {
    for with_index in [true, false] {
        let (disk, stock) = stocked(4);
        let first = Store::open(dir(), &options(&disk)).unwrap().records_after(0, 1).unwrap();
        disk.fail_reads(&first_segment(), Some(5000..5001));
        let (store, damage) = if with_index {
            let (store, report) = rebuild(&disk);
            assert!(report.lost.total > 0, "{report:?}");
            (store, report.damage)
        } else {
            files(&disk, "index").iter().for_each(|path| disk.remove(path).unwrap());
            let store = Store::open(dir(), &options(&disk)).unwrap();
            let damage = store.open_report().damage.clone();
            (store, damage)
        };
        assert!(damage.iter().any(|what| what.contains("the disk cannot read it")), "{damage:?}");
        stock.check(&store, "what is left");
        assert_eq!(store.records_after(0, 1).unwrap(), first, "it comes before the bad place");
        let left = store.stats().records;
        assert!((12..24).contains(&left), "{left} records are left of 24");
        for entry in stock.entries.values() {
            store.commit(Batch::new().record(entry.clone())).unwrap();
        }
        assert_eq!(store.stats().records, 24);
    }
}

/// Options for a log of one segment.
fn long(disk: &MemDisk) -> Options {
    Options { segment_bytes: 1 << 20, ..inline(disk) }
}

#[test]
fn an_end_of_the_log_that_the_disk_cannot_read_is_not_cut_off() {
    let disk = MemDisk::new(5);
    let store = Store::create(dir(), &long(&disk)).unwrap();
    let stock = Stock::fill(&store, 5);
    drop(store);
    let len = disk.open(&first_segment(), OpenMode::Read).unwrap().len().unwrap();
    files(&disk, "index").iter().for_each(|path| disk.remove(path).unwrap());
    disk.fail_reads(&first_segment(), Some(len - 1..len));
    let opened = [Store::open(dir(), &long(&disk)).unwrap_err()];
    let rebuilt = [Store::rebuild(dir(), &long(&disk)).unwrap_err()];
    for error in opened.iter().chain(&rebuilt) {
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("copy the store to another disk"), "{error}");
    }
    disk.fail_reads(&first_segment(), None);
    let store = Store::open(dir(), &long(&disk)).unwrap();
    stock.check_whole(&store, "once it can be read");
}

#[test]
fn a_disk_that_reads_nothing_of_a_segment_makes_no_index_anew() {
    let disk = MemDisk::new(6);
    let store = Store::create(dir(), &long(&disk)).unwrap();
    let stock = Stock::fill(&store, 6);
    for n in 0..100 {
        store.commit(Batch::new().row(&[9, n], Some(&[7; 1000]))).unwrap();
    }
    drop(store);
    let len = disk.open(&first_segment(), OpenMode::Read).unwrap().len().unwrap();
    disk.fail_reads(&first_segment(), Some(1000..len));
    let error = Store::rebuild(dir(), &long(&disk)).unwrap_err();
    assert!(matches!(&error, OpenError::Io(error) if error.is_unreadable()), "{error}");
    disk.fail_reads(&first_segment(), None);
    let store = Store::open(dir(), &long(&disk)).unwrap();
    stock.check(&store, "once it can be read");
    assert_eq!((store.stats().records, store.rows(&[9]).unwrap().len()), (24, 100));
}

#[test]
fn a_name_in_quarantine_that_no_segment_can_have_had_is_no_reason_to_stop() {
    let (disk, stock) = stocked(7);
    files(&disk, "log").iter().for_each(|path| disk.remove(path).unwrap());
    for name in ["log-18446744073709551615-256", "log-4294967295-256", "log-41-256", "log-x-1"] {
        write(&disk, &dir().join("quarantine").join(name), b"planted");
    }
    let (store, report) = rebuild(&disk);
    assert!(report.log_begun, "{report:?}");
    stock.check(&store, "begun anew");
    drop(store);
    let store = Store::open(dir(), &options(&disk)).unwrap();
    assert_eq!(store.open_report().damage, ["segments 1 to 41 of the log are missing"]);
    assert!(files(&disk, "log").contains(&segment_path(42)), "segment 42 follows 41");
}

#[test]
fn blobs_survive_the_loss_of_the_whole_log() {
    for with_index in [true, false] {
        let (disk, stock) = stocked(5);
        let segments = files(&disk, "log");
        let (last, ids) = (segments.len() as u64, segments.len());
        for path in segments {
            disk.remove(&path).unwrap();
        }
        if !with_index {
            for path in files(&disk, "index") {
                disk.remove(&path).unwrap();
            }
        }
        assert!(Store::open(dir(), &options(&disk)).is_err());
        let (store, report) = rebuild(&disk);
        assert!(report.log_begun && !report.is_whole(), "{report:?}");
        assert_eq!(report.announced.total, stock.files());
        assert_eq!(report.lost.total > 0, with_index, "{report:?}");
        for (address, bytes) in &stock.chunks {
            let here = store.has(&[*address]).unwrap()[0];
            assert_eq!(here, bytes.len() >= 1024);
        }
        drop(store);
        // No segment has an id that another had.
        assert!(ids > 2 && last > 2);
        assert_eq!(files(&disk, "log").contains(&first_segment()), !with_index, "segment 1");
        let store = Store::open(dir(), &options(&disk)).unwrap();
        stock.check(&store, "opened");
        assert!(store.check(true).unwrap().is_sound());
    }
}

/// Rebuilds a store that lacks much, with the power going at operation `at`; false once that is
/// behind the end.
fn cut_rebuild(disk: &MemDisk, stock: &Stock, at: u64) -> bool {
    let disk = disk.fork(at);
    disk.inject(at, Fault::PowerCut);
    let done = Store::rebuild(dir(), &options(&disk)).is_ok();
    let cut = !disk.is_powered();
    assert!(done || cut, "operation {at}");
    disk.restart();
    for round in 0..2 {
        let (store, report) = rebuild(&disk);
        assert!(report.lost.total == 0 && report.missing.total == 0, "operation {at}: {report:?}");
        stock.check_whole(&store, &format!("cut at operation {at}, round {round}"));
        let check = store.check(true).unwrap();
        assert!(check.is_sound() && check.strays.total == 0, "operation {at}: {check:?}");
    }
    cut
}

#[test]
fn a_rebuild_can_be_cut_at_every_operation() {
    let (disk, mut stock) = stocked(6);
    disk.remove(&dir().join("FORMAT")).unwrap();
    for n in 0..3 {
        let blob = Blob::hash(Random(n).bytes(3000));
        write(&disk, &chunk_path(&blob.address()), blob.bytes());
        stock.chunks.insert(blob.address(), blob.bytes().to_vec());
    }
    write(&disk, &alien(), b"what is this");
    let disk = disk.fork(1);
    let mut at = 1;
    while cut_rebuild(&disk, &stock, at) {
        at += 1;
    }
    println!("{at} operations");
    assert!(at > 25, "only {at} operations");
}

#[test]
fn the_stores_of_older_builds_are_rebuilt_too() {
    // Fault case 91.
    for name in ["v1", "v2"] {
        let disk = fixture::copy(name, 1);
        disk.remove(&dir().join("FORMAT")).unwrap();
        let (store, report) = rebuild(&disk);
        assert!(report.is_whole() && report.format_restored.is_some(), "{name}: {report:?}");
        fixture::check(&store, name);
        drop(store);
        let store = Store::open(dir(), &options(&disk)).unwrap();
        assert!(store.check(true).unwrap().is_sound(), "{name}");
        fixture::check(&store, name);
    }
}
