//! What the disk in memory does that a real one does rarely: fail, tear, and lose power.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::common::seed;
use stash_disk::{Disk, DiskFile, Fault, MemDisk, OpenMode, Part, Survival};

const PARTS: [Part; 4] = [Part::Nothing, Part::OneByte, Part::AllButOne, Part::Random];

fn create(disk: &MemDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file
}

fn contents(disk: &MemDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn a_short_write_writes_the_part_that_was_asked_for_and_the_next_one_all() {
    // Fault case 74.
    for (part, expected) in [(Part::Nothing, 0), (Part::OneByte, 1), (Part::AllButOne, 99)] {
        for kind in [ErrorKind::WriteZero, ErrorKind::StorageFull] {
            let disk = MemDisk::new(1);
            let file = create(&disk, "/a", b"");
            disk.inject(2, Fault::ShortWrite { part, kind });
            // No write: it goes well, and the fault waits.
            file.sync().unwrap();
            file.sync().unwrap();
            assert_eq!(file.write_at(0, &[7; 100]).unwrap_err().kind(), kind, "{part:?}");
            assert_eq!(contents(&disk, "/a").unwrap(), vec![7; expected], "{part:?}");
            file.write_at(0, &[8; 100]).unwrap();
            assert_eq!(contents(&disk, "/a").unwrap(), vec![8; 100], "{part:?}");
        }
    }
}

#[test]
fn a_write_that_fails_has_never_written_all_and_sometimes_each_part() {
    // Fault case 74. 200 draws of four quarters: one part is missing once in 10^24 seeds.
    let disk = MemDisk::new(seed(11));
    let mut seen = BTreeSet::new();
    for i in 0..200 {
        let path = format!("/{i}");
        let file = create(&disk, &path, b"");
        disk.inject(1, Fault::Error { kind: ErrorKind::Other, times: 1 });
        file.write_at(0, &[7; 100]).unwrap_err();
        seen.insert(file.len().unwrap());
    }
    for part in [0, 1, 99] {
        assert!(seen.contains(&part), "{seen:?}");
    }
    assert!(seen.len() > 10 && !seen.contains(&100), "{seen:?}");
    // There is no part of nothing, and none of one byte that is not all.
    for (part, len) in PARTS.into_iter().flat_map(|part| [(part, 0), (part, 1)]) {
        let file = create(&disk, &format!("/{part:?} {len}"), b"");
        disk.inject(1, Fault::ShortWrite { part, kind: ErrorKind::WriteZero });
        file.write_at(0, &vec![7; len]).unwrap_err();
        assert_eq!(file.len().unwrap(), 0, "{part:?} of {len}");
    }
}

#[test]
fn a_write_to_a_full_disk_writes_what_there_is_room_for_and_never_more() {
    // Fault case 44.
    for part in PARTS {
        let disk = MemDisk::new(seed(12));
        let file = create(&disk, "/a", &[1; 10]);
        disk.set_capacity(Some(15));
        disk.inject(1, Fault::ShortWrite { part, kind: ErrorKind::StorageFull });
        file.write_at(5, &[2; 100]).unwrap_err();
        assert!(disk.used() <= 15, "{part:?}: {}", disk.used());
        let full = file.write_at(5, &[3; 100]).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!(
            contents(&disk, "/a").unwrap(),
            b"\x01\x01\x01\x01\x01\x03\x03\x03\x03\x03\x03\x03\x03\x03\x03"
        );
        // What is there can be written again, and a disk made smaller takes no more.
        file.write_at(0, &[4; 15]).unwrap();
        disk.set_capacity(Some(3));
        file.write_at(0, &[5; 15]).unwrap();
        file.write_at(15, &[5]).unwrap_err();
        assert_eq!(disk.space(Path::new("/")).unwrap().free, 0);
    }
}

#[test]
fn an_error_without_an_end_lasts_until_it_is_healed() {
    let disk = MemDisk::new(1);
    let file = create(&disk, "/a", b"a");
    disk.inject(3, Fault::Error { kind: ErrorKind::ReadOnlyFilesystem, times: u64::MAX });
    file.write_at(0, b"b").unwrap();
    file.sync().unwrap();
    for _ in 0..100 {
        let error = file.sync().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        disk.create_dir(Path::new("/d")).unwrap_err();
        assert_eq!(contents(&disk, "/a").unwrap(), b"b");
    }
    disk.heal();
    disk.create_dir(Path::new("/d")).unwrap();
    file.write_at(0, b"c").unwrap();
    file.sync().unwrap();
}

#[test]
fn every_operation_that_reads_can_fail_and_is_counted() {
    // Fault case 77.
    let disk = MemDisk::new(1);
    let file = create(&disk, "/a", b"here");
    let (root, path) = (Path::new("/"), Path::new("/a"));
    type Reading<'a> = (&'a str, Box<dyn Fn() -> std::io::Result<()> + 'a>);
    let all: [Reading<'_>; 5] = [
        ("read", Box::new(|| file.read_at(0, &mut [0; 4]))),
        ("len", Box::new(|| file.len().map(drop))),
        ("list", Box::new(|| disk.list(root).map(drop))),
        ("open to read", Box::new(|| disk.open(path, OpenMode::Read).map(drop))),
        ("open to write", Box::new(|| disk.open(path, OpenMode::Write).map(drop))),
    ];
    for (name, read) in all {
        let before = (disk.reads(), disk.operations());
        disk.inject_read(2, ErrorKind::Other, 2);
        read().unwrap();
        for _ in 0..2 {
            assert_eq!(read().unwrap_err().kind(), ErrorKind::Other, "{name}");
            // A disk that cannot be read may still take bytes.
            file.write_at(0, b"here").unwrap();
        }
        read().unwrap();
        assert_eq!((disk.reads(), disk.operations()), (before.0 + 4, before.1 + 2), "{name}");
    }
    disk.inject_read(1, ErrorKind::Other, u64::MAX);
    for unwritten in [*b"here", [0; 4]] {
        let mut buffer = unwritten;
        file.read_at(0, &mut buffer).unwrap_err();
        assert_ne!(buffer, unwritten, "what a failed read leaves is not to be relied on");
    }
    file.len().unwrap_err();
    let before = (disk.reads(), disk.operations());
    disk.heal();
    assert_eq!((disk.reads(), disk.operations()), before);
    assert_eq!(contents(&disk, "/a").unwrap(), b"here");
}

const ROOT: &str = "/";
/// Power cuts of a random test: an outcome of one in 16 is missed once in 10^28 seeds.
const CUTS: u64 = 1000;

fn sync_dir(disk: &MemDisk, dir: &str) {
    disk.sync_dir(Path::new(dir)).unwrap();
}

fn rename(disk: &MemDisk, from: &str, to: &str) {
    disk.rename(Path::new(from), Path::new(to)).unwrap();
}

/// All that random power cuts leave of what `work` does.
fn outcomes<T: Ord>(work: impl Fn(&MemDisk), left: impl Fn(&MemDisk) -> T) -> BTreeSet<T> {
    let seed = seed(13);
    let cut = |i| {
        let disk = MemDisk::new(seed.wrapping_add(i));
        work(&disk);
        disk.restart_with(Survival::Random);
        left(&disk)
    };
    (0..CUTS).map(cut).collect()
}

/// A disk with synced files, on which much has happened since.
fn unsynced() -> MemDisk {
    let disk = MemDisk::new(1);
    disk.create_dir(Path::new("/d")).unwrap();
    disk.create_dir(Path::new("/e")).unwrap();
    for path in ["/bytes", "/cut", "/long", "/from", "/gone", "/d/inside"] {
        create(&disk, path, &[1; 1000]).sync().unwrap();
    }
    sync_dir(&disk, "/d");
    sync_dir(&disk, ROOT);
    let open = |path: &str| disk.open(Path::new(path), OpenMode::Write).unwrap();
    open("/bytes").write_at(500, &[2; 100]).unwrap();
    open("/cut").set_len(10).unwrap();
    open("/long").allocate(5000).unwrap();
    rename(&disk, "/from", "/to");
    disk.remove(Path::new("/gone")).unwrap();
    disk.remove(Path::new("/d/inside")).unwrap();
    disk.remove_dir(Path::new("/d")).unwrap();
    disk.remove_dir(Path::new("/e")).unwrap();
    create(&disk, "/new", b"new").sync().unwrap();
    disk
}

fn tree(disk: &MemDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let (mut found, mut dirs) = (Vec::new(), vec![String::new()]);
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(Path::new(&format!("{dir}/"))).unwrap() {
            let path = format!("{dir}/{}", entry.name);
            found.push((path.clone(), contents(disk, &path)));
            dirs.extend(entry.is_dir.then_some(path));
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_survives_means_that_all_is_as_it_was_synced() {
    // Fault case 75.
    let disk = unsynced();
    disk.restart_with(Survival::Nothing);
    let file = |path: &str| (path.to_owned(), Some(vec![1; 1000]));
    let dir = |path: &str| (path.to_owned(), None);
    let before = [
        file("/bytes"),
        file("/cut"),
        dir("/d"),
        file("/d/inside"),
        dir("/e"),
        file("/from"),
        file("/gone"),
        file("/long"),
    ];
    assert_eq!(tree(&disk), before);
}

#[test]
fn everything_survives_means_that_a_power_cut_changes_nothing() {
    let disk = unsynced();
    let before = tree(&disk);
    disk.restart_with(Survival::Everything);
    assert_eq!(tree(&disk), before);
    disk.restart_with(Survival::Nothing);
    assert_eq!(tree(&disk), before, "what survived is durable");
}

#[test]
fn the_sectors_of_a_file_survive_in_every_combination() {
    // Fault case 74.
    let work = |disk: &MemDisk| {
        let file = create(disk, "/a", &[0; 1536]);
        file.sync().unwrap();
        sync_dir(disk, ROOT);
        file.write_at(0, &[1; 1536]).unwrap();
    };
    let seen = outcomes(work, |disk| {
        let bytes = contents(disk, "/a").unwrap();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
        [bytes[0], bytes[512], bytes[1024]]
    });
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn files_survive_in_another_order_than_they_were_written() {
    let work = |disk: &MemDisk| {
        let files = ["/a", "/b"].map(|path| create(disk, path, &[0]));
        files.iter().for_each(|file| file.sync().unwrap());
        sync_dir(disk, ROOT);
        files.iter().for_each(|file| file.write_at(0, &[1]).unwrap());
    };
    let seen = outcomes(work, |disk| ["/a", "/b"].map(|path| contents(disk, path).unwrap()[0]));
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_length_survives_apart_from_the_bytes_and_may_stop_on_its_way() {
    // Fault case 74.
    let grown = |disk: &MemDisk| {
        let file = create(disk, "/a", &[1; 512]);
        file.sync().unwrap();
        sync_dir(disk, ROOT);
        file.write_at(512, &[2; 512]).unwrap();
    };
    let seen = outcomes(grown, |disk| {
        let bytes = contents(disk, "/a").unwrap();
        assert_eq!(bytes[..512], [1; 512]);
        (bytes.len(), bytes.get(512).copied())
    });
    for end in [(512, None), (1024, Some(0)), (1024, Some(2))] {
        assert!(seen.contains(&end), "{end:?}");
    }
    assert!(seen.iter().any(|(len, _)| (513..1024).contains(len)), "{seen:?}");
    assert!(seen.iter().all(|(len, _)| (512..=1024).contains(len)), "{seen:?}");

    // A file that is cut and written anew may be left empty, though its length is as before.
    let rewritten = |disk: &MemDisk| {
        let file = create(disk, "/a", &[1; 512]);
        file.sync().unwrap();
        sync_dir(disk, ROOT);
        file.set_len(0).unwrap();
        file.write_at(0, &[2; 512]).unwrap();
    };
    let seen = outcomes(rewritten, |disk| {
        let bytes = contents(disk, "/a").unwrap();
        (bytes.len(), bytes.first().copied())
    });
    for end in [(0, None), (512, Some(1)), (512, Some(2))] {
        assert!(seen.contains(&end), "{end:?}");
    }
}

#[test]
fn a_replaced_name_is_the_old_file_or_the_new_and_never_missing() {
    // Fault case 75.
    let work = |disk: &MemDisk| {
        for path in ["/old", "/new"] {
            create(disk, path, path.as_bytes()).sync().unwrap();
        }
        sync_dir(disk, ROOT);
        rename(disk, "/new", "/old");
    };
    let seen =
        outcomes(work, |disk| (contents(disk, "/old").unwrap(), contents(disk, "/new").is_some()));
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_rename_to_a_free_name_leaves_one_both_or_neither() {
    // Fault case 75.
    for to in ["/to", "/d/to"] {
        let work = |disk: &MemDisk| {
            disk.create_dir(Path::new("/d")).unwrap();
            create(disk, "/from", b"bytes").sync().unwrap();
            sync_dir(disk, ROOT);
            rename(disk, "/from", to);
        };
        let seen = outcomes(work, |disk| ["/from", to].map(|path| contents(disk, path)));
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert!(seen.iter().flatten().flatten().all(|bytes| bytes == b"bytes"), "{seen:?}");
    }
    // Two names of one file: renaming one to the other changes nothing, as POSIX has it.
    let disk = MemDisk::new(1);
    disk.create_dir(Path::new("/d")).unwrap();
    create(&disk, "/from", b"bytes").sync().unwrap();
    sync_dir(&disk, ROOT);
    rename(&disk, "/from", "/d/to");
    sync_dir(&disk, "/d");
    disk.restart_with(Survival::Nothing);
    let both = tree(&disk);
    assert_eq!(both.len(), 3, "{both:?}");
    rename(&disk, "/from", "/d/to");
    assert_eq!(tree(&disk), both);
}

#[test]
fn a_removed_directory_is_gone_for_good_once_the_one_above_is_synced() {
    let work = |disk: &MemDisk| {
        disk.create_dir(Path::new("/d")).unwrap();
        sync_dir(disk, ROOT);
        disk.remove_dir(Path::new("/d")).unwrap();
    };
    assert_eq!(outcomes(work, |disk| tree(disk).len()), BTreeSet::from([0, 1]));
    let synced = |disk: &MemDisk| {
        work(disk);
        sync_dir(disk, ROOT);
    };
    assert_eq!(outcomes(synced, |disk| tree(disk).len()), BTreeSet::from([0]));
}

#[test]
fn a_direct_write_takes_whole_sectors_and_is_durable_only_once_it_is_synced() {
    let disk = MemDisk::new(1);
    disk.set_direct(true);
    let file = disk.open(Path::new("/a"), OpenMode::CreateDirect).unwrap();
    assert_eq!(file.alignment(), Some(512));
    for (at, len) in [(0, 511), (1, 512), (512, 100)] {
        let refused = file.write_at(at, &vec![1; len]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(file.read_at(0, &mut [0; 5]).unwrap_err().kind(), ErrorKind::InvalidInput);
    sync_dir(&disk, "/");
    file.write_whole(&[7; 1000]).unwrap();
    disk.restart_with(Survival::Nothing);
    assert_eq!(contents(&disk, "/a"), Some(vec![]));
    // Others have no alignment.
    assert_eq!(disk.open(Path::new("/b"), OpenMode::Create).unwrap().alignment(), None);
    // A power cut between the padded write and the cut to length may leave the padding.
    let lengths = outcomes(
        |disk| {
            disk.set_direct(true);
            let file = disk.open(Path::new("/c"), OpenMode::CreateDirect).unwrap();
            sync_dir(disk, "/");
            disk.inject(3, Fault::PowerCut);
            let cut = file.write_whole(&[7; 1000]).and_then(|()| file.sync());
            assert!(cut.is_err());
        },
        |disk| contents(disk, "/c").map(|bytes| bytes.len()),
    );
    assert_eq!(lengths.last(), Some(&Some(1024)), "{lengths:?}");
}

#[test]
fn a_failed_sync_loses_the_bytes_whatever_survives() {
    // Fault case 76.
    let disk = MemDisk::new(1);
    let file = create(&disk, "/a", &[1; 10]);
    file.sync().unwrap();
    sync_dir(&disk, ROOT);
    file.write_at(0, &[2; 20]).unwrap();
    disk.inject(1, Fault::Error { kind: ErrorKind::Other, times: 1 });
    file.sync().unwrap_err();
    assert_eq!(contents(&disk, "/a").unwrap(), [2; 20], "still in memory");
    file.sync().unwrap();
    disk.restart_with(Survival::Everything);
    let left = contents(&disk, "/a").unwrap();
    assert_eq!((&left[..10], &left[10..]), (&[1; 10][..], &[0; 10][..]));
}

#[test]
fn what_was_open_before_a_power_cut_is_dead_after_it() {
    let disk = MemDisk::new(1);
    let file = create(&disk, "/a", &[1; 10]);
    let lock = disk.lock(Path::new("/lock")).unwrap().unwrap();
    disk.inject(1, Fault::PowerCut);
    disk.inject_read(1, ErrorKind::Other, u64::MAX);
    file.write_at(0, &[2; 10]).unwrap_err();
    assert!(!disk.is_powered());
    disk.list(Path::new(ROOT)).unwrap_err();
    disk.space(Path::new(ROOT)).unwrap_err();
    disk.restart_with(Survival::Everything);
    for _ in 0..50 {
        file.write_at(0, &[3; 10]).unwrap_err();
        file.sync().unwrap_err();
        file.read_at(0, &mut [0; 1]).unwrap_err();
        file.set_len(0).unwrap_err();
        file.allocate(100).unwrap_err();
        file.len().unwrap_err();
    }
    assert_eq!(contents(&disk, "/a").unwrap(), [1; 10]);
    let mine = disk.lock(Path::new("/lock")).unwrap().unwrap();
    drop(lock);
    assert!(disk.lock(Path::new("/lock")).unwrap().is_none());
    drop(mine);
}
