//! Where a bench puts what it measures.
//!
//! Looking for a free inode, an ext4 without a journal passes over each one that was removed in the last
//! minutes, and reads it to know (`recently_deleted` in Linux's `fs/ext4/ialloc.c`): beside two thousand
//! files that were just removed, making one takes a fifth of a millisecond longer. So a bench removes
//! nothing before its end; and what it made lies apart, also from what the run before it removed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Outcome;

/// The beginning of the name of a run's directory; the number of the process follows.
const RUN: &str = "stash-bench-";

/// A directory for one run, removed with all that is in it when dropped. One run at a time.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    pub fn new(dir: &Path) -> Outcome<Place> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        for left in fs::read_dir(&dir)? {
            let left = left?;
            if left.file_name().to_str().is_some_and(|name| name.starts_with(RUN)) {
                fs::remove_dir_all(left.path())?;
            }
        }
        let path = dir.join(format!("{RUN}{}", std::process::id()));
        fs::create_dir(&path)?;
        spread(&path);
        Ok(Place { path })
    }

    /// A path for one side of one round, in a name of its own. Nothing is made there.
    pub fn side(&self, name: &str, round: usize) -> PathBuf {
        // Where ext4 lays a directory depends on its name; that of another run must not be where this
        // one's was removed.
        self.path.join(format!("{name}-{round}-{}", std::process::id()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // If it stays, the next run in this directory removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Has ext4 lay each directory in this one into another part of the disk, like those at the root: a
/// hint that other file systems do not know.
#[cfg(target_os = "linux")]
fn spread(path: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(dir) = File::open(path) else { return };
    if let Ok(flags) = ioctl_getflags(&dir) {
        // Without it, figures vary more.
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

#[cfg(not(target_os = "linux"))]
fn spread(_: &Path) {}
