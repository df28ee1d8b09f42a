//! Checking says exactly what is wrong, and changes nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::stock::Stock;
use crate::common::{Random, dir, inline, places, read, record};
use stash_store::check::{CheckReport, LISTED};
use stash_store::disk::{Fault, OpenMode, Part};
use stash_store::{
    Address, Batch, Blob, ChunkState, DamagedRecord, Disk, Finding, MemDisk, Options, ReadError,
    RecordEntry, Ref, Store,
};

fn options(disk: &MemDisk) -> Options {
    Options { segment_bytes: 8192, ..inline(disk) }
}

fn stocked(seed: u64) -> (MemDisk, Store, Stock) {
    let disk = MemDisk::new(seed);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let stock = Stock::fill(&store, seed);
    (disk, store, stock)
}

fn files(disk: &MemDisk, part: &str) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with(dir().join(part))).collect()
}

fn write(disk: &MemDisk, path: &Path, bytes: &[u8]) {
    disk.open(path, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
}

#[test]
fn a_sound_store_is_sound_to_the_last_row() {
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, 7);
        for read_data in [false, true] {
            let report = store.check(read_data).unwrap();
            assert!(report.is_sound() && report.sums_compared, "{name}: {report:?}");
            // Records, blobs, the one evicted, rows, and manifests of five keys.
            let rows = 24 + 24 + 1 + 4 + 5;
            assert_eq!((report.rows, report.files), (rows, stock.files()), "{name}");
            assert_eq!(report.strays.total, 0, "{name}");
            assert_eq!(report.missing.total, 0, "{name}");
        }
    }
}

#[test]
fn a_check_changes_nothing_on_disk_or_in_memory() {
    let (disk, store, stock) = stocked(1);
    for path in [&files(&disk, "chunks")[0], &files(&disk, "log")[0]] {
        disk.flip_bit(path, 9000).unwrap();
    }
    let (operations, stats) = (disk.operations(), store.stats());
    let report = store.check(true).unwrap();
    assert!(!report.is_sound());
    assert_eq!((disk.operations(), store.stats()), (operations, stats));
    let [Finding::Chunk { address, .. }] = &report.chunks_damaged.first[..] else {
        panic!("{report:?}");
    };
    let state = store.chunk_state(address).unwrap();
    assert!(matches!(state, ChunkState::Here { .. }), "it was not read: {state:?}");
    assert!(stock.chunks.contains_key(address));
}

#[test]
fn every_flipped_bit_in_what_a_row_goes_by_is_found() {
    // Fault cases 21, 78.
    let (disk, store, stock) = stocked(2);
    let mut random = Random(5);
    let (mut found, mut flips) = (0, 0);
    for (path, len) in disk.files() {
        let is_log = path.starts_with(dir().join("log"));
        if !is_log && !path.starts_with(dir().join("chunks")) {
            continue;
        }
        for _ in 0..20 {
            let bit = random.below(len * 8);
            disk.flip_bit(&path, bit).unwrap();
            let report = store.check(true).unwrap();
            flips += 1;
            found += u64::from(!report.is_sound());
            // In the log there are also marks and what is dead.
            assert!(is_log || report.chunks_damaged.total == 1, "bit {bit}: {report:?}");
            disk.flip_bit(&path, bit).unwrap();
        }
    }
    println!("{found} of {flips} flips");
    assert!(found > flips / 2);
    assert!(store.check(true).unwrap().is_sound());
    stock.check_whole(&store, "after the flips");
}

#[test]
fn what_is_wrong_is_told_by_kind() {
    let (disk, store, stock) = stocked(3);
    let chunks = files(&disk, "chunks");
    disk.remove(&chunks[0]).unwrap();
    let file = disk.open(&chunks[1], OpenMode::Write).unwrap();
    file.set_len(file.len().unwrap() + 1).unwrap();
    // A blob that lies where it belongs, and was never announced; and something else.
    let stray = Blob::hash(Random(99).bytes(5000));
    let other = stash_store::nest(&[0xab; 20], options(&disk).layout);
    let other = dir().join("chunks").join(other);
    crate::common::make_dirs(&disk, other.parent().unwrap());
    write(&disk, &other, b"what is this");
    let place = crate::common::chunk_path(&stray.address());
    crate::common::make_dirs(&disk, place.parent().unwrap());
    write(&disk, &place, stray.bytes());
    // A record that names what is not here.
    let absent = Address::of(b"never seen");
    let entry = record(77, &[(absent, 9)], b"names it");
    store.commit(Batch::new().record(entry)).unwrap();
    let small = |(_, bytes): &(&Address, &Vec<u8>)| bytes.len() < 1024;
    let evicted = *stock.chunks.iter().find(small).unwrap().0;
    store.commit(Batch::new().evict(vec![evicted])).unwrap();

    let report = store.check(false).unwrap();
    let whats: Vec<String> = report.chunks_damaged.first.iter().map(ToString::to_string).collect();
    for what in ["its file is missing", "bytes, not"] {
        assert!(whats.iter().any(|finding| finding.contains(what)), "{what}: {whats:?}");
    }
    assert_eq!(whats.len(), 2, "{whats:?}");
    let mut missing = report.missing.first.clone();
    missing.sort_unstable();
    let mut wanted = vec![absent, evicted];
    wanted.sort_unstable();
    assert_eq!(missing, wanted);
    let mut strays: Vec<_> =
        report.strays.first.iter().map(|s| (s.path.clone(), s.bytes)).collect();
    strays.sort();
    let mut expected = vec![(other, 12), (place, 5000)];
    expected.sort();
    assert_eq!((strays, report.stray_bytes), (expected, 5012));
    assert!(report.rows_damaged.total == 0 && report.records_damaged.total == 0, "{report:?}");
}

