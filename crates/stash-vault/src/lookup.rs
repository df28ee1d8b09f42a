//! Finding files: by key in the records themselves, by prefix in the index of names.

mod error;

use std::sync::Arc;
use std::time::Duration;

use stash_crypto::{ChunkRef, Key, Manifest, NameId};
use stash_server::FetchError;

pub use error::LookupError;
pub(crate) use error::bad_key;

use crate::blocking::blocking;
use crate::index::{IndexEntry, IndexError, NameIndex};
use crate::model::scope::Scope;
use crate::model::version::{Here, NameView, Version, Versions, versions, view};
use crate::model::version_id::VersionId;
use crate::vault::{Inner, Vault};

/// The time for which a listing waits for an index that is behind, or is built again from a million records.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Times that a question is asked again after the index had to be started anew.
const ATTEMPTS: u32 = 3;

/// The meaning of a name or prefix right now.
pub(crate) enum Target {
    /// One file, or one link.
    File(Box<Version>),
    /// The files under a prefix, in the index; that of a directory itself may have no other.
    Tree(Scope),
}

impl Inner {
    /// Asks the index, once it contains every record that the engine has now.
    pub(crate) async fn indexed<T: Send + 'static>(
        &self,
        ask: impl Fn(&NameIndex) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<T, LookupError> {
        self.indexed_within(CATCH_UP, ask).await
    }

