//! A file and a directory of one name, of which no file system has room for both: settled when they are put.

use std::path::Path;
use std::sync::atomic::Ordering;

use stash_crypto::Key;
use stash_crypto::record::FileType;
use stash_server::Write;

use super::error::PutError;
use super::session::{Done, Session};
use crate::index::IndexEntry;
use crate::model::scope::Scope;
use crate::operations::draft::{Content, write};

/// Names taken from the index at once.
const PAGE: usize = 1000;

fn is_directory(entry: &IndexEntry) -> bool {
    entry.file_type == FileType::Directory
}

impl Session {
    /// Refuses a root that lies below a file, and a file where a tree is: that would take away more than the
    /// caller named. Notes whether anything is known of it. What the index of names does not know yet is
    /// not seen. Blocking.
    pub(super) fn check_root(&self, key: &Key, directory: bool) -> Result<(), PutError> {
        let names = &self.inner.names;
        let text = key.as_str();
        for at in text.bytes().enumerate().filter_map(|(at, byte)| (byte == b'/').then_some(at)) {
            let parent = Key::new(&text[..at]).ok();
            let entry = parent.as_ref().and_then(|parent| names.get(parent).ok().flatten());
            if let (Some(file), Some(false)) = (parent, entry.as_ref().map(is_directory)) {
                return Err(PutError::BelowFile { key: key.clone(), file });
            }
        }
        let own = names.get(key).ok().flatten();
        let filled = names.page(&Scope::below(key), None, 1).is_ok_and(|page| !page.is_empty());
        self.known.store(own.is_some() || filled, Ordering::Relaxed);
        if !directory && filled && own.as_ref().is_none_or(is_directory) {
            return Err(PutError::OverTree { key: key.clone() });
        }
        Ok(())
    }

    /// True if some version of a name is listed, or nobody can say. Blocking.
    pub(super) fn is_listed(&self, key: &Key) -> bool {
        self.inner.names.get(key).map_or(true, |entry| entry.is_some())
    }

    /// True if some version of a file is listed; and the names that lie below it, since a directory was in its
    /// place. Blocking.
    pub(super) fn look(&self, key: &Key) -> (bool, Vec<Key>) {
        let entry = match self.inner.names.get(key) {
            Ok(entry) => entry,
            // It is compared, and written if it differs.
            Err(_) => return (true, Vec::new()),
        };
        let below = match &entry {
            Some(entry) if !is_directory(entry) => Vec::new(),
            _ if !self.known.load(Ordering::Relaxed) => Vec::new(),
            _ => self.below(key),
        };
        (entry.is_some(), below)
    }

    fn below(&self, key: &Key) -> Vec<Key> {
        let (scope, mut below) = (Scope::below(key), Vec::<Key>::new());
        loop {
            let after = below.last().map(Key::to_string);
            let page = self.inner.names.page(&scope, after.as_deref(), PAGE).unwrap_or_default();
            let full = page.len() == PAGE;
            below.extend(page.into_iter().map(|(key, _)| key));
            if !full {
                return below;
            }
        }
    }

    /// Removes names that are in the way of a file: they stay as versions.
    pub(super) fn clear(&self, path: &Path, below: Vec<Key>, done: &mut Done) {
        if below.is_empty() {
            return;
        }
        let note = match below.len() {
            1 => "it takes the place of a directory; what was in it is removed, and can be brought back"
                .to_owned(),
            names => format!(
                "it takes the place of a directory; {names} names below it are removed, and can be brought \
                 back"
            ),
        };
        done.notes.push((path.to_owned(), note));
        self.progress.found(below.len() as u64, 0);
        done.beside_new += below.len() as u64;
        let removals = below.into_iter().map(|key| write(&self.inner, Content::tombstone(key)));
        // First: if the put ends early, the next one sees what is left of them.
        let writes: Vec<Write> = removals.chain(std::mem::take(&mut done.writes)).collect();
        done.writes = writes;
    }
}
