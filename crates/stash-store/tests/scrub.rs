//! Scrubbing finds every flipped byte, names it, and deals with it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::sick::SickDisk;
use crate::common::stock::Stock;
use crate::common::{Random, dir, inline, places, put, read, seed};
use stash_store::disk::{Fault, OpenMode};
use stash_store::scrub::Scrubbed;
use stash_store::{
    Address, Batch, Blob, ChunkState, CollectOptions, Disk, Finding, MemDisk, OpenError, Options,
    Store,
};

/// Bytes of a step: a pass over these stores takes many.
const STEP: u64 = 11_000;
/// Bytes that a step may take beyond: a batch, a blob, and two files.
const BEYOND: u64 = 20_000;

/// A pass to its end.
fn scrub(store: &Store) -> Vec<Finding> {
    let (mut scrubber, mut findings) = (store.scrubber(), Vec::new());
    // More steps than any pass over these stores takes.
    for _ in 0..10_000 {
        match scrubber.step(STEP).unwrap() {
            Some(Scrubbed { findings: more, .. }) => findings.extend(more),
            None => return findings,
        }
    }
    panic!("the pass does not end");
}

/// A disk with a closed store that has all kinds of files, and what is in it.
fn stocked(seed: u64) -> (MemDisk, Options, Stock) {
    let disk = MemDisk::new(seed);
    let options = Options { segment_bytes: 8192, ..inline(&disk) };
    let store = Store::create(dir(), &options).unwrap();
    let stock = Stock::fill(&store, seed);
    assert_eq!(scrub(&store), []);
    assert!(store.scrubber().step(STEP).unwrap().is_some(), "so that SCRUB has a cursor");
    drop(store);
    (disk, options, stock)
}

fn on(disk: &MemDisk, options: &Options) -> Options {
    Options { disk: Arc::new(disk.clone()), ..options.clone() }
}

/// True if a finding is about this file.
fn names(finding: &Finding, path: &Path, stock: &Stock) -> bool {
    let part = path.strip_prefix(dir()).unwrap().components().next().unwrap();
    match part.as_os_str().to_str().unwrap() {
        "FORMAT" => matches!(finding, Finding::Format { .. }),
        "SCRUB" => matches!(finding, Finding::Progress { .. }),
        "log" => matches!(finding, Finding::Log { .. }),
        "index" => matches!(finding, Finding::Index { .. }),
        "chunks" => matches!(finding, Finding::Chunk { address, .. }
            if stock.chunks.contains_key(address)),
        _ => false,
    }
}

/// Gives the store again what is damaged, as a peer would, and has the log written again where it
/// is damaged.
fn heal(store: &Store, stock: &Stock, findings: &[Finding]) {
    for (address, bytes) in &stock.chunks {
        if store.chunk_state(address).unwrap() == ChunkState::Quarantined {
            put(store, bytes);
        }
    }
    for finding in findings {
        if let Finding::Record { hash, .. } = finding {
            store.commit(Batch::new().record(stock.entries[hash].clone())).unwrap();
        }
    }
    store.collect(CollectOptions::default()).unwrap();
    assert_eq!(store.stats().scrub.suspects, 0, "after {findings:?}");
}

