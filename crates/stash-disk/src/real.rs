//! The disk of the operating system.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, StatVfs};
use rustix::io::Errno;

use crate::{DirEntry, Disk, DiskFile, Identity, Lock, OpenMode, Space, read_once};

/// Files are for their owner alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Directories are for their owner alone.
const DIR_MODE: Mode = Mode::RWXU;
/// Bytes of zeros written at a time where the file system cannot reserve room: so many that the
/// number of calls does not matter.
const ZEROS: usize = 64 * 1024;

/// The disk of the operating system, through `rustix`.
///
/// Every path is opened without following a symbolic link in any of its parts, so that a link
/// planted in the data directory leads nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The disk of the operating system.
    pub const fn new() -> RealDisk {
        RealDisk
    }
}

/// Opens no more than the way to a file, where that can be done.
#[cfg(target_os = "linux")]
const AS_A_PATH: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const AS_A_PATH: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

#[cfg(target_os = "linux")]
fn open_beneath(path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    use rustix::fs::{CWD, ResolveFlags};
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match fs::openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => return Ok(fd),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A kernel before 5.6, or a sandbox that forbids the call.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(fs::open(path, flags, mode)?),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode)?)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// The directory of a path, open, and the last part of the path.
fn parent(path: &Path) -> io::Result<(OwnedFd, &std::ffi::OsStr)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no parent or name");
    let dir = path.parent().ok_or_else(invalid)?;
    let name = path.file_name().ok_or_else(invalid)?;
    Ok((open_dir(dir)?, name))
}