#[test]
fn a_report_lists_the_first_and_counts_all() {
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let count = LISTED as u64 + 20;
    let refs = (0..count).map(|n| Ref { address: Address::of(&n.to_le_bytes()), sealed_len: 1 });
    let batch = Batch::new().manifest(Address::of(b"manifest"), refs.collect());
    store.commit(batch).unwrap();
    let report = store.check(false).unwrap();
    assert_eq!((report.missing.total, report.missing.first.len()), (count, LISTED));
    assert!(report.is_sound());
}

#[test]
fn a_check_beside_writers_finds_nothing() {
    // Fault case 109.
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, 4);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (writer, done) = (store.clone(), &done);
            scope.spawn(move || {
                let mut random = Random(8);
                for round in 0..200_u64 {
                    let len = [200, 3000][usize::try_from(round % 2).unwrap()];
                    let bytes = Random(random.below(6)).bytes(len);
                    let address = Address::of(&bytes);
                    writer.stage(Blob::hash(bytes.clone())).unwrap();
                    let row = Batch::new().row(&[3], Some(&round.to_le_bytes()));
                    writer.commit(row.require(address)).unwrap();
                    assert_eq!(read(&writer, &address), Some(bytes));
                    if random.below(2) == 0 {
                        writer.commit(Batch::new().evict(vec![address])).unwrap();
                    }
                    if round % 50 == 0 {
                        writer.collect(stash_store::CollectOptions::default()).unwrap();
                    }
                }
                done.store(true, Ordering::Release);
            });
            let mut checks = 0;
            while !done.load(Ordering::Acquire) || checks < 2 {
                let report: CheckReport = store.check(checks % 2 == 0).unwrap();
                assert!(report.is_sound(), "{name}: {report:?}");
                assert_eq!(report.strays.total, 0, "{name}: {report:?}");
                checks += 1;
            }
        });
        stock.check(&store, name);
    }
}

#[test]
fn a_check_names_a_damaged_index_and_a_store_that_is_written_to_makes_it_anew() {
    // Fault case 78.
    let (disk, store, stock) = stocked(5);
    drop(store);
    let runs: Vec<_> =
        files(&disk, "index").into_iter().filter(|path| !path.ends_with("head")).collect();
    assert!(!runs.is_empty());
    for (path, read_only) in runs.iter().flat_map(|path| [(path, true), (path, false)]) {
        let copy = disk.fork(9);
        copy.flip_bit(path, 800).unwrap();
        let store = Store::open(dir(), &Options { read_only, ..options(&copy) }).unwrap();
        assert_eq!(store.open_report().index_rebuilt, None, "it is met later");
        let report = store.check(false).unwrap();
        let named = |what: &String| what.contains("the index is damaged") && what.contains("run-");
        assert!(report.rows_damaged.first.iter().any(named), "{report:?}");
        if !read_only {
            assert!(store.check(true).unwrap().is_sound());
            stock.check_whole(&store, "made anew");
        }
    }
}

/// Flips a bit of the first of these bytes in the log.
fn rot(disk: &MemDisk, text: &[u8]) {
    let [log] = &files(disk, "log")[..] else { panic!("one segment") };
    let file = disk.open(log, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    disk.flip_bit(log, at as u64 * 8).unwrap();
}

#[test]
fn a_damaged_record_is_replaced_though_the_first_attempt_failed() {
    let disk = MemDisk::new(7);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let entry = record(1, &[], b"the only one");
    store.commit(Batch::new().record(entry.clone())).unwrap();
    rot(&disk, b"the only one");
    assert!(matches!(store.record(&entry.hash), Err(ReadError::RecordDamaged { .. })));
    disk.inject(1, Fault::ShortWrite { part: Part::Nothing, kind: ErrorKind::WriteZero });
    store.commit(Batch::new().record(entry.clone())).unwrap_err();
    store.commit(Batch::new().record(entry.clone())).unwrap();
    assert_eq!(store.record(&entry.hash).unwrap().unwrap().bytes[..], entry.bytes[..]);
    // Once: from then on it is one that is here.
    let written = store.stats().log_bytes;
    store.commit(Batch::new().record(entry)).unwrap();
    assert_eq!(store.stats().log_bytes, written);
}

#[test]
fn a_damaged_record_is_told_from_the_whole_ones_of_its_name_until_it_is_dropped() {
    // Fault case 78.
    let disk = MemDisk::new(6);
    let store = Store::create(dir(), &options(&disk)).unwrap();
    let named = |n: u64, bytes: &[u8]| RecordEntry { name: [9; 32], ..record(n, &[], bytes) };
    let entries = [named(1, b"the first one"), named(2, b"the second one")];
    for entry in &entries {
        store.commit(Batch::new().record(entry.clone())).unwrap();
    }
    rot(&disk, b"the second one");

    assert!(matches!(store.records_of(&[9; 32]), Err(ReadError::RecordDamaged { .. })));
    let (whole, damaged) = store.records_of_and_damaged(&[9; 32]).unwrap();
    assert_eq!(whole.iter().map(|one| one.hash).collect::<Vec<_>>(), [entries[0].hash]);
    let [DamagedRecord { hash, writer, n, what }] = &damaged[..] else { panic!("{damaged:?}") };
    assert_eq!((hash, writer, *n), (&entries[1].hash, &entries[1].writer, entries[1].n));
    assert!(what.contains("checksum"), "{what}");
    store.commit(Batch::new().drop_record(*hash)).unwrap();
    let (whole, damaged) = store.records_of_and_damaged(&[9; 32]).unwrap();
    assert_eq!((whole.len(), damaged), (1, Vec::new()));
}
