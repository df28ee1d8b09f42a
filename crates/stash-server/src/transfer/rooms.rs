//! Room of members: each says it when it meets another one, when it fills, and when it has room
//! again.
//!
//! A member that says it is full is offered no chunks, is sent only tombstones and forgets, and is
//! not asked what it lacks. Its missing copies count as for any other member, and a member that
//! says it has room may still refuse.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stash_crypto::NodeId;
use tokio::sync::Notify;

use crate::lock::lock;
use crate::message::MemberRoom;
use crate::peers::Peers;

/// Room of members, by their word or by what they refused.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    members: Mutex<BTreeMap<NodeId, MemberRoom>>,
    pub(crate) changed: Notify,
}

impl Rooms {
    /// Something was refused here, or there is room again.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn of(&self, node: &NodeId) -> Option<MemberRoom> {
        lock(&self.members).get(node).copied()
    }

    pub(crate) fn is_full(&self, node: &NodeId) -> bool {
        self.of(node).is_some_and(|room| room.full)
    }

    /// A member said how much room it has.
    pub(crate) fn learn(&self, peers: &Peers, node: NodeId, room: MemberRoom) {
        let before = lock(&self.members).insert(node, room);
        if !room.full && before.is_some_and(|before| before.full) {
            // What it lacks may be told it again.
            peers.follower(&node).iter().for_each(|follower| follower.news());
        }
    }

    /// A member refused something for want of room.
    pub(crate) fn refused(&self, node: &NodeId, used: u64, limit: u64) {
        let mut members = lock(&self.members);
        let lacks = members.get(node).map_or(0, |room| room.lacks);
        members.insert(*node, MemberRoom { used, limit, full: true, lacks });
    }
}
