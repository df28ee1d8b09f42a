//! Files, directories and devices that go away and come back: nothing that was acknowledged is lost,
//! and nothing is judged that is only away.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{Random, chunk_path, dir, fixture, inline, put, read, record};
use stash_store::collect::CollectError;
use stash_store::disk::{Fault, OpenMode};
use stash_store::error::ScrubError;
use stash_store::{
    Address, Batch, Blob, CollectOptions, CommitError, Disk, LeaseError, MemDisk, Options,
    ReadError, StageError, Store,
};

const EIO: i32 = 5;
const ELOOP: i32 = 40;
const ESTALE: i32 = 116;

fn chunks() -> PathBuf {
    dir().join("chunks")
}

fn marker() -> PathBuf {
    chunks().join("store-id")
}

fn store(seed: u64) -> (MemDisk, Options, Store) {
    let disk = MemDisk::new(seed);
    let options = inline(&disk);
    let store = Store::create(dir(), &options).unwrap();
    (disk, options, store)
}

/// A blob with a file of its own.
fn large(n: u64) -> Vec<u8> {
    Random(n).bytes(1_500)
}

/// A blob that a record names.
fn named(store: &Store, n: u64) -> Address {
    let address = put(store, &large(n));
    let entry = record(n, &[(address, 1_500)], &n.to_le_bytes());
    store.commit(Batch::new().require(address).record(entry)).unwrap();
    address
}

fn with_strays() -> CollectOptions {
    CollectOptions { grace: Duration::ZERO, strays: true, ..CollectOptions::default() }
}

fn is_damaged(store: &Store, address: &Address) -> bool {
    matches!(store.read_into(address, &mut Vec::new()), Err(ReadError::Damaged { .. }))
}

fn scrub(store: &Store) -> Result<(), ScrubError> {
    let mut scrubber = store.scrubber();
    scrubber.restart();
    while scrubber.step(1 << 20)?.is_some() {}
    Ok(())
}

#[test]
fn a_file_that_comes_back_is_taken_back_by_whoever_meets_it_first() {
    for who in ["collection", "restart and collection", "scrub", "reader", "rebuild"] {
        println!("{who}");
        let (disk, options, mut store) = store(1);
        let addresses: Vec<Address> = (0..4).map(|n| named(&store, n)).collect();
        for address in &addresses {
            disk.hide(&chunk_path(address)).unwrap();
            assert!(is_damaged(&store, address));
        }
        store.flush().unwrap();
        assert_eq!((store.stats().quarantined, store.away()), (4, None));
        for address in &addresses {
            disk.show(&chunk_path(address)).unwrap();
        }
        if who.starts_with("re") && who != "reader" {
            drop(store);
            store = match who {
                "rebuild" => Store::rebuild(dir(), &options).unwrap().0,
                _ => Store::open(dir(), &options).unwrap(),
            };
        }
        match who {
            "scrub" => scrub(&store).unwrap(),
            "reader" | "rebuild" => {}
            _ => {
                let done = store.collect(with_strays()).unwrap();
                assert_eq!((done.taken_back, done.strays), (4, 0));
            }
        }
        for (n, address) in addresses.iter().enumerate() {
            if who != "reader" {
                assert_eq!(store.has(&[*address]).unwrap(), [true]);
            }
            assert_eq!(read(&store, address), Some(large(n as u64)));
        }
        assert_eq!(store.stats().quarantined, 0);
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert!(store.check(true).unwrap().is_sound());
        assert_eq!(store.has(&addresses).unwrap(), [true; 4]);
    }
}

#[test]
fn a_file_that_a_full_disk_does_not_sync_is_not_taken_back() {
    let (disk, _, store) = store(1);
    let address = named(&store, 1);
    disk.hide(&chunk_path(&address)).unwrap();
    assert!(is_damaged(&store, &address));
    store.flush().unwrap();
    disk.show(&chunk_path(&address)).unwrap();
    disk.inject(1, Fault::Error { kind: ErrorKind::StorageFull, times: 1 });
    assert_eq!(read(&store, &address), None);
    assert_eq!(store.has(&[address]).unwrap(), [false]);
    assert_eq!(read(&store, &address), Some(large(1)), "the next who asks takes it back");
}

