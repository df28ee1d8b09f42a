//! A version whose chunks are known, and opening them one by one.

use std::ops::Range;

use stash_crypto::{ChunkRef, Key};
use stash_server::{FetchError, LedgerError};

use super::error::GetError;
use super::options::GetOptions;
use crate::blocking::Jobs;
use crate::class::Class;
use crate::faults;
use crate::model::plan::Plan;
use crate::model::version::{Standing, Version};
use crate::progress::Progress;
use crate::vault::Inner;

/// State that the parts of one get share.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) options: GetOptions,
    pub(crate) progress: Progress,
    pub(crate) jobs: Jobs,
}

/// Why a chunk of this version did not come.
pub(crate) fn unfetched(version: &Version, source: FetchError) -> GetError {
    match version.standing {
        Standing::Head { .. } => GetError::Fetch { key: version.meta.key.clone(), source },
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

impl Opened {
    /// The stored chunks that lie in these places of the file.
    pub(crate) fn stored(&self, wanted: Range<u64>) -> Vec<(u64, ChunkRef)> {
        let places: Box<dyn Iterator<Item = u64> + '_> = match &self.version.meta.runs {
            None => Box::new(0..),
            Some(runs) => Box::new(runs.places(0)),
        };
        let stored = places.zip(self.refs.iter().copied());
        stored.filter(|(place, _)| wanted.contains(place)).collect()
    }
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

    /// As [`Inner::want`]; false if there is no room to note it, and none for chunks either.
    pub(crate) async fn wants(&self, version: &Version) -> Result<bool, LedgerError> {
        match self.want(version).await {
            Ok(()) => Ok(true),
            Err(error) if faults::engine(&error) == Class::Full => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Resolves the chunks of a version and checks that they are those of its size.
    pub(crate) async fn opened(&self, version: Version) -> Result<Opened, GetError> {
        let Version { record, meta, .. } = &version;
        let unfetched = |source| unfetched(&version, source);
        let refs = self.chunks(&record.clear().manifest).await.map_err(unfetched)?;
        let wrong = || GetError::Manifest { key: meta.key.clone(), size: meta.size };
        let plan = match &meta.inline {
            Some(_) => Plan::new(meta.size, None),
            None => Plan::stated(meta.size, meta.chunk_size)
                .filter(|plan| plan.matches(&refs, meta.runs.as_ref()))
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
