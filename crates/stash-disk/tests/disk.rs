//! What the store relies on of a disk, on the real one and on the one in memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use stash_disk::{Disk, DiskFile, MemDisk, OpenMode, PAGE, PageBuf, RealDisk};

/// A disk and an empty directory on it.
struct Ground {
    name: &'static str,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _mounted: Option<Mounted>,
    _temp: Option<tempfile::TempDir>,
}

impl Ground {
    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn open(&self, name: &str, mode: OpenMode) -> std::io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.at(name), mode)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
        let file = self.open(name, OpenMode::Create).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    fn names(&self, dir: &Path) -> Vec<(String, bool)> {
        let entries = self.disk.list(dir).unwrap();
        let mut names: Vec<_> = entries.into_iter().map(|e| (e.name, e.is_dir)).collect();
        names.sort();
        names
    }
}

fn contents(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A file system that goes when the test ends; before the directory that it is mounted in.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _lazily = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn memory() -> Ground {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    Ground { name: "memory", disk, dir: "/".into(), _mounted: None, _temp: None }
}

fn real() -> Ground {
    let temp = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    let dir = disk.resolve(temp.path()).unwrap();
    Ground { name: "real", disk: Arc::new(disk), dir, _mounted: None, _temp: Some(temp) }
}

/// The real disk on a file system of its own; `None`, loudly, where none can be mounted.
fn mounted(what: &str, kind: &str, options: &str) -> Option<Ground> {
    mounted_from(Path::new(kind), what, kind, options)
}

fn mounted_from(source: &Path, what: &str, kind: &str, options: &str) -> Option<Ground> {
    let mut ground = real();
    let mut mount = Command::new("mount");
    mount.args(["-t", kind, "-o", options]).arg(source).arg(&ground.dir).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED, CANNOT MOUNT {kind}: {what}");
        return None;
    }
    ground._mounted = Some(Mounted(ground.dir.clone()));
    Some(ground)
}

/// The real disk on an ext4 of [`SMALL`] bytes with these features; `None`, loudly, where there is
/// no way to make or to mount one.
fn ext4(what: &str, features: &str) -> Option<Ground> {
    let temp = tempfile::tempdir().unwrap();
    let image = temp.path().join("image");
    std::fs::File::create_new(&image).unwrap().set_len(SMALL).unwrap();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", features]).arg(&image).stderr(Stdio::null());
    if !mkfs.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED, CANNOT MAKE ext4: {what}");
        return None;
    }
    // The image lives on, without a name, for as long as it is mounted.
    mounted_from(&image, what, "ext4", "loop")
}

/// Both disks.
fn grounds() -> [Ground; 2] {
    [memory(), real()]
}

/// Room on the small disks: a whole number of pages of any size that Linux has.
const SMALL: u64 = 1024 * 1024;
/// Files and directories on the small disks.
const FEW: u64 = 8;

/// Both disks with [`SMALL`] bytes and room for [`FEW`] files; the real one only as root.
fn small_grounds(what: &str) -> Vec<Ground> {
    let disk = MemDisk::new(1);
    disk.set_capacity(Some(SMALL));
    disk.set_inodes(Some(FEW));
    let mut grounds = vec![Ground { disk: Arc::new(disk), ..memory() }];
    // A tmpfs counts its root directory.
    let options = format!("size={SMALL},nr_inodes={},mode=0700", FEW + 1);
    grounds.extend(mounted(what, "tmpfs", &options));
    grounds
}

#[track_caller]
fn fails_with<T: std::fmt::Debug>(kind: ErrorKind, result: std::io::Result<T>, on: &Ground) {
    assert_eq!(result.unwrap_err().kind(), kind, "{}", on.name);
}