    /// As [`Inner::indexed`], for one that does not wait for long: `None` if the index does not catch up
    /// within `patience`.
    pub(crate) async fn indexed_soon<T: Send + 'static>(
        &self,
        patience: Duration,
        ask: impl Fn(&NameIndex) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<Option<T>, LookupError> {
        match self.indexed_within(patience, ask).await {
            Ok(answer) => Ok(Some(answer)),
            Err(LookupError::IndexBehind) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn indexed_within<T: Send + 'static>(
        &self,
        patience: Duration,
        ask: impl Fn(&NameIndex) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<T, LookupError> {
        let ask = Arc::new(ask);
        for _ in 0..ATTEMPTS {
            let last = *self.engine.changes().borrow();
            tokio::time::timeout(patience, self.names.caught_up(last))
                .await
                .map_err(|_| LookupError::IndexBehind)?;
            let (names, ask) = (Arc::clone(&self.names), Arc::clone(&ask));
            let asked = move || {
                let (generation, cursor) = names.position();
                let answer = ask(&names)?;
                // One that began anew meanwhile is empty, and would say that of everything.
                match cursor >= last && names.position().0 == generation {
                    true => Ok(answer),
                    false => Err(IndexError::Rebuilding),
                }
            };
            match blocking(asked).await {
                Ok(answer) => return Ok(answer),
                Err(IndexError::Rebuilding) => {}
                Err(IndexError::Unusable(fault)) => {
                    return Err(LookupError::Index { why: fault.to_string() });
                }
            }
        }
        Err(LookupError::IndexBehind)
    }

    /// The view of a name that its records give.
    pub(crate) async fn view_of(&self, name: NameId) -> Result<NameView, LookupError> {
        let records = self.engine.records_of(name).await?;
        Ok(view(&self.keys, &records))
    }

    /// As [`Inner::view_of`], for a writer: what is damaged here, and whole on no member that could
    /// be asked, is about to be covered, and says nothing.
    pub(crate) async fn view_to_cover(&self, name: NameId) -> Result<NameView, LookupError> {
        match self.view_of(name).await {
            Err(LookupError::Engine(error)) if error.is_damaged_record() => Ok(NameView::default()),
            view => view,
        }
    }

    /// Every version of a key.
    pub(crate) async fn versions_of(&self, key: &Key) -> Result<Versions, LookupError> {
        let records = self.engine.records_of(self.keys.name_id(key)).await?;
        Ok(versions(&self.keys, &records))
    }

    /// A version of a key that has content.
    pub(crate) async fn version(&self, key: &Key, id: &VersionId) -> Result<Version, LookupError> {
        let mut versions = self.versions_of(key).await?;
        if versions.all.is_empty() {
            // Says what is wrong with the name.
            return self.head(key).await;
        }
        let version = versions.all.swap_remove(position(key, &versions.all, id)?);
        if !version.is_put() {
            return Err(LookupError::Removal { key: key.clone(), version: id.to_string() });
        }
        Ok(version)
    }

    /// The head of a key.
    pub(crate) async fn head(&self, key: &Key) -> Result<Version, LookupError> {
        let view = self.view_of(self.keys.name_id(key)).await?;
        match view.head {
            Some(head) => Ok(head),
            None if view.key.is_none() && !view.alarms.is_empty() => {
                Err(LookupError::SetAside { key: key.clone() })
            }
            None => Err(LookupError::NotFound { name: key.to_string() }),
        }
    }

    /// The target of a command that only reads: an empty name is everything.
    pub(crate) async fn source(&self, name: &str) -> Result<Target, LookupError> {
        self.target_in(name, Scope::or_all(name).map_err(bad_key(name))?).await
    }

    /// The target of a command that changes it: the file of this name, or else the tree under it.
    pub(crate) async fn target(&self, name: &str) -> Result<Target, LookupError> {
        self.target_in(name, Scope::named(name).map_err(bad_key(name))?).await
    }

    async fn target_in(&self, name: &str, scope: Scope) -> Result<Target, LookupError> {
        let missing = match scope.exact() {
            None => LookupError::NotFound { name: name.to_owned() },
            Some(key) => match self.head(key).await {
                Ok(head) if head.is_directory() => return Ok(Target::Tree(scope)),
                Ok(head) => return Ok(Target::File(Box::new(head))),
                Err(error @ (LookupError::NotFound { .. } | LookupError::SetAside { .. })) => error,
                Err(error) => return Err(error),
            },
        };
        match self.page(&scope, None, 1).await?.is_empty() {
            true => Err(missing),
            false => Ok(Target::Tree(scope)),
        }
    }

    /// The place of the content of a manifest: on this node, in part, or with other members alone.
    pub(crate) async fn here(&self, manifest: &Manifest) -> Result<Here, LookupError> {
        let refs = match self.chunks(manifest).await {
            Ok(refs) => refs,
            // Without its manifest chunks nobody can say which chunks a file has.
            Err(_) => return Ok(Here::Evicted),
        };
        let addresses: Vec<_> = refs.iter().map(|chunk| chunk.address).collect();
        let here = self.engine.chunks_here(&addresses).await?;
        Ok(match here.iter().filter(|here| **here).count() {
            count if count == here.len() => Here::Local,
            0 => Here::Evicted,
            _ => Here::Partial,
        })
    }

    /// The file chunks of a manifest, fetched where only other members have its manifest chunks.
    pub(crate) async fn chunks(&self, manifest: &Manifest) -> Result<Vec<ChunkRef>, FetchError> {
        match manifest {
            Manifest::Direct(refs) => Ok(refs.clone()),
            indirect @ Manifest::Indirect { .. } => self.engine.manifest(indirect).await,
        }
    }

    /// A page of the index.
    pub(crate) async fn page(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Key, IndexEntry)>, LookupError> {
        let (scope, after) = (scope.clone(), after.map(str::to_owned));
        self.indexed(move |names| names.page(&scope, after.as_deref(), limit)).await
    }
}

impl Vault {
    /// The name id of a key: all that peers see of it.
    #[must_use]
    pub fn name_id(&self, key: &Key) -> NameId {
        self.inner.keys.name_id(key)
    }
}

/// Where a version stands in a list of all of them.
pub(crate) fn position(key: &Key, all: &[Version], id: &VersionId) -> Result<usize, LookupError> {
    let mut matching = (0..all.len()).filter(|at| id.matches(&all[*at].record.hash()));
    match (matching.next(), matching.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => {
            Err(LookupError::ManyVersions { key: key.clone(), version: id.to_string() })
        }
        (None, _) => Err(LookupError::NoVersion { key: key.clone(), version: id.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use stash_server::Wait;

    use super::*;
    use crate::{Home, InitOptions, Progress, PutOptions, RunOptions};

    /// The answer of a node with three names whose index begins anew in the first `anew` attempts, just
    /// before it is asked; and the count of attempts.
    async fn asked(anew: u32) -> (Result<u64, LookupError>, u32) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Home::init(&data, InitOptions::default()).unwrap();
        let node = Home::open(&data, None, RunOptions::default()).await.unwrap();
        let vault = node.vault.clone().unwrap();
        for name in ["a", "b", "c"] {
            let (key, progress) = (Key::new(name).unwrap(), Progress::new());
            let options = PutOptions { wait: Wait::Local, jobs: 1 };
            vault.put_reader(key, &b"1"[..], None, options, &progress).await.unwrap();
        }
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&attempts);
        let ask = move |names: &NameIndex| {
            if counted.fetch_add(1, Ordering::Relaxed) < anew {
                assert!(matches!(names.start_over(), IndexError::Rebuilding));
            }
            Ok(names.len())
        };
        let answer = vault.inner.indexed(ask).await;
        drop(vault);
        node.shutdown(Duration::from_secs(5)).await;
        (answer, attempts.load(Ordering::Relaxed))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_does_not_wait_is_told_that_the_index_is_behind() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Home::init(&data, InitOptions::default()).unwrap();
        let node = Home::open(&data, None, RunOptions::default()).await.unwrap();
        let inner = Arc::clone(&node.vault.as_ref().unwrap().inner);
        let soon = |patience| {
            let inner = Arc::clone(&inner);
            async move {
                let ask = |names: &NameIndex| match names.len() {
                    0 => Err(names.start_over()),
                    more => Ok(more),
                };
                inner.indexed_soon(patience, ask).await
            }
        };
        assert!(matches!(soon(Duration::from_secs(1)).await, Ok(None)));
        drop(inner);
        node.shutdown(Duration::from_secs(5)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_index_that_begins_anew_is_asked_again_and_never_answers_as_empty() {
        assert!(matches!(asked(0).await, (Ok(3), 1)));
        assert!(matches!(asked(1).await, (Ok(3), 2)));
        let (answer, attempts) = asked(u32::MAX).await;
        assert!(matches!(answer, Err(LookupError::IndexBehind)), "{answer:?}");
        assert_eq!(attempts, ATTEMPTS);
    }
}