/// Flips one bit of one file, while the store is open or closed. Says which file that is.
fn flip(disk: &MemDisk, options: &Options, stock: &Stock, path: &Path, bit: u64, open: bool) {
    let context = format!("{} bit {bit}, store open: {open}", path.display());
    let copy = disk.fork(bit);
    let options = on(&copy, options);
    let store = open.then(|| Store::open(dir(), &options).unwrap());
    copy.flip_bit(path, bit).unwrap();
    let store = match store.map_or_else(|| Store::open(dir(), &options), Ok) {
        Ok(store) => store,
        Err(OpenError::Damaged { what }) => {
            assert!(path.ends_with("FORMAT") && what.contains("FORMAT"), "{context}: {what}");
            return;
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let mut findings = scrub(&store);
    // The pass that was under way may have been past the file.
    findings.extend(scrub(&store));
    let report = store.open_report();
    let found = findings.iter().any(|finding| names(finding, path, stock))
        || !report.damage.is_empty()
        || report.index_rebuilt.is_some();
    assert!(found, "{context}: {findings:?}, {report:?}");
    stock.check(&store, &context);
    heal(&store, stock, &findings);
    assert_eq!(scrub(&store), [], "{context}: after {findings:?}");
    if report.damage.is_empty() {
        stock.check_whole(&store, &context);
    }
}

#[test]
fn a_flipped_byte_in_any_file_is_found_and_named_and_never_served() {
    // Fault cases 21, 78.
    let seed = seed(11);
    let mut random = Random(seed);
    let (disk, options, stock) = stocked(seed);
    let (mut flips, mut kinds) = (0, std::collections::BTreeSet::new());
    for (path, len) in disk.files() {
        // LOCK is empty, and nothing is written in BALLAST.
        // The marker is made anew when the store is opened.
        let is_marker = path.ends_with("store-id");
        if len == 0
            || is_marker
            || path.ends_with("BALLAST")
            || path.starts_with(dir().join("quarantine"))
        {
            continue;
        }
        let part = path.strip_prefix(dir()).unwrap().components().next().unwrap();
        kinds.insert(part.as_os_str().to_owned());
        for n in 0..24 {
            flip(&disk, &options, &stock, &path, random.below(len * 8), n % 2 == 0);
            flips += 1;
        }
    }
    println!("{flips} flips in {kinds:?}");
    for kind in ["FORMAT", "SCRUB", "log", "chunks"] {
        assert!(kinds.contains(std::ffi::OsStr::new(kind)), "{kinds:?}");
    }
}

#[test]
fn every_byte_of_a_segment_is_covered() {
    // Fault cases 21, 78: headers, bodies, padding and marks, each byte on its own.
    let disk = MemDisk::new(1);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    put(&store, b"a small blob");
    store.commit(Batch::new().row(b"key", Some(b"value"))).unwrap();
    let segment = disk.files().into_iter().find(|(path, _)| path.starts_with(dir().join("log")));
    let (path, len) = segment.unwrap();
    for byte in 0..len {
        disk.flip_bit(&path, byte * 8 + byte % 8).unwrap();
        let findings = scrub(&store);
        assert!(
            findings.iter().any(|f| matches!(f, Finding::Log { from, to, .. }
            if (*from..*to).contains(&byte))),
            "byte {byte}: {findings:?}"
        );
        disk.flip_bit(&path, byte * 8 + byte % 8).unwrap();
        // What was quarantined comes back; the log goes on meanwhile, behind `len`.
        put(&store, b"a small blob");
    }
    assert_eq!(scrub(&store), []);
}

#[test]
fn damage_in_the_log_is_copied_and_the_records_in_it_are_named() {
    // Fault cases 21, 78.
    let (disk, options, stock) = stocked(5);
    let store = Store::open(dir(), &options).unwrap();
    let mut lost = 0;
    for (path, len) in disk.files().into_iter().filter(|(p, _)| p.starts_with(dir().join("log"))) {
        // Every byte of the middle of the segment.
        for byte in len / 3..len / 3 + 700.min(len / 3) {
            disk.flip_bit(&path, byte * 8).unwrap();
        }
    }
    let findings = scrub(&store);
    for finding in &findings {
        match finding {
            Finding::Log { segment, from, .. } => {
                let kept = dir().join(format!("quarantine/log-{segment}-{from}"));
                assert!(disk.open(&kept, OpenMode::Read).is_ok(), "{finding}");
            }
            Finding::Record { hash, .. } => {
                lost += 1;
                assert!(stock.records.contains_key(hash), "{finding}");
            }
            Finding::Chunk { address, .. } => assert!(stock.chunks.contains_key(address)),
            _ => panic!("{finding}"),
        }
    }
    assert!(lost > 0, "{findings:?}");
    let stats = store.stats();
    assert_eq!(stats.scrub.last_findings, findings.len() as u64);
    assert!(stats.scrub.suspects >= 2, "{stats:?}");
    assert_eq!(store.scrub_findings(), findings);
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(store.scrub_findings(), findings, "they survive the process");
    assert_eq!(store.stats().scrub.suspects, stats.scrub.suspects);
    for finding in &findings {
        assert!(finding.to_string().contains("damaged"), "{finding}");
    }
}

#[test]
fn a_pass_goes_on_where_it_was_when_the_store_is_opened_again() {
    let (disk, options, stock) = stocked(3);
    // One in a segment, one in a file; the pass meets them in this order.
    let find = |part: &str| {
        let files = disk.files();
        files.into_iter().find(|(path, _)| path.starts_with(dir().join(part))).unwrap()
    };
    let ((log, log_len), (chunk, _)) = (find("log"), find("chunks"));
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(scrub(&store), []);
    drop(store);
    disk.flip_bit(&log, log_len * 4).unwrap();
    disk.flip_bit(&chunk, 9).unwrap();
    let (mut steps, mut findings, mut bytes) = (0, Vec::new(), 0);
    loop {
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.open_report().damage, [""; 0]);
        let before = store.stats().scrub;
        assert_eq!((before.done_bytes, before.findings), (bytes, findings.len() as u64));
        let Some(done) = store.scrubber().step(STEP).unwrap() else {
            assert_eq!(store.stats().scrub.passes, before.passes + 1);
            break;
        };
        assert!(done.bytes > 0 && done.bytes <= STEP + BEYOND, "{done:?}");
        assert!(store.stats().scrub.done_bytes <= store.stats().scrub.total_bytes);
        bytes += done.bytes;
        findings.extend(done.findings);
        steps += 1;
    }
    assert!(steps > 5, "only {steps} steps");
    assert!(findings.iter().any(|f| names(f, &log, &stock)), "{findings:?}");
    assert!(findings.iter().any(|f| names(f, &chunk, &stock)), "{findings:?}");
    let all: u64 = disk.files().iter().map(|(_, len)| *len).sum();
    assert!(bytes > all / 2, "{bytes} of {all}");
}

#[test]
fn a_pass_over_a_sound_store_finds_nothing() {
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, 7);
        assert_eq!(scrub(&store), [], "{name}");
        assert_eq!(store.stats().scrub.passes, 1, "{name}");
        assert_eq!(store.stats().scrub.done_bytes, 0, "{name}");
        stock.check(&store, name);
        drop(store);
        let store = place.open().unwrap();
        assert_eq!(scrub(&store), [], "{name}");
        assert_eq!(store.stats().scrub.passes, 2, "{name}");
    }
}

