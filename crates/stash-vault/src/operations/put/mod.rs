//! Storing files, trees and streams.

mod batch;
mod common;
mod error;
mod large;
mod options;
pub(crate) mod per_process;
mod run;
mod session;
mod small;
mod spare;
mod stream;
mod walk;

use std::path::Path;

use stash_crypto::Key;

pub use error::PutError;
pub use options::{PutOptions, PutReport};

use crate::progress::Progress;
use crate::vault::Vault;

impl Vault {
    /// Stores a file or a tree. The key is the base name of the canonical path, or `as_key`; below
    /// a directory, that and the relative path. Links and special files are left out and reported.
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