#[test]
fn an_open_mode_allows_what_it_says_and_no_more() {
    for ground in grounds() {
        for mode in [OpenMode::Read, OpenMode::Write] {
            fails_with(ErrorKind::NotFound, ground.open("a", mode), &ground);
            fails_with(ErrorKind::NotFound, ground.open("no/a", mode), &ground);
        }
        fails_with(ErrorKind::NotFound, ground.open("no/a", OpenMode::Create), &ground);
        let made = ground.create("a", b"made");
        assert_eq!(contents(&*made), b"made", "{}", ground.name);

        let reader = ground.open("a", OpenMode::Read).unwrap();
        assert_eq!(contents(&*reader), b"made", "{}", ground.name);
        reader.write_at(0, b"x").unwrap_err();
        reader.set_len(1).unwrap_err();
        reader.allocate(10).unwrap_err();
        assert_eq!(contents(&*reader), b"made", "{}", ground.name);

        let writer = ground.open("a", OpenMode::Write).unwrap();
        writer.write_at(2, b"ster").unwrap();
        assert_eq!(contents(&*reader), b"master", "{}", ground.name);
    }
}

/// Both disks, the one in memory with and without an alignment, and an ext4, which states one.
fn direct_grounds(what: &str) -> Vec<Ground> {
    let disk = MemDisk::new(1);
    disk.set_direct(true);
    let mut grounds = Vec::from(grounds());
    grounds.push(Ground { name: "memory, direct", disk: Arc::new(disk), ..memory() });
    grounds.extend(ext4(what, "^has_journal").map(|ext4| Ground { name: "ext4", ..ext4 }));
    grounds
}

#[test]
fn a_file_written_past_the_page_cache_has_the_bytes_and_the_length_it_was_given() {
    for on in direct_grounds("files that are written past the page cache") {
        let bytes: Vec<u8> = (0..=250).cycle().take(PAGE * 5 + 77).collect();
        for len in [0, 1, 511, 512, 513, PAGE - 1, PAGE, PAGE + 1, PAGE * 5 + 77] {
            for first in [0, 1, 511] {
                let mut pages = PageBuf::zeroed(first + len);
                pages[first..].copy_from_slice(&bytes[..len]);
                let name = format!("{len}-{first}");
                let file = on.open(&name, OpenMode::CreateDirect).unwrap();
                let align = file.alignment();
                assert!(align.is_none_or(|align| align.is_power_of_two() && align <= PAGE));
                file.write_whole(&pages[first..]).unwrap();
                assert_eq!(file.len().unwrap(), len as u64, "{}: {name}", on.name);
                file.sync().unwrap();
                let file = on.open(&name, OpenMode::Read).unwrap();
                assert!(contents(&*file) == bytes[..len], "{}: {name}", on.name);
                assert_eq!(file.alignment(), None, "read as any other file");
            }
        }
        let again = on.open("1-0", OpenMode::CreateDirect);
        fails_with(ErrorKind::AlreadyExists, again, &on);
    }
}

#[test]
fn a_whole_file_that_finds_no_room_is_an_error_and_leaves_no_more_than_the_front_of_it() {
    for on in small_grounds("whole files on a full disk") {
        let (pages, name) = (PageBuf::zeroed(1 << 20), "large");
        let file = on.open(name, OpenMode::CreateDirect).unwrap();
        on.create("other", &[1; 4 * PAGE]);
        fails_with(ErrorKind::StorageFull, file.write_whole(&pages), &on);
        let left = contents(&*on.open(name, OpenMode::Read).unwrap());
        assert!(left.len() < pages.len() && left.iter().all(|byte| *byte == 0), "{}", on.name);
    }
}

/// The pages of a file that are in memory, as the system counts them; `None` without `fincore`.
fn pages_in_memory(path: &Path) -> Option<u64> {
    let mut count = Command::new("fincore");
    count.args(["--noheadings", "--raw", "--output", "PAGES"]).arg(path);
    let count = count.stderr(Stdio::null()).output().ok().filter(|done| done.status.success())?;
    String::from_utf8(count.stdout).ok()?.trim().parse().ok()
}

#[test]
fn a_file_written_past_the_page_cache_leaves_nothing_in_it() {
    let what = "what a direct write leaves in memory";
    let Some(on) = ext4(what, "^has_journal") else { return };
    let bytes = PageBuf::zeroed(16 * PAGE + 100);
    for (name, mode) in [("cached", OpenMode::Create), ("direct", OpenMode::CreateDirect)] {
        let file = on.open(name, mode).unwrap();
        file.write_whole(&bytes).unwrap();
        file.sync().unwrap();
        let Some(pages) = pages_in_memory(&on.at(name)) else {
            eprintln!("SKIPPED, NO fincore: {what}");
            return;
        };
        match file.alignment() {
            // The last page is zeroed behind the end, in memory.
            Some(_) => assert!(pages <= 1, "{pages} pages of {name}"),
            None => assert!(pages >= 16, "{pages} pages of {name}"),
        }
    }
}

