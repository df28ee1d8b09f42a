//! Options of a get.

use crate::model::version_id::VersionId;

/// Options of a get.
#[derive(Clone, Copy, Debug)]
pub struct GetOptions {
    /// Replace files and links that are at the output and differ. Directories, pipes, sockets and
    /// devices are never replaced.
    pub overwrite: bool,
    /// What is given back beside content, mode and time.
    pub restore: Restore,
    /// Read what is at the output and has the size and time of what is to be written, and compare its
    /// content: it is left alone only if that is the same, too.
    pub verify: bool,
    /// Write nothing, and report what would be.
    pub dry_run: bool,
    /// Keep chunks that had to be fetched from other members, as long as there is room for them beside
    /// what is written.
    pub keep: bool,
    /// This version of a file, whatever the head is.
    pub version: Option<VersionId>,
    /// The permission bits that directories do not get which no record describes: the caller's umask.
    /// That of the process counts as well.
    pub umask: Option<u32>,
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
        GetOptions {
            overwrite: false,
            verify: false,
            dry_run: false,
            restore: Restore::default(),
            keep: true,
            version: None,
            umask: None,
        }
    }
}
