//! Getting files back: to the disk by temp and rename, or as a stream.

mod file;
mod place;
mod stream;
mod tree;

use std::path::{Path, PathBuf};

use stash_crypto::chunk::OpenError;
use stash_crypto::{ChunkRef, Key, RecordHash};
use stash_server::{FetchError, LedgerError};
use thiserror::Error;

use crate::blocking::Jobs;
use crate::class::Class;
use crate::faults;
use crate::lookup::{LookupError, Target, bad_key};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scope::{Scope, base_name};
use crate::vault::{Inner, Vault};
use crate::version::{Standing, Version};
use crate::version_id::VersionId;

pub use stream::Reading;

/// Paths that a report names at most.
const OUTPUTS: usize = 100;

/// How to get.
#[derive(Clone, Copy, Debug)]
pub struct GetOptions {
    /// Replace what is at the output already.
    pub overwrite: bool,
    /// Keep chunks that had to be fetched from other members.
    pub keep: bool,
    /// This version of a file, whatever the head is.
    pub version: Option<VersionId>,
}

impl Default for GetOptions {
    fn default() -> GetOptions {
        GetOptions { overwrite: false, keep: true, version: None }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetReport {
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where they are: the file, or the first hundred files of a tree.
    pub outputs: Vec<PathBuf>,
    /// How many of them have concurrent versions beside the one that was written.
    pub conflicts: u64,
}

impl GetReport {
    fn wrote(&mut self, path: PathBuf, bytes: u64, standing: Standing) {
        self.files += 1;
        self.bytes += bytes;
        self.conflicts += u64::from(standing.siblings() > 0);
        if self.outputs.len() < OUTPUTS {
            self.outputs.push(path);
        }
    }
}

/// Why a file did not come back. No part of it is visible under its name.
#[derive(Debug, Error)]
pub enum GetError {
    /// No such file.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A chunk is neither here nor with any reachable member.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The same of a version that is not the head: its bytes may be nowhere any more.
    #[error(
        "the bytes of version {} of '{key}' are not to be had: {source}",
        VersionId::short(version)
    )]
    OldVersion {
        /// The file.
        key: Key,
        /// The version.
        version: RecordHash,
        /// What is missing.
        source: FetchError,
    },
    /// A chunk is not what an owner of this stash sealed.
    #[error("chunk {} of '{key}' does not open: {source}", chunk.address.short())]
    Chunk {
        /// The file.
        key: Key,
        /// The chunk.
        chunk: ChunkRef,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The record names other chunks than its sealed part says: its author is at fault.
    #[error("the manifest of '{key}' does not fit its size of {size} bytes")]
    Manifest {
        /// The file.
        key: Key,
        /// The size that the sealed part states.
        size: u64,
    },
    /// The padding of a chunk is not zero: its author is at fault.
    #[error("chunk {} of '{key}' has a padding that is not zero", chunk.address.short())]
    Padding {
        /// The file.
        key: Key,
        /// The chunk.
        chunk: ChunkRef,
    },
    /// The range lies beyond the end of the file.
    #[error("the file has {size} bytes: a range cannot begin at {begin}")]
    Range {
        /// Where the range begins.
        begin: u64,
        /// The size of the file.
        size: u64,
    },
    /// Something is at the output already.
    #[error("'{}' exists already", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output is a directory, and a file is to be written.
    #[error("'{}' is a directory", path.display())]
    IsDirectory {
        /// The output.
        path: PathBuf,
    },
    /// Everything was asked for, without a place to put it.
    #[error("name the directory to write everything into")]
    NoOutput,
    /// A component of the path below the output is a link or no directory: what is written through
    /// it would land elsewhere.
    #[error("'{}' is no directory of the output", path.display())]
    Unsafe {
        /// The component.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error("cannot write '{}': {source}", path.display())]
    Output {
        /// The output.
        path: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl GetError {
    /// What it means to the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            GetError::Lookup(error) => error.class(),
            GetError::Fetch(error) | GetError::OldVersion { source: error, .. } => {
                faults::fetch(error)
            }
            GetError::Chunk { .. } | GetError::Manifest { .. } | GetError::Padding { .. } => {
                Class::Integrity
            }
            GetError::Range { .. } | GetError::IsDirectory { .. } | GetError::NoOutput => {
                Class::Usage
            }
            GetError::Exists { .. } | GetError::Unsafe { .. } => Class::Refused,
            GetError::Output { source, .. } => Class::of_io(source, Class::Failed),
            GetError::Engine(error) => faults::engine(error),
            GetError::Cancelled => Class::Cancelled,
        }
    }

    pub(crate) fn output(path: &Path, source: impl Into<std::io::Error>) -> GetError {
        GetError::Output { path: path.to_owned(), source: source.into() }
    }
}

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
        let cancelled = progress.token().cancelled();
        let report = tokio::select! {
            biased;
            () = cancelled => Err(GetError::Cancelled),
            report = Box::pin(self.get_inner(name, output, &run)) => report,
        };
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
                tree::get(&self.inner, scope, output, run).await
            }
        }
    }
}