#[test]
fn what_exists_is_not_created_again() {
    for ground in grounds() {
        let kept = ground.create("a", b"kept");
        fails_with(ErrorKind::AlreadyExists, ground.open("a", OpenMode::Create), &ground);
        fails_with(ErrorKind::AlreadyExists, ground.disk.create_dir(&ground.at("a")), &ground);
        assert_eq!(contents(&*kept), b"kept", "{}", ground.name);
        ground.disk.create_dir(&ground.at("d")).unwrap();
        fails_with(ErrorKind::AlreadyExists, ground.open("d", OpenMode::Create), &ground);
        fails_with(ErrorKind::AlreadyExists, ground.disk.create_dir(&ground.at("d")), &ground);
        let names = [("a".to_owned(), false), ("d".to_owned(), true)];
        assert_eq!(ground.names(&ground.dir), names, "{}", ground.name);
    }
}

#[test]
fn a_directory_is_no_file_and_a_file_no_directory() {
    for ground in grounds() {
        ground.create("a", b"");
        ground.disk.create_dir(&ground.at("d")).unwrap();
        for mode in [OpenMode::Read, OpenMode::Write] {
            fails_with(ErrorKind::IsADirectory, ground.open("d", mode), &ground);
            fails_with(ErrorKind::NotADirectory, ground.open("a/b", mode), &ground);
        }
        fails_with(ErrorKind::IsADirectory, ground.disk.remove(&ground.at("d")), &ground);
        fails_with(ErrorKind::NotADirectory, ground.disk.remove_dir(&ground.at("a")), &ground);
        fails_with(ErrorKind::NotADirectory, ground.disk.list(&ground.at("a")), &ground);
        fails_with(ErrorKind::NotADirectory, ground.disk.sync_dir(&ground.at("a")), &ground);
        fails_with(ErrorKind::NotADirectory, ground.disk.space(&ground.at("a")), &ground);
        let onto = ground.disk.rename(&ground.at("a"), &ground.at("d"));
        fails_with(ErrorKind::IsADirectory, onto, &ground);
        assert_eq!(ground.names(&ground.dir).len(), 2, "{}", ground.name);
    }
}

#[test]
fn a_symbolic_link_is_followed_nowhere() {
    // Fault case 82. The disk in memory has no links.
    let ground = real();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir(outside.path().join("empty")).unwrap();
    std::os::unix::fs::symlink(outside.path(), ground.at("dir")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), ground.at("file")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("new"), ground.at("dangling")).unwrap();
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::Create] {
        for name in ["file", "dir/secret", "dangling", "dir"] {
            let error = ground.open(name, mode).expect_err(name);
            assert_ne!(error.kind(), ErrorKind::NotFound, "{name}");
        }
    }
    let (disk, inside) = (&ground.disk, ground.at("dir/x"));
    ground.create("mine", b"");
    disk.create_dir(&inside).unwrap_err();
    disk.rename(&ground.at("mine"), &inside).unwrap_err();
    disk.rename(&ground.at("dir/secret"), &ground.at("mine")).unwrap_err();
    disk.remove(&ground.at("dir/secret")).unwrap_err();
    disk.remove_dir(&ground.at("dir")).unwrap_err();
    disk.remove_dir(&ground.at("dir/empty")).unwrap_err();
    disk.list(&ground.at("dir")).unwrap_err();
    disk.sync_dir(&ground.at("dir")).unwrap_err();
    disk.space(&ground.at("dir")).unwrap_err();
    disk.lock(&ground.at("dangling")).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().collect();
    assert_eq!(left.len(), 2);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn a_rename_replaces_and_who_has_the_old_file_open_keeps_it() {
    for ground in grounds() {
        ground.create("new", b"new");
        let old = ground.create("d", b"old");
        ground.disk.rename(&ground.at("new"), &ground.at("d")).unwrap();
        assert_eq!(contents(&*ground.open("d", OpenMode::Read).unwrap()), b"new");
        assert_eq!(contents(&*old), b"old", "{}", ground.name);
        // To itself: nothing happens.
        ground.disk.rename(&ground.at("d"), &ground.at("d")).unwrap();
        assert_eq!(ground.names(&ground.dir), [("d".to_owned(), false)], "{}", ground.name);
        let missing = ground.disk.rename(&ground.at("new"), &ground.at("d"));
        fails_with(ErrorKind::NotFound, missing, &ground);
        let nowhere = ground.disk.rename(&ground.at("d"), &ground.at("no/d"));
        fails_with(ErrorKind::NotFound, nowhere, &ground);
        assert_eq!(contents(&*ground.open("d", OpenMode::Read).unwrap()), b"new");
    }
}

