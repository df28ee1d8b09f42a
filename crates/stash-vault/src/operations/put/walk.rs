//! Walks what is to be stored: regular files with their keys, links and directories as they are; everything
//! else with the reason why it is left out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use stash_crypto::record::{FileType, LINK_MAX};
use stash_crypto::{Key, Keyring, Meta};
use tokio::sync::mpsc;

use super::error::PutError;
use super::extended::{Facts, Of, may_have_holes};
use super::per_process::is_per_process;
use super::spare::{self, Spare};
use crate::model::source::{Named, NamingError};
use crate::progress::Progress;

/// Deepest directory below the root: a key of 1,024 bytes has at most 512 segments.
const DEPTH: usize = 512;
/// Permission bits that are stored: those of a chmod.
const MODE_BITS: u32 = 0o7777;

/// Bytes of a keyring, at most: far more than one with a thousand epochs has.
const KEYS_MAX: u64 = 256 << 10;

/// A thing that the walk met.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file.
    File(FoundFile),
    /// A link or a directory: its meta says all of it.
    Whole(PathBuf, Box<Meta>),
    /// What is left out, though somebody may want it.
    Skipped(PathBuf, String),
    /// What is said of something, although nothing is missing.
    Noted(PathBuf, String),
}

/// A regular file and its key.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    pub(crate) name: Named,
    pub(crate) size: u64,
    /// The same for every name of a file with several.
    pub(crate) link: Option<[u8; 16]>,
}

/// What `fstat` says of an open file, so far as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) modified: (i64, u32),
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) may_have_holes: bool,
    inode: u64,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Stat {
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Stat {
            size: metadata.len(),
            modified: (metadata.mtime(), nanos),
            mode: metadata.mode() & MODE_BITS,
            owner: (metadata.uid(), metadata.gid()),
            may_have_holes: may_have_holes(metadata),
            inode: metadata.ino(),
        }
    }

    /// True if nothing has changed up to the later look.
    pub(crate) fn holds_at(&self, later: &Stat) -> bool {
        let state = |stat: &Stat| (stat.size, stat.modified, stat.mode, stat.inode);
        state(self) == state(later)
    }

    /// True if the file has become longer up to the later look: what was its content may be so still.
    pub(crate) fn grew_until(&self, later: &Stat) -> bool {
        self.inode == later.inode && later.size > self.size
    }

    /// A sentence about a file that is stored as of its first length.
    pub(crate) fn grew(&self) -> String {
        format!("it grew while it was read: its first {} bytes are stored", self.size)
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

/// The root of a put: its canonical path, its key, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) name: Named,
    metadata: Metadata,
}

impl Root {
    pub(crate) fn is_directory(&self) -> bool {
        self.metadata.is_dir()
    }
}

/// Looks at what the caller named. A link is followed, since the caller named what it stands for; the key
/// is the name that was given.
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
    let name = match as_key {
        Some(key) => Named::given(key),
        None => root_name(source, &path),
    };
    let name = name.map_err(|error| PutError::Name { path: source.to_owned(), source: error })?;
    Ok(Root { path, name, metadata })
}

/// The name that was given, also of a link. One that ends with `..` says nothing of what it names.
fn root_name(source: &Path, canonical: &Path) -> Result<Named, NamingError> {
    let name = source.file_name().or_else(|| canonical.file_name());
    Named::root(name.ok_or(NamingError::NoName)?)
}

/// Sends everything below the root in order of the directories' names, but what is to be spared;
/// ends early when nobody listens any more.
pub(crate) fn walk(root: Root, spare: &Spare, progress: &Progress, out: &mpsc::Sender<Found>) {
    let walk = Walk { spare, progress, out, links: RefCell::default() };
    let Root { path, name, metadata } = root;
    if spare.covers(&path) {
        let _ = walk.skip(path, spare::WHY.to_owned());
    } else if metadata.is_dir() {
        let _ = walk.directory(&path, &name, &metadata, DEPTH);
    } else {
        let _ = walk.file(path, name, &metadata);
    }
}

struct Walk<'a> {
    spare: &'a Spare,
    progress: &'a Progress,
    out: &'a mpsc::Sender<Found>,
    /// Files with several names, by device and inode.
    links: RefCell<HashMap<(u64, u64), Linked>>,
}