impl Disk for RealDisk {
    fn resolve(&self, dir: &Path) -> io::Result<PathBuf> {
        let resolved = dir.canonicalize()?;
        if !resolved.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        Ok(resolved)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::Create | OpenMode::CreateDirect => {
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL
            }
        };
        let create = if mode.creates() { FILE_MODE } else { Mode::empty() };
        let file = std::fs::File::from(open_beneath(path, flags | OFlags::NONBLOCK, create)?);
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let alignment = (mode == OpenMode::CreateDirect).then(|| direct::begin(&file)).flatten();
        let direct = AtomicBool::new(alignment.is_some());
        Ok(Arc::new(RealFile { file, alignment, direct }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = parent(path)?;
        Ok(fs::mkdirat(dir, name, DIR_MODE)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::Dir::new(open_dir(dir)?)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            let is_dir = match entry.file_type() {
                fs::FileType::Directory => true,
                fs::FileType::Unknown => open_dir(&dir.join(name)).is_ok(),
                _ => false,
            };
            entries.push(DirEntry { name: name.to_owned(), is_dir });
        }
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(fs::fsync(open_dir(dir)?)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = parent(from)?;
        let (to_dir, to_name) = parent(to)?;
        Ok(fs::renameat(from_dir, from_name, to_dir, to_name)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = parent(path)?;
        Ok(fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = parent(path)?;
        Ok(fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    fn device(&self, dir: &Path) -> io::Result<u64> {
        Ok(fs::fstat(open_dir(dir)?)?.st_dev)
    }

    fn identity(&self, file: &Path) -> io::Result<Option<Identity>> {
        let file = std::fs::File::from(open_beneath(file, AS_A_PATH, Mode::empty())?);
        let about = file.metadata()?;
        let changed = [(about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec())];
        let file = (about.dev(), about.ino());
        Ok(about.is_file().then_some(Identity { file, changed, len: about.len() }))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        Ok(space_of(&fs::fstatvfs(open_dir(dir)?)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let fd = open_beneath(path, flags, FILE_MODE)?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(RealLock { _fd: fd }))),
            Err(error) if error == Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file system without a limit says that it has none of what it does not count: a tmpfs without
/// a size has no blocks at all, btrfs has no inodes.
fn space_of(stat: &StatVfs) -> Space {
    let bytes = |blocks: u64| match stat.f_blocks {
        0 => u64::MAX,
        _ => blocks.saturating_mul(stat.f_frsize),
    };
    Space {
        free: bytes(stat.f_bavail),
        total: bytes(stat.f_blocks),
        free_inodes: (stat.f_files > 0).then_some(stat.f_favail),
        total_inodes: (stat.f_files > 0).then_some(stat.f_files),
    }
}

#[derive(Debug)]
struct RealLock {
    _fd: OwnedFd,
}

impl Lock for RealLock {}

#[cfg(target_os = "linux")]
mod direct {
    //! Direct reads and writes, where the file system says what it needs for them.

    use std::fs::File;

    use rustix::fs::{self, AtFlags, OFlags, StatxFlags};

    use crate::PAGE;

    /// Turns them on. A file system that does not state an alignment (Linux 6.1 and later; btrfs and
    /// tmpfs do not) has no use for them, or takes them and copies all the same.
    pub(super) fn begin(file: &File) -> Option<usize> {
        let stat = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
        let stated = stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
        let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
        let align = usize::try_from(memory.max(offset)).ok()?;
        let usable = stated && memory > 0 && offset > 0 && align.is_power_of_two() && align <= PAGE;
        (usable && set(file, true)).then_some(align)
    }

    pub(super) fn set(file: &File, on: bool) -> bool {
        let flags = fs::fcntl_getfl(file).map(|flags| match on {
            true => flags | OFlags::DIRECT,
            false => flags - OFlags::DIRECT,
        });
        flags.is_ok_and(|flags| fs::fcntl_setfl(file, flags).is_ok())
    }
}

#[cfg(not(target_os = "linux"))]
mod direct {
    use std::fs::File;

    pub(super) fn begin(_: &File) -> Option<usize> {
        None
    }

    pub(super) fn set(_: &File, _: bool) -> bool {
        false
    }
}

#[derive(Debug)]
struct RealFile {
    file: std::fs::File,
    alignment: Option<usize>,
    /// True while writes go past the page cache.
    direct: AtomicBool,
}

impl RealFile {
    /// Writes some of the parts from `done` bytes on.
    fn write_some(&self, offset: u64, parts: &[&[u8]], done: usize) -> io::Result<usize> {
        let mut skip = done;
        let rest = parts.iter().filter_map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            Some(&part[skipped..]).filter(|rest| !rest.is_empty())
        });
        let rest: Vec<IoSlice<'_>> = rest.map(IoSlice::new).collect();
        Ok(rustix::io::pwritev(&self.file, &rest, offset + done as u64)?)
    }
}

impl RealFile {
    fn reserve(&self, old: u64, len: u64) -> io::Result<()> {
        loop {
            match fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.write_zeros(old, len),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write_zeros(&self, mut from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        while from < to {
            let n = usize::try_from(to - from).unwrap_or(ZEROS).min(ZEROS);
            self.file.write_all_at(&zeros[..n], from)?;
            from += n as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_once_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_once(&self.file, offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.alignment.is_some() {
            return self.write_parts_at(offset, &[bytes]);
        }
        self.file.write_all_at(bytes, offset)
    }

    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let all: usize = parts.iter().map(|part| part.len()).sum();
        let mut done = 0;
        while done < all {
            match self.write_some(offset, parts, done) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => done += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A file system that states an alignment and refuses it all the same, or one that
                // was written to up to a place from which it cannot go on.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    let was_on = self.direct.swap(false, Ordering::Relaxed);
                    if !was_on || !direct::set(&self.file, false) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn alignment(&self) -> Option<usize> {
        self.alignment
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        self.reserve(old, len).inspect_err(|_| {
            // A part may be taken already. If it cannot be given back, the first error is still
            // the one that says why.
            let _ = self.file.set_len(old);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn start_writeback(&self) {
        if self.direct.load(Ordering::Relaxed) {
            return;
        }
        // POSIX_FADV_DONTNEED begins writing dirty pages without waiting for them (Linux:
        // `generic_fadvise`). Only a hint: the sync that follows is what counts.
        let _ = fs::fadvise(&self.file, 0, None, fs::Advice::DontNeed);
    }

    fn advise_done(&self) {
        // Drops clean pages of this file, whoever read them. Only a hint.
        let _ = fs::fadvise(&self.file, 0, None, fs::Advice::DontNeed);
    }
}