#[test]
fn a_removed_file_stays_readable_and_writable_for_who_has_it_open() {
    for ground in grounds() {
        let file = ground.create("a", b"here");
        ground.disk.remove(&ground.at("a")).unwrap();
        fails_with(ErrorKind::NotFound, ground.disk.remove(&ground.at("a")), &ground);
        assert_eq!(ground.names(&ground.dir), [], "{}", ground.name);
        file.write_at(4, b" still").unwrap();
        file.sync().unwrap();
        let other = ground.create("a", b"another");
        assert_eq!(contents(&*file), b"here still", "{}", ground.name);
        assert_eq!(contents(&*other), b"another", "{}", ground.name);
    }
}

#[test]
fn only_an_empty_directory_is_removed() {
    for ground in grounds() {
        let (disk, dir) = (&ground.disk, ground.at("d"));
        fails_with(ErrorKind::NotFound, disk.remove_dir(&dir), &ground);
        disk.create_dir(&dir).unwrap();
        ground.create("d/a", b"");
        fails_with(ErrorKind::DirectoryNotEmpty, disk.remove_dir(&dir), &ground);
        disk.remove(&ground.at("d/a")).unwrap();
        disk.create_dir(&ground.at("d/e")).unwrap();
        fails_with(ErrorKind::DirectoryNotEmpty, disk.remove_dir(&dir), &ground);
        disk.remove_dir(&ground.at("d/e")).unwrap();
        disk.remove_dir(&dir).unwrap();
        disk.sync_dir(&ground.dir).unwrap();
        assert_eq!(ground.names(&ground.dir), [], "{}", ground.name);
        fails_with(ErrorKind::NotFound, disk.list(&dir), &ground);
    }
}

#[test]
fn a_read_beyond_the_end_is_an_error_and_a_gap_reads_as_zeros() {
    // Fault case 74.
    for ground in grounds() {
        let file = ground.create("a", b"0123456789");
        for (offset, len) in [(0, 11), (9, 2), (10, 1), (1000, 1)] {
            let read = file.read_at(offset, &mut vec![0; len]);
            fails_with(ErrorKind::UnexpectedEof, read, &ground);
        }
        file.read_at(10, &mut []).unwrap();
        file.write_at(12, b"x").unwrap();
        assert_eq!(contents(&*file), b"0123456789\0\0x", "{}", ground.name);
        file.set_len(2).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(contents(&*file), b"01\0\0", "{}", ground.name);
    }
}

#[test]
fn reading_once_reads_the_same_bytes() {
    let tmpfs = mounted("reading once from memory", "tmpfs", "mode=0700");
    for ground in grounds().into_iter().chain(tmpfs) {
        let file = ground.create("a", &[7; 10_000]);
        file.sync().unwrap();
        for (offset, len) in [(0, 10_000), (1, 9_999), (4_096, 100), (9_999, 1), (10_000, 0)] {
            let mut bytes = vec![0; len];
            file.read_once_at(offset, &mut bytes).unwrap();
            assert_eq!(bytes, vec![7; len], "{}, {offset}", ground.name);
        }
        for offset in [1, 10_000, 20_000] {
            let read = file.read_once_at(offset, &mut [0; 10_000]);
            fails_with(ErrorKind::UnexpectedEof, read, &ground);
        }
        ground.disk.remove(&ground.at("a")).unwrap();
        file.read_once_at(0, &mut [0; 10]).unwrap();
    }
}

