//! Getting files back: to the disk by temp and rename, or as a stream.

mod beside;
mod ending;
mod error;
mod file;
mod linking;
mod names;
mod opened;
mod options;
mod place;
mod report;
mod room;
mod source;
mod stream;
mod there;
mod tree;
mod verify;

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
use source::Source;

impl Vault {
    /// Writes a file, or the tree under a prefix, to `output`; without one, to the last segment of
    /// the name in the working directory. A file appears under its name whole or not at all. What is
    /// there and is the same is left alone, so that a get that was broken off goes on where it was.
    ///
    /// # Errors
    ///
    /// One file that does not come back is an error. Of a tree, what does not is told in the report.
    pub async fn get_path(
        &self,
        name: &str,
        output: Option<&Path>,
        options: GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, GetError> {
        let run = Run { options, progress: progress.clone(), jobs: Jobs::default() };
        let work = self.get_one(name, output, run.clone());
        let report = progress.or_cancelled(GetError::Cancelled, work).await;
        run.jobs.ended().await;
        report
    }

    /// Writes several names, each a key, a prefix or a pattern, below one directory: under their last
    /// segments, or for a pattern under what follows its last segment without wildcards. A name that is
    /// stored is that one, whatever wildcards it has.
    ///
    /// # Errors
    ///
    /// As [`Vault::get_path`]; a name that is not stored is told in the report, unless it is the only one.
    pub async fn get_names(
        &self,
        names: &[String],
        directory: &Path,
        options: GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, GetError> {
        let run = Run { options, progress: progress.clone(), jobs: Jobs::default() };
        let work = self.get_all(names, directory, run.clone());
        let report = progress.or_cancelled(GetError::Cancelled, work).await;
        run.jobs.ended().await;
        report
    }

    async fn get_all(
        &self,
        names: &[String],
        directory: &Path,
        run: Run,
    ) -> Result<GetReport, GetError> {
        let (sources, missing) = Source::all(&self.inner, names).await?;
        let mut report = GetReport::default();
        for (name, error) in missing {
            let error = GetError::Lookup(error);
            if names.len() == 1 {
                return Err(error);
            }
            report.failed(&name, &error);
        }
        self.inner.get_sources(sources, directory, run, report).await
    }

    async fn get_one(
        &self,
        name: &str,
        output: Option<&Path>,
        run: Run,
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
                let own = || PathBuf::from(base_name(head.meta.key.as_str()));
                let output = output.map_or_else(own, Path::to_owned);
                self.inner.get_file(*head, &output, run).await
            }
            Target::Tree(scope) => {
                let output = match (output, scope.base_name()) {
                    (Some(output), _) => output.to_owned(),
                    (None, Some(own)) => PathBuf::from(own),
                    (None, None) => return Err(GetError::NoOutput),
                };
                let sources = vec![Source::tree(scope)];
                self.inner.get_sources(sources, &output, run, GetReport::default()).await
            }
        }
    }
}