/// A file with several names.
struct Linked {
    id: [u8; 16],
    /// Names that have not been met.
    left: u64,
}

impl Walk<'_> {
    /// `None` when nobody listens any more.
    fn directory(
        &self,
        path: &Path,
        name: &Named,
        metadata: &Metadata,
        depth: usize,
    ) -> Option<()> {
        let (meta, note) = whole(path, name, metadata, FileType::Directory, Vec::new());
        self.whole(path.to_owned(), meta, note)?;
        let entries = fs::read_dir(path)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(|error| error.to_string());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(why) => return self.skip(path.to_owned(), why),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().try_for_each(|entry| self.entry(entry, name, depth))
    }

    fn entry(&self, entry: &fs::DirEntry, parent: &Named, depth: usize) -> Option<()> {
        let path = entry.path();
        // `DirEntry::metadata` does not follow links.
        let metadata = match entry.metadata() {
            Ok(metadata) if self.spare.has(&metadata) => {
                return self.note(path, spare::WHY.to_owned());
            }
            Ok(metadata) => metadata,
            Err(error) => return self.skip(path, error.to_string()),
        };
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_dir() && !kind.is_symlink() {
            return self.note(path, special(&metadata).to_owned());
        }
        let name = match parent.child(&entry.file_name()) {
            Ok(name) => name,
            Err(why) => return self.skip(path, why.to_string()),
        };
        if kind.is_file() {
            self.file(path, name, &metadata)
        } else if kind.is_symlink() {
            self.link(path, &name, &metadata)
        } else if depth > 0 {
            self.directory(&path, &name, &metadata, depth - 1)
        } else {
            self.skip(path, "it lies too deep".to_owned())
        }
    }

    fn file(&self, path: PathBuf, name: Named, metadata: &Metadata) -> Option<()> {
        let size = metadata.len();
        self.progress.found(1, size);
        let link = self.link_id(metadata, &name.key);
        self.out.blocking_send(Found::File(FoundFile { path, name, size, link })).ok()
    }

    fn link(&self, path: PathBuf, name: &Named, metadata: &Metadata) -> Option<()> {
        match fs::read_link(&path) {
            Ok(target) if (1..=LINK_MAX).contains(&target.as_os_str().len()) => {
                let target = target.into_os_string().into_vec();
                let (meta, note) = whole(&path, name, metadata, FileType::Link, target);
                self.whole(path, meta, note)
            }
            Ok(_) => self.skip(path, "its target is too long".to_owned()),
            Err(error) => self.skip(path, error.to_string()),
        }
    }

    fn whole(&self, path: PathBuf, meta: Meta, note: Option<String>) -> Option<()> {
        self.progress.found(1, meta.size);
        if let Some(note) = note {
            self.note(path.clone(), note)?;
        }
        self.out.blocking_send(Found::Whole(path, Box::new(meta))).ok()
    }

    /// What all names of a file have in common: the hash of the first key that it gets. `None` of a file
    /// with one name.
    fn link_id(&self, metadata: &Metadata, key: &Key) -> Option<[u8; 16]> {
        if metadata.nlink() < 2 {
            return None;
        }
        let (mut links, file) = (self.links.borrow_mut(), (metadata.dev(), metadata.ino()));
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(key.as_str().as_bytes()).as_bytes()[..16]);
        let linked = links.entry(file).or_insert(Linked { id, left: metadata.nlink() });
        let id = linked.id;
        linked.left -= 1;
        if linked.left == 0 {
            links.remove(&file);
        }
        Some(id)
    }

    fn skip(&self, path: PathBuf, why: String) -> Option<()> {
        self.out.blocking_send(Found::Skipped(path, why)).ok()
    }

    fn note(&self, path: PathBuf, what: String) -> Option<()> {
        self.out.blocking_send(Found::Noted(path, what)).ok()
    }
}

