//! What the disk in memory does that a real one does rarely: fail, tear, and lose power.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::seed;
use stash_store::{Disk, DiskFile, Fault, MemDisk, OpenMode, Part};

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
    let mut seen = std::collections::BTreeSet::new();
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
    let mut buffer = [0; 4];
    file.read_at(0, &mut buffer).unwrap_err();
    assert_ne!(buffer, *b"here");
    file.len().unwrap_err();
    disk.heal();
    assert_eq!(contents(&disk, "/a").unwrap(), b"here");
}
