//! Work that a node does unasked: collection, scrub, healing, repair, challenges, lapses.

pub(crate) mod challenge;
pub(crate) mod counts;
pub(crate) mod heal;
pub(crate) mod house;
pub(crate) mod housekeeping;
pub(crate) mod lapse;
pub(crate) mod on_demand;
pub(crate) mod repair;
pub(crate) mod repairs;
pub(crate) mod safety;
pub(crate) mod schedule;
pub(crate) mod shrink;

use std::sync::Arc;

use crate::core::Core;
use crate::founder::Founder;
use crate::membership::Membership;
use crate::replication::Replication;
use crate::transfer::Transfer;
use crate::upkeep::house::House;
use crate::upkeep::repairs::Repairs;

/// The state of the work that a node does unasked.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub core: Arc<Core>,
    pub transfer: Arc<Transfer>,
    pub membership: Arc<Membership>,
    pub replication: Arc<Replication>,
    pub founder: Arc<Founder>,
    /// Passes over all copies.
    pub repairs: Repairs,
    /// Collections and scrubs.
    pub house: House,
}
