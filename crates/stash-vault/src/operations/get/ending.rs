//! The end of a tree: links, then the directories, once nothing is written through or into them.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::fstat;
use stash_crypto::record::FileType;
use stash_crypto::{Key, Meta};

use super::beside::give;
use super::error::GetError;
use super::file::bring_link;
use super::options::{GetOptions, Restore};
use super::place::{ALL_BITS, Cursor, Directory, UNFINISHED, usual_mode};
use super::report::Written;
use super::tree::{PAGE, Tree};
use crate::model::version::Version;
use crate::operations::pages::Pages;

/// Permission bits that are given back to directories: in a shared one, nobody removes what is another's.
const DIRECTORY_BITS: u32 = 0o1777;

/// Passes on the group of a directory.
const SET_GROUP: u32 = 0o2000;

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
        let mut pages = Pages::new(&self.inner, &self.source.scope, PAGE);
        while let Some(page) = pages.files().await? {
            // What names lie below was named when the files were written.
            let (page, _) = self.source.sorted(&self.inner, page).await?;
            let late = page.into_iter().filter(|(_, entry)| entry.file_type != FileType::Regular);
            let heads = self.heads(late.map(|(key, _)| key).collect()).await?;
            let tree = Arc::clone(self);
            chain = self.run.jobs.run(move || tree.end_of_page(chain, heads)).await?;
        }
        let tree = Arc::clone(self);
        self.run
            .jobs
            .run(move || chain.into_iter().rev().try_for_each(|open| tree.close(&open)))
            .await
    }

    fn end_of_page(&self, mut chain: Chain, heads: Vec<Version>) -> Result<Chain, GetError> {
        let mut cursor = self.cursor();
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
                    let path = self.source.path(&head.meta);
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
        let made = match cursor.descend(&folders) {
            Ok(Some(directory)) => bring_link(directory, &name, meta, &self.run.options),
            Ok(None) => Ok(self.would_write(meta)),
            Err(error) => Err(error),
        };
        self.run.progress.moved(meta.size);
        match made {
            Ok(done) => self.done(done, meta.size, *standing),
            Err(error) => return self.failed(&meta.key, error),
        }
        Ok(())
    }

    /// Gives a directory its mode and time. One that is not there was named when it could not be made.
    fn close(&self, open: &Open) -> Result<(), GetError> {
        if self.run.options.dry_run {
            return Ok(());
        }
        let directory = self.root.as_ref().and_then(|root| root.find(&open.path));
        let Some(directory) = directory else { return Ok(()) };
        match directory.finish(&open.meta, &self.run.options, self.begun) {
            Ok(Some(written)) => self.finished(written),
            Ok(None) => {}
            Err(error) => return self.failed(&open.key, error),
        }
        Ok(())
    }
}

impl Directory {
    /// Gives a directory that was made for the tree its mode, its time, and what is asked for, and so one that
    /// was there if it may be overwritten. Otherwise that one keeps what it has, but for the time, if anything was
    /// written in it. `None` if there was nothing to do.
    fn finish(
        &self,
        meta: &Meta,
        options: &GetOptions,
        begun: SystemTime,
    ) -> Result<Option<Written>, GetError> {
        let failed = |error| GetError::output(&self.path, error);
        let stat = fstat(&self.fd).map_err(failed)?;
        let restore = options.restore;
        let bits = if restore.privileged { ALL_BITS } else { DIRECTORY_BITS };
        // Set-group-id may come from the directory around it.
        let made = stat.st_mode & (ALL_BITS ^ SET_GROUP) == UNFINISHED.as_raw_mode();
        let same_time = meta.modified.is_none_or(|(seconds, nanos)| {
            (stat.st_mtime, i64::try_from(stat.st_mtime_nsec)) == (seconds, Ok(i64::from(nanos)))
        });
        let lacks = if made || options.overwrite {
            let same_mode = meta.mode.is_none_or(|mode| (stat.st_mode ^ mode) & bits == 0);
            if !made && same_mode && same_time && restore == Restore::default() {
                return Ok(None);
            }
            let mode = meta.mode.or(Some(usual_mode(options.umask).as_raw_mode()));
            give(self.fd.as_fd(), &Meta { mode, ..meta.clone() }, bits, restore).map_err(failed)?
        } else {
            let written = i64::try_from(seconds(begun)).is_ok_and(|begun| stat.st_mtime >= begun);
            if same_time || !written {
                return Ok(None);
            }
            let time = Meta { mode: None, ..meta.clone() };
            give(self.fd.as_fd(), &time, bits, Restore::default()).map_err(failed)?
        };
        Ok(Some(Written { path: self.path.clone(), lacks }))
    }
}

/// Seconds since 1970, less one: file systems round down.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::operations::get::options::Restore;

    fn finish(dir: &std::path::Path, options: GetOptions, begun: SystemTime) -> (u32, i64) {
        let mut meta = Meta::new(Key::new("k").unwrap(), 0);
        (meta.mode, meta.modified) = (Some(0o7755), Some((-5, 7)));
        Directory::open(dir).unwrap().finish(&meta, &options, begun).unwrap();
        let found = dir.metadata().unwrap();
        (found.permissions().mode() & 0o7777, found.mtime())
    }

    #[test]
    fn a_directory_that_was_made_gets_its_mode_and_time_and_no_privilege() {
        let dir = tempfile::tempdir().unwrap();
        let make = |mode| {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make(0o3700);
        let options = GetOptions::default();
        assert_eq!(finish(dir.path(), options, SystemTime::now()), (0o1755, -5));
        make(0o1700);
        let restore = Restore { privileged: true, ..Restore::default() };
        let options = GetOptions { restore, ..GetOptions::default() };
        assert_eq!(finish(dir.path(), options, SystemTime::now()), (0o7755, -5));
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_mode_and_gets_its_time_if_it_was_written_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let now = dir.path().metadata().unwrap().mtime();
        let (options, later) =
            (GetOptions::default(), SystemTime::now() + std::time::Duration::from_secs(60));
        assert_eq!(finish(dir.path(), options, later), (0o700, now));
        assert_eq!(finish(dir.path(), options, SystemTime::now()), (0o700, -5));
        let overwrite = GetOptions { overwrite: true, ..options };
        assert_eq!(finish(dir.path(), overwrite, later), (0o1755, -5));
    }
}
