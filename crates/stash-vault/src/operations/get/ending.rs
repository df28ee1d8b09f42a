//! The end of a tree: links, then the directories, once nothing is written through or into them.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;

use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::beside::give;
use super::error::GetError;
use super::options::GetOptions;
use super::place::{ALL_BITS, Cursor, Directory};
use super::report::Written;
use super::tree::{PAGE, Tree};
use crate::model::version::Version;
use crate::operations::pages::Pages;

/// Permission bits that are given back to directories: in a shared one, nobody removes what is another's.
const DIRECTORY_BITS: u32 = 0o1777;

/// A directory of which not all has been passed.
struct Open {
    key: Key,
    path: Vec<OsString>,
    /// Without content.
    meta: Meta,
}

/// Directories that are passed through, each below the one before: at most as many as a key has bytes.
type Chain = Vec<Open>;

impl Tree {
    /// Goes through the names once more: all files are written, so that no link leads one of them
    /// elsewhere. A directory is finished when the last name below it has passed, the deepest first: its
    /// mode may let nobody pass.
    pub(super) async fn end(self: &Arc<Self>) -> Result<(), GetError> {
        let mut chain = Chain::new();
        let mut pages = Pages::new(&self.inner, &self.scope, PAGE);
        while let Some(page) = pages.files().await? {
            let late = page.into_iter().filter(|(_, entry)| entry.file_type != FileType::Regular);
            let heads = self.heads(late.map(|(key, _)| key).collect()).await?;
            let tree = Arc::clone(self);
            chain = self.run.jobs.run(move || tree.end_of_page(chain, heads)).await?;
        }
        let tree = Arc::clone(self);
        self.run.jobs.run(move || chain.into_iter().rev().try_for_each(|open| tree.close(&open))).await
    }

    fn end_of_page(&self, mut chain: Chain, heads: Vec<Version>) -> Result<Chain, GetError> {
        let mut cursor = Cursor::new(&self.root, &self.run.options);
        for head in heads {
            let key = head.meta.key.as_str();
            // All keys below a directory begin with its key, and stand next to each other.
            while let Some(open) = chain.pop_if(|open| !key.starts_with(open.key.as_str())) {
                self.close(&open)?;
            }
            match head.meta.file_type {
                // It took the place of a link since its page was read.
                FileType::Regular => {}
                FileType::Link => self.link(&mut cursor, &head)?,
                FileType::Directory => {
                    let path = self.path(&head.meta);
                    let meta = Meta { inline: None, ..head.meta };
                    chain.push(Open { key: meta.key.clone(), path, meta });
                }
            }
        }
        Ok(chain)
    }

    fn link(&self, cursor: &mut Cursor, head: &Version) -> Result<(), GetError> {
        let Version { meta, standing, .. } = head;
        let (folders, name) = self.place(meta);
        let made = cursor
            .descend(&folders)
            .and_then(|directory| directory.link(&name, meta, &self.run.options));
        match made {
            Ok(written) => self.wrote(written, meta.size, *standing),
            Err(error) => return self.failed(&meta.key, error),
        }
        Ok(())
    }

    /// Gives a directory its mode and time. One that is not there was named when it could not be made.
    fn close(&self, open: &Open) -> Result<(), GetError> {
        let Some(directory) = self.root.find(&open.path) else { return Ok(()) };
        match directory.finish(&open.meta, &self.run.options) {
            Ok(written) => self.finished(written),
            Err(error) => return self.failed(&open.key, error),
        }
        Ok(())
    }
}

impl Directory {
    /// Gives the directory its mode, its time, and what is asked for.
    fn finish(&self, meta: &Meta, options: &GetOptions) -> Result<Written, GetError> {
        let restore = options.restore;
        let bits = if restore.privileged { ALL_BITS } else { DIRECTORY_BITS };
        let given = give(self.fd.as_fd(), meta, bits, restore);
        let lacks = given.map_err(|error| GetError::output(&self.path, error))?;
        Ok(Written { path: self.path.clone(), lacks })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::operations::get::options::Restore;

    #[test]
    fn a_directory_gets_its_mode_and_time_and_no_privilege() {
        let dir = tempfile::tempdir().unwrap();
        let mut meta = Meta::new(Key::new("k").unwrap(), 0);
        (meta.mode, meta.modified) = (Some(0o7755), Some((-5, 7)));
        let finish = |privileged| {
            let restore = Restore { privileged, ..Restore::default() };
            let options = GetOptions { restore, ..GetOptions::default() };
            Directory::open(dir.path()).unwrap().finish(&meta, &options).unwrap();
            dir.path().metadata().unwrap()
        };
        let plain = finish(false);
        assert_eq!(plain.permissions().mode() & 0o7777, 0o1755);
        assert_eq!((plain.mtime(), plain.mtime_nsec()), (-5, 7));
        assert_eq!(finish(true).permissions().mode() & 0o7777, 0o7755);
    }
}
