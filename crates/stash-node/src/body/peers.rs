//! Members: who belongs, who did, and changing it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `GET /v1/peers`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Peers {
    pub(crate) peers: Vec<Peer>,
    /// Who was removed, in that order.
    #[serde(default)]
    pub(crate) removed: Vec<RemovedPeer>,
}

/// One member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) node_id: String,
    pub(crate) name: Option<String>,
    pub(crate) role: String,
    pub(crate) this: bool,
    pub(crate) connected: bool,
    pub(crate) addresses: Vec<SocketAddr>,
    /// When this node challenged it last: RFC 3339, UTC.
    pub(crate) challenged: Option<String>,
    /// Chunks and records that it has shown since this node started, and that it failed to show.
    pub(crate) shown: u64,
    pub(crate) failed: u64,
    /// RFC 3339, UTC; what it says is not counted as a copy since then.
    pub(crate) in_doubt_since: Option<String>,
    /// Away for so long that it is no copy until it is back.
    #[serde(default)]
    pub(crate) lapsed: bool,
}

/// One that was a member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RemovedPeer {
    pub(crate) node_id: String,
    pub(crate) name: Option<String>,
    /// What it could do at the end.
    pub(crate) role: String,
}

/// `POST /v1/peers/remove`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerRemove {
    /// A display name, or the beginning of a node id: eight digits at least.
    pub(crate) peer: String,
    /// Whether to sign although no other member was met since the start.
    #[serde(default)]
    pub(crate) alone: bool,
}

/// `POST /v1/peers/role`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerRole {
    /// As for a removal.
    pub(crate) peer: String,
    pub(crate) role: String,
    /// As for a removal.
    #[serde(default)]
    pub(crate) alone: bool,
}

/// A member was changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerChanged {
    pub(crate) node_id: String,
    pub(crate) name: Option<String>,
    /// The role now; null for one that was removed.
    pub(crate) role: Option<String>,
    /// The epoch of keys now.
    pub(crate) epoch: u32,
    /// Members that said what they hold of an owner that writes no more.
    pub(crate) asked: u64,
    /// Node ids of members that could not be asked: what only they hold of it does not count.
    pub(crate) silent: Vec<String>,
}
