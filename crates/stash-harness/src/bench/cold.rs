//! Files out of the page cache, so that the next read of them is one of the disk.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

/// Drops the files below a directory from the page cache. What is not on disk yet stays in it: sync before.
pub(super) fn drop_below(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_below(&entry.path())?;
        } else {
            fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::IoSliceMut;

    use rustix::fs::{FsWord, fstatfs};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    const TMPFS: FsWord = 0x0102_1994;

    /// True if the first byte can be read without asking the disk.
    fn is_warm(file: &File) -> bool {
        let mut byte = [0];
        match preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT) {
            Ok(count) => count == 1,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn files_below_a_directory_are_read_from_the_disk_the_next_time() {
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), vec![7; 1 << 16]).unwrap();
        let file = File::open(below.join("file")).unwrap();
        if fstatfs(&file).unwrap().f_type == TMPFS {
            return;
        }
        file.sync_all().unwrap();
        assert!(is_warm(&file));
        drop_below(dir.path()).unwrap();
        assert!(!is_warm(&file));
        assert_eq!(fs::read(below.join("file")).unwrap(), vec![7; 1 << 16]);
        assert!(is_warm(&file));
    }
}
