//! Files with several names: the first that is met is written, the others become names of it.

use std::collections::HashMap;
use std::sync::Arc;

use blake3::Hash;
use stash_crypto::Key;

use super::error::GetError;
use super::place::{Cursor, Place};
use super::tree::{GROUP, Tree};
use crate::model::attributes::link_id;
use crate::model::version::Version;

/// Files with several names that are remembered, some 200 bytes each. Beyond them, names become files of
/// their own.
const MOST: usize = 65_536;
/// Names that wait at most before the files under way are waited for.
const MANY: usize = 256;

/// The first names of files that have several, and the other names that wait for them.
#[derive(Default)]
pub(super) struct Names {
    first: HashMap<Hash, Place>,
    waiting: Vec<Key>,
}

impl Names {
    /// True if so many wait that the files under way should be waited for.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() >= MANY
    }

    fn first_of(&self, head: &Version) -> Option<Place> {
        self.first.get(&file_id(head)?).cloned()
    }

    /// The file was not written: another name becomes the first.
    pub(super) fn forget(&mut self, head: &Version, place: &Place) {
        if let Some(id) = file_id(head)
            && self.first.get(&id) == Some(place)
        {
            self.first.remove(&id);
        }
    }
}

impl Tree {
    /// True if another name of the same file is written, or is being: then this one waits.
    pub(super) fn is_second_name(&self, head: &Version) -> bool {
        let Some(id) = file_id(head) else { return false };
        let mut names = self.names();
        let waits = names.first.contains_key(&id);
        if waits {
            names.waiting.push(head.meta.key.clone());
        } else if names.first.len() < MOST {
            names.first.insert(id, self.place(&head.meta));
        }
        waits
    }

    /// Makes the names that wait. No file is under way.
    pub(super) async fn second_names(self: &Arc<Self>) -> Result<(), GetError> {
        loop {
            let keys = std::mem::take(&mut self.names().waiting);
            if keys.is_empty() {
                return Ok(());
            }
            for group in keys.chunks(GROUP) {
                let heads = self.heads(group.to_vec()).await?;
                let tree = Arc::clone(self);
                let orphans = self.run.jobs.run(move || tree.link_names(heads)).await?;
                for head in orphans {
                    self.write(head).await?;
                }
            }
        }
    }

    /// Makes names of files that are written. Those whose first name was not written are given back.
    fn link_names(&self, heads: Vec<Version>) -> Result<Vec<Version>, GetError> {
        let mut orphans = Vec::new();
        let mut to = Cursor::new(&self.root, &self.run.options);
        let mut from = Cursor::new(&self.root, &self.run.options);
        for head in heads {
            let Some((folders, first)) = self.names().first_of(&head) else {
                orphans.push(head);
                continue;
            };
            let (here, name) = self.place(&head.meta);
            let named = from.descend(&folders).and_then(|from| {
                let to = to.descend(&here)?;
                to.second_name(&name, &head.meta, (from, &first), &self.run.options)
            });
            match named {
                Ok(written) => self.wrote(written, head.meta.size, head.standing),
                Err(error) => self.failed(&head.meta.key, error)?,
            }
        }
        Ok(orphans)
    }
}

/// Equal for two names of one file, as long as their versions say the same: content, mode and time. One
/// that was changed under one name alone is another file by now.
fn file_id(Version { record, meta, .. }: &Version) -> Option<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(blake3::hash(link_id(meta)?).as_bytes());
    for chunk in record.clear().manifest.refs() {
        hasher.update(chunk.address.as_bytes());
    }
    let (seconds, nanos) = meta.modified.unwrap_or_default();
    hasher.update(&meta.size.to_le_bytes());
    hasher.update(&meta.mode.unwrap_or_default().to_le_bytes());
    hasher.update(&seconds.to_le_bytes()).update(&nanos.to_le_bytes());
    hasher.update(meta.inline.as_deref().unwrap_or_default());
    Some(hasher.finalize())
}
