//! Members: who belongs, who did, and changing it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Ticket;
use crate::output::{grouped, size};

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
    /// How much room it has, by its own word; null if it has not said so since this node started.
    #[serde(default)]
    pub(crate) room: Option<PeerRoom>,
}

/// How much room a member has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRoom {
    /// Bytes that its store takes.
    pub(crate) used: u64,
    /// Bytes that it may take; null if nothing limits it.
    pub(crate) limit: Option<u64>,
    /// True if it refuses what others put.
    pub(crate) full: bool,
    /// Versions that have no whole copy there.
    pub(crate) lacks: u64,
}

impl PeerRoom {
    /// What people are told of a member that is full, behind its name and `is`.
    pub(crate) fn sentence(&self) -> String {
        let of = self.limit.map(|limit| {
            let (used, limit) = (size(self.used), size(limit));
            let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
            let short = used.split_once(' ').filter(|_| unit(&used) == unit(&limit));
            format!(" ({} of {limit})", short.map_or(&used[..], |(number, _)| number))
        });
        let lacks = match self.lacks {
            0 => String::new(),
            1 => ": 1 file has no copy there".to_owned(),
            more => format!(": {} files have no copy there", grouped(more)),
        };
        format!("full{}{lacks}", of.unwrap_or_default())
    }
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
    /// Tickets with which somebody can still join: the node may have seen them.
    #[serde(default)]
    pub(crate) open_tickets: Vec<Ticket>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_member_is_told_with_its_room_and_what_it_lacks() {
        let room = |used, lacks| PeerRoom { used, limit: Some(1 << 30), full: true, lacks };
        let full = "full (1.0 of 1.0 GiB): 2,202 files have no copy there";
        assert_eq!(room(1 << 30, 2_202).sentence(), full);
        assert_eq!(
            room(1 << 29, 1).sentence(),
            "full (512.0 MiB of 1.0 GiB): 1 file has no copy there"
        );
        assert_eq!(PeerRoom { limit: None, ..room(9, 0) }.sentence(), "full");
    }
}
