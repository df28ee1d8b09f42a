//! Bytes between two nodes: puts, gets, proofs, evictions, and the room for them.

pub(crate) mod accept;
pub(crate) mod answer;
pub(crate) mod background;
pub(crate) mod cache;
pub(crate) mod counting;
pub(crate) mod damage;
pub(crate) mod evict;
pub(crate) mod fetch;
pub(crate) mod holders;
pub(crate) mod in_flight;
pub(crate) mod intake;
pub(crate) mod lacking;
pub(crate) mod lane;
pub(crate) mod local;
pub(crate) mod other_lives;
pub(crate) mod proof;
pub(crate) mod reissues;
pub(crate) mod restored;
pub(crate) mod rooms;
pub(crate) mod shipment;
pub(crate) mod sources;
pub(crate) mod suspects;
pub(crate) mod tally;
pub(crate) mod under_replicated;
pub(crate) mod upload;

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::buffers::pools::Pools;
use crate::core::Core;
use crate::transfer::background::Background;
use crate::transfer::cache::Cache;
use crate::transfer::damage::DamageList;
use crate::transfer::evict::flag::Evicting;
use crate::transfer::in_flight::InFlight;
use crate::transfer::restored::Restored;
use crate::transfer::rooms::Rooms;
use crate::transfer::sources::Sources;
use crate::transfer::suspects::Suspects;
use crate::transfer::under_replicated::UnderReplicated;
use crate::turn::{Shares, Turn};

/// The state of what goes between this node and others.
pub(crate) struct Transfer {
    pub core: Arc<Core>,
    pub pools: Pools,
    pub sources: Mutex<Sources>,
    /// The rate of what nobody waits for.
    pub background: Background,
    /// The bytes here, if this node keeps less than everything.
    pub cache: Cache,
    /// Chunks that evictions under way want to drop: they are proven to nobody.
    pub evicting: Evicting,
    /// Places for the leases of a member's put streams.
    pub leasing: Shares,
    /// Places for messages of records on a member's put streams, from their coming until their answer has
    /// left.
    pub committing: Shares,
    /// Records that have fewer copies than members.
    pub under_replicated: UnderReplicated,
    /// Records on their way to a member, which need not be read from the log as well.
    pub in_flight: InFlight,
    /// Members who compare all that they hold with this node come in turn: each question may read a
    /// large part of the index.
    pub comparing: Turn,
    /// Members who have chunks proven come in turn: each may have 64 MiB read.
    pub proving: Turn,
    /// Results of challenges to members.
    pub suspects: Suspects,
    /// Another life of this node that has used its numbers.
    pub restored: Restored,
    /// Room of members, by their word.
    pub rooms: Rooms,
    /// Damage that was found here and is not healed.
    pub damage: DamageList,
    /// Wakes the task that brings chunks that are wanted.
    pub wanted: Notify,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transfer({:?})", self.core)
    }
}
