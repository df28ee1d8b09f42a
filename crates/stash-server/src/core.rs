//! What all tasks of one engine share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stash_crypto::{NameId, NodeId, NodeKeys, Role, StashId};
use stash_p2p::{Endpoint, Environment, Peer};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::buffers::pools::Pools;
use crate::disk::Disk;
use crate::door::Door;
use crate::ledger::author::Author;
use crate::ledger::cursor::Stretches;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::progress::is_complete;
use crate::ledger::roster::Roster;
use crate::lock::lock;
use crate::membership::addresses::Addresses;
use crate::membership::standing::Standing;
use crate::peers::Follower;
use crate::replication::refused::Refused;
use crate::replication::wants::Waits;
use crate::transfer::background::Background;
use crate::transfer::evict::flag::Evicting;
use crate::transfer::in_flight::InFlight;
use crate::transfer::restored::Restored;
use crate::transfer::rooms::Rooms;
use crate::transfer::sources::Sources;
use crate::transfer::suspects::Suspects;
use crate::transfer::under_replicated::UnderReplicated;
use crate::turn::Turn;
use crate::upkeep::housekeeping::House;
use crate::upkeep::repair::Repairs;

pub(crate) struct Core {
    pub stash: StashId,
    pub me: NodeId,
    /// This node is no member: it reads in the name of the root, and signs nothing.
    pub visits: bool,
    pub keys: Arc<NodeKeys>,
    /// What this node runs on.
    pub environment: Environment,
    pub disk: Disk,
    pub roster: Arc<Roster>,
    pub door: Arc<Door>,
    pub author: Author,
    /// Looking at a name and changing it is one step.
    pub name_locks: NameLocks,
    pub endpoint: Endpoint,
    /// How often members move, and by what they are dialled.
    pub addresses: Addresses,
    pub peers: RwLock<BTreeMap<NodeId, Peer>>,
    pub pools: Pools,
    pub sources: Mutex<Sources>,
    /// What nobody waits for is brought no faster than this allows.
    pub background: Background,
    /// Chunks that evictions under way want to drop: they are proven to nobody.
    pub evicting: Evicting,
    /// What goes with the rows of records that have fewer copies than members.
    pub under_replicated: UnderReplicated,
    /// Records that this node is sending to a member: it need not read them from the log as well.
    pub in_flight: InFlight,
    /// Names of the stretches of this store's order.
    pub stretches: Stretches,
    /// Members who compare all that they hold with this node come in turn: each question may read a
    /// large part of the index.
    pub comparing: Turn,
    /// Members who have chunks proven come in turn: each may have 64 MiB read.
    pub proving: Turn,
    /// How members have stood up to challenges.
    pub suspects: Suspects,
    /// Another life of this node that has used its numbers.
    pub restored: Restored,
    /// What passes over all copies share.
    pub repairs: Repairs,
    /// Wakes whoever follows a member: it has news.
    pub news: Mutex<BTreeMap<NodeId, Arc<Follower>>>,
    /// Wakes whoever brings chunks that are wanted.
    pub wanted: Notify,
    /// What the bringing of chunks waits for when there was no room.
    pub waits: Waits,
    /// Records that found no room here.
    pub refused: Refused,
    /// How much room members have.
    pub rooms: Rooms,
    /// One pass over what is wanted at a time.
    pub wanting: tokio::sync::Mutex<()>,
    pub changes: watch::Sender<u64>,
    /// Names of which a record was damaged, and is whole again.
    pub mended: broadcast::Sender<NameId>,
    pub house: House,
    pub admission: Option<Arc<dyn Admission>>,
    /// Whether the admission may be asked.
    pub standing: Standing,
    /// The store failed while this node did what the member log says: it is to be done again.
    pub unfollowed: AtomicBool,
    /// One admission at a time: an entry of the member log follows the one before.
    pub admitting: tokio::sync::Mutex<()>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({} of {})", self.me.short(), self.stash.short())
    }
}

impl Core {
    /// What this node may do, as the member log says now. One that reads there that it was removed
    /// may do as little as a keeper, and nobody speaks to it.
    pub(crate) fn role(&self) -> Role {
        let stranger = if self.visits { Role::Reader } else { Role::Keeper };
        self.roster.role(&self.me).unwrap_or(stranger)
    }

    /// To whom the log wraps the keys that this node opens: itself, or the root that it speaks for.
    pub(crate) fn recipient(&self) -> Option<&NodeId> {
        (!self.visits).then_some(&self.me)
    }

    /// The connected members, in order of their ids.
    pub(crate) fn connected(&self) -> Vec<(NodeId, Peer)> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().map(|(node, peer)| (*node, peer.clone())).collect()
    }

    pub(crate) fn peer(&self, node: &NodeId) -> Option<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Tells whoever tails the records that there are new ones.
    pub(crate) fn applied(&self) {
        self.changes.send_replace(self.disk.store().last_sequence());
    }
}

/// All that is held is to be compared with every connected member.
pub(crate) fn compare_with_all(core: &Core) {
    let followers: Vec<_> = lock(&core.news).values().cloned().collect();
    followers.iter().for_each(|follower| follower.compare());
}

/// Whether one full exchange of records has ended in this store.
pub(crate) fn synchronised(core: &Core) -> bool {
    is_complete(core.disk.store())
}

/// The members that should have a copy of everything: those that have not lapsed, or are here.
pub(crate) fn counted(core: &Core) -> impl Iterator<Item = NodeId> + '_ {
    let members = core.roster.members().into_iter();
    members
        .filter(|member| !member.lapsed || core.peer(&member.node).is_some())
        .map(|member| member.node)
}
