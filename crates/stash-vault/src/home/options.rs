//! Options for making and joining a stash, and for running its node.

use std::net::SocketAddr;

use stash_crypto::member::Place;
use stash_server::store::Quota;
use stash_server::{Housekeeping, Traffic};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::model::retention::Retention;

/// A new stash.
#[derive(Debug, Default)]
pub struct InitOptions {
    /// The name by which members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// A membership in somebody's stash.
#[derive(Debug, Default)]
pub struct JoinOptions {
    /// The name by which members see this node: at most 64 bytes; empty for no name.
    pub display_name: String,
    /// Protects the keyring.
    pub passphrase: Option<Zeroizing<String>>,
}

/// Options of running a node.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where to listen; nowhere if empty: the node then only dials.
    pub listen: Vec<SocketAddr>,
    /// Addresses to tell others instead of those it listens on.
    pub advertise: Vec<Place>,
    /// The upkeep of the node's store.
    pub housekeeping: Housekeeping,
    /// The room of the disk that its store may take.
    pub quota: Quota,
    /// The share of the line that it takes.
    pub traffic: Traffic,
    /// True if it looks for members on the local network, and is found there.
    pub discovery: bool,
    /// The clock that dates the versions written here.
    pub clock: Clock,
    /// The old versions that it keeps, if it is an owner.
    pub retention: Retention,
}
