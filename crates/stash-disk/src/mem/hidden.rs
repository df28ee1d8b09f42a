//! Names that are taken away and brought back, other devices, and places that the disk fails to read.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::tree::Taken;

/// Names that are taken away, set devices, and places that fail.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    pub(super) taken: BTreeMap<PathBuf, Taken>,
    pub(super) devices: BTreeMap<PathBuf, u64>,
    pub(super) sick: BTreeMap<PathBuf, i32>,
    /// Bytes of files that cannot be read.
    pub(super) unreadable: BTreeMap<PathBuf, Range<u64>>,
}

impl Hidden {
    /// The device of a directory: the one set for it, or for the nearest directory above it.
    pub(super) fn device(&self, dir: &Path) -> u64 {
        dir.ancestors().find_map(|dir| self.devices.get(dir)).copied().unwrap_or(0)
    }

    /// Fails what is at, or below, a sick place.
    pub(super) fn check(&self, path: &Path) -> io::Result<()> {
        if self.sick.is_empty() {
            return Ok(());
        }
        let sick = path.ancestors().find_map(|path| self.sick.get(path));
        sick.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(*code)))
    }

    /// Fails a read of bytes that cannot be read.
    pub(super) fn check_read(&self, path: &Path, bytes: &Range<u64>) -> io::Result<()> {
        self.check(path)?;
        let meets = |bad: &Range<u64>| bad.start < bytes.end && bytes.start < bad.end;
        match self.unreadable.get(path).is_some_and(meets) {
            true => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
            false => Ok(()),
        }
    }

    /// A copy of the hidden names and the devices, for another disk.
    pub(super) fn copy(&self) -> Hidden {
        let taken = self.taken.iter().map(|(path, taken)| (path.clone(), taken.copy())).collect();
        Hidden { taken, devices: self.devices.clone(), ..Hidden::default() }
    }

    /// All of them, for a power cut: what is not there is lost or kept as what is.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Taken> {
        self.taken.values()
    }
}