#[test]
fn a_stray_that_a_record_names_is_taken_back_and_what_was_given_up_goes() {
    let (disk, options, store) = store(2);
    let write = |address: &Address, bytes: &[u8]| {
        let path = chunk_path(address);
        crate::common::make_dirs(&disk, path.parent().unwrap());
        disk.open(&path, OpenMode::Create).unwrap().write_at(0, bytes).unwrap();
    };
    // Collected, and the power went before the file did.
    let dead = put(&store, &large(3));
    store.collect(with_strays()).unwrap();
    write(&dead, &large(3));
    // Named, and never heard of: the log was put back from before it came.
    let unheard = Address::of(&large(1));
    store.commit(Batch::new().record(record(1, &[(unheard, 1_500)], b"1"))).unwrap();
    write(&unheard, &large(1));
    // Evicted, the same.
    let evicted = named(&store, 2);
    store.commit(Batch::new().evict(vec![evicted])).unwrap();
    write(&evicted, &large(2));
    let done = store.collect(with_strays()).unwrap();
    assert_eq!((done.taken_back, done.strays), (1, 2));
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!(read(&store, &unheard), Some(large(1)));
    assert_eq!(store.has(&[evicted, dead]).unwrap(), [false, false]);
    assert_eq!(store.stats().evicted, 1);
    let left = disk.files().into_iter().filter(|(path, _)| path.starts_with(chunks())).count();
    assert_eq!(left, 2, "a chunk and the marker");
}

