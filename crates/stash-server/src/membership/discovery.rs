//! What discovery on the local network knows, and what it is told to do; `search.rs` does it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::lan::heard::Heard;
use crate::lock::lock;
use crate::meter::Meter;

/// Times that a member is dialled at once because of what was heard, and the interval at which it is once more. Anybody can say again
/// what a member said, from any address.
const DIALS: u32 = 8;
const DIAL: Duration = Duration::from_secs(30);

/// The state of the discovery on local networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DiscoveryState {
    /// It is turned off, or has not begun yet.
    #[default]
    Off,
    /// This node listens on its own machine alone: nobody else could come.
    Loopback,
    /// It speaks and listens on so many links, a network card with one family of addresses each; none: there is no network.
    On(usize),
    /// It cannot, for this reason; it is tried again.
    Failing(String),
}

/// What discovery knows, and how it is told what to do.
#[derive(Debug)]
pub(crate) struct Discovery {
    wanted: watch::Sender<bool>,
    state: watch::Sender<DiscoveryState>,
    pub(crate) heard: Mutex<Heard>,
    dials: Meter,
    /// The addresses of the machine have changed.
    pub(crate) moved: Notify,
}

impl Discovery {
    pub(crate) fn new(wanted: bool) -> Discovery {
        Discovery {
            wanted: watch::Sender::new(wanted),
            state: watch::Sender::default(),
            heard: Mutex::default(),
            dials: Meter::new(DIAL, DIALS),
            moved: Notify::new(),
        }
    }

    /// Turns it on or off.
    pub(crate) fn set(&self, wanted: bool) {
        self.wanted.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }

    pub(crate) fn state(&self) -> DiscoveryState {
        self.state.borrow().clone()
    }

    /// Says when it is turned on or off.
    pub(crate) fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// True if a member may be dialled once more because of what was heard; it counts as dialled then.
    pub(crate) fn may_dial(&self, node: NodeId) -> bool {
        self.dials.take(node, Instant::now())
    }

    /// The addresses at which a member is heard now.
    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        lock(&self.heard).addresses(node)
    }

    /// True if a member is heard at an address, whatever the port.
    pub(crate) fn is_at(&self, node: &NodeId, ip: &IpAddr) -> bool {
        lock(&self.heard).is_at(node, &ip.to_canonical())
    }

    /// A node is no member any more.
    pub(crate) fn forget(&self, node: &NodeId) {
        lock(&self.heard).forget(node);
    }

    /// Notes how it goes, and tells the log what is new.
    pub(crate) fn set_state(&self, state: DiscoveryState) {
        if *self.state.borrow() == state {
            return;
        }
        match &state {
            DiscoveryState::Failing(why) => tracing::warn!(
                "members on the local network are not found: {why}; it is tried again"
            ),
            DiscoveryState::On(links) => {
                tracing::info!(links, "members on the local network are looked for");
            }
            DiscoveryState::Off | DiscoveryState::Loopback => {}
        }
        self.state.send_replace(state);
    }
}
