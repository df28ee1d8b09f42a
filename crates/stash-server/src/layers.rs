//! The layers of one running node, bottom to top.

use std::sync::Arc;

use crate::core::Core;
use crate::founder::Founder;
use crate::membership::Membership;
use crate::replication::Replication;
use crate::transfer::Transfer;
use crate::upkeep::Upkeep;

/// Cheap to clone. Each layer has those below it that it uses, and none has one above.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub core: Arc<Core>,
    pub transfer: Arc<Transfer>,
    pub membership: Arc<Membership>,
    pub replication: Arc<Replication>,
    pub founder: Arc<Founder>,
    pub upkeep: Arc<Upkeep>,
}
