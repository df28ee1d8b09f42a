//! Further names of files that are written: hard links.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::error::GetError;
use super::place::Cursor;
use super::report::{Done, Written};
use super::there::Step;
use super::tree::{GROUP, Tree};
use crate::model::version::Version;

impl Tree {
    /// True if another name of the same file is written, or is being: then this one waits.
    pub(super) fn is_second_name(&self, head: &Version) -> bool {
        self.names().is_second(head, || self.place(&head.meta))
    }

    /// Makes the names that wait. No file is under way.
    pub(super) async fn second_names(self: &Arc<Self>) -> Result<(), GetError> {
        loop {
            let keys = self.names().take_waiting();
            if keys.is_empty() {
                return Ok(());
            }
            for group in keys.chunks(GROUP) {
                let heads = self.heads(group.to_vec()).await?;
                let tree = Arc::clone(self);
                let (orphans, unsure) = self.run.jobs.run(move || tree.link_names(heads)).await?;
                for head in orphans {
                    self.write(head).await?;
                }
                for head in unsure {
                    self.write_alone(head).await?;
                }
            }
        }
    }

    /// Makes names of files that are written. Gives back those whose first name was not written, and those
    /// that are there as a file of its own whose content is still to be compared.
    fn link_names(&self, heads: Vec<Version>) -> Result<(Vec<Version>, Vec<Version>), GetError> {
        let (mut orphans, mut unsure) = (Vec::new(), Vec::new());
        let (mut to, mut from) = (self.cursor(), self.cursor());
        for head in heads {
            let Some((folders, first)) = self.names().first_of(&head) else {
                orphans.push(head);
                continue;
            };
            match self.link_name(&head, (&mut from, &folders, &first), &mut to) {
                Ok(None) => unsure.push(head),
                Ok(Some(done)) => {
                    self.run.progress.moved(head.meta.size);
                    self.done(done, head.meta.size, head.standing);
                }
                Err(error) => self.failed(&head.meta.key, error)?,
            }
        }
        Ok((orphans, unsure))
    }

    fn link_name(
        &self,
        head: &Version,
        (from, folders, first): (&mut Cursor, &[OsString], &OsStr),
        to: &mut Cursor,
    ) -> Result<Option<Done>, GetError> {
        let (options, (here, name)) = (&self.run.options, self.place(&head.meta));
        let (Some(from), Some(to)) = (from.descend(folders)?, to.descend(&here)?) else {
            return Ok(Some(self.would_write(&head.meta)));
        };
        let written = |lacks| Written { path: to.path.join(&name), lacks };
        if to.is_one_file(&name, (from, first)) {
            return Ok(Some(Done::Left(written(None))));
        }
        Ok(match to.step(&name, &head.meta, options)? {
            Step::Compare(_) => None,
            Step::Leave(there) => Some(Done::Left(there)),
            Step::Write if options.dry_run => Some(Done::Wrote(written(None))),
            Step::Write => {
                let named = to.second_name(&name, &head.meta, (from, first), options)?;
                Some(Done::Wrote(named))
            }
        })
    }
}
