//! What has a name in the output already: nothing, what is to be written, or something else.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, FileType as Kind, Mode, OFlags, Stat, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;
use stash_crypto::Meta;
use stash_crypto::record::FileType;

use super::beside::{give, missing};
use super::error::GetError;
use super::options::{GetOptions, Restore};
use super::place::{Directory, file_bits};
use super::report::Written;

/// What is to be done for a file or link.
#[derive(Debug)]
pub(super) enum Step {
    /// It is to be written.
    Write,
    /// It is there. What it lacks is told.
    Leave(Written),
    /// It is there if it has the content as well; then it lacks this.
    Compare(Option<String>),
}

/// What has the name of a file or link.
#[derive(Debug, PartialEq)]
enum There {
    /// Nothing.
    Nothing,
    /// What is to be written, by all that can be told without reading it.
    Same {
        /// What it has not, of its mode and of what was asked for, as a list.
        lacks: Option<String>,
        /// True if the version does not say when it was changed: only its content can tell.
        by_content: bool,
    },
    /// Another file or link.
    Other,
}

impl Directory {
    /// Decides what is to be done for a file or link, and gives what is there what it lacks, if that is
    /// wanted.
    pub(super) fn step(
        &self,
        name: &OsStr,
        meta: &Meta,
        options: &GetOptions,
    ) -> Result<Step, GetError> {
        match self.look(name, meta, options.restore)? {
            There::Nothing => Ok(Step::Write),
            There::Other => self.compared(name, meta, options, None, false),
            There::Same { lacks, by_content } => match by_content || options.verify {
                true if meta.file_type == FileType::Regular => Ok(Step::Compare(lacks)),
                _ => self.compared(name, meta, options, lacks, true),
            },
        }
    }

    /// The same for one of which is known whether it has the content.
    pub(super) fn compared(
        &self,
        name: &OsStr,
        meta: &Meta,
        options: &GetOptions,
        lacks: Option<String>,
        same: bool,
    ) -> Result<Step, GetError> {
        let path = self.path.join(name);
        let leave = |lacks| Step::Leave(Written { path: path.clone(), lacks });
        match lacks {
            _ if !same && options.overwrite => Ok(Step::Write),
            _ if !same => Err(GetError::Exists { path }),
            None => Ok(leave(None)),
            Some(lacks) if !options.overwrite => {
                Ok(leave(Some(format!("was there already, without {lacks}"))))
            }
            Some(_) if options.dry_run => Ok(leave(None)),
            Some(_) => match self.mend(name, meta, options.restore)? {
                Some(lacks) => Ok(leave(lacks)),
                None => Ok(Step::Write),
            },
        }
    }

    /// Looks at what has this name. Links are not followed, and nothing is opened that could wait.
    fn look(&self, name: &OsStr, meta: &Meta, restore: Restore) -> Result<There, GetError> {
        let path = || self.path.join(name);
        let stat = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(There::Nothing),
            Err(error) => return Err(GetError::output(&path(), error)),
        };
        let same = match (Kind::from_raw_mode(stat.st_mode), meta.file_type) {
            (Kind::RegularFile, FileType::Regular) => {
                u64::try_from(stat.st_size) == Ok(meta.size) && is_time_of(&stat, meta)
            }
            (Kind::Symlink, FileType::Link) => {
                let target = readlinkat(&self.fd, name, Vec::new());
                let target = target.map_err(|error| GetError::output(&path(), error))?;
                // Two links of one target are the same, whenever they were made.
                Some(target.as_bytes()) == meta.inline.as_deref()
            }
            (Kind::RegularFile | Kind::Symlink, _) => false,
            (other, _) => return Err(GetError::Occupied { path: path(), what: article(other) }),
        };
        if !same {
            return Ok(There::Other);
        }
        if meta.file_type == FileType::Link {
            return Ok(There::Same { lacks: None, by_content: false });
        }
        let mut list = Vec::new();
        if let Some(mode) = meta.mode {
            let bits = file_bits(restore);
            // With an ACL, the bits of the group are its mask.
            let bits = if restore.acl { bits & !0o070 } else { bits };
            let (has, wants) = (stat.st_mode & bits, mode & bits);
            if has != wants {
                list.push(format!("mode {wants:o} (it has {has:o})"));
            }
        }
        if restore.owner || restore.acl || restore.xattr {
            match self.open_file(name) {
                Ok(file) => list.extend(missing(&file, &stat, meta, restore)),
                Err(error) => return Err(GetError::output(&path(), error)),
            }
        }
        let lacks = (!list.is_empty()).then(|| list.join(", "));
        Ok(There::Same { lacks, by_content: meta.modified.is_none() })
    }

    /// Opens a file of this directory to read it.
    pub(super) fn open_file(&self, name: &OsStr) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty()).map(File::from)
    }

    /// Gives a file that is there what it lacks beside its content. `None` if it has other names, which
    /// are not this get's business, or cannot be opened: then it is to be written anew.
    fn mend(
        &self,
        name: &OsStr,
        meta: &Meta,
        restore: Restore,
    ) -> Result<Option<Option<String>>, GetError> {
        let Ok(file) = self.open_file(name) else { return Ok(None) };
        let alone = fstat(&file).is_ok_and(|stat| {
            stat.st_nlink == 1 && Kind::from_raw_mode(stat.st_mode) == Kind::RegularFile
        });
        if !alone {
            return Ok(None);
        }
        let given = give(file.as_fd(), meta, file_bits(restore), restore);
        given.map(Some).map_err(|error| GetError::output(&self.path.join(name), error))
    }

    /// True if two names are of one file.
    pub(super) fn is_one_file(&self, name: &OsStr, other: (&Directory, &OsStr)) -> bool {
        let stat = |directory: &Directory, name: &OsStr| {
            let stat = statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        let one = stat(self, name);
        one.is_some() && one == stat(other.0, other.1)
    }
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::Fifo => "a named pipe",
        Kind::Socket => "a socket",
        Kind::BlockDevice | Kind::CharacterDevice => "a device",
        _ => "neither a file nor a directory",
    }
}

