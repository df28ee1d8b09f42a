//! Views of an engine and of its members.

use std::net::SocketAddr;

use stash_crypto::member::{Announced, Place};
use stash_crypto::{NodeId, NoisePublic, Role, StashId};
use stash_p2p::PeerStats;
use stash_store::Stats;

use crate::membership::discovery::DiscoveryState;
use crate::message::MemberRoom;
use crate::transfer::background::{Replicated, Traffic};
use crate::transfer::cache::CacheView;
use crate::transfer::suspects::Trial;
use crate::upkeep::house::HouseStatus;
use crate::upkeep::repairs::RepairStatus;

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The member.
    pub node: NodeId,
    /// Its Noise static key.
    pub noise: NoisePublic,
    /// Its role.
    pub role: Role,
    /// Its sealed display name.
    pub label: Vec<u8>,
    /// True if it is this node.
    pub this: bool,
    /// True if it is connected now, or is this node.
    pub connected: bool,
    /// Places at which it says that it can be reached.
    pub addresses: Vec<Announced>,
    /// Places at which it is dialled because the user of this node said so.
    pub given: Vec<Place>,
    /// The other end of the connection to it; `None` without one.
    pub path: Option<Path>,
    /// True if it has been away for so long that it does not count as a copy until it is back.
    pub lapsed: bool,
    /// Results of this node's challenges to it.
    pub trial: Trial,
    /// Its room, if it has said so since this node started.
    pub room: Option<MemberRoom>,
    /// True if it holds the root secret, as the member log tells.
    pub founder: bool,
    /// When this node last heard of it, in seconds since 1970: they were connected, or what it signed came by way of another.
    pub seen: Option<u64>,
    /// The version of its program, by its own word when they were connected last.
    pub program: Option<String>,
    /// Per cent of the records held here that are whole there, as it signed; `None` if it never did, or does not know.
    pub percent: Option<u64>,
    /// Seconds until all of them are, if more come.
    pub to_go: Option<u64>,
    /// Its room, as it signed: maybe days ago, and by way of another member.
    pub stated_room: Option<MemberRoom>,
    /// Bytes of chunks that it keeps, as it signed: it is a cache, and no copy. `None` if it keeps everything, or never
    /// said.
    pub keep: Option<u64>,
}

/// A node that was a member once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedView {
    /// The node.
    pub node: NodeId,
    /// Its last role.
    pub role: Role,
    /// Its sealed display name.
    pub label: Vec<u8>,
}

/// The connection to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The other end.
    pub address: SocketAddr,
    /// True if this node dialled: then the member can be reached there.
    pub dialled: bool,
    /// True if the address is in a network that this machine is attached to.
    pub local: bool,
    /// True if the member is heard at this address on the local network.
    pub heard: bool,
}

/// The state of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// This node.
    pub node: NodeId,
    /// The stash.
    pub stash: StashId,
    /// This node's role.
    pub role: Role,
    /// True once this store has been through a full exchange of records.
    pub synchronised: bool,
    /// Members in all.
    pub members: usize,
    /// Members connected, this node included.
    pub connected: usize,
    /// Records held.
    pub records: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Bytes of those chunks.
    pub bytes: u64,
    /// Records written here that some member is known not to hold; at most 10,000 are counted.
    pub missing_copies: u64,
    /// Records held here that lack chunks; at most 10,000 are counted.
    pub incomplete: u64,
    /// Records of others that found no room here; at most 65,536 are counted.
    pub refused: u64,
    /// The reason why the store takes no writes, if so.
    pub read_only: Option<String>,
    /// Alarms that somebody should look into.
    pub alarms: Vec<String>,
    /// Chunks found damaged and not yet replaced.
    pub quarantined: u64,
    /// The figures of the store.
    pub store: Stats,
    /// State of the housekeeping.
    pub house: HouseStatus,
    /// State of the repair.
    pub repair: RepairStatus,
    /// Limits of its traffic.
    pub traffic: Traffic,
    /// Discovery on the local network.
    pub discovery: DiscoveryState,
    /// Bytes sent to other nodes since the start, and received from them.
    pub transferred: PeerStats,
    /// Bytes of chunks and records that came to be kept here.
    pub replicated: Replicated,
    /// The bytes here, if this node keeps less than everything.
    pub cache: Option<CacheView>,
}
