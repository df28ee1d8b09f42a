//! Options of a get, and its report.

use std::path::PathBuf;

use crate::model::version::Standing;
use crate::model::version_id::VersionId;

/// Paths that a report names at most.
pub(super) const OUTPUTS: usize = 100;

/// Options of a get.
#[derive(Clone, Copy, Debug)]
pub struct GetOptions {
    /// Replace what is at the output already.
    pub overwrite: bool,
    /// Give set-user-id and set-group-id back as well. They come from whoever may write to the stash.
    pub privileged: bool,
    /// Keep chunks that had to be fetched from other members.
    pub keep: bool,
    /// This version of a file, whatever the head is.
    pub version: Option<VersionId>,
}

impl Default for GetOptions {
    fn default() -> GetOptions {
        GetOptions { overwrite: false, privileged: false, keep: true, version: None }
    }
}

/// The files that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetReport {
    /// Files and links written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories made, or given their mode and time.
    pub directories: u64,
    /// Where they are: the file, or the first hundred files of a tree.
    pub outputs: Vec<PathBuf>,
    /// The number of them that have concurrent versions beside the one that was written.
    pub conflicts: u64,
}

impl GetReport {
    pub(super) fn wrote(&mut self, path: PathBuf, bytes: u64, standing: Standing) {
        self.files += 1;
        self.bytes += bytes;
        self.conflicts += u64::from(standing.siblings() > 0);
        if self.outputs.len() < OUTPUTS {
            self.outputs.push(path);
        }
    }
}
