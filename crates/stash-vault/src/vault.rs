//! The vault of a running node: names and plaintext over an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stash_crypto::{NodeId, NodeKeys, ReadRoot, Role};
use stash_server::Engine;
use stash_server::store::Quota;

use crate::clock::Clock;
use crate::index::tail::{Tail, run};
use crate::index::{Binding, IndexError, Mark, NameIndex, Root};
use crate::model::keys::ReadKeys;
use crate::model::retention::Retention;
use crate::tags::TagIndex;

/// Files and names of one stash, on a node that may read. Clones share everything.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) node: Arc<NodeKeys>,
    pub(crate) keys: Arc<ReadKeys>,
    pub(crate) names: Arc<NameIndex>,
    pub(crate) tags: Option<Arc<TagIndex>>,
    /// The data directory in canonical form: nothing of it is ever stored.
    pub(crate) directory: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) retention: Retention,
    /// Held during a pass of retention: one at a time.
    pub(crate) retaining: tokio::sync::Mutex<()>,
}

/// The parts that a vault is opened with.
pub(crate) struct VaultParts<'a> {
    pub(crate) engine: Engine,
    pub(crate) node: Arc<NodeKeys>,
    pub(crate) roots: Vec<ReadRoot>,
    pub(crate) directory: &'a Path,
    pub(crate) binding: Binding,
    pub(crate) last_sequence: u64,
    pub(crate) quota: Quota,
    pub(crate) clock: Clock,
    pub(crate) retention: Retention,
}

/// Why a vault cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The keyring of an owner or reader lacks the first read root.
    #[error("the keyring holds no read key")]
    NoReadKey,
    /// The disk does not let the index be used.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Inner {
    /// The role of this node, as the member log says now.
    pub(crate) fn role(&self) -> Role {
        self.engine.role()
    }

    /// Refuses a node that may not write, with the error that is made of its role.
    pub(crate) fn may_write<E>(&self, refused: impl FnOnce(Role) -> E) -> Result<(), E> {
        let role = self.role();
        if role.writes() { Ok(()) } else { Err(refused(role)) }
    }
}

impl Vault {
    /// Opens the indexes (blocking) and starts to follow the record log.
    pub(crate) fn open(parts: VaultParts<'_>) -> Result<(Vault, Tail), VaultError> {
        let (engine, node) = (parts.engine.clone(), Arc::clone(&parts.node));
        let keys = ReadKeys::follow(parts.roots, engine, node).ok_or(VaultError::NoReadKey)?;
        let keys = Arc::new(keys);
        let root = Root::real(parts.directory, parts.quota).map_err(IndexError::Unusable)?;
        let stands = |mark: &Mark| {
            let stands = parts.engine.is_record_at(mark.sequence, &mark.hash);
            stands.unwrap_or_else(|error| {
                tracing::warn!(%error, "the index of names cannot be compared with the store");
                false
            })
        };
        let names = NameIndex::open(&root, parts.binding, parts.last_sequence, &stands)?;
        let names = Arc::new(names);
        let role = parts.engine.role();
        let tags = role.writes().then(|| Arc::new(TagIndex::open(&root, parts.binding)));
        let directory = parts.directory.canonicalize();
        let directory = directory.unwrap_or_else(|_| parts.directory.to_owned());
        let tail = run(parts.engine.clone(), Arc::clone(&names), Arc::clone(&keys));
        let VaultParts { engine, node, clock, retention, .. } = parts;
        let inner = Inner {
            engine,
            node,
            keys,
            names,
            tags,
            directory,
            clock,
            retention,
            retaining: tokio::sync::Mutex::default(),
        };
        Ok((Vault { inner: Arc::new(inner) }, tail))
    }

    /// A member's display name, opened.
    #[must_use]
    pub fn display_name(&self, label: &[u8], node: &NodeId) -> Option<String> {
        self.inner.keys.open_label(label, node)
    }

    /// Ends what nobody waits for and goes on with the files of the indexes. Before [`Vault::close`].
    pub(crate) async fn end_merges(&self) {
        if let Some(tags) = &self.inner.tags {
            tags.end_merges().await;
        }
    }

    /// Makes durable what the indexes have learned, also if somebody still reads them.
    pub(crate) fn close(self) {
        self.inner.names.close();
        if let Some(tags) = &self.inner.tags {
            tags.close();
        }
    }
}
