//! Storing files, trees and streams.

mod batch;
mod common;
mod error;
mod extended;
mod in_the_way;
mod large;
mod options;
pub(crate) mod per_process;
mod run;
mod session;
mod small;
mod spare;
mod stream;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stash_crypto::Key;

pub use error::PutError;
pub use options::{PutOptions, PutReport};

use crate::progress::Progress;
use crate::vault::Vault;

impl Vault {
    /// Stores a file or a tree. The key is the base name of the path, or `as_key`; below a directory,
    /// that and the relative path. A source that is a link is followed, and gives its own name; links
    /// below it are stored as links. Pipes, sockets and devices are left out and reported.
    /// What is equal to the version that is stored writes nothing.
    pub async fn put_path(
        &self,
        source: &Path,
        as_key: Option<Key>,
        options: PutOptions,
        progress: &Progress,
    ) -> Result<PutReport, PutError> {
        let work = run::put_path(self, source, as_key, options, progress);
        progress.or_cancelled(PutError::Cancelled, work).await
    }
}

/// Refuses inputs of one put of which two would get one key: the second would replace the first. What cannot
/// be looked at is passed over. Blocking.
pub fn check_distinct(sources: &[PathBuf]) -> Result<(), PutError> {
    let mut keys: BTreeMap<Key, (&Path, PathBuf)> = BTreeMap::new();
    for source in sources {
        let Ok(root) = walk::root(source, None) else { continue };
        let key = root.name.key;
        match keys.get(&key) {
            Some((_, path)) if *path == root.path => {}
            Some((first, _)) => {
                let (first, second) = (first.to_path_buf(), source.clone());
                return Err(PutError::SameKey { key, first, second });
            }
            None => {
                keys.insert(key, (source, root.path));
            }
        }
    }
    Ok(())
}
