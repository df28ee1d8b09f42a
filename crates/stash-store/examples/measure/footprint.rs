//! Room that a directory takes on the disk.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Advice;
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Sums over a directory and everything below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Files and directories, the directory itself included.
    pub inodes: u64,
    /// Lengths of the files.
    pub bytes: u64,
    /// Blocks that the file system has given away, in bytes, directories included.
    pub disk_bytes: u64,
}

impl Footprint {
    pub fn of(dir: &Path) -> Outcome<Footprint> {
        let mut sum = Footprint::default();
        walk(dir, &mut |path| {
            let metadata = fs::symlink_metadata(path)?;
            sum.inodes += 1;
            sum.disk_bytes += metadata.blocks() * 512;
            if metadata.is_file() {
                sum.bytes += metadata.len();
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// The growth since an earlier look at the same directory.
    pub fn since(self, before: Footprint) -> Footprint {
        Footprint {
            inodes: self.inodes.saturating_sub(before.inodes),
            bytes: self.bytes.saturating_sub(before.bytes),
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
        }
    }
}

/// Has the system forget what it holds in memory of all files below a directory. The host of a
/// virtual machine may still hold it.
pub fn forget(dir: &Path) -> Outcome<()> {
    // Dirty pages are not dropped.
    rustix::fs::sync();
    walk(dir, &mut |path| {
        if path.is_file() {
            rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    })
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path) -> Outcome<()>) -> Outcome<()> {
    visit(path)?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}

/// Removes a directory if it is there.
pub fn clear(dir: &Path) -> Outcome<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