#[test]
fn what_is_read_once_is_in_the_page_cache_only_if_it_was_before() {
    const PAGES: usize = 1024;
    let what = "what a read leaves in memory";
    // On a disk: what is in memory alone cannot be dropped from it.
    let program = std::env::current_exe().unwrap();
    let temp = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let path = temp.path().canonicalize().unwrap().join("file");
    std::fs::write(&path, vec![7; PAGES * PAGE]).unwrap();
    let file = RealDisk::new().open(&path, OpenMode::Read).unwrap();
    file.sync().unwrap();
    file.advise_done();
    match pages_in_memory(&path) {
        Some(0) => {}
        Some(_) => return eprintln!("SKIPPED, THE FILE SYSTEM KEEPS ALL IN MEMORY: {what}"),
        None => return eprintln!("SKIPPED, NO fincore: {what}"),
    }
    let mut bytes = vec![0; PAGES * PAGE];
    file.read_once_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, vec![7; PAGES * PAGE]);
    let (left, all) = (pages_in_memory(&path).unwrap(), PAGES as u64);
    if left == all && !has_dontcache() {
        return eprintln!("SKIPPED, NO RWF_DONTCACHE: {what}");
    }
    // Those that somebody else looks at just then stay.
    assert!(left <= all / 8, "{left} pages are left of those that were read");
    file.read_at(0, &mut bytes).unwrap();
    file.read_once_at(0, &mut bytes).unwrap();
    assert_eq!(pages_in_memory(&path), Some(all), "what was there stays");
}

/// True from Linux 6.14 on.
fn has_dontcache() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

#[test]
fn allocating_extends_with_zeros_and_changes_no_byte() {
    let ramfs = mounted("allocating where the file system cannot", "ramfs", "mode=0700");
    for ground in grounds().into_iter().chain(ramfs) {
        let file = ground.create("a", b"here");
        for (len, expected) in [(0, 4), (3, 4), (4, 4), (100_000, 100_000), (5, 100_000)] {
            file.allocate(len).unwrap();
            let bytes = contents(&*file);
            assert_eq!(bytes.len(), expected, "{}, {len}", ground.name);
            assert_eq!(&bytes[..4], b"here", "{}, {len}", ground.name);
            assert!(bytes[4..].iter().all(|b| *b == 0), "{}, {len}", ground.name);
        }
        file.advise_done();
        file.start_writeback();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 100_000, "{}", ground.name);
    }
}

#[test]
fn space_shrinks_with_what_is_written_and_comes_back() {
    // Fault case 44.
    for ground in small_grounds("space on a small disk") {
        let empty = ground.disk.space(&ground.dir).unwrap();
        assert_eq!((empty.free, empty.total), (SMALL, SMALL), "{}", ground.name);
        ground.create("a", &vec![1; 512 * 1024]);
        let half = ground.disk.space(&ground.dir).unwrap();
        assert_eq!((half.free, half.total), (SMALL / 2, SMALL), "{}", ground.name);
        let file = ground.open("b", OpenMode::Create).unwrap();
        let done = file.write_at(0, &vec![1; 600 * 1024]);
        fails_with(ErrorKind::StorageFull, done, &ground);
        // What there was room for is written: the disk is full to the brim.
        assert_eq!(ground.disk.space(&ground.dir).unwrap().free, 0, "{}", ground.name);
        assert_eq!(file.len().unwrap(), SMALL / 2, "{}", ground.name);
        ground.disk.remove(&ground.at("a")).unwrap();
        drop(file);
        ground.disk.remove(&ground.at("b")).unwrap();
        assert_eq!(ground.disk.space(&ground.dir).unwrap(), empty, "{}", ground.name);
    }
}

#[test]
fn a_disk_that_counts_nothing_has_space_without_limit() {
    let ramfs = mounted("a disk without limits", "ramfs", "mode=0700");
    for ground in [memory()].into_iter().chain(ramfs) {
        ground.create("a", &[1; 1000]);
        let space = ground.disk.space(&ground.dir).unwrap();
        assert!(space.free > u64::MAX / 2, "{}: {space:?}", ground.name);
        assert_eq!((space.total, space.free_inodes), (u64::MAX, None), "{}", ground.name);
        fails_with(ErrorKind::NotFound, ground.disk.space(&ground.at("no")), &ground);
    }
    let ground = real();
    let space = ground.disk.space(&ground.dir).unwrap();
    assert!(space.free <= space.total && space.total > 0, "{space:?}");
}

