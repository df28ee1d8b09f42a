//! Members: current and former ones, and changes among them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::operation::Operation;
use crate::route::{Call, Get};
use crate::tickets::Ticket;

/// `GET /v1/peers`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Peers {
    /// The members, the node included, in the order of their admission.
    pub peers: Vec<Peer>,
    /// The former members, in the order of their removal.
    #[serde(default)]
    pub removed: Vec<RemovedPeer>,
}

impl Peers {
    /// The members as the node knows them.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/peers")
    }
}

/// A member.
#[derive(Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// True of the node that was asked.
    pub this: bool,
    /// True if there is a connection to it.
    pub connected: bool,
    /// Places at which it can be dialled, as it says: addresses, or names, each with a port.
    pub addresses: Vec<String>,
    /// Places at which it is dialled because the user of the node said so.
    #[serde(default)]
    pub given: Vec<String>,
    /// The connection to it; null without one.
    #[serde(default)]
    pub path: Option<PeerPath>,
    /// Time of the last challenge by the node; null before the first one.
    pub challenged: Option<String>,
    /// Chunks and records that it has shown since the node started.
    pub shown: u64,
    /// Chunks and records that it failed to show since the node started.
    pub failed: u64,
    /// Time since which its word does not count as a copy; null if it counts.
    pub in_doubt_since: Option<String>,
    /// True if it has been away for so long that it is no copy until it is back.
    #[serde(default)]
    pub lapsed: bool,
    /// Its room, by its own word; null if it has not said so since the node started.
    #[serde(default)]
    pub room: Option<PeerRoom>,
    /// Bytes of chunks that it keeps, as it signed: less than all, so that it is no copy. Null if it keeps everything.
    #[serde(default)]
    pub keep: Option<u64>,
}

/// The connection to a member.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerPath {
    /// The other end.
    pub address: SocketAddr,
    /// `lan` for an address of a local network, `direct` for one of the internet.
    pub kind: String,
    /// True if the node dialled: then the member can be reached at the address.
    pub dialled: bool,
    /// True if the member is heard at the address on the local network.
    #[serde(default)]
    pub discovered: bool,
}

/// The room that a member has.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerRoom {
    /// Bytes that its store takes.
    pub used: u64,
    /// Bytes that it may take; null if nothing limits it.
    pub limit: Option<u64>,
    /// True if it refuses what others put.
    pub full: bool,
    /// Versions that have no whole copy there.
    pub lacks: u64,
}

/// A former member.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemovedPeer {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it had none, and on a keeper.
    pub name: Option<String>,
    /// Its role at the end.
    pub role: String,
}

/// `POST /v1/peers/remove`: on the node that founded the stash. The answer may take 10 s.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRemove {
    /// A display name that one member has, or the beginning of a node id: eight digits at least.
    pub peer: String,
    /// True to sign although no other member was met since the start. Left out: false.
    #[serde(default)]
    pub alone: bool,
}

impl Call for PeerRemove {
    const ROUTE: &'static str = "/v1/peers/remove";
    type Answer = PeerChanged;
}

/// `POST /v1/peers/role`: on the node that founded the stash. The answer may take 10 s.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRole {
    /// As in [`PeerRemove`].
    pub peer: String,
    /// The role that it is to have.
    pub role: String,
    /// As in [`PeerRemove`].
    #[serde(default)]
    pub alone: bool,
}

impl Call for PeerRole {
    const ROUTE: &'static str = "/v1/peers/role";
    type Answer = PeerChanged;
}

/// `POST /v1/peers/address`: sets where the node dials a member, beside the places that the member names.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddress {
    /// As in [`PeerRemove`].
    pub peer: String,
    /// The places, at most 8, each as `HOST:PORT`; none to take back what was said before.
    pub addresses: Vec<String>,
}

impl Call for PeerAddress {
    const ROUTE: &'static str = "/v1/peers/address";
    type Answer = PeerAddressed;
}

/// Where a member is dialled now, beside the places that it names.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerAddressed {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none, and on a keeper.
    pub name: Option<String>,
    /// The places.
    pub given: Vec<String>,
}

/// A member was changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerChanged {
    /// Its id.
    pub node_id: String,
    /// Its display name; null if it has none.
    pub name: Option<String>,
    /// The role now; null for one that was removed.
    pub role: Option<String>,
    /// The epoch of keys now.
    pub epoch: u32,
    /// Number of members that said what they hold of an owner that writes no more.
    pub asked: u64,
    /// Node ids of members that could not be asked. If only they hold a record of that owner, it
    /// does not count.
    pub silent: Vec<String>,
    /// Tickets that can still be used to join: the removed node may have seen them.
    #[serde(default)]
    pub open_tickets: Vec<Ticket>,
}

/// `POST /v1/invite`: on the node that founded the stash.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The role of the node that joins with it.
    pub role: String,
    /// Seconds for which the ticket is good: 1 to 2,592,000.
    pub expires_seconds: u64,
    /// As in [`PeerRemove`].
    #[serde(default)]
    pub alone: bool,
}

impl Call for InviteRequest {
    const ROUTE: &'static str = "/v1/invite";
    type Answer = InviteDone;
}

/// The answer to an invite.
#[derive(Debug, Serialize, Deserialize)]
pub struct InviteDone {
    /// The text of the ticket, a secret.
    pub ticket: String,
    /// The role that it admits to.
    pub role: String,
    /// Time until which it is good.
    pub expires: String,
}

/// `POST /v1/join`: the node leaves its own empty stash. It goes on when its client has gone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The text of the ticket, a secret.
    pub ticket: String,
    /// The display name to join under; null for the one that the node was started with.
    #[serde(default)]
    pub name: Option<String>,
    /// What the user calls the stash, on this machine alone; left out for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Operation for JoinRequest {
    const ROUTE: &'static str = "/v1/join";
    type Done = JoinDone;
}

/// The end of a join.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinDone {
    /// The id of the stash.
    pub stash_id: String,
    /// The id of the node in it.
    pub node_id: String,
    /// Its role in it.
    pub role: String,
    /// The node id of the member whose addresses the node took from the ticket, as it belonged to the
    /// stash already; null if it joined.
    #[serde(default)]
    pub addresses_of: Option<String>,
}
