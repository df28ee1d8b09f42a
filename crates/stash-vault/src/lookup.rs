//! Finding files: by key in the records themselves, by prefix in the index of names.

use std::sync::Arc;
use std::time::Duration;

use stash_crypto::record::KeyError;
use stash_crypto::{Key, NameId};
use stash_server::LedgerError;
use thiserror::Error;

use crate::blocking::blocking;
use crate::class::Class;
use crate::faults;
use crate::history::position;
use crate::index::{IndexEntry, IndexError, NameIndex};
use crate::scope::Scope;
use crate::vault::{Inner, Vault};
use crate::version::{NameView, Version, Versions, versions, view};
use crate::version_id::VersionId;

/// How long a listing waits for an index that is behind, or is built again from a million records.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Times that a question is asked again after the index had to be started anew.
const ATTEMPTS: u32 = 3;

/// Why a file was not found. Nothing was changed.
#[derive(Debug, Error)]
pub enum LookupError {
    /// No file has this name, and nothing lies under it.
    #[error("nothing is stored under '{name}'")]
    NotFound {
        /// The name or prefix that was asked for.
        name: String,
    },
    /// The text can be no key.
    #[error("'{name}' is no key: {source}")]
    Key {
        /// The text given.
        name: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Every record of this name was set aside: somebody changed them.
    #[error("the records of '{key}' are not authentic and were set aside")]
    SetAside {
        /// The key that was asked for.
        key: Key,
    },
    /// No version of this name has this id.
    #[error("'{key}' has no version {version}")]
    NoVersion {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// Several versions of this name begin with these digits.
    #[error("several versions of '{key}' begin with {version}")]
    ManyVersions {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// The version is a removal, and so has no content.
    #[error("version {version} of '{key}' is a removal: it has no content")]
    Removal {
        /// The name.
        key: Key,
        /// The id given.
        version: String,
    },
    /// The index of names has not caught up with the records within a minute: ask again.
    #[error("the index of names is still being built")]
    IndexBehind,
    /// The disk does not let the index of names be used.
    #[error("the index of names cannot be used: {why}")]
    Index {
        /// What the disk or the database said.
        why: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] LedgerError),
}

impl LookupError {
    /// What it means to the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            LookupError::NotFound { .. }
            | LookupError::NoVersion { .. }
            | LookupError::Removal { .. } => Class::NotFound,
            LookupError::Key { .. } | LookupError::ManyVersions { .. } => Class::Usage,
            LookupError::SetAside { .. } => Class::Integrity,
            LookupError::IndexBehind => Class::Temporary,
            LookupError::Index { .. } => Class::Failed,
            LookupError::Engine(error) => faults::engine(error),
        }
    }
}

pub(crate) fn bad_key(name: &str) -> impl FnOnce(KeyError) -> LookupError + '_ {
    move |source| LookupError::Key { name: name.to_owned(), source }
}

/// What a name or prefix means right now.
pub(crate) enum Target {
    /// One file.
    File(Box<Version>),
    /// The files under a prefix, in the index.
    Tree(Scope),
}

impl Inner {
    /// Asks the index, once it contains every record that the engine has now.
    pub(crate) async fn indexed<T: Send + 'static>(
        &self,
        ask: impl Fn(&NameIndex) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<T, LookupError> {
        let ask = Arc::new(ask);
        for _ in 0..ATTEMPTS {
            let last = *self.engine.changes().borrow();
            tokio::time::timeout(CATCH_UP, self.names.caught_up(last))
                .await
                .map_err(|_| LookupError::IndexBehind)?;
            let (names, ask) = (Arc::clone(&self.names), Arc::clone(&ask));
            match blocking(move || ask(&names)).await {
                Ok(answer) => return Ok(answer),
                Err(IndexError::Rebuilding) => {}
                Err(IndexError::Unusable(fault)) => {
                    return Err(LookupError::Index { why: fault.to_string() });
                }
            }
        }
        Err(LookupError::IndexBehind)
    }

    /// What the records of a name say.
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

    /// One version of a key that has content.
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

    /// One page of the index.
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