#[test]
fn allocated_room_is_nobody_elses_and_takes_writes_on_a_full_disk() {
    // Fault case 44.
    for ground in small_grounds("allocating on a small disk") {
        let (mine, other) = (ground.create("mine", b"mine"), ground.create("other", b""));
        mine.allocate(SMALL / 2).unwrap();
        assert_eq!(ground.disk.space(&ground.dir).unwrap().free, SMALL / 2, "{}", ground.name);
        fails_with(ErrorKind::StorageFull, other.allocate(SMALL / 2 + 1), &ground);
        assert_eq!(other.len().unwrap(), 0, "{}", ground.name);
        assert_eq!(ground.disk.space(&ground.dir).unwrap().free, SMALL / 2, "{}", ground.name);
        fails_with(ErrorKind::StorageFull, other.write_at(0, &vec![2; 600 * 1024]), &ground);
        let whole = vec![1; usize::try_from(SMALL / 2).unwrap()];
        mine.write_at(0, &whole).unwrap();
        mine.sync().unwrap();
        assert_eq!(contents(&*mine), whole, "{}", ground.name);
        fails_with(ErrorKind::StorageFull, mine.allocate(SMALL + 1), &ground);
        assert_eq!(mine.len().unwrap(), SMALL / 2, "{}", ground.name);
    }
}

#[test]
fn an_allocation_that_finds_no_room_gives_back_what_it_took() {
    // Fault case 44. An ext4 without extents has no way to reserve, so that zeros are written.
    let what = "allocating on a full ext4";
    let features = ["^has_journal", "^has_journal,^extent,^64bit"];
    for ground in features.into_iter().filter_map(|features| ext4(what, features)) {
        let file = ground.create("a", b"here");
        let before = ground.disk.space(&ground.dir).unwrap();
        assert!(before.free > SMALL / 4, "{before:?}");
        fails_with(ErrorKind::StorageFull, file.allocate(before.free + SMALL / 8), &ground);
        assert_eq!(contents(&*file), b"here");
        // A block or two may go on describing the file.
        assert!(ground.disk.space(&ground.dir).unwrap().free + 16 * 1024 > before.free);
        file.allocate(before.free / 2).unwrap();
        assert!(ground.disk.space(&ground.dir).unwrap().free < before.free / 4 * 3);
    }
}

#[test]
fn a_disk_without_inodes_takes_no_name_and_still_takes_bytes() {
    // Fault case 45.
    for ground in small_grounds("the inodes of a small disk") {
        let left = |ground: &Ground| ground.disk.space(&ground.dir).unwrap().free_inodes;
        assert_eq!(left(&ground), Some(FEW), "{}", ground.name);
        ground.disk.create_dir(&ground.at("d")).unwrap();
        let file = ground.create("d/a", b"a");
        for i in 2..FEW {
            assert_eq!(left(&ground), Some(FEW - i), "{}", ground.name);
            ground.create(&format!("{i}"), b"");
        }
        assert_eq!(left(&ground), Some(0), "{}", ground.name);
        fails_with(ErrorKind::StorageFull, ground.open("b", OpenMode::Create), &ground);
        fails_with(ErrorKind::StorageFull, ground.disk.create_dir(&ground.at("e")), &ground);
        fails_with(ErrorKind::StorageFull, ground.disk.lock(&ground.at("lock")), &ground);
        fails_with(ErrorKind::AlreadyExists, ground.open("2", OpenMode::Create), &ground);
        file.write_at(1, b"b").unwrap();
        ground.disk.rename(&ground.at("d/a"), &ground.at("a")).unwrap();
        ground.disk.remove_dir(&ground.at("d")).unwrap();
        assert_eq!(left(&ground), Some(1), "{}", ground.name);
        ground.create("b", b"");
        assert_eq!(contents(&*file), b"ab", "{}", ground.name);
    }
}

#[test]
fn a_lock_has_one_holder_and_ends_with_it() {
    // Fault case 89.
    for ground in grounds() {
        let path = ground.at("lock");
        let held = ground.disk.lock(&path).unwrap().unwrap();
        assert!(ground.disk.lock(&path).unwrap().is_none(), "{}", ground.name);
        drop(held);
        assert!(ground.disk.lock(&path).unwrap().is_some(), "{}", ground.name);
    }
}
