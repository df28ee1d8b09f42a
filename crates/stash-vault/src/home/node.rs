//! A running node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stash_crypto::member::Place;
use stash_crypto::{NodeId, NoisePublic, RecoveryText, RootSecret};
use stash_server::Engine;
use thiserror::Error;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::disk::Lock;
use super::members::Keeping;
use crate::blocking::blocking;
use crate::class::Class;
use crate::index::tail::Tail;
use crate::operations::reissue::Reissuer;
use crate::operations::retain::Retainer;
use crate::vault::Vault;

/// Members that a recovery text names at most.
const RECOVERY_MEMBERS: usize = 3;

/// A node that serves: its engine and, unless it is a keeper, its vault.
pub struct Node {
    /// The engine over ciphertext.
    pub engine: Engine,
    /// Names and contents; a keeper has none.
    pub vault: Option<Vault>,
    root: Option<RootSecret>,
    directory: PathBuf,
    tail: Mutex<Option<Tail>>,
    retainer: Mutex<Option<Retainer>>,
    reissuer: Mutex<Option<Reissuer>>,
    lock: Lock,
    members: Keeping,
}

/// This node cannot give a recovery text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("only the node that founded the stash, or recovered it, holds its root secret")]
pub struct RecoveryTextError;

impl RecoveryTextError {
    /// The class of the error for the caller.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

impl Node {
    pub(crate) fn new(
        engine: Engine,
        vault: Option<Vault>,
        tail: Option<Tail>,
        root: Option<RootSecret>,
        place: (PathBuf, Lock),
        members: Keeping,
    ) -> Node {
        let (directory, lock) = place;
        let retainer = Mutex::new(vault.as_ref().map(Retainer::run));
        let reissuer = Mutex::new(vault.as_ref().map(Reissuer::run));
        let tail = Mutex::new(tail);
        Node { engine, vault, root, directory, tail, retainer, reissuer, lock, members }
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// True if this node holds the root secret: it can invite and give the recovery text.
    #[must_use]
    pub fn is_founder(&self) -> bool {
        self.root.is_some()
    }

    /// The recovery text: the root secret, and up to three other members with their addresses.
    /// Whoever has it has the stash.
    pub fn recovery_text(&self) -> Result<Zeroizing<String>, RecoveryTextError> {
        let root = self.root.as_ref().ok_or(RecoveryTextError)?.duplicate();
        Ok(RecoveryText { root, members: self.to_be_named() }.to_text())
    }

    /// The recovery text for paper: whom it names is noted, so that the node can say when it finds nobody
    /// any more.
    pub async fn print_recovery_text(&self) -> Result<Zeroizing<String>, RecoveryTextError> {
        let root = self.root.as_ref().ok_or(RecoveryTextError)?.duplicate();
        let members = self.to_be_named();
        if let Err(error) = self.engine.recovery_text_printed(&members).await {
            tracing::warn!(%error, "whom the recovery text names is not noted");
        }
        Ok(RecoveryText { root, members }.to_text())
    }

    fn to_be_named(&self) -> Vec<(NoisePublic, Vec<Place>)> {
        let mut members: Vec<_> = self.engine.members();
        // Others first: this node is the one that may be lost.
        members.sort_by_key(|member| (member.this, !member.connected));
        let named = members.into_iter().filter(|member| !member.addresses.is_empty());
        named
            .map(|member| {
                let places = member.addresses.iter().map(|one| &one.place);
                (member.noise, RecoveryText::fitting(places))
            })
            .take(RECOVERY_MEMBERS)
            .collect()
    }

    /// The display names of the members that have one; none on a keeper.
    #[must_use]
    pub fn member_names(&self) -> BTreeMap<NodeId, String> {
        let Some(vault) = &self.vault else {
            return BTreeMap::new();
        };
        let members = self.engine.members().into_iter();
        members
            .filter_map(|member| {
                let name = vault.display_name(&member.label, &member.node)?;
                Some((member.node, name))
            })
            .collect()
    }

    /// Stops serving: goes away politely within the deadline, then closes the files and gives up
    /// the directory. The store itself is released when the last clone of engine and vault is gone:
    /// drop them first if the directory is to be opened again.
    pub async fn shutdown(self, deadline: Duration) {
        let Node { engine, vault, tail, retainer, reissuer, lock, members, .. } = self;
        // It knows the engine, whose store is to be released.
        members.stop().await;
        if let Some(retainer) = retainer.into_inner() {
            retainer.stop().await;
        }
        if let Some(reissuer) = reissuer.into_inner() {
            reissuer.stop().await;
        }
        if let Some(tail) = tail.into_inner() {
            tail.stop().await;
        }
        if let Some(vault) = &vault {
            vault.end_merges().await;
        }
        engine.shutdown(deadline).await;
        blocking(move || {
            if let Some(vault) = vault {
                vault.close();
            }
            drop(engine);
            drop(lock);
        })
        .await;
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({} in {})", self.engine.node_id().short(), self.directory.display())
    }
}
