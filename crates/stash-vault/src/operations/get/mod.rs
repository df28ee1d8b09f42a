//! Getting files back: to the disk by temp and rename, or as a stream.

mod beside;
mod ending;
mod error;
mod file;
mod names;
mod opened;
mod options;
mod place;
mod report;
mod stream;
mod tree;

use std::path::{Path, PathBuf};

use stash_crypto::Key;

pub use error::GetError;
pub use options::{GetOptions, Restore};
pub use report::{Failure, GetReport};
pub use stream::Reading;

use crate::blocking::Jobs;
use crate::lookup::{Target, bad_key};
use crate::model::scope::base_name;
use crate::progress::Progress;
use crate::vault::Vault;
use opened::Run;

impl Vault {
    /// Writes a file, or the tree under a prefix, to `output`; without one, to the last segment of
    /// the name in the working directory. A file appears under its name whole or not at all.
    pub async fn get_path(
        &self,
        name: &str,
        output: Option<&Path>,
        options: GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, GetError> {
        let run = Run { options, progress: progress.clone(), jobs: Jobs::default() };
        let work = self.get_inner(name, output, &run);
        let report = progress.or_cancelled(GetError::Cancelled, work).await;
        run.jobs.ended().await;
        report
    }

    async fn get_inner(
        &self,
        name: &str,
        output: Option<&Path>,
        run: &Run,
    ) -> Result<GetReport, GetError> {
        let target = match &run.options.version {
            None => self.inner.source(name).await?,
            Some(id) => {
                let key = Key::new(name).map_err(bad_key(name))?;
                Target::File(Box::new(self.inner.version(&key, id).await?))
            }
        };
        match target {
            Target::File(head) => {
                let key = head.meta.key.clone();
                let own = || PathBuf::from(base_name(key.as_str()));
                let output = output.map_or_else(own, Path::to_owned);
                file::get(&self.inner, *head, output, run).await
            }
            Target::Tree(scope) => {
                let output = match (output, scope.base_name()) {
                    (Some(output), _) => output.to_owned(),
                    (None, Some(own)) => PathBuf::from(own),
                    (None, None) => return Err(GetError::NoOutput),
                };
                tree::get(&self.inner, scope, &output, run).await
            }
        }
    }
}