/// Ways in which the directory goes away, and comes back.
type Way = (&'static str, fn(&MemDisk), fn(&MemDisk));

const WAYS: [Way; 7] = [
    ("moved", |disk| disk.hide(&chunks()).unwrap(), |disk| disk.show(&chunks()).unwrap()),
    (
        "an empty one in its place",
        |disk| {
            disk.hide(&chunks()).unwrap();
            disk.create_dir(&chunks()).unwrap();
        },
        |disk| disk.show(&chunks()).unwrap(),
    ),
    ("marker gone", |disk| disk.hide(&marker()).unwrap(), |disk| disk.show(&marker()).unwrap()),
    ("another device", |disk| disk.set_device(&chunks(), 7), |disk| disk.set_device(&chunks(), 0)),
    ("a link", |d| d.fail_below(&chunks(), Some(ELOOP)), |d| d.fail_below(&chunks(), None)),
    ("stale", |d| d.fail_below(&chunks(), Some(ESTALE)), |d| d.fail_below(&chunks(), None)),
    (
        "the marker of another store",
        |disk| {
            disk.hide(&marker()).unwrap();
            let other = MemDisk::new(9);
            let options = Options { seed: Some([9; 32]), ..inline(&other) };
            drop(Store::create(dir(), &options).unwrap());
            let mut bytes = [0; 64];
            other.open(&marker(), OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
            disk.open(&marker(), OpenMode::Create).unwrap().write_at(0, &bytes).unwrap();
        },
        |disk| {
            disk.remove(&marker()).unwrap();
            disk.show(&marker()).unwrap();
        },
    ),
];

#[test]
fn while_the_directory_is_away_nothing_is_judged_acknowledged_or_given_up() {
    for (way, away, back) in WAYS {
        println!("{way}");
        let (disk, options, store) = store(3);
        let (one, two, small) = (named(&store, 1), named(&store, 2), put(&store, b"small"));
        let unnamed = put(&store, &large(4));
        store.look().unwrap();
        away(&disk);
        let why = store.look().unwrap_err();
        assert_eq!(
            (why.dir.as_path(), store.stats().away),
            (chunks().as_path(), Some(why.clone()))
        );
        // Reading.
        for address in [&one, &two, &one] {
            // What can be read is right, wherever it lies.
            let read = store.read_into(address, &mut Vec::new());
            assert!(matches!(read, Err(ReadError::Away(_)) | Ok(true)), "{way}: {read:?}");
        }
        assert_eq!(read(&store, &small).unwrap(), b"small");
        // Asking.
        assert!(matches!(store.has(&[small, one]), Err(ReadError::Away(_))));
        assert!(matches!(store.chunk_state(&one), Err(ReadError::Away(_))));
        assert!(matches!(store.lease().add(&[one]), Err(LeaseError::Read(ReadError::Away(_)))));
        assert_eq!(store.has(&[small, Address::of(b"nobody")]).unwrap(), [true, false]);
        // Relying.
        let relying = Batch::new().require(one).record(record(9, &[(one, 1_500)], b"9"));
        assert!(matches!(store.commit(relying), Err(CommitError::Away(_))));
        let lost = Batch::new().none_lost_since(store.losses()).row(b"k", Some(b"v"));
        assert!(matches!(store.commit(lost), Err(CommitError::Away(_))));
        // Adding.
        let staged = store.stage(Blob::hash(large(5)));
        assert!(matches!(staged, Err(StageError::Away(_))), "{way}: {staged:?}");
        let again = store.stage(Blob::hash(large(1)));
        assert!(matches!(again, Err(StageError::Away(_))), "{way}: it is not known to be here");
        let room = store.reserve(1_500).map(drop);
        assert!(matches!(room, Err(StageError::Away(_))), "{way}: its bytes would come in vain");
        drop(store.reserve(6).expect("the log is there"));
        let inline = put(&store, b"inline");
        store.commit(Batch::new().require(inline).record(record(7, &[], b"7"))).unwrap();
        // Giving up, collecting, scrubbing, checking.
        let evicted = store.commit(Batch::new().evict(vec![two]));
        assert!(matches!(evicted, Err(CommitError::Away(_))));
        let collected = store.collect(with_strays());
        assert!(matches!(collected, Err(CollectError::Read(ReadError::Away(_)))));
        let scrubbed = scrub(&store);
        assert!(matches!(scrubbed, Err(ScrubError::Read(ReadError::Away(_)))), "{scrubbed:?}");
        assert!(matches!(store.check(true), Err(ReadError::Away(_))));
        back(&disk);
        // By itself, with the first who asks.
        drop(store.reserve(1_500).unwrap());
        assert_eq!(store.has(&[one, two, unnamed]).unwrap(), [true; 3]);
        assert_eq!((store.away(), store.stats().quarantined), (None, 0));
        assert_eq!((store.stats().read_only, store.stats().evicted), (None, 0));
        assert_eq!(read(&store, &one), Some(large(1)));
        named(&store, 5);
        scrub(&store).unwrap();
        assert!(store.check(true).unwrap().is_sound());
        drop(store);
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.has(&[one, two, inline]).unwrap(), [true; 3]);
    }
}

#[test]
fn a_store_that_is_opened_while_its_directory_is_away_waits_for_it() {
    for (way, away, back) in WAYS {
        println!("{way}");
        let (disk, options, store) = store(4);
        let one = named(&store, 1);
        drop(store);
        away(&disk);
        let mut opened = false;
        for _ in 0..2 {
            let store = Store::open(dir(), &options).unwrap();
            // Devices are numbered anew at each boot, and what is in the directory without a marker
            // shows that it is the right one.
            opened = ["another device", "marker gone"].contains(&way);
            assert_eq!(store.away().is_none(), opened, "{way}");
            if !opened {
                assert!(matches!(store.has(&[one]), Err(ReadError::Away(_))), "{way}");
                assert!(matches!(store.stage(Blob::hash(large(2))), Err(StageError::Away(_))));
                put(&store, b"inline");
            }
        }
        if !opened {
            let store = Store::open(dir(), &options).unwrap();
            back(&disk);
            assert_eq!(read(&store, &one), Some(large(1)), "{way}");
            named(&store, 2);
            assert!(store.check(true).unwrap().is_sound());
        }
    }
}

#[test]
fn a_disk_that_reads_nothing_is_away_and_one_that_cannot_read_a_place_is_not() {
    let (disk, _, store) = store(5);
    let addresses: Vec<Address> = (0..12).map(|n| named(&store, n)).collect();
    // One bad place among others that are read: it is that blob's.
    disk.fail_below(&chunk_path(&addresses[0]), Some(EIO));
    assert!(is_damaged(&store, &addresses[0]));
    for address in &addresses[1..] {
        assert!(read(&store, address).is_some());
    }
    let aside = dir().join("quarantine").join(chunk_path(&addresses[0]).file_name().unwrap());
    assert!(disk.files().iter().any(|(path, _)| *path == aside), "it was set aside");
    assert_eq!(store.stats().quarantined, 1);
    // All of them: after some, the disk is to blame.
    for address in &addresses {
        disk.fail_below(&chunk_path(address), Some(EIO));
    }
    disk.fail_below(&aside, Some(EIO));
    let answers: Vec<bool> = addresses[1..].iter().map(|one| is_damaged(&store, one)).collect();
    assert_eq!(answers.iter().filter(|damaged| **damaged).count(), 7);
    let why = store.away().unwrap().to_string();
    assert!(why.contains("8 chunks in a row") && why.contains("chunks"), "{why}");
    assert!(matches!(store.has(&[addresses[11]]), Err(ReadError::Away(_))), "it stays away");
    assert!(matches!(store.collect(with_strays()), Err(CollectError::Read(ReadError::Away(_)))));
    for address in &addresses {
        disk.fail_below(&chunk_path(address), None);
    }
    disk.fail_below(&aside, None);
    // Whoever reads one that was blamed takes it back, from where it was set aside.
    for (n, address) in addresses.iter().enumerate() {
        assert!(read(&store, address) == Some(large(n as u64)), "chunk {n}");
    }
    assert_eq!((store.away(), store.stats().quarantined), (None, 0));
    assert!(store.check(true).unwrap().is_sound());
}

#[test]
fn directories_that_were_removed_under_an_open_store_are_made_again_below_the_first() {
    let (disk, _, store) = store(6);
    let addresses: Vec<Address> = (0..8).map(|n| named(&store, n)).collect();
    for entry in disk.list(&chunks()).unwrap() {
        if entry.is_dir {
            disk.hide(&chunks().join(entry.name)).unwrap();
        }
    }
    for (n, address) in addresses.iter().enumerate() {
        assert!(is_damaged(&store, address));
        put(&store, &large(n as u64));
        assert_eq!(read(&store, address), Some(large(n as u64)));
    }
    disk.restart_with(stash_store::disk::Survival::Nothing);
    drop(store);
    let store = Store::open(dir(), &inline(&disk)).unwrap();
    assert_eq!(store.has(&addresses).unwrap(), [true; 8], "they are durable");
    assert!(store.check(true).unwrap().is_sound());
}

#[test]
fn the_directory_itself_is_not_made_again() {
    let (disk, _, store) = store(7);
    named(&store, 1);
    disk.hide(&chunks()).unwrap();
    assert!(store.stage(Blob::hash(large(2))).is_err());
    assert!(store.flush().is_ok());
    assert!(disk.list(&chunks()).is_err());
}

#[test]
fn what_was_staged_before_the_directory_went_away_is_not_acknowledged() {
    for (way, away, back) in WAYS {
        let (disk, _, store) = store(8);
        let blob = Blob::hash(large(1));
        let address = blob.address();
        store.stage(blob).unwrap();
        away(&disk);
        let entry = record(1, &[(address, 1_500)], b"1");
        let commit = store.commit(Batch::new().require(address).record(entry));
        assert!(commit.is_err(), "{way}");
        assert_eq!(store.stats().read_only, None, "{way}");
        back(&disk);
        assert_eq!(store.has(&[address]).unwrap(), [false], "{way}");
        named(&store, 1);
    }
}

#[test]
fn a_store_of_before_is_marked_once_a_file_that_it_announces_is_found() {
    for name in ["v1", "v2"] {
        let disk = fixture::copy(name, 1);
        let options = Options { segment_bytes: 8_192, ..inline(&disk) };
        disk.hide(&chunks()).unwrap();
        disk.create_dir(&chunks()).unwrap();
        let store = Store::open(dir(), &options).unwrap();
        assert!(store.away().is_some(), "{name}: an empty directory is not taken for it");
        drop(store);
        assert!(disk.open(&marker(), OpenMode::Read).is_err());
        disk.show(&chunks()).unwrap();
        let store = Store::open(dir(), &options).unwrap();
        assert_eq!(store.away(), None, "{name}");
        assert_eq!(disk.open(&marker(), OpenMode::Read).unwrap().len().unwrap(), 64);
        fixture::check(&store, name);
        disk.hide(&chunks()).unwrap();
        assert!(store.look().is_err());
    }
}

#[test]
fn a_marker_that_rots_is_made_anew_and_hides_nothing() {
    let (disk, options, store) = store(9);
    let one = named(&store, 1);
    let before = contents(&disk, &marker());
    for bit in [0, 130, 511] {
        disk.flip_bit(&marker(), bit).unwrap();
        assert_eq!(read(&store, &one), Some(large(1)));
        assert_eq!(store.has(&[one]).unwrap(), [true]);
        scrub(&store).unwrap();
        let found = store.scrub_findings();
        let found = found.iter().filter(|finding| finding.to_string().contains("marker")).count();
        assert!(found > 0, "{:?}", store.scrub_findings());
        assert_eq!(contents(&disk, &marker()), before);
    }
    disk.flip_bit(&marker(), 3).unwrap();
    drop(store);
    let store = Store::open(dir(), &options).unwrap();
    assert_eq!((contents(&disk, &marker()), store.away()), (before, None));
}

fn contents(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_rebuild_goes_by_the_directory_that_is_there_and_takes_back_what_comes_later() {
    let (disk, options, store) = store(10);
    let addresses: Vec<Address> = (0..3).map(|n| named(&store, n)).collect();
    drop(store);
    disk.hide(&chunks()).unwrap();
    let (store, report) = Store::rebuild(dir(), &options).unwrap();
    assert_eq!((report.missing.total, store.away()), (3, None));
    assert_eq!(store.has(&addresses).unwrap(), [false; 3]);
    named(&store, 0);
    disk.show(&chunks()).unwrap();
    store.collect(with_strays()).unwrap();
    assert_eq!(store.has(&addresses).unwrap(), [true; 3]);
    assert!(store.check(true).unwrap().is_sound());
}

#[test]
fn files_that_come_and_go_at_random_are_all_there_in_the_end() {
    let seed = crate::common::seed(11);
    let mut random = Random(seed);
    for round in 0..12 {
        let disk = MemDisk::new(seed + round);
        let options = inline(&disk);
        let mut store = Store::create(dir(), &options).unwrap();
        let mut held: Vec<(u64, Address)> = Vec::new();
        for n in 0..160_u64 {
            match random.below(12) {
                0..3 => {
                    let bytes = large(n);
                    let address = Address::of(&bytes);
                    let entry = record(n, &[(address, 1_500)], &n.to_le_bytes());
                    let put = store.stage(Blob::hash(bytes)).is_ok();
                    let batch = Batch::new().require(address).record(entry);
                    if put && store.commit(batch).is_ok() {
                        held.push((n, address));
                    }
                }
                3..5 if !held.is_empty() => {
                    let at = usize::try_from(random.below(held.len() as u64)).unwrap();
                    let path = chunk_path(&held[at].1);
                    // A file, the directory that it is in, or all of them. It may be away already.
                    let ancestor = usize::try_from(random.below(3)).unwrap();
                    let hidden = disk.hide(path.ancestors().nth(ancestor).unwrap());
                    if hidden.is_ok() && ancestor == 2 && random.below(2) == 0 {
                        disk.create_dir(&chunks()).unwrap();
                    }
                }
                5 => bring_back(&disk),
                6..9 if !held.is_empty() => {
                    let at = usize::try_from(random.below(held.len() as u64)).unwrap();
                    // What it says while files are away does not count.
                    let _ = store.read_into(&held[at].1, &mut Vec::new());
                }
                9 => drop(scrub(&store)),
                10 => drop(store.collect(with_strays())),
                _ => {
                    drop(store);
                    store = Store::open(dir(), &options).unwrap();
                }
            }
            assert_eq!(store.stats().read_only, None, "round {round}, step {n}");
        }
        bring_back(&disk);
        for (n, address) in &held {
            assert_eq!(read(&store, address), Some(large(*n)), "round {round}, chunk {n}");
        }
        scrub(&store).unwrap();
        let done = store.collect(with_strays()).unwrap();
        assert_eq!(done.chunks, 0, "round {round}");
        assert!(store.check(true).unwrap().is_sound(), "round {round}");
    }
}

/// All that is hidden, those on top first.
fn bring_back(disk: &MemDisk) {
    let mut hidden = disk.hidden();
    hidden.sort_by_key(|path| path.components().count());
    for path in hidden {
        // What holds it may have been made anew, or have gone with the place that it was in.
        crate::common::make_dirs(disk, path.parent().unwrap());
        disk.show(&path).unwrap();
    }
}

#[test]
fn a_real_directory_that_is_taken_away_replaced_or_linked_is_seen_at_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let home = dir.join("store");
    let store = Store::create(&home, &Options::default()).unwrap();
    let other = Store::create(&dir.join("other"), &Options::default()).unwrap();
    let (chunks, aside) = (home.join("chunks"), dir.join("aside"));
    let (marker, kept) = (chunks.join("store-id"), dir.join("kept"));
    let why = |store: &Store| store.look().err().map(|away| away.why);
    let is_here = |store: &Store| {
        // Once it is read, and once it is as it was.
        assert_eq!((why(store), why(store)), (None, None));
    };
    is_here(&store);

    std::fs::rename(&chunks, &aside).unwrap();
    assert!(why(&store).is_some_and(|why| why.contains("no such directory")));
    std::os::unix::fs::symlink(&aside, &chunks).unwrap();
    assert!(why(&store).is_some_and(|why| why.contains("such as a link")), "the same marker");
    std::fs::remove_file(&chunks).unwrap();
    std::fs::rename(&aside, &chunks).unwrap();
    is_here(&store);

    std::fs::rename(&marker, &kept).unwrap();
    assert!(why(&store).is_some_and(|why| why.contains("is not in it")));
    std::fs::rename(&kept, &marker).unwrap();
    is_here(&store);

    // Written in place, within the same file.
    let (own, foreign) =
        (std::fs::read(&marker).unwrap(), dir.join("other").join("chunks").join("store-id"));
    std::fs::write(&marker, std::fs::read(foreign).unwrap()).unwrap();
    assert!(why(&store).is_some_and(|why| why.contains("that of store")));
    std::fs::write(&marker, own).unwrap();
    is_here(&store);

    std::fs::rename(&home, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &home).unwrap();
    assert!(why(&store).is_some(), "the same marker behind a link further up");
    std::fs::remove_file(&home).unwrap();
    std::fs::rename(&aside, &home).unwrap();
    is_here(&store);
    is_here(&other);
}
