//! The connected members, and the signals that wake the tasks that follow them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use stash_crypto::{NodeId, RecordHash};
use stash_p2p::Peer;
use tokio::sync::Notify;

use crate::lock::lock;

/// Records that a member said this node lacks and that wait to be read, 32 bytes each. What is
/// beyond is found when all that is held is compared.
const LACKING: usize = 1 << 16;

/// The members that are connected, and the tasks that follow them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connected: Mutex<BTreeMap<NodeId, Peer>>,
    followers: Mutex<BTreeMap<NodeId, Arc<Follower>>>,
}

impl Peers {
    /// The connected members, in order of their ids.
    pub(crate) fn connected(&self) -> Vec<(NodeId, Peer)> {
        lock(&self.connected).iter().map(|(node, peer)| (*node, peer.clone())).collect()
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<Peer> {
        lock(&self.connected).get(node).cloned()
    }

    /// A member is connected.
    pub(crate) fn came(&self, node: NodeId, peer: Peer) {
        lock(&self.connected).insert(node, peer);
    }

    /// A peer is down. True if it was the member's connection: that of a guest who joined, or one
    /// that another has replaced, may end later than the next one began.
    pub(crate) fn went(&self, node: &NodeId, peer: &Peer) -> bool {
        let mut connected = lock(&self.connected);
        let is_it = connected.get(node) == Some(peer);
        if is_it {
            connected.remove(node);
        }
        is_it
    }

    /// A node is no member any more.
    pub(crate) fn forget(&self, node: &NodeId) {
        lock(&self.connected).remove(node);
        lock(&self.followers).remove(node);
    }

    /// Wakes the task that follows a member from now on.
    pub(crate) fn follow(&self, node: NodeId) -> Arc<Follower> {
        let follower = Arc::new(Follower::default());
        lock(&self.followers).insert(node, Arc::clone(&follower));
        follower
    }

    /// The signals to the task that follows a member; `None` if there never was one.
    pub(crate) fn follower(&self, node: &NodeId) -> Option<Arc<Follower>> {
        lock(&self.followers).get(node).cloned()
    }

    /// All that is held is to be compared with every connected member.
    pub(crate) fn compare_with_all(&self) {
        let followers: Vec<_> = lock(&self.followers).values().cloned().collect();
        followers.iter().for_each(|follower| follower.compare());
    }
}

/// Signals to the task that follows a member.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    pub(crate) wake: Notify,
    pub(crate) compare: AtomicBool,
    pub(crate) believe: AtomicBool,
    pub(crate) lacking: Mutex<BTreeSet<RecordHash>>,
}

impl Follower {
    /// The member has news.
    pub(crate) fn news(&self) {
        self.wake.notify_one();
    }

    /// All that is held is to be compared with the member: something that was here is here no more.
    pub(crate) fn compare(&self) {
        self.compare.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// What is believed of the member is to be compared with what it says.
    pub(crate) fn believe(&self) {
        self.believe.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The member has records that this node lacks.
    pub(crate) fn lack(&self, hashes: impl IntoIterator<Item = RecordHash>) {
        self.put_back(hashes);
        self.wake.notify_one();
    }

    /// Keeps what could not be read now for the next round.
    pub(crate) fn put_back(&self, hashes: impl IntoIterator<Item = RecordHash>) {
        let mut lacking = lock(&self.lacking);
        let room = LACKING.saturating_sub(lacking.len());
        lacking.extend(hashes.into_iter().take(room));
    }
}