#[test]
fn scrubbing_beside_writers_finds_nothing_and_harms_nothing() {
    // Fault case 109.
    let seed = seed(13);
    for (name, place) in places() {
        let store = place.create();
        let stock = Stock::fill(&store, seed);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let (store, done) = (store.clone(), &done);
                scope.spawn(move || {
                    let mut random = Random(seed + writer);
                    for round in 0..150_u64 {
                        let len = [200, 3000][usize::try_from(round % 2).unwrap()];
                        // Few different ones, which come and go.
                        let bytes = Random(random.below(6) + 100 * writer).bytes(len);
                        let address = Address::of(&bytes);
                        store.stage(Blob::hash(bytes.clone())).unwrap();
                        store.commit(Batch::new().row(&[9], Some(&[1])).require(address)).unwrap();
                        assert_eq!(read(&store, &address), Some(bytes));
                        if random.below(2) == 0 {
                            store.commit(Batch::new().evict(vec![address])).unwrap();
                        }
                        if round % 40 == 0 && writer == 0 {
                            store.collect(CollectOptions::default()).unwrap();
                        }
                    }
                    done.store(true, Ordering::Release);
                });
            }
            let mut passes = 0;
            while !done.load(Ordering::Acquire) || passes < 2 {
                assert_eq!(scrub(&store), [], "{name}");
                passes += 1;
            }
        });
        assert_eq!(store.stats().quarantined, 0, "{name}");
        stock.check(&store, name);
    }
}

