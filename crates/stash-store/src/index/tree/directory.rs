//! The directory of a tree.

use std::io;
use std::path::PathBuf;

use super::error::{sync_failed, write_failed};
use super::head::Head;
use super::run::Run;
use super::{Tree, TreeError};
use crate::IoError;
use crate::files::Files;
use crate::sync::Arc;

/// Where the files of a tree lie.
pub(super) fn directory(files: &Files) -> PathBuf {
    files.dir.join("index")
}

impl Tree {
    /// Removes everything in `index/`: the next open makes an empty tree.
    pub(crate) fn wipe(files: &Files) -> Result<(), IoError> {
        let dir = directory(files);
        match files.disk.list(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(|e| IoError::new("list", &dir, e))?,
        };
        Head::remove(files)?;
        remove_strangers(files, &[])?;
        Ok(())
    }
}

/// Makes the directory of an empty tree, durably. That it exists proves nothing: the process that
/// made it may have died before its sync.
pub(super) fn make_directory(files: &Files) -> Result<(), TreeError> {
    let dir = directory(files);
    match files.disk.create_dir(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(write_failed("make directory", &dir)(e));
        }
        _ => {}
    }
    files.disk.sync_dir(&files.dir).map_err(sync_failed("sync directory", &files.dir))
}

/// Removes all files that are not HEAD and not one of `runs`. The highest number that a run had;
/// those with the highest bit are not ours.
pub(super) fn remove_strangers(files: &Files, runs: &[Arc<Run>]) -> Result<u64, IoError> {
    let (dir, mut highest) = (directory(files), 0);
    for entry in files.disk.list(&dir).map_err(|e| IoError::new("list", &dir, e))? {
        let id = entry.name.strip_prefix("run-").and_then(|id| u64::from_str_radix(id, 16).ok());
        highest = highest.max(id.filter(|id| id >> 63 == 0).unwrap_or(0));
        let path = dir.join(&entry.name);
        if !entry.is_dir && entry.name != "head" && runs.iter().all(|run| run.path != path) {
            files.disk.remove(&path).map_err(|e| IoError::new("remove", &path, e))?;
        }
    }
    Ok(highest)
}
