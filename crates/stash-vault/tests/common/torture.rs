//! A tree with everything that a file system has and that trees went wrong over, and a look at what came back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::noise;

const MIB: u64 = 1 << 20;
/// Bytes that a hole may cost where it comes back: file systems give room by the piece.
const SLACK: u64 = 256 << 10;

/// Names that some program took for something else, or could not write.
const NAMES: &[&[u8]] = &[
    b"plain",
    b"with space",
    b" leading",
    b"trailing ",
    b"new\nline",
    b"return\r",
    b"tab\t",
    b"bell\x07",
    b"escape\x1b[31m",
    b"\x01",
    b"\x7f",
    b"quote'",
    b"quote\"",
    b"`command`",
    b"$HOME",
    b"~",
    b"-dash",
    b"--help",
    b"*",
    b"?",
    b"[a]",
    b"{b}",
    b"#",
    b"!",
    b"&",
    b";",
    b"|",
    b"<",
    b">",
    b"(",
    b"%",
    b"%41",
    b"@",
    b"=",
    b":",
    b"C:",
    b"a,b",
    b"\\",
    b"\\x",
    b"\\x41",
    b"\\xE9",
    b"\\x5Cx41",
    b".hidden",
    b"..double",
    b"...",
    b"dot.",
    b"con",
    b"nul.txt",
    b".stash-0123456789abcdef.part",
    b"CAPS",
    b"caps",
    "\u{e4}".as_bytes(),
    "a\u{308}".as_bytes(),
    "\u{65e5}\u{672c}".as_bytes(),
    "\u{1f980}".as_bytes(),
    "\u{202e}right to left".as_bytes(),
    "\u{200b}".as_bytes(),
    "\u{feff}mark".as_bytes(),
    b"caf\xe9",
    b"\xff",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"cut\xe2\x82",
    b"mixed \\x41 \xe9",
];

/// Seconds and nanoseconds of files and directories.
const TIMES: [(i64, u32); 6] = [
    (0, 0),
    (0, 1),
    (-1, 999_999_999),
    (1_700_000_000, 123_456_789),
    (1 << 32, 500),
    (-86_400 * 365 * 60, 7),
];

/// Makes the tree. What has a mode or a time gets it last.
pub(crate) fn make(tree: &Path) {
    fs::create_dir(tree).unwrap();
    names(&tree.join("names"));
    sizes(&tree.join("sizes"));
    links(&tree.join("links"));
    holes(&tree.join("holes"));
    special(&tree.join("special"));
    deep(&tree.join("deep"));
    modes(&tree.join("modes"));
    times(&tree.join("times"));
}

fn names(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let long: [Vec<u8>; 3] =
        [vec![b'n'; 255], "\u{e4}".repeat(127).into_bytes(), [&[0xff; 63][..], b"xyz"].concat()];
    for name in NAMES.iter().map(|name| name.to_vec()).chain(long) {
        let path = dir.join(OsString::from_vec(name.clone()));
        fs::write(&path, &name).unwrap();
        // The same as a directory.
        let mut inside = path.into_os_string().into_vec();
        if inside.rsplit(|byte| *byte == b'/').next().unwrap().len() < 63 {
            inside.extend_from_slice(b".d");
            let inside = PathBuf::from(OsString::from_vec(inside));
            fs::create_dir(&inside).unwrap();
            fs::write(inside.join("in"), &name).unwrap();
        }
    }
}

fn sizes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for size in [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB + 5] {
        let size = usize::try_from(size).unwrap();
        fs::write(dir.join(size.to_string()), noise(size, size as u64)).unwrap();
    }
}

fn links(dir: &Path) {
    fs::create_dir_all(dir.join("to")).unwrap();
    fs::write(dir.join("to/file"), b"file").unwrap();
    for (name, target) in [
        ("relative", &b"to/file"[..]),
        ("directory", b"to"),
        ("absolute", b"/etc/passwd"),
        ("dangling", b"no/where"),
        ("itself", b"itself"),
        ("up", b"../../.."),
        ("bytes", b"caf\xe9\n"),
        ("long", &[b'x'; 4095]),
    ] {
        symlink(OsString::from_vec(target.to_vec()), dir.join(name)).unwrap();
    }
    fs::hard_link(dir.join("to/file"), dir.join("hard")).unwrap();
}

