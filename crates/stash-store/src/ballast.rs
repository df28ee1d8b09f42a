//! Room that is taken while there is some, to be given back when there is none.

use std::io;
use std::path::PathBuf;

use crate::IoError;
use crate::budget::Claim;
use crate::disk::{DiskFile, OpenMode};
use crate::files::Files;
use crate::sync::{Mutex, lock};

/// The ballast is made only where so many times as much is left above the reserve: it is for bad
/// times, and not to bring them.
const HEADROOM: u64 = 4;

/// Files that hold room for what must be written on a full disk. The first, `BALLAST`, has bytes;
/// `BALLAST.1` and so on are empty, and hold an inode each: a new segment of the log needs one for
/// itself and one for each directory above it.
#[derive(Debug)]
pub(crate) struct Ballast {
    bytes: u64,
    held: Mutex<bool>,
}

fn paths(files: &Files) -> Vec<PathBuf> {
    let spare = (1..=files.layout.levels()).map(|n| format!("BALLAST.{n}"));
    ["BALLAST".to_owned()].into_iter().chain(spare).map(|name| files.dir.join(name)).collect()
}

impl Ballast {
    /// The ballast as it is found; what is not as it should be goes, and can be made anew.
    pub(crate) fn find(files: &Files, bytes: u64) -> Ballast {
        let len = |path: &PathBuf| files.disk.open(path, OpenMode::Read).and_then(|f| f.len());
        let found: Vec<Option<u64>> = paths(files).iter().map(|path| len(path).ok()).collect();
        let whole =
            found.iter().enumerate().all(|(i, len)| *len == Some(if i == 0 { bytes } else { 0 }));
        let ballast = Ballast { bytes, held: Mutex::new(bytes > 0 && whole) };
        if !ballast.is_held() && found.iter().any(Option::is_some) {
            remove(files);
        }
        ballast
    }

    fn is_held(&self) -> bool {
        *lock(&self.held)
    }

    /// True if it should be made, once there is room for [`Ballast::needs`].
    pub(crate) fn is_missing(&self) -> bool {
        self.bytes > 0 && !self.is_held()
    }

    /// The room that it holds.
    pub(crate) fn claim(&self, files: &Files) -> Claim {
        let inodes = 1 + u64::from(files.layout.levels());
        Claim { inodes, ..Claim::of_log(self.bytes) }
    }

    /// The room above the reserve that there must be for it to be made.
    pub(crate) fn needs(&self, files: &Files) -> Claim {
        let Claim { bytes, inodes, .. } = self.claim(files);
        Claim { inodes: inodes * HEADROOM, ..Claim::of_log(bytes.saturating_mul(HEADROOM)) }
    }

    /// Makes it. Not synced: what a power cut leaves of it is looked at by the next open.
    pub(crate) fn make(&self, files: &Files) -> Result<(), IoError> {
        let mut held = lock(&self.held);
        if self.bytes == 0 || *held {
            return Ok(());
        }
        for (i, path) in paths(files).iter().enumerate() {
            let made = files.disk.open(path, OpenMode::Create).and_then(|file| match i {
                0 => file.allocate(self.bytes).and_then(|()| fill(&*file, self.bytes)),
                _ => Ok(()),
            });
            if let Err(error) = made {
                remove(files);
                return Err(IoError::new("make", path, error));
            }
        }
        *held = true;
        Ok(())
    }

    /// Gives the room back, for what must be written. False if there was none.
    pub(crate) fn give(&self, files: &Files) -> bool {
        let mut held = lock(&self.held);
        if !std::mem::take(&mut *held) {
            return false;
        }
        tracing::warn!(bytes = self.bytes, "the disk is full: using the ballast");
        remove(files);
        // Some file systems have the room only after that. No name in this directory depends on
        // it, so an error is none of ours; the write that follows shows whether there is room.
        let _ = files.disk.sync_dir(&files.dir);
        true
    }
}

/// Bytes that are written at a time.
const PIECE: usize = 256 * 1024;

/// Writes what no file system that compresses can make smaller: zeros would hold no room there.
fn fill(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let mut noise = blake3::Hasher::new_derive_key("stash v1 ballast").finalize_xof();
    let (mut at, mut piece) = (0, vec![0; PIECE]);
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(PIECE).min(PIECE);
        noise.fill(&mut piece[..len]);
        file.write_at(at, &piece[..len])?;
        at += len as u64;
    }
    Ok(())
}

pub(crate) fn remove(files: &Files) {
    for path in paths(files) {
        if let Err(error) = files.disk.remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // It is taken for whole, or removed, by the next open.
            tracing::warn!(path = %path.display(), %error, "the ballast stays");
        }
    }
}