/// The meta of a link or directory, and what is to be said of it.
fn whole(
    path: &Path,
    name: &Named,
    metadata: &Metadata,
    file_type: FileType,
    inline: Vec<u8>,
) -> (Meta, Option<String>) {
    let stat = Stat::of(metadata);
    let facts = Facts::read(Of::Path(path), stat.owner, stat.mode);
    let mut meta = Meta::new(name.key.clone(), inline.len() as u64);
    meta.file_type = file_type;
    meta.modified = Some(stat.modified);
    // That of a link says nothing.
    meta.mode = (file_type == FileType::Directory).then_some(facts.mode);
    meta.inline = Some(inline);
    let note = facts.note();
    let mut attributes = facts.attributes;
    if let Some(raw) = &name.raw {
        attributes.set_path(raw);
    }
    meta.attributes = attributes.into_inner();
    (meta, note)
}

fn special(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a named pipe is not stored"
    } else if kind.is_socket() {
        "a socket is not stored"
    } else {
        "a device is not stored"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: Root, spare: &Spare) -> Vec<Found> {
        let (out, mut found) = mpsc::channel(100);
        walk(root, spare, &Progress::new(), &out);
        drop(out);
        std::iter::from_fn(|| found.try_recv().ok()).collect()
    }

    /// Keys of files, and what is said of all else but directories.
    fn collect(root: Root, spare: &Spare) -> (Vec<String>, Vec<(PathBuf, String)>) {
        let (mut files, mut said) = (Vec::new(), Vec::new());
        for one in found(root, spare) {
            match one {
                Found::File(file) => files.push(file.name.key.to_string()),
                Found::Whole(_, meta) if meta.file_type == FileType::Link => {
                    files.push(format!("{} -> {}", meta.key, meta.inline.unwrap().escape_ascii()));
                }
                Found::Whole(..) => {}
                Found::Skipped(path, why) | Found::Noted(path, why) => said.push((path, why)),
            }
        }
        (files, said)
    }

    /// Fault cases 82 and 83: links are stored as links, and special files are left out with the reason.
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
        let _socket = std::os::unix::net::UnixListener::bind(root_dir.join("s")).unwrap();
        let (files, said) = collect(root(&root_dir, None).unwrap(), &Spare::default());
        let expected =
            ["tree/a", "tree/b/x", "tree/bad\\xFF", "tree/c", "tree/link -> /etc/passwd"];
        assert_eq!(files, expected);
        let reasons: Vec<_> = said.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(reasons, ["a socket is not stored"]);
    }

    #[test]
    fn directories_come_before_what_lies_in_them_with_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("t");
        fs::create_dir_all(tree.join("private/empty")).unwrap();
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(tree.join("private"), closed).unwrap();
        let metas: Vec<_> = found(root(&tree, None).unwrap(), &Spare::default());
        let metas = metas.iter().map(|one| match one {
            Found::Whole(path, meta) => {
                let (metadata, mode) = (fs::metadata(path).unwrap(), meta.mode.unwrap());
                assert_eq!(mode, metadata.mode() & 0o7777);
                assert_eq!(meta.modified, Some(Stat::of(&metadata).modified));
                (meta.key.to_string(), mode == 0o700, meta.inline.clone())
            }
            other => panic!("{other:?}"),
        });
        let empty = Some(Vec::new());
        let expected = [("t", false), ("t/private", true), ("t/private/empty", false)];
        let expected = expected.map(|(key, private)| (key.to_owned(), private, empty.clone()));
        assert!(metas.eq(expected));
    }

    /// F9: a link gives its own name to what it leads to.
    #[test]
    fn a_root_has_the_name_that_was_given() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("release-5/sub")).unwrap();
        std::os::unix::fs::symlink("release-5", dir.path().join("current")).unwrap();
        let key = |path: &str| root(&dir.path().join(path), None).unwrap().name.key.to_string();
        assert_eq!((key("current"), key("current/.")), ("current".into(), "current".into()));
        assert_eq!(key("release-5/sub/.."), "release-5", "it has no name of its own there");
    }

    #[test]
    fn all_names_of_one_file_have_something_in_common() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("t");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("b"), b"x").unwrap();
        fs::hard_link(tree.join("b"), tree.join("a")).unwrap();
        fs::write(tree.join("c"), b"x").unwrap();
        let links: Vec<_> = found(root(&tree, None).unwrap(), &Spare::default())
            .into_iter()
            .filter_map(|one| match one {
                Found::File(file) => Some(file.link),
                _ => None,
            })
            .collect();
        assert!(links[0].is_some() && links[0] == links[1] && links[2].is_none(), "{links:?}");
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
