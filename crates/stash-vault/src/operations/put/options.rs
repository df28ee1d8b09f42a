//! Options of a put, and its report.

use std::path::PathBuf;

use stash_crypto::{Key, NodeId};
use stash_server::Wait;

/// Options of a put.
#[derive(Clone, Copy, Debug)]
pub struct PutOptions {
    /// The copies to wait for.
    pub wait: Wait,
    /// Files that are read and sealed at once; 0 for as many as the machine has cores.
    pub jobs: usize,
}

impl Default for PutOptions {
    fn default() -> PutOptions {
        PutOptions { wait: Wait::Quorum, jobs: 0 }
    }
}

impl PutOptions {
    pub(super) fn jobs(&self) -> usize {
        match self.jobs {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            jobs => jobs,
        }
    }
}

/// The results of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// The key of the file, or of the root of the tree.
    pub key: Key,
    /// Files and links stored, those that were there unchanged included. Directories are not counted.
    pub files: u64,
    /// Their bytes of plaintext.
    pub bytes: u64,
    /// Files and links for which a record was written.
    pub new_records: u64,
    /// Of these, those that took the place of another version.
    pub changed: u64,
    /// How many of the versions that were replaced each other node had written.
    pub replaced: Vec<(NodeId, u64)>,
    /// Files and links that were there already, equal in content and meta: nothing was written for them.
    pub unchanged: u64,
    /// What is missing, and why: names that are too long for a key, and files that cannot be read or
    /// changed while they were.
    pub skipped: Vec<(PathBuf, String)>,
    /// What else there is to say: pipes, sockets and devices, which are never stored; attributes that do not
    /// fit; files that grew; what took the place of something else.
    pub notes: Vec<(PathBuf, String)>,
    /// The fewest members that have any of the new records; 0 if there are none.
    pub copies: usize,
    /// Members that should have them, this node included; 0 if there are no new records.
    pub wanted: usize,
    /// True if the copies fell below what [`PutOptions::wait`] asked for.
    pub short: bool,
    /// Members that do not have all of it yet, and why.
    pub missing: Vec<(NodeId, String)>,
}
