//! Files with several names: which is the first that is met, and which wait for it.

use std::collections::HashMap;

use blake3::Hash;
use stash_crypto::Key;

use super::place::Place;
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
    /// True if another name of the same file is written, or is being: then this one waits.
    pub(super) fn is_second(&mut self, head: &Version, place: impl FnOnce() -> Place) -> bool {
        let Some(id) = file_id(head) else { return false };
        let waits = self.first.contains_key(&id);
        if waits {
            self.waiting.push(head.meta.key.clone());
        } else if self.first.len() < MOST {
            self.first.insert(id, place());
        }
        waits
    }

    /// True if so many wait that the files under way should be waited for.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() >= MANY
    }

    /// Those that wait, which do no longer.
    pub(super) fn take_waiting(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn first_of(&self, head: &Version) -> Option<Place> {
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
