//! Names that are taken away and brought back, other devices, and places that the disk fails to read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::MemDisk;
use super::tree::Taken;

/// What is not as it was.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    taken: BTreeMap<PathBuf, Taken>,
    devices: BTreeMap<PathBuf, u64>,
    sick: BTreeMap<PathBuf, i32>,
}

impl Hidden {
    /// The device of a directory: that of the nearest one above it which has one of its own.
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

    /// The same names away, of a disk of its own.
    pub(super) fn copy(&self) -> Hidden {
        let taken = self.taken.iter().map(|(path, taken)| (path.clone(), taken.copy())).collect();
        Hidden { taken, devices: self.devices.clone(), sick: BTreeMap::new() }
    }

    /// All of them, for a power cut: what is not there is lost or kept as what is.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Taken> {
        self.taken.values()
    }
}

impl MemDisk {
    /// Takes a file or directory away, as somebody does who moves it elsewhere, durably. One with a
    /// name that is hidden already stays.
    pub fn hide(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.hidden.taken.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let taken = world.root.take(path)?;
        world.hidden.taken.insert(path.to_owned(), taken);
        Ok(())
    }

    /// Brings back what was hidden, durably. Of two files with one name, the one that has taken its
    /// place meanwhile stays.
    pub fn show(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let taken = world.hidden.taken.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.root.give(path, &taken)
    }

    /// Paths that are hidden.
    pub fn hidden(&self) -> Vec<PathBuf> {
        self.world().hidden.taken.keys().cloned().collect()
    }

    /// Puts a directory, and what is below it, on another device; the others are on 0.
    pub fn set_device(&self, dir: &Path, device: u64) {
        self.world().hidden.devices.insert(dir.to_owned(), device);
    }

    /// From now on, whatever is done at or below a path fails with this error of the system; `None`
    /// ends that.
    pub fn fail_below(&self, path: &Path, code: Option<i32>) {
        let sick = &mut self.world().hidden.sick;
        match code {
            Some(code) => drop(sick.insert(path.to_owned(), code)),
            None => drop(sick.remove(path)),
        }
    }
}