#[test]
fn a_file_that_is_missing_or_short_or_long_is_found() {
    let (disk, options, stock) = stocked(9);
    let chunks = |disk: &MemDisk| {
        let files = disk.files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.starts_with(dir().join("chunks"))).collect::<Vec<PathBuf>>()
    };
    let store = Store::open(dir(), &options).unwrap();
    let files = chunks(&disk);
    let resize = |path: &Path, more: i64| {
        let file = disk.open(path, OpenMode::Write).unwrap();
        file.set_len(file.len().unwrap().saturating_add_signed(more)).unwrap();
    };
    disk.remove(&files[0]).unwrap();
    resize(&files[1], -1);
    resize(&files[2], 5);
    let findings = scrub(&store);
    let whats: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(whats.len(), 3, "{whats:?}");
    for what in ["its file is missing", "its file is too short", "its file is 5 bytes too long"] {
        assert!(whats.iter().any(|finding| finding.contains(what)), "{what}: {whats:?}");
    }
    // The long one has its bytes: nothing but what was too much is gone.
    assert_eq!(store.stats().quarantined, 2);
    heal(&store, &stock, &findings);
    assert_eq!(scrub(&store), []);
    stock.check_whole(&store, "healed");
}

#[test]
fn a_blob_that_never_was_what_its_address_names_is_found() {
    for len in [100, 3000] {
        let disk = MemDisk::new(1);
        let store = Store::create(dir(), &inline(&disk)).unwrap();
        let address = Address::of(b"other bytes");
        store.stage(Blob::assume(address, vec![7; len])).unwrap();
        store.flush().unwrap();
        let findings = scrub(&store);
        let [Finding::Chunk { address: named, what }] = &findings[..] else {
            panic!("{len} bytes: {findings:?}");
        };
        assert_eq!((*named, &what[..]), (address, "its bytes do not hash to its address"));
        assert_eq!(store.chunk_state(&address).unwrap(), ChunkState::Quarantined);
        put(&store, b"other bytes");
        assert_eq!(scrub(&store), [], "{len} bytes");
        assert_eq!(store.stats().scrub.suspects, 0, "the log is as it was written");
    }
}

#[test]
fn a_segment_that_is_missing_is_named_with_what_went_by_it() {
    let (disk, options, stock) = stocked(9);
    let store = Store::open(dir(), &options).unwrap();
    let segments: Vec<_> =
        disk.files().into_iter().filter(|(p, _)| p.starts_with(dir().join("log"))).collect();
    assert!(segments.len() > 2);
    disk.remove(&segments[1].0).unwrap();
    let findings = scrub(&store);
    let missing = |finding: &Finding| {
        matches!(finding, Finding::Log { to: 0, what, .. }
        if what == "its file is missing")
    };
    assert_eq!(findings.iter().filter(|f| missing(f)).count(), 1, "{findings:?}");
    // A store that is opened without it waits for compaction, too.
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(store.stats().scrub.suspects, 1);
    assert!(store.open_report().damage.iter().any(|what| what.ends_with("is missing")));
    let mut again = scrub(&store);
    assert!(again.iter().any(missing));
    again.extend(findings);
    heal(&store, &stock, &again);
    assert_eq!(scrub(&store), []);
    stock.check_whole(&store, "without a segment");
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(store.open_report().damage, [""; 0], "it is given up for good");
}

#[test]
fn what_the_disk_cannot_read_is_damage_and_what_it_refuses_is_an_error() {
    // Fault case 77.
    let (disk, options, stock) = stocked(4);
    let sick = Arc::new(SickDisk::new(disk.clone()));
    let options = Options { disk: Arc::<SickDisk>::clone(&sick), ..options };
    let store = Store::open(dir(), &options).unwrap();
    let chunk = disk.files().into_iter().find(|(p, _)| p.starts_with(dir().join("chunks")));
    sick.fail_reads(&chunk.unwrap().0, 5);
    let findings = scrub(&store);
    let [Finding::Chunk { address, what }] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(what, "the disk cannot read it");
    assert_eq!(store.chunk_state(address).unwrap(), ChunkState::Quarantined);
    put(&store, &stock.chunks[address]);
    sick.heal();
    assert_eq!(scrub(&store), []);
    let log = disk.files().into_iter().find(|(p, _)| p.starts_with(dir().join("log")));
    sick.fail_reads(&log.as_ref().unwrap().0, 5);
    let findings = scrub(&store);
    assert!(findings.iter().any(|f| matches!(f, Finding::Log { .. })), "{findings:?}");
    // Too many open files: nobody's damage.
    sick.heal();
    let quarantined = store.stats().quarantined;
    sick.fail_reads(&log.unwrap().0, 24);
    let mut scrubber = store.scrubber();
    let failed = (0..100).find_map(|_| scrubber.step(STEP).err());
    assert!(failed.unwrap().to_string().contains("os error 24"));
    assert_eq!(store.stats().quarantined, quarantined);
}

