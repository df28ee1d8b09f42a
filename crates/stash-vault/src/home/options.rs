//! Options for making and joining a stash, and for running its node.

use std::net::SocketAddr;

use stash_server::store::Quota;
use stash_server::{Housekeeping, Traffic};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::model::retention::Retention;

/// A new stash.
#[derive(Debug, Default)]
pub struct InitOptions {
    /// How members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// A membership in somebody's stash.
#[derive(Debug, Default)]
pub struct JoinOptions {
    /// How members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// How a node runs.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where to listen; nowhere if empty: the node then only dials.
    pub listen: Vec<SocketAddr>,
    /// Addresses to tell others instead of those it listens on.
    pub advertise: Vec<SocketAddr>,
    /// How the node keeps its store in order.
    pub housekeeping: Housekeeping,
    /// How much of the disk its store may take.
    pub quota: Quota,
    /// How much of the line it takes.
    pub traffic: Traffic,
    /// What dates the versions that are written here.
    pub clock: Clock,
    /// What it keeps of old versions, if it is an owner.
    pub retention: Retention,
}
