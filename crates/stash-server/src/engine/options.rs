//! Options of an engine, and the reasons why it may not start.

use std::net::SocketAddr;
use std::sync::Arc;

use stash_crypto::member::{AddressesError, Place};
use stash_crypto::{NetworkKey, NodeKeys, StashId};
use stash_p2p::{BindError, Environment};
use stash_store::{CommitError, ReadError, Store};

use crate::admission::Admission;
use crate::disk::Mode;
use crate::ledger::{LedgerError, RosterError};
use crate::transfer::background::Traffic;
use crate::upkeep::schedule::Housekeeping;

/// Options of an engine.
pub struct EngineOptions {
    /// The opened store of this node.
    pub store: Store,
    /// Place where its blocking work runs.
    pub mode: Mode,
    /// The network, the clock and the randomness that it runs on.
    pub environment: Environment,
    /// This node's keys.
    pub keys: Arc<NodeKeys>,
    /// The stash.
    pub stash: StashId,
    /// Network keys that this node was granted, oldest first; at least one. Those of later epochs
    /// it finds in the member log.
    pub network: Vec<NetworkKey>,
    /// Addresses to listen on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Places to tell others instead of the listening addresses; may be empty.
    pub advertise: Vec<Place>,
    /// Signs admissions, on the node that holds the root secret.
    pub admission: Option<Arc<dyn Admission>>,
    /// The store may not be the one that this node last wrote to: take a new writer incarnation.
    pub fresh_writer: bool,
    /// Settings of its housekeeping.
    pub housekeeping: Housekeeping,
    /// Limits of its traffic.
    pub traffic: Traffic,
    /// True if members are looked for on the local network.
    pub discovery: bool,
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineOptions({} of {})", self.keys.node_id().short(), self.stash.short())
    }
}

/// The engine did not start; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listening address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The member log in the store is not valid.
    #[error("the member log cannot be used: {0}")]
    Roster(#[from] RosterError),
    /// This node is not in the member log, or was removed.
    #[error("the member log does not list this node: it was removed, or never was a member")]
    NotMember,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An address to advertise is not one that others can use.
    #[error("this node's addresses cannot be signed: {0}")]
    Addresses(#[from] AddressesError),
}

impl From<ReadError> for StartError {
    fn from(error: ReadError) -> StartError {
        StartError::Ledger(error.into())
    }
}

impl From<CommitError> for StartError {
    fn from(error: CommitError) -> StartError {
        StartError::Ledger(error.into())
    }
}