/// Files with holes: nothing else, at the beginning, in the middle, at the end, smaller than a chunk.
fn holes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (name, size, data) in [
        ("all", 1024 * MIB, &[][..]),
        ("begin", 100 * MIB, &[100 * MIB - 5]),
        ("middle", 100 * MIB + 7, &[0, 50 * MIB + 100, 100 * MIB]),
        ("end", 100 * MIB, &[0]),
        ("odd", 3 * MIB + 1, &[3 * MIB]),
        ("small", MIB / 2, &[0, MIB / 2 - 4096]),
    ] {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(size).unwrap();
        for at in data {
            let len = usize::try_from((size - at).min(4096)).unwrap();
            file.write_all_at(&noise(len, *at), *at).unwrap();
        }
        file.sync_all().unwrap();
    }
}

fn special(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), fifo, mode, 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
}

fn deep(dir: &Path) {
    let bottom = (0..100).fold(dir.to_owned(), |at, _| at.join("d"));
    fs::create_dir_all(&bottom).unwrap();
    fs::write(bottom.join("bottom"), b"x").unwrap();
}

fn modes(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    for mode in [0o400, 0o444, 0o600, 0o640, 0o644, 0o755, 0o777] {
        let path = dir.join(format!("{mode:o}"));
        fs::write(&path, b"x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    for mode in [0o500, 0o700, 0o750, 0o777, 0o1777] {
        let path = dir.join(format!("d{mode:o}"));
        fs::create_dir_all(path.join("below")).unwrap();
        fs::write(path.join("below/file"), b"x").unwrap();
        symlink("below", path.join("link")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
}

fn times(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (seconds, nanos) in TIMES {
        let at = dir.join(format!("{seconds}.{nanos}"));
        fs::create_dir(&at).unwrap();
        fs::write(at.join("file"), b"x").unwrap();
        symlink("file", at.join("link")).unwrap();
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        for path in [at.join("file"), at.join("link"), at] {
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).unwrap();
        }
    }
}

/// What a tree holds of one path, as far as it is to come back.
#[derive(Debug, PartialEq)]
struct Seen {
    mode: u32,
    modified: (i64, i64),
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Directory,
    Link(PathBuf),
    File { size: u64, hash: [u8; 32] },
}

fn look(root: &Path, at: &Path, seen: &mut BTreeMap<PathBuf, (Seen, u64)>) {
    let metadata = fs::symlink_metadata(at).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| look(root, entry, seen));
        Content::Directory
    } else if kind.is_symlink() {
        Content::Link(fs::read_link(at).unwrap())
    } else if kind.is_file() {
        Content::File { size: metadata.len(), hash: hash(at) }
    } else {
        return;
    };
    let bits = if kind.is_dir() { 0o1777 } else { 0o777 };
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let seen_here = Seen { mode: metadata.mode() & bits, modified, content };
    let path = at.strip_prefix(root).unwrap().to_owned();
    seen.insert(path, (seen_here, allocated(&metadata)));
}

fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

fn hash(path: &Path) -> [u8; 32] {
    let (mut file, mut hasher) = (File::open(path).unwrap(), blake3::Hasher::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return *hasher.finalize().as_bytes(),
            len => hasher.update(&buffer[..len]),
        };
    }
}

/// Compares two trees: types, modes, times, targets, contents, and that holes are holes. Privileges of files
/// and what is never stored are not looked at.
pub(crate) fn compare(before: &Path, after: &Path) {
    let (mut one, mut two) = (BTreeMap::new(), BTreeMap::new());
    look(before, before, &mut one);
    look(after, after, &mut two);
    let paths = |seen: &BTreeMap<PathBuf, _>| seen.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&one), paths(&two));
    for (path, (seen, allocated)) in one {
        let (came, takes) = &two[&path];
        assert_eq!(seen, *came, "{}", path.display());
        assert!(*takes <= allocated + SLACK, "{}: {takes} for {allocated}", path.display());
    }
}

/// What another program says of the same two trees; `None` if it is not there.
pub(crate) fn differences(before: &Path, after: &Path) -> Option<String> {
    let slash = |path: &Path| {
        let mut text = path.as_os_str().to_owned();
        text.push("/");
        text
    };
    let mut rsync = std::process::Command::new("rsync");
    rsync.args(["-rlptHn", "--delete", "--checksum", "--itemize-changes"]);
    let output = rsync.arg(slash(before)).arg(slash(after)).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lets everything below be removed.
pub(crate) fn open_up(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o700)).unwrap();
            open_up(&entry.path());
        }
    }
}

/// The time of a file, so that two writes of a test are told apart.
pub(crate) fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(path).unwrap().set_modified(time).unwrap();
}