/// What the parts of one get share.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) options: GetOptions,
    pub(crate) progress: Progress,
    pub(crate) jobs: Jobs,
}

/// Why a chunk of this version did not come.
pub(crate) fn unfetched(version: &Version, source: FetchError) -> GetError {
    match version.standing {
        Standing::Head { .. } => GetError::Fetch(source),
        Standing::Sibling | Standing::Covered => {
            let (key, version) = (version.meta.key.clone(), version.record.hash());
            GetError::OldVersion { key, version, source }
        }
    }
}

/// A file whose chunks are known and fit its size.
pub(crate) struct Opened {
    pub(crate) version: Version,
    pub(crate) plan: Plan,
    pub(crate) refs: Vec<ChunkRef>,
}

impl Inner {
    /// Notes that the local bytes of a version are wanted, if it is what its name shows.
    pub(crate) async fn want(&self, version: &Version) -> Result<(), LedgerError> {
        match version.standing {
            Standing::Head { .. } => self.engine.want_version(version.record.clear().name).await,
            // Whether the head's bytes were given up is not for this version to say.
            Standing::Sibling | Standing::Covered => Ok(()),
        }
    }

    /// Resolves the chunks of a version and checks that they are those of its size.
    pub(crate) async fn opened(&self, version: Version) -> Result<Opened, GetError> {
        let Version { record, meta, .. } = &version;
        let refs = self.chunks(&record.clear().manifest).await;
        let refs = refs.map_err(|source| unfetched(&version, source))?;
        let wrong = || GetError::Manifest { key: meta.key.clone(), size: meta.size };
        let plan = match &meta.inline {
            Some(_) => Plan::new(meta.size, None),
            None => Plan::stated(meta.size, meta.chunk_size)
                .filter(|plan| plan.matches(&refs))
                .ok_or_else(wrong)?,
        };
        Ok(Opened { version, plan, refs })
    }

    /// Opens a chunk in place: its tag, its place in the file and its padding are checked. Returns
    /// how many bytes of plaintext follow the 48 of overhead. Blocking.
    pub(crate) fn open_chunk(
        &self,
        key: &Key,
        plan: &Plan,
        index: u64,
        chunk: ChunkRef,
        buffer: &mut [u8],
    ) -> Result<usize, GetError> {
        let wrong = |source| GetError::Chunk { key: key.clone(), chunk, source };
        let header = stash_crypto::chunk::chunk_header(buffer).map_err(|e| wrong(e.into()))?;
        let keys = self.keys.epoch(header.epoch).unwrap_or_else(|| self.keys.latest());
        let padded = keys.chunks.open_in_place(buffer).map_err(wrong)?;
        let plain = plan.plain_len(index) as usize;
        match padded.get(plain..) {
            Some(padding) if padding.iter().all(|byte| *byte == 0) => Ok(plain),
            _ => Err(GetError::Padding { key: key.clone(), chunk }),
        }
    }
}

/// What is written out for a scope: for error messages about nothing.
pub(crate) fn nothing(scope: &Scope) -> GetError {
    let name = scope.under().to_owned();
    GetError::Lookup(LookupError::NotFound { name })
}
