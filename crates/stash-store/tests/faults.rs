//! Disks that fail, fill, and rot; directories that are not what they seem.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use crate::common::model::User;
use crate::common::{Random, dir, inline, put, read, record, seed};
use stash_store::disk::{Fault, Survival};
use stash_store::{Address, Batch, ChunkState, MemDisk, OpenError, Options, ReadError, Store};

/// Runs a workload with an error at operation `at`; `false` once `at` is beyond its end.
fn fail_once(seed: u64, kind: ErrorKind, times: u64, at: u64) -> bool {
    let context = format!("seed {seed}, {kind} at operation {at}");
    let disk = MemDisk::new(at);
    disk.set_direct(seed.is_multiple_of(2));
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let begun = disk.operations();
    disk.inject(at, Fault::Error { kind, times });
    let mut user = User::new(seed);
    let (mut failed, mut after_restart) = (Vec::new(), None);
    for _ in 0..14 {
        if let Err(error) = user.step(&store) {
            failed.push(error);
            // Whether a batch whose sync failed survives a restart is not known before it.
            let maybe = user.maybe.clone();
            user.check(&store, &format!("{context}, in the same run"));
            if failed.len() == 1 && store.stats().read_only.is_some() {
                after_restart = Some(maybe);
            }
        }
    }
    let reached = disk.operations() - begun >= at;
    disk.heal();
    if kind != ErrorKind::Other && times == 1 {
        // Not even of a sync, unless it is the one after which nobody knows which HEAD counts.
        let reason = store.stats().read_only.unwrap_or_default();
        assert!(reason.is_empty() || reason.contains("sync directory"), "{context}: {reason}");
    }
    if store.stats().read_only.is_none() {
        // A blob that was lost is told of once, whatever the disk does by then.
        let works = (0..8).any(|_| user.step(&store).is_ok());
        assert!(works, "{context}: does not work again");
        let stats = store.stats();
        let had = stats.file_bytes + stats.log_bytes + stats.index_bytes;
        assert_eq!(stats.used_bytes, had, "{context}: room is granted to nobody");
    }
    drop(store);
    // A failed sync may have lost what the system says is written: only a restart tells.
    disk.restart();
    let store = Store::open(dir(), &options).unwrap_or_else(|e| panic!("{context}: {e}"));
    user.maybe = after_restart.unwrap_or(user.maybe);
    user.check(&store, &format!("{context}, after a restart"));
    user.step(&store).unwrap_or_else(|e| panic!("{context}: {e}"));
    reached
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing_and_the_store_works_again() {
    // Fault cases 44, 45, 79.
    let (seed, mut at) = (seed(5), 1);
    while fail_once(seed, ErrorKind::StorageFull, 1 + at % 5, at)
        | fail_once(seed, ErrorKind::QuotaExceeded, 1, at)
    {
        at += 1;
    }
    assert!(at > 50, "only {at} operations failed");
}

#[test]
fn an_error_at_any_operation_loses_nothing_acknowledged() {
    // Fault cases 76, 79.
    let (seed, mut at) = (seed(6), 1);
    while fail_once(seed, ErrorKind::Other, 1, at) {
        at += 1;
    }
    assert!(at > 50, "only {at} operations failed");
}

#[test]
fn a_failed_sync_of_the_log_turns_the_store_read_only_and_reads_go_on() {
    // Fault case 76.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &inline(&disk)).unwrap();
    let address = put(&store, b"before");
    disk.inject(2, Fault::Error { kind: ErrorKind::Other, times: 1 });
    let error = store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap_err();
    assert!(error.to_string().contains("sync"), "{error}");
    assert_eq!(store.row(b"k").unwrap(), None);
    let error = store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert!(store.stats().read_only.unwrap().contains("sync"));
    assert_eq!(read(&store, &address), Some(b"before".to_vec()));
}

#[test]
fn a_disk_that_fills_up_refuses_puts_and_takes_them_again_when_there_is_room() {
    // Fault case 44.
    let disk = MemDisk::new(1);
    let store = Store::create(dir(), &inline(&disk)).unwrap();
    let mut kept = Vec::new();
    disk.set_capacity(Some(disk.used() + 60_000));
    let mut refused = 0;
    for i in 0..60_u64 {
        let bytes = Random(i).bytes(if i % 2 == 0 { 3000 } else { 400 });
        let blob = stash_store::Blob::hash(bytes.clone());
        let address = blob.address();
        let result = store.stage(blob).map_err(|e| (e.is_full(), e.to_string())).and_then(|_| {
            let committed = store.commit(Batch::new().require(address));
            committed.map_err(|e| (e.is_full(), e.to_string()))
        });
        match result {
            Ok(_) => kept.push((address, bytes)),
            Err((is_full, error)) => {
                assert!(is_full, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5 && kept.len() > 5, "{refused} refused, {} kept", kept.len());
    assert_eq!(store.stats().read_only, None);
    disk.set_capacity(None);
    put(&store, b"room again");
    for (address, bytes) in kept {
        assert_eq!(read(&store, &address), Some(bytes));
    }
}

#[test]
fn no_flipped_bit_gives_a_wrong_byte() {
    // Fault cases 51, 78. Every flip on its own, healed by a second flip of the same bit.
    let seed = seed(9);
    let mut random = Random(seed);
    let disk = MemDisk::new(seed);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    let (mut chunks, mut records) = (BTreeMap::new(), BTreeMap::new());
    for i in 0..24_u64 {
        let bytes = random.bytes(if i % 2 == 0 { 2000 } else { 500 });
        let address = put(&store, &bytes);
        chunks.insert(address, bytes);
        let entry = record(i, &[(address, 1)], &random.bytes(300));
        records.insert(entry.hash, entry.bytes.to_vec());
        store.commit(Batch::new().record(entry).row(&[1], Some(&i.to_le_bytes()))).unwrap();
    }
    drop(store);
    let (mut answers, mut errors, mut reports) = (0_u64, 0_u64, 0_u64);
    let flips = 100_000;
    let mut flip = 0;
    while flip < flips {
        // Half of the flips are found by a store that is open, half by one that is opened. Each
        // round flips several bits in most files.
        let copy = disk.fork(random.next());
        let options = Options { disk: Arc::new(copy.clone()), ..options.clone() };
        let store = (random.below(2) == 0).then(|| Store::open(dir(), &options).unwrap());
        let spare_format = random.below(16) != 0;
        for (path, len) in copy.files().into_iter().filter(|(_, len)| *len > 0) {
            if spare_format && path.ends_with("FORMAT") {
                continue;
            }
            for _ in 0..=random.below(8) {
                copy.flip_bit(&path, random.below(len * 8)).unwrap();
                flip += 1;
            }
        }
        let store = match store.map_or_else(|| Store::open(dir(), &options), Ok) {
            Ok(store) => store,
            Err(OpenError::Damaged { what }) => {
                assert!(what.contains("FORMAT"), "{what}");
                errors += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let named = store.open_report().damage.len();
        // An index found damaged later is made anew, and what the log lost is told then.
        let damage = || named + store.stats().damage.len();
        reports += u64::from(named > 0 || store.open_report().index_rebuilt.is_some());
        for (address, bytes) in &chunks {
            let mut out = Vec::new();
            match store.read_into(address, &mut out) {
                Ok(true) => {
                    assert_eq!(&out, bytes, "seed {seed}: wrong bytes");
                    answers += 1;
                }
                // Absent only if the log lost its entry, and said so.
                Ok(false) => assert!(damage() > 0, "seed {seed}: {address} is lost in silence"),
                Err(ReadError::Damaged { address: named, .. }) => {
                    assert_eq!(named, *address);
                    let state = store.chunk_state(address);
                    assert!(matches!(state, Ok(ChunkState::Quarantined) | Err(_)), "{state:?}");
                    errors += 1;
                }
                Err(ReadError::Index { .. }) => errors += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        for (hash, bytes) in &records {
            match store.record(hash) {
                Ok(Some(found)) => {
                    assert_eq!(&found.bytes[..], bytes, "seed {seed}: wrong record");
                    answers += 1;
                }
                Ok(None) => assert!(damage() > 0, "seed {seed}: a record is lost in silence"),
                Err(ReadError::RecordDamaged { .. } | ReadError::Index { .. }) => errors += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        match store.row(&[1]) {
            Ok(Some(value)) => assert!(damage() > 0 || value == 23_u64.to_le_bytes()),
            Ok(None) => assert!(damage() > 0),
            Err(_) => errors += 1,
        }
    }
    println!("{flip} bits: {answers} right answers, {errors} errors, {reports} reports at open");
    assert!(answers > 0 && errors > 0 && reports > 0);
}

#[test]
fn damage_in_the_acknowledged_log_is_named_and_the_rest_is_used() {
    // Fault case 78: flips in an entry's body, and in an entry's header, with the index gone.
    for bit_of_entry in [8 * 100, 8 * 9] {
        let disk = MemDisk::new(1);
        let options = Options { segment_bytes: 1 << 20, ..inline(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        let entries: Vec<_> = (0..10).map(|i| record(i, &[], &Random(i).bytes(300))).collect();
        for entry in &entries {
            store.commit(Batch::new().record(entry.clone())).unwrap();
        }
        drop(store);
        let log = disk.files().into_iter().find(|(path, _)| path.starts_with("/store/log"));
        let log = log.unwrap().0;
        // Segment header, open entry and mark, then record (456 bytes) and mark (72) five times.
        let fifth = 256 + 40 + 72 + 5 * (456 + 72);
        disk.flip_bit(&log, fifth * 8 + bit_of_entry).unwrap();
        stash_store::Disk::remove(&disk, &dir().join("index/head")).unwrap();
        let store = Store::open(dir(), &options).unwrap();
        let damage = &store.open_report().damage;
        assert_eq!(damage.len(), 1, "{damage:?}");
        let named =
            format!("segment 1 of the log is damaged from offset {fifth} to {}", fifth + 456);
        assert!(damage[0].starts_with(&named), "{damage:?}");
        assert!(disk.files().iter().any(|(p, _)| p.ends_with(format!("quarantine/log-1-{fifth}"))));
        for (i, entry) in entries.iter().enumerate() {
            let found = store.record(&entry.hash).unwrap();
            assert_eq!(found.is_some(), i != 5, "record {i}");
        }
        store.commit(Batch::new().record(entries[5].clone())).unwrap();
        assert_eq!(store.stats().records, 10);
    }
}

#[test]
fn damage_is_quarantined_and_staging_again_heals_it() {
    // Fault case 78.
    for len in [500, 5000] {
        let disk = MemDisk::new(1);
        let options = inline(&disk);
        let store = Store::create(dir(), &options).unwrap();
        let bytes = Random(1).bytes(len);
        let address = put(&store, &bytes);
        let (path, at) = disk
            .files()
            .into_iter()
            .filter(|(path, _)| path.starts_with("/store/chunks") || path.starts_with("/store/log"))
            .filter(|(path, _)| path.starts_with("/store/chunks") == (len > 1024))
            .map(|(path, len)| (path, len * 8 - 500 * 8))
            .next()
            .unwrap();
        disk.flip_bit(&path, at).unwrap();
        let error = store.read_into(&address, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { address: named, .. } if named == address));
        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Quarantined);
        assert_eq!(store.has(&[address]).unwrap(), [false]);
        assert!(store.commit(Batch::new().require(address)).is_err());
        assert_eq!(store.stats().quarantined, 1);
        let aside = || {
            disk.files().iter().filter(|(path, _)| path.starts_with("/store/quarantine")).count()
        };
        assert_eq!(aside(), usize::from(len > 1024), "a small one has no file");
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Quarantined);
        assert_eq!(put(&store, &bytes), address);
        assert_eq!(read(&store, &address), Some(bytes));
        assert_eq!((store.stats().quarantined, store.stats().chunks), (0, 1));
        assert_eq!(aside(), 0, "its damaged file is of no use any more");
    }
}

#[test]
fn links_planted_in_the_directory_lead_nowhere() {
    // Fault case 82.
    let temp = tempfile::tempdir().unwrap();
    let (dir, outside) = (temp.path().join("store"), temp.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    let options = Options { small: 16, ..Options::default() };
    let store = Store::create(&dir, &options).unwrap();
    let bytes = Random(1).bytes(100);
    let address = put(&store, &bytes);
    let sha1 = |a: &Address| {
        let mut files = walk(&dir.join("chunks"));
        files.retain(|path| !path.ends_with("store-id"));
        assert_eq!(files.len(), 1, "{a}");
        files[0].clone()
    };
    let file = sha1(&address);
    // The file, moved outside, with a link in its place.
    std::fs::rename(&file, outside.join("f")).unwrap();
    std::os::unix::fs::symlink(outside.join("f"), &file).unwrap();
    let error = store.read_into(&address, &mut Vec::new());
    assert!(matches!(error, Err(ReadError::Damaged { .. })), "{error:?}");
    assert!(file.symlink_metadata().is_err(), "the link is quarantined");
    // A directory on the way, moved outside, with a link in its place.
    let level = file.parent().unwrap();
    std::fs::rename(level, outside.join("d")).unwrap();
    std::os::unix::fs::symlink(outside.join("d"), level).unwrap();
    let staged = store.stage(stash_store::Blob::hash(bytes));
    let committed = store.commit(Batch::new().require(address));
    assert!(staged.is_err() || committed.is_err(), "{staged:?} {committed:?}");
    assert_eq!(walk(&outside).len(), 1, "only the file that was moved there");
    drop(store);
    let format = dir.join("FORMAT");
    std::fs::rename(&format, outside.join("FORMAT")).unwrap();
    std::os::unix::fs::symlink(outside.join("FORMAT"), &format).unwrap();
    assert!(matches!(Store::open(&dir, &options), Err(OpenError::Io(_))));
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

/// A store whose next segment could not be begun: its file is there, its name may not be durable.
fn with_a_segment_that_failed(seed: u64, at: u64) -> Option<(MemDisk, Options, Store)> {
    let disk = MemDisk::new(seed);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    store.commit(Batch::new().row(b"first", Some(&[1; 700]))).unwrap();
    disk.inject(at, Fault::Error { kind: ErrorKind::StorageFull, times: 1 });
    let long = store.commit(Batch::new().row(b"long", Some(&[2; 20_000])));
    disk.heal();
    long.is_err().then_some((disk, options, store))
}

#[test]
fn a_segment_that_could_not_be_begun_is_durable_before_it_is_written_to() {
    let mut failed = 0;
    for (seed, at) in (0..60).map(|n| (n % 3, 1 + n / 3)) {
        let Some((disk, options, store)) = with_a_segment_that_failed(seed, at) else {
            continue;
        };
        failed += 1;
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        store.commit(Batch::new().row(b"second", Some(b"2"))).unwrap();
        disk.restart_with(Survival::Nothing);
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.open_report().damage, [""; 0], "seed {seed}, operation {at}");
        assert_eq!(store.row(b"second").unwrap().as_deref(), Some(&b"2"[..]), "{seed}, {at}");
    }
    assert!(failed > 0);
}

#[test]
fn what_is_torn_before_a_segment_that_could_not_be_begun_is_no_damage() {
    let mut torn = 0;
    for (seed, at) in (0..200).map(|n| (n % 10, 1 + n / 10)) {
        let Some((disk, options, store)) = with_a_segment_that_failed(seed, at) else {
            continue;
        };
        store.commit(Batch::new().row(b"second", Some(b"2"))).unwrap();
        // Written, and not synced.
        disk.inject(2, Fault::PowerCut);
        store.commit(Batch::new().row(b"third", Some(&[3; 3000]))).unwrap_err();
        drop(store);
        disk.restart_with(Survival::Random);
        let store = Store::open(dir(), &options).unwrap();
        let report = store.open_report();
        assert_eq!(report.damage, [""; 0], "seed {seed}, operation {at}");
        torn += u64::from(report.torn_bytes > 0);
        assert_eq!(store.row(b"second").unwrap().as_deref(), Some(&b"2"[..]), "{seed}, {at}");
    }
    assert!(torn > 0);
}
