//! Writing the content of a version once more: what undelete and resolve have in common.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stash_crypto::record::{Reached, RecordError};
use stash_crypto::{ChunkRef, Key, Manifest};
use stash_server::{FetchError, LedgerError, PutError as UploadError, Upload, Write};
use thiserror::Error;

use crate::class::Class;
use crate::faults;
use crate::lookup::LookupError;
use crate::model::version::{Version, Versions, seen, versions};
use crate::operations::draft::{Content, write};
use crate::progress::Progress;
use crate::vault::Inner;

/// Why a version was not written again. Nothing was written for its name.
#[derive(Debug, Error)]
pub enum RewriteError {
    /// Its bytes are neither here nor with any member that could be asked.
    #[error("the bytes of '{key}' are not to be had: {source}")]
    Fetch {
        /// The file.
        key: Key,
        /// The missing part.
        source: FetchError,
    },
    /// Its bytes came and were not kept here, which a record needs: most likely the disk is full.
    #[error("the bytes of '{key}' could not be kept here")]
    NotKept {
        /// The file.
        key: Key,
    },
    /// Somebody wrote the name meanwhile: what was decided is about versions of before.
    #[error("'{key}' was written meanwhile")]
    Moved {
        /// The file.
        key: Key,
    },
    /// Storing or sending failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl RewriteError {
    pub(crate) fn class(&self) -> Class {
        match self {
            RewriteError::Fetch { source, .. } => faults::fetch(source),
            RewriteError::NotKept { .. } => Class::Full,
            RewriteError::Moved { .. } => Class::Temporary,
            RewriteError::Upload(error) => faults::put(error),
            RewriteError::Engine(error) => faults::engine(error),
            RewriteError::Cancelled => Class::Cancelled,
        }
    }
}

/// The versions of a name, and all that was seen of it when they were looked at.
pub(crate) struct Looked {
    pub(crate) versions: Versions,
    seen: Reached,
}

impl Inner {
    pub(crate) async fn look(&self, key: &Key) -> Result<Looked, LookupError> {
        let records = self.engine.records_of(self.keys.name_id(key)).await?;
        Ok(Looked { versions: versions(&self.keys, &records), seen: seen(&records) })
    }

    /// Brings every chunk of a version here and offers it to members, so that a new record may name
    /// it.
    pub(crate) async fn offer(
        &self,
        upload: &Upload,
        version: &Version,
        progress: &Progress,
    ) -> Result<(), RewriteError> {
        let key = || version.meta.key.clone();
        let manifest = &version.record.clear().manifest;
        let fetch = |source| RewriteError::Fetch { key: key(), source };
        let mut chunks = self.chunks(manifest).await.map_err(fetch)?;
        if let Manifest::Indirect { chunks: manifests, .. } = manifest {
            chunks.extend_from_slice(manifests);
        }
        let mut met = BTreeSet::new();
        chunks.retain(|chunk| met.insert(chunk.address));
        let away = self.unknown(upload, chunks, progress).await?;
        if away.is_empty() {
            return Ok(());
        }
        let mut fetched = self.engine.fetch(away.clone(), true);
        while let Some(chunk) = fetched.next().await {
            drop(chunk.map_err(fetch)?);
            if progress.cancelled() {
                return Err(RewriteError::Cancelled);
            }
        }
        match self.unknown(upload, away, progress).await?.is_empty() {
            true => Ok(()),
            false => Err(RewriteError::NotKept { key: key() }),
        }
    }

    /// Offers chunks to members, and gives back those that are not here.
    async fn unknown(
        &self,
        upload: &Upload,
        chunks: Vec<ChunkRef>,
        progress: &Progress,
    ) -> Result<Vec<ChunkRef>, RewriteError> {
        let mut unknown = Vec::new();
        for chunk in chunks {
            if progress.cancelled() {
                return Err(RewriteError::Cancelled);
            }
            if !upload.known(chunk).await? {
                unknown.push(chunk);
            }
        }
        Ok(unknown)
    }
}

/// Records to be written only if nothing came in since their names were looked at: the author of a
/// record covers all that it holds, and nobody decided about what came in.
#[derive(Default)]
pub(crate) struct Unmoved {
    writes: Vec<Write>,
    moved: Arc<AtomicBool>,
}

impl Unmoved {
    pub(crate) fn add(&mut self, inner: &Arc<Inner>, content: Content, looked: Looked) {
        let Write { name, draft } = write(inner, content);
        let moved = Arc::clone(&self.moved);
        let draft = Box::new(move |position: stash_server::Position| {
            if !position.seen.iter().all(|dot| looked.seen.covers(&dot)) {
                moved.store(true, Ordering::Relaxed);
                // Any error ends the batch; this one is not seen by anybody.
                return Err(RecordError::Height { height: position.height }.into());
            }
            draft(position)
        });
        self.writes.push(Write { name, draft });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Commits them all. `None`: one of the names has moved on, and none was written.
    pub(crate) async fn commit(
        self,
        upload: &Upload,
    ) -> Result<Option<stash_server::Pending>, RewriteError> {
        match upload.commit(self.writes).await {
            Ok(pending) => Ok(Some(pending)),
            Err(_) if self.moved.load(Ordering::Relaxed) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use stash_server::Wait;

    use super::*;
    use crate::operations::put::PutOptions;
    use crate::vault::Vault;
    use crate::{Home, InitOptions, RunOptions};

    async fn store(vault: &Vault, key: &Key, bytes: &'static [u8]) {
        let options = PutOptions { wait: Wait::Local, jobs: 1 };
        vault.put_reader(key.clone(), bytes, None, options, &Progress::new()).await.unwrap();
    }

    /// A caller who decides about the versions of a name decides about those that were looked at.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_version_that_comes_in_between_look_and_commit_is_not_covered() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Home::init(&data, InitOptions::default()).unwrap();
        let node = Home::open(&data, None, RunOptions::default()).await.unwrap();
        let vault = node.vault.clone().unwrap();
        let key = Key::new("k").unwrap();
        store(&vault, &key, b"one").await;
        let upload = vault.inner.engine.upload(Wait::Local);
        for moved in [true, false] {
            let looked = vault.inner.look(&key).await.unwrap();
            if moved {
                store(&vault, &key, b"two").await;
            }
            let mut writes = Unmoved::default();
            writes.add(&vault.inner, Content::tombstone(key.clone()), looked);
            let committed = writes.commit(&upload).await.unwrap();
            assert_eq!(committed.is_none(), moved);
        }
        let looked = vault.inner.look(&key).await.unwrap();
        assert_eq!((looked.versions.all.len(), looked.versions.leaves), (3, 1));
        drop((upload, vault, looked));
        node.shutdown(std::time::Duration::from_secs(5)).await;
    }
}
