//! The ground that all layers stand on.

use std::fmt;
use std::sync::Arc;

use stash_crypto::{NodeId, NodeKeys, Role, StashId};
use stash_p2p::{Endpoint, Environment, Peer};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::door::Door;
use crate::keeps::Keeps;
use crate::ledger::author::Author;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::progress::is_complete;
use crate::ledger::roster::Roster;
use crate::peers::Peers;
use crate::tasks::Tasks;

/// The identity of a node, its store and what follows from that, its door and its peers.
pub(crate) struct Core {
    pub stash: StashId,
    pub me: NodeId,
    /// This node is no member: it reads in the name of the root, and signs nothing.
    pub visits: bool,
    pub keys: Arc<NodeKeys>,
    /// The network, the clock and the randomness of this node.
    pub environment: Environment,
    pub disk: Disk,
    pub roster: Arc<Roster>,
    pub door: Arc<Door>,
    pub author: Author,
    /// Looking at a name and changing it is one step.
    pub name_locks: NameLocks,
    pub endpoint: Endpoint,
    pub peers: Peers,
    /// How much of the bytes this node and others keep.
    pub keeps: Keeps,
    /// The last sequence number in the store, for those who tail the records.
    pub changes: watch::Sender<u64>,
    pub tasks: Tasks,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({} of {})", self.me.short(), self.stash.short())
    }
}

impl Core {
    /// The role of this node, as the member log says now. A visitor reads. A node that was removed
    /// may do as little as a keeper, and nobody speaks to it.
    pub(crate) fn role(&self) -> Role {
        let stranger = if self.visits { Role::Reader } else { Role::Keeper };
        self.role_in_log().unwrap_or(stranger)
    }

    /// The role of this node as a member; `None` of a visitor, and of one that was removed.
    pub(crate) fn role_in_log(&self) -> Option<Role> {
        self.roster.role(&self.me)
    }

    /// The node to which the log wraps the keys that this node opens: itself, or the root that it
    /// speaks for.
    pub(crate) fn recipient(&self) -> Option<&NodeId> {
        (!self.visits).then_some(&self.me)
    }

    /// The connected members, in order of their ids.
    pub(crate) fn connected(&self) -> Vec<(NodeId, Peer)> {
        self.peers.connected()
    }

    pub(crate) fn peer(&self, node: &NodeId) -> Option<Peer> {
        self.peers.get(node)
    }

    /// Tells those who tail the records that there are new ones.
    pub(crate) fn applied(&self) {
        self.changes.send_replace(self.disk.store().last_sequence());
    }

    /// True once a full exchange of records has ended in this store.
    pub(crate) fn synchronised(&self) -> bool {
        is_complete(self.disk.store())
    }
}
