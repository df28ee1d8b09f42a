//! Walks what is to be stored: regular files with their keys; everything else with the reason why
//! it is left out.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use stash_crypto::{Key, Keyring};
use tokio::sync::mpsc;

use super::error::PutError;
use super::per_process::is_per_process;
use super::spare::{self, Spare};
use crate::model::source::{child_key, root_key};
use crate::progress::Progress;

/// Deepest directory below the root: a key of 1,024 bytes has at most 512 segments.
const DEPTH: usize = 512;
/// Permission bits that are stored: those of a chmod.
const MODE_BITS: u32 = 0o7777;

/// Bytes of a keyring, at most: far more than one with a thousand epochs has.
const KEYS_MAX: u64 = 256 << 10;

/// One thing that the walk met.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(FoundFile),
    /// What is left out.
    Skipped(PathBuf, String),
}

/// A regular file and its key.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    pub(crate) key: Key,
    pub(crate) size: u64,
}

/// What `fstat` says of an open file, so far as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) modified: (i64, u32),
    pub(crate) mode: u32,
    inode: u64,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Stat {
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Stat {
            size: metadata.len(),
            modified: (metadata.mtime(), nanos),
            mode: metadata.mode() & MODE_BITS,
            inode: metadata.ino(),
        }
    }
}

/// Opens a regular file for reading, never through a link and never waiting for a FIFO.
pub(crate) fn open_file(path: &Path) -> std::io::Result<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if metadata.len() <= KEYS_MAX && has_open_keys(&file) {
        return Err(std::io::Error::other(
            "it has the keys of a stash, which no passphrase protects",
        ));
    }
    Ok((file, Stat::of(&metadata)))
}

/// A backup of some keyring, whatever it is called: whoever reads this stash would have its keys.
fn has_open_keys(file: &File) -> bool {
    let mut head = [0; Keyring::HEAD];
    file.read_exact_at(&mut head, 0).is_ok() && Keyring::is_unprotected(&head)
}

/// The root of a put: its canonical path, its key, and whether it is a directory.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) key: Key,
    pub(crate) directory: bool,
    size: u64,
}

/// Looks at what the caller named. A link is followed: the caller named its target.
pub(crate) fn root(source: &Path, as_key: Option<Key>) -> Result<Root, PutError> {
    if is_per_process(source) {
        return Err(PutError::PerProcess { path: source.to_owned() });
    }
    let unreadable = |error| PutError::Source { path: source.to_owned(), source: error };
    let path = fs::canonicalize(source).map_err(unreadable)?;
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_file() && !metadata.is_dir() {
        let why = "it is neither a file nor a directory".to_owned();
        return Err(PutError::Unfit { path: source.to_owned(), why });
    }
    let key = match as_key {
        Some(key) => key,
        None => root_key(&path)
            .map_err(|source_error| PutError::Name { path: path.clone(), source: source_error })?,
    };
    Ok(Root { path, key, directory: metadata.is_dir(), size: metadata.len() })
}

/// Sends everything below the root in order of the directories' names, but what is to be spared;
/// ends early when nobody listens any more.
pub(crate) fn walk(root: Root, spare: &Spare, progress: &Progress, out: &mpsc::Sender<Found>) {
    let walk = Walk { spare, progress, out };
    if spare.covers(&root.path) {
        let _ = walk.skip(root.path, spare::WHY.to_owned());
    } else if root.directory {
        let _ = walk.directory(&root.path, &root.key, DEPTH);
    } else {
        progress.found(1, root.size);
        let file = FoundFile { path: root.path, key: root.key, size: root.size };
        let _ = out.blocking_send(Found::File(file));
    }
}

struct Walk<'a> {
    spare: &'a Spare,
    progress: &'a Progress,
    out: &'a mpsc::Sender<Found>,
}

