//! The directory of a store that is not open yet, and FORMAT in it.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Lock, OpenMode};
use crate::files::{Files, each_below};
use crate::format::Format;
use crate::log::AppendError;
use crate::sync::Arc;
use crate::{Disk, IoError, OpenError, Options};

pub(super) const DIRS: [&str; 4] = ["chunks", "log", "quarantine", "tmp"];

pub(super) fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |e| OpenError::Io(IoError::new(op, path, e))
}

pub(super) fn from_append(error: AppendError) -> OpenError {
    match error {
        AppendError::Undone(error) | AppendError::Broken(error) => OpenError::Io(error),
    }
}

pub(super) fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, OpenError> {
    let path = dir.join("LOCK");
    let lock = disk.lock(&path).map_err(io_error("lock", &path))?;
    lock.ok_or_else(|| OpenError::Locked { dir: dir.to_owned() })
}

pub(super) fn files(options: &Options, dir: &Path, format: &Format) -> Arc<Files> {
    let parallel = options.committer == crate::Committer::Thread;
    let disk = Arc::clone(&options.disk);
    Arc::new(Files::new(disk, dir.to_owned(), format.layout, format.store_id, parallel))
}

/// Replaces FORMAT as a whole, durably.
pub(crate) fn write_format(files: &Files, format: &Format) -> Result<(), IoError> {
    files.replace(&files.dir.join("FORMAT"), &format.encode())
}

/// Makes those of these directories that are not there, without making their names durable.
pub(super) fn make_dirs(disk: &dyn Disk, dir: &Path, names: &[&str]) -> Result<(), OpenError> {
    for name in names {
        let path = dir.join(name);
        match disk.create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("make directory", &path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn random_seed() -> io::Result<[u8; 32]> {
    use rand::TryRng;
    let mut seed = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

pub(super) fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<PathBuf, OpenError> {
    match disk.resolve(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        result => return result.map_err(io_error("open", dir)),
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io_error("open", dir)(io::ErrorKind::NotFound.into())),
    };
    let parent = disk.resolve(parent).map_err(io_error("open", parent))?;
    let made = dir.file_name().map_or_else(|| dir.to_owned(), |name| parent.join(name));
    disk.create_dir(&made).map_err(io_error("make directory", &made))?;
    disk.sync_dir(&parent).map_err(io_error("sync directory", &parent))?;
    disk.resolve(&made).map_err(io_error("open", &made))
}

/// Removes all files below a directory. How many there were.
pub(super) fn clear(disk: &dyn Disk, dir: &Path) -> Result<u64, OpenError> {
    let mut removed = 0;
    each_below(disk, dir, &mut |path| {
        removed += 1;
        disk.remove(&path).map_err(io_error("remove", &path))
    })?;
    Ok(removed)
}

pub(super) fn read_format(disk: &dyn Disk, dir: &Path) -> Result<Format, OpenError> {
    let path = dir.join("FORMAT");
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::NoStore { dir: dir.to_owned() });
        }
        Err(e) => return Err(io_error("open", &path)(e)),
    };
    let len = file.len().map_err(io_error("read", &path))?;
    let mut bytes = vec![0; usize::try_from(len.min(4096)).unwrap_or(0)];
    file.read_at(0, &mut bytes).map_err(io_error("read", &path))?;
    Format::decode(&bytes, dir)
}

pub(super) fn resolve(disk: &dyn Disk, dir: &Path) -> Result<PathBuf, OpenError> {
    match disk.resolve(dir) {
        Ok(dir) => Ok(dir),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::NoStore { dir: dir.to_owned() })
        }
        Err(e) => Err(io_error("open", dir)(e)),
    }
}

/// Refuses a store that is another one, or must not be written to.
pub(super) fn admit(format: &Format, dir: &Path, options: &Options) -> Result<(), OpenError> {
    if !options.read_only {
        format.may_write(dir)?;
    }
    match options.expect_store {
        Some(expected) if expected != format.store_id => {
            Err(OpenError::WrongStore { expected, got: format.store_id })
        }
        _ => Ok(()),
    }
}
