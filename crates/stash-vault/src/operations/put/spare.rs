//! The data directory of the node, which no put stores, under whatever path it is met. It holds the
//! node's keys, which every reader of the stash could read then.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Levels of directories below the data directory that are known by themselves, so that one of them
/// is recognised where it is mounted somewhere else: `store` and its parts, not the many directories
/// of chunks.
const LEVELS: usize = 2;

/// The reason why something of the data directory is left out.
pub(super) const WHY: &str = "it belongs to the data directory of this node";

/// Files and directories, by device and inode: a link, a second name or a mount changes none of them.
#[derive(Debug, Default)]
pub(crate) struct Spare(HashSet<(u64, u64)>);

impl Spare {
    /// The data directory, the files in it, and its directories. Blocking.
    pub(crate) fn of(directory: &Path) -> io::Result<Spare> {
        let mut spare = Spare::default();
        spare.add(&fs::metadata(directory)?);
        spare.below(directory, LEVELS);
        Ok(spare)
    }

    fn below(&mut self, directory: &Path, levels: usize) {
        // What cannot be listed here cannot be read by a put either, or is gone.
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                self.add(&metadata);
                if levels > 1 {
                    self.below(&entry.path(), levels - 1);
                }
            } else if levels == LEVELS {
                self.add(&metadata);
            }
        }
    }

    fn add(&mut self, metadata: &Metadata) {
        self.0.insert((metadata.dev(), metadata.ino()));
    }

    /// True of the data directory, and of what is known of its content.
    pub(crate) fn has(&self, metadata: &Metadata) -> bool {
        self.0.contains(&(metadata.dev(), metadata.ino()))
    }

    /// True of a path that is spared, or lies below what is. The path is canonical.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|at| fs::symlink_metadata(at).is_ok_and(|found| self.has(&found)))
    }
}