#[test]
fn a_store_that_takes_no_writes_is_scrubbed_without_one() {
    let (disk, options, _) = stocked(6);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(scrub(&store), []);
    disk.inject(2, Fault::Error { kind: ErrorKind::Other, times: 1 });
    store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap_err();
    assert!(store.stats().read_only.is_some());
    for part in ["FORMAT", "log", "chunks"] {
        let files = disk.files();
        let (path, _) = files.iter().find(|(p, _)| p.starts_with(dir().join(part))).unwrap();
        disk.flip_bit(path, 1000).unwrap();
    }
    let operations = disk.operations();
    let findings = scrub(&store);
    assert_eq!(findings.len(), 3, "{findings:?}");
    assert_eq!(disk.operations(), operations);
    assert_eq!(store.scrub_findings(), findings);
}

#[test]
fn a_power_cut_during_scrubbing_harms_nothing() {
    // Fault cases 74, 109.
    let (disk, options, stock) = stocked(8);
    let chunk = disk.files().into_iter().find(|(p, _)| p.starts_with(dir().join("chunks")));
    let chunk = chunk.unwrap().0;
    let (mut at, mut cut) = (1, true);
    while cut {
        let copy = disk.fork(at);
        let options = on(&copy, &options);
        let store = Store::open(dir(), &options).unwrap();
        copy.flip_bit(&chunk, 5).unwrap();
        copy.inject(at, Fault::PowerCut);
        let mut scrubber = store.scrubber();
        // Until a few passes have ended, or the power.
        let steps = (0..60).find(|_| scrubber.step(STEP).is_err() || !copy.is_powered());
        cut = steps.is_some();
        drop((scrubber, store));
        copy.restart();
        let store = Store::open(dir(), &options).unwrap();
        let (first, second) = (scrub(&store), scrub(&store));
        heal(&store, &stock, &[first, second].concat());
        stock.check_whole(&store, &format!("cut at operation {at}"));
        at += 1;
    }
    assert!(at > 30, "only {at} operations");
}

#[test]
fn what_a_step_could_not_replace_leaves_nothing_in_tmp() {
    let (disk, options, _) = stocked(9);
    let (mut failed, mut left) = (0, 0);
    for at in 1..40 {
        let copy = disk.fork(at);
        let store = Store::open(dir(), &on(&copy, &options)).unwrap();
        for name in ["FORMAT", "chunks/store-id"] {
            copy.flip_bit(&dir().join(name), 8).unwrap();
        }
        // From its begin: FORMAT, the marker and SCRUB are replaced.
        store.scrubber().restart();
        copy.inject(at, Fault::Error { kind: ErrorKind::Other, times: 1 });
        failed += u64::from(store.scrubber().step(1).is_err());
        copy.heal();
        let tmp = copy.files().into_iter().filter(|(path, _)| path.starts_with(dir().join("tmp")));
        left += tmp.count();
    }
    assert!(failed > 0);
    assert_eq!(left, 0);
}

#[test]
fn a_store_opens_though_the_disk_cannot_read_the_header_of_a_segment() {
    // Fault case 77.
    let (disk, options, stock) = stocked(4);
    let logs = disk.files().into_iter().filter(|(path, _)| path.starts_with(dir().join("log")));
    for (log, _) in logs {
        let sick = Arc::new(SickDisk::new(disk.fork(1)));
        let options = Options { disk: Arc::<SickDisk>::clone(&sick), ..options.clone() };
        sick.fail_reads(&log, 5);
        let store = Store::open(dir(), &options).unwrap();
        let damage = &store.open_report().damage;
        assert!(damage.len() == 1 && damage[0].contains("the disk cannot read"), "{damage:?}");
        put(&store, b"takes writes");
        sick.heal();
        stock.check_whole(&store, "it reads again");
    }
}
