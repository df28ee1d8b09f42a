//! Options of a get, and its report.

use std::path::{Path, PathBuf};

use crate::model::version::Standing;
use crate::model::version_id::VersionId;

/// Paths that a report names at most.
pub(super) const OUTPUTS: usize = 100;

/// Options of a get.
#[derive(Clone, Copy, Debug)]
pub struct GetOptions {
    /// Replace what is at the output already.
    pub overwrite: bool,
    /// What is given back beside content, mode and time.
    pub restore: Restore,
    /// Keep chunks that had to be fetched from other members.
    pub keep: bool,
    /// This version of a file, whatever the head is.
    pub version: Option<VersionId>,
}

/// What is given back beside content, mode and time. All of it was chosen by whoever may write to the
/// stash; what the node may not give is told in the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// Owner and group, by number.
    pub owner: bool,
    /// ACLs.
    pub acl: bool,
    /// Extended attributes of users.
    pub xattr: bool,
    /// Set-user-id and set-group-id, and with `xattr` those attributes that only root gives: whoever may
    /// write to the stash could make a program that runs as root.
    pub privileged: bool,
}

impl Default for GetOptions {
    fn default() -> GetOptions {
        GetOptions { overwrite: false, restore: Restore::default(), keep: true, version: None }
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
    /// What some of them lack of what was asked for ([`Restore`]), the first hundred.
    pub lacking: Vec<(PathBuf, String)>,
}

/// Something that was written, and what it lacks of what was asked for.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    /// A sentence; nothing if it has all.
    pub(crate) lacks: Option<String>,
}

impl GetReport {
    pub(super) fn wrote(&mut self, written: Written, bytes: u64, standing: Standing) {
        let Written { path, lacks } = written;
        self.lacks(&path, lacks);
        self.files += 1;
        self.bytes += bytes;
        self.conflicts += u64::from(standing.siblings() > 0);
        if self.outputs.len() < OUTPUTS {
            self.outputs.push(path);
        }
    }

    pub(super) fn lacks(&mut self, path: &Path, lacks: Option<String>) {
        if self.lacking.len() < OUTPUTS {
            self.lacking.extend(lacks.map(|lacks| (path.to_owned(), lacks)));
        }
    }
}