impl Walk<'_> {
    /// `None` when nobody listens any more.
    fn directory(&self, path: &Path, key: &Key, depth: usize) -> Option<()> {
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(|error| error.to_string());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(why) => return self.skip(path.to_owned(), why),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().try_for_each(|entry| self.entry(entry, key, depth))
    }

    fn entry(&self, entry: &fs::DirEntry, parent: &Key, depth: usize) -> Option<()> {
        let path = entry.path();
        let key = match child_key(parent, &entry.file_name()) {
            Ok(key) => key,
            Err(why) => return self.skip(path, why.to_string()),
        };
        // `DirEntry::metadata` does not follow links.
        match entry.metadata() {
            Ok(metadata) if self.spare.has(&metadata) => self.skip(path, spare::WHY.to_owned()),
            Ok(metadata) if metadata.is_file() => {
                let size = metadata.len();
                self.progress.found(1, size);
                self.out.blocking_send(Found::File(FoundFile { path, key, size })).ok()
            }
            Ok(metadata) if metadata.is_dir() && depth > 0 => {
                self.directory(&path, &key, depth - 1)
            }
            Ok(metadata) => self.skip(path, kind(&metadata).to_owned()),
            Err(error) => self.skip(path, error.to_string()),
        }
    }

    fn skip(&self, path: PathBuf, why: String) -> Option<()> {
        self.out.blocking_send(Found::Skipped(path, why)).ok()
    }
}

fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_symlink() {
        "it is a symbolic link"
    } else if kind.is_fifo() {
        "it is a named pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else if kind.is_dir() {
        "it lies too deep"
    } else {
        "it is a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(root: Root, spare: &Spare) -> (Vec<String>, Vec<(PathBuf, String)>) {
        let (out, mut found) = mpsc::channel(100);
        walk(root, spare, &Progress::new(), &out);
        drop(out);
        let (mut files, mut skipped) = (Vec::new(), Vec::new());
        while let Ok(one) = found.try_recv() {
            match one {
                Found::File(file) => files.push(file.key.to_string()),
                Found::Skipped(path, why) => skipped.push((path, why)),
            }
        }
        (files, skipped)
    }

    /// Fault cases 82 and 83: links and special files are left out with the reason.
    #[test]
    fn a_tree_is_walked_in_order_and_what_cannot_be_stored_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let root_dir = dir.path().join("tree");
        fs::create_dir_all(root_dir.join("b")).unwrap();
        fs::write(root_dir.join("c"), b"c").unwrap();
        fs::write(root_dir.join("b/x"), b"x").unwrap();
        fs::write(root_dir.join("a"), b"a").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root_dir.join("link")).unwrap();
        let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xff");
        fs::write(root_dir.join(odd), b"?").unwrap();
        let (files, skipped) = collect(root(&root_dir, None).unwrap(), &Spare::default());
        assert_eq!(files, ["tree/a", "tree/b/x", "tree/c"]);
        let reasons: Vec<_> = skipped.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(reasons, ["the name is not UTF-8", "it is a symbolic link"]);
    }

    #[test]
    fn a_file_is_its_own_tree_and_may_be_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        fs::write(&path, b"1").unwrap();
        assert_eq!(collect(root(&path, None).unwrap(), &Spare::default()).0, ["one"]);
        let key = Key::new("other/name").unwrap();
        assert_eq!(collect(root(&path, Some(key)).unwrap(), &Spare::default()).0, ["other/name"]);
    }

    #[test]
    fn the_data_directory_is_never_stored_in_itself() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        let data = home.join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("keyring"), b"secret").unwrap();
        fs::write(home.join("letter"), b"l").unwrap();
        fs::create_dir(data.join("store")).unwrap();
        fs::hard_link(data.join("keyring"), home.join("second name")).unwrap();
        std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
        let spare = Spare::of(&data).unwrap();
        let (files, skipped) = collect(root(&home, None).unwrap(), &spare);
        assert_eq!((files, skipped.len()), (vec!["home/letter".to_owned()], 2));
        let link = dir.path().join("link");
        for inside in [&data, &data.join("keyring"), &data.join("store"), &link.join("keyring")] {
            let (files, skipped) = collect(root(inside, None).unwrap(), &spare);
            assert_eq!((files.len(), skipped.len()), (0, 1), "{}", inside.display());
        }
    }

    #[test]
    fn a_missing_input_and_a_device_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = root(&dir.path().join("none"), None).unwrap_err();
        assert_eq!(missing.class(), crate::Class::Unreadable);
        assert!(matches!(root(Path::new("/dev/null"), None), Err(PutError::Unfit { .. })));
    }

    /// Fault case 82: a link that took a file's place after the walk is not followed.
    #[test]
    fn a_file_is_never_opened_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open_file(&link).is_err());
        assert!(open_file(dir.path()).is_err(), "a directory is no file");
    }
}
