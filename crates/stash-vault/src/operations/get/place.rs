//! Where a file is written: beside its final name, unseen, then renamed. Nothing is ever written
//! outside the directory that was opened, whatever the keys and whatever links lie there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat, renameat_with,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use stash_crypto::Meta;

use super::beside::{give, give_link};
use super::error::GetError;
use super::options::{GetOptions, Restore};
use super::report::Written;

/// Mode of a file while it is being written.
const UNSEEN: Mode = Mode::RUSR.union(Mode::WUSR);
/// Mode of a directory that was made for a get and is not whole yet. Nobody but its owner enters it, and
/// hardly anything else has this mode: a later get knows by it that the directory is still to be given its
/// own mode.
pub(super) const UNFINISHED: Mode = Mode::RWXU.union(Mode::SVTX);
/// Permission bits that are given back to files. Set-user-id and the like are not: a file that comes
/// from another machine gains no privilege here.
const FILE_BITS: u32 = 0o777;
/// What is given back to whoever asks for privileges.
pub(super) const ALL_BITS: u32 = 0o7777;

/// A directory that is held open: what is done in it cannot be led elsewhere.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl Directory {
    /// Opens the directory that the caller named; links in its path are the caller's.
    pub(crate) fn open(path: &Path) -> Result<Directory, GetError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let fd = opened.map_err(|error| GetError::output(path, error))?;
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Opens the directory of this name, making it with this mode if it is missing; `None` if it is and no
    /// mode is given. Links are refused.
    fn child(&self, name: &OsStr, made: Option<Mode>) -> Result<Option<Directory>, GetError> {
        let path = self.path.join(name);
        let mut opened = self.open_child(name);
        if let Err(Errno::NOENT) = opened {
            let Some(mode) = made else { return Ok(None) };
            match mkdirat(&self.fd, name, mode) {
                Ok(()) | Err(Errno::EXIST) => opened = self.open_child(name),
                Err(error) => return Err(GetError::output(&path, error)),
            }
        }
        match opened {
            Ok(fd) => Ok(Some(Directory { fd, path })),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(GetError::Unsafe { path }),
            Err(error) => Err(GetError::output(&path, error)),
        }
    }

    /// Opens the directory below this one if it is there, and no link is on the way.
    pub(super) fn find(self: &Arc<Self>, segments: &[OsString]) -> Option<Arc<Directory>> {
        let mut at = Arc::clone(self);
        for segment in segments {
            let fd = at.open_child(segment).ok()?;
            at = Arc::new(Directory { fd, path: at.path.join(segment) });
        }
        Some(at)
    }

    fn open_child(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// A new file that nobody sees under `name` before [`Unseen::publish`].
    pub(crate) fn create(self: &Arc<Self>, name: &OsStr) -> Result<Unseen, GetError> {
        let temporary = temporary();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        let fd = openat(&self.fd, &temporary, flags, UNSEEN)
            .map_err(|error| GetError::output(&path, error))?;
        let directory = Arc::clone(self);
        Ok(Unseen { directory, temporary, file: File::from(fd), path, published: false })
    }

    /// Makes a symbolic link, or puts it in the place of what has the name, with `overwrite`. What
    /// it leads to is not looked at.
    pub(crate) fn link(
        &self,
        name: &OsStr,
        meta: &Meta,
        options: &GetOptions,
    ) -> Result<Written, GetError> {
        let path = self.path.join(name);
        let failed = |error: Errno| GetError::output(&path, error);
        let target = OsStr::from_bytes(meta.inline.as_deref().unwrap_or_default());
        let temporary = temporary();
        symlinkat(target, &self.fd, &temporary).map_err(failed)?;
        let fd = self.fd.as_fd();
        let given = give_link(fd, &temporary, meta, options.restore).map_err(failed);
        let made = given.and_then(|lacks| {
            rename(fd, &temporary, name, options.overwrite, &path)?;
            Ok(Written { path, lacks })
        });
        if made.is_err() {
            // If even this fails, an invisible link is left: nothing more can be done about it.
            let _ = unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        made
    }

    /// Gives a file that is written another name; where the file system knows no hard links, a copy.
    pub(crate) fn second_name(
        self: &Arc<Self>,
        name: &OsStr,
        meta: &Meta,
        first: (&Directory, &OsStr),
        options: &GetOptions,
    ) -> Result<Written, GetError> {
        let (path, temporary) = (self.path.join(name), temporary());
        let (directory, first) = (&first.0.fd, first.1);
        if linkat(directory, first, &self.fd, &temporary, AtFlags::empty()).is_ok() {
            let named = rename(self.fd.as_fd(), &temporary, name, options.overwrite, &path);
            // Still there after an error, and after a rename onto another name of the same file.
            let _ = unlinkat(&self.fd, &temporary, AtFlags::empty());
            return named.map(|()| Written { path, lacks: None });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(directory, first, flags, Mode::empty());
        let mut from = File::from(opened.map_err(|error| GetError::output(&path, error))?);
        let unseen = self.create(name)?;
        io::copy(&mut from, &mut unseen.file()).map_err(|error| unseen.failed(error))?;
        unseen.publish(meta, options)
    }
}

/// The directory in which the last file was written: most files lie in the one of the file before.
#[derive(Debug)]
pub(super) struct Cursor {
    root: Option<Arc<Directory>>,
    /// The modes of directories that nothing describes; `None` if nothing is made.
    made: Option<Mode>,
    folders: Vec<OsString>,
    at: Option<Arc<Directory>>,
}

impl Cursor {
    /// Begins at the output, which is missing in a dry run at most.
    pub(super) fn new(root: Option<&Arc<Directory>>, options: &GetOptions) -> Cursor {
        let made = (!options.dry_run).then(|| usual_mode(options.umask));
        Cursor { root: root.cloned(), made, folders: Vec::new(), at: root.cloned() }
    }

    /// Opens the directory below the root, making what is missing; `None` in a dry run, where nothing is
    /// made.
    pub(super) fn descend(
        &mut self,
        folders: &[OsString],
    ) -> Result<Option<&Arc<Directory>>, GetError> {
        if self.folders != folders {
            let mut at = self.root.clone();
            for segment in folders {
                let Some(above) = at else { break };
                at = above.child(segment, self.made)?.map(Arc::new);
            }
            self.at = at;
            self.folders = folders.to_vec();
        }
        Ok(self.at.as_ref())
    }

    /// Opens the directory of this path, making one that only its owner enters: it gets its mode when
    /// everything lies in it. False if it is missing in a dry run.
    pub(super) fn closed(&mut self, path: &[OsString]) -> Result<bool, GetError> {
        let made = self.made.map(|_| UNFINISHED);
        let Some((name, folders)) = path.split_last() else { return Ok(self.root.is_some()) };
        match self.descend(folders)? {
            Some(above) => Ok(above.child(name, made)?.is_some()),
            None => Ok(false),
        }
    }
}

/// The directories on the way to a file below the output, and its name.
pub(crate) type Place = (Vec<OsString>, OsString);

/// The permission bits that a file is given.
pub(super) fn file_bits(restore: Restore) -> u32 {
    if restore.privileged { ALL_BITS } else { FILE_BITS }
}

/// The mode of a directory that nothing describes; the umask of the process is taken off besides.
pub(super) fn usual_mode(umask: Option<u32>) -> Mode {
    Mode::from_raw_mode(0o777 & !umask.unwrap_or_default())
}

/// A hidden name that nobody else has.
pub(crate) fn temporary() -> String {
    format!(".stash-{:016x}.part", rand::rng().next_u64())
}

/// Gives something its name. Without `overwrite`, what has the name by now is left as it is.
fn rename(
    directory: BorrowedFd<'_>,
    from: &str,
    to: &OsStr,
    overwrite: bool,
    path: &Path,
) -> Result<(), GetError> {
    let renamed = if overwrite {
        renameat(directory, from, directory, to)
    } else {
        rename_new(directory, from, to)
    };
    let path = || path.to_owned();
    match renamed {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(GetError::Exists { path: path() }),
        Err(Errno::ISDIR | Errno::NOTEMPTY) => {
            Err(GetError::Occupied { path: path(), what: "a directory" })
        }
        Err(error) => Err(GetError::output(&path(), error)),
    }
}

/// A file under a temporary name, removed when dropped unless published.
#[derive(Debug)]
pub(crate) struct Unseen {
    directory: Arc<Directory>,
    temporary: String,
    file: File,
    path: PathBuf,
    published: bool,
}

impl Unseen {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its mode and time and its name. Without `overwrite`, what has the name by now is
    /// left as it is.
    pub(crate) fn publish(
        mut self,
        meta: &Meta,
        options: &GetOptions,
    ) -> Result<Written, GetError> {
        let written = self.file.metadata().map_err(|error| self.failed(error))?.len();
        if written != meta.size {
            let why = format!("{written} bytes were written of {}", meta.size);
            return Err(self.failed(io::Error::other(why)));
        }
        let given = give(&self.file, meta, file_bits(options.restore), options.restore);
        let lacks = given.map_err(|error| self.failed(error))?;
        let name = self.path.file_name().unwrap_or_default();
        let directory = self.directory.fd.as_fd();
        rename(directory, &self.temporary, name, options.overwrite, &self.path)?;
        self.published = true;
        Ok(Written { path: self.path.clone(), lacks })
    }

    fn failed(&self, error: impl Into<io::Error>) -> GetError {
        GetError::output(&self.path, error)
    }
}

/// Renames and never replaces. File systems without that flag get a link and an unlink.
fn rename_new(directory: impl AsFd, from: &str, to: &OsStr) -> Result<(), Errno> {
    let directory = directory.as_fd();
    match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, from, directory, to, AtFlags::empty())?;
            unlinkat(directory, from, AtFlags::empty())
        }
        renamed => renamed,
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if !self.published {
            // If even this fails, an invisible file is left: nothing more can be done about it.
            let _ = unlinkat(&self.directory.fd, &self.temporary, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::Key;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn meta(size: u64) -> Meta {
        let mut meta = Meta::new(Key::new("k").unwrap(), size);
        meta.mode = Some(0o4751);
        meta.modified = Some((-5, 7));
        meta
    }

    fn write(dir: &Path, name: &str, bytes: &[u8], overwrite: bool) -> Result<PathBuf, GetError> {
        let unseen = Arc::new(Directory::open(dir)?).create(OsStr::new(name))?;
        unseen.file().write_all(bytes).unwrap();
        let options = GetOptions { overwrite, ..GetOptions::default() };
        unseen.publish(&meta(4), &options).map(|written| written.path)
    }

    fn cursor(dir: &Path) -> Cursor {
        let root = Arc::new(Directory::open(dir).unwrap());
        Cursor::new(Some(&root), &GetOptions::default())
    }

    fn segments(path: &str) -> Vec<OsString> {
        path.split('/').map(OsString::from).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_gets_its_mode_and_time_and_no_privilege() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "a", b"1234", false).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-5, 7));
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn an_existing_output_is_only_replaced_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"old").unwrap();
        let refused = write(dir.path(), "a", b"1234", false);
        assert!(matches!(refused, Err(GetError::Exists { .. })));
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a"], "the temporary file is gone");
        write(dir.path(), "a", b"1234", true).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"1234");
    }

    /// Fault case 14: a file that ends early is never visible.
    #[test]
    fn a_file_of_another_size_than_its_meta_says_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path(), "a", b"123", true).is_err());
        assert!(names(dir.path()).is_empty());
    }

    /// Fault case 82: a link at the output is replaced, never followed.
    #[test]
    fn overwriting_a_link_leaves_its_target_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, b"precious").unwrap();
        symlink(&target, dir.path().join("a")).unwrap();
        write(dir.path(), "a", b"1234", true).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(!dir.path().join("a").is_symlink());
    }

    /// Fault case 84: a link inside the tree leads nothing outside it.
    #[test]
    fn descending_through_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let mut cursor = cursor(dir.path());
        for path in ["link", "file/x"] {
            let refused = cursor.descend(&segments(path));
            assert!(matches!(refused, Err(GetError::Unsafe { .. })), "{path}");
        }
        cursor.descend(&segments("new/deep")).unwrap();
        assert!(dir.path().join("new/deep").is_dir());
        assert!(names(outside.path()).is_empty());
    }

    /// Decision 0050: no link that a put brought leads a later write anywhere.
    #[test]
    fn a_link_is_made_with_its_time_and_replaces_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), b"mine").unwrap();
        symlink("precious", dir.path().join("l")).unwrap();
        let root = Directory::open(dir.path()).unwrap();
        let link = Meta { inline: Some(b"no/where\xff".to_vec()), ..meta(9) };
        let refused = root.link(OsStr::new("l"), &link, &GetOptions::default());
        assert!(matches!(refused, Err(GetError::Exists { .. })));
        assert_eq!(names(dir.path()).len(), 2, "no temporary link is left");
        for name in ["l", "new"] {
            let options = GetOptions { overwrite: true, ..GetOptions::default() };
            let path = root.link(OsStr::new(name), &link, &options).unwrap().path;
            let target = std::fs::read_link(&path).unwrap();
            assert_eq!(target.as_os_str().as_bytes(), b"no/where\xff");
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-5, 7));
        }
        assert_eq!(std::fs::read(dir.path().join("precious")).unwrap(), b"mine");
        let refused = cursor(dir.path()).descend(&segments("new/x")).map(drop);
        assert!(matches!(refused, Err(GetError::Unsafe { .. })));
    }

    #[test]
    fn a_directory_that_a_record_describes_is_closed_and_others_have_the_callers_umask() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(Directory::open(dir.path()).unwrap());
        let options = GetOptions { umask: Some(0o027), ..GetOptions::default() };
        let mut cursor = Cursor::new(Some(&root), &options);
        cursor.closed(&segments("usual/closed")).unwrap();
        let mode =
            |path: &str| dir.path().join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("usual") & 0o027, 0);
        assert_eq!(mode("usual/closed"), 0o1700);
        std::fs::set_permissions(
            dir.path().join("usual/closed"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        cursor.closed(&segments("usual/closed")).unwrap();
        assert_eq!(mode("usual/closed"), 0o755, "one that is there stays as it is");
    }
}