/// True if the file was changed when the version says. Many file systems keep only the first digits of a
/// second: a file has the time that was given to it if the rest is zeros. A version without a time has any.
fn is_time_of(stat: &Stat, meta: &Meta) -> bool {
    let Some((seconds, nanos)) = meta.modified else { return true };
    let Ok(has) = u32::try_from(stat.st_mtime_nsec) else { return false };
    let digits = |unit: u32| has == nanos / unit * unit;
    stat.st_mtime == seconds && (0..=9).any(|zeros| digits(10_u32.pow(zeros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use stash_crypto::Key;

    fn meta(kind: FileType, content: &[u8]) -> Meta {
        let mut meta = Meta::new(Key::new("k").unwrap(), content.len() as u64);
        (meta.file_type, meta.inline) = (kind, Some(content.to_vec()));
        (meta.mode, meta.modified) = (Some(0o640), Some((100, 123_456_789)));
        meta
    }

    fn same(lacks: Option<&str>) -> There {
        There::Same { lacks: lacks.map(str::to_owned), by_content: false }
    }

    #[test]
    fn a_file_is_the_same_by_size_and_time_and_lacks_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (at, path) = (Directory::open(dir.path()).unwrap(), dir.path().join("f"));
        let look = |meta: &Meta| at.look(OsStr::new("f"), meta, Restore::default()).unwrap();
        let file = meta(FileType::Regular, b"1234");
        assert_eq!(look(&file), There::Nothing);
        fs::write(&path, b"4321").unwrap();
        assert_eq!(look(&file), There::Other, "it is of now");
        let set = |nanos: u32| {
            let time = SystemTime::UNIX_EPOCH + Duration::new(100, nanos);
            File::open(&path).unwrap().set_modified(time).unwrap();
        };
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        for (nanos, is) in [
            (123_456_789, true),
            (123_456_700, true),
            (123_000_000, true),
            (0, true),
            (123_456_788, false),
            (123_456_790, false),
            (120_000_001, false),
        ] {
            set(nanos);
            assert_eq!(look(&file) == same(None), is, "{nanos}");
        }
        set(123_456_789);
        assert_eq!(look(&meta(FileType::Regular, b"12345")), There::Other);
        let undated = Meta { modified: None, ..file.clone() };
        assert_eq!(look(&undated), There::Same { lacks: None, by_content: true });
        fs::set_permissions(&path, Permissions::from_mode(0o4600)).unwrap();
        assert_eq!(look(&file), same(Some("mode 640 (it has 600)")));
        let mended = at.mend(OsStr::new("f"), &file, Restore::default()).unwrap();
        assert_eq!((mended, look(&file)), (Some(None), same(None)));
        fs::hard_link(&path, dir.path().join("other")).unwrap();
        assert_eq!(at.mend(OsStr::new("f"), &file, Restore::default()).unwrap(), None);
    }

    #[test]
    fn a_link_is_the_same_by_its_target_and_what_is_no_file_is_never_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = Directory::open(dir.path()).unwrap();
        symlink("there", dir.path().join("l")).unwrap();
        let look = |name: &str, meta: &Meta| at.look(OsStr::new(name), meta, Restore::default());
        let link = |target: &[u8]| meta(FileType::Link, target);
        assert_eq!(look("l", &link(b"there")).unwrap(), same(None));
        assert_eq!(look("l", &link(b"other")).unwrap(), There::Other);
        assert_eq!(look("l", &meta(FileType::Regular, b"there")).unwrap(), There::Other);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&at.fd, "p", fifo, Mode::RUSR, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap());
        fs::create_dir(dir.path().join("d")).unwrap();
        for (name, word) in [("p", "pipe"), ("s", "socket"), ("d", "directory")] {
            for meta in [link(b"there"), meta(FileType::Regular, b"1")] {
                let error = look(name, &meta).unwrap_err();
                let GetError::Occupied { what, .. } = error else { panic!("{error}") };
                assert!(what.contains(word), "{what}");
            }
        }
    }
}
