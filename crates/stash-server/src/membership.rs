//! Members, their addresses, and how a node comes to know both.

pub(crate) mod addresses;
pub(crate) mod announce;
pub(crate) mod confirmation;
pub(crate) mod cut_exchange;
pub(crate) mod departed;
pub(crate) mod discovery;
pub(crate) mod exchange;
pub(crate) mod guests;
pub(crate) mod join;
pub(crate) mod last_met;
pub(crate) mod learn;
pub(crate) mod may_sign;
pub(crate) mod own_places;
pub(crate) mod recovery;
pub(crate) mod root_holders;
pub(crate) mod search;
pub(crate) mod seen;
pub(crate) mod standing;
pub(crate) mod ways;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use stash_crypto::member::Place;

use crate::admission::Admission;
use crate::core::Core;
use crate::membership::addresses::Addresses;
use crate::membership::discovery::Discovery;
use crate::membership::last_met::LastMet;
use crate::membership::seen::Seen;
use crate::membership::standing::Standing;
use crate::membership::ways::Ways;
use crate::transfer::Transfer;

/// The state of what this node knows of members.
pub(crate) struct Membership {
    pub core: Arc<Core>,
    pub transfer: Arc<Transfer>,
    /// Limits on the moves of members, and what they are dialled by.
    pub addresses: Addresses,
    pub last_met: LastMet,
    /// Places at which members are dialled beside those that they name.
    pub ways: Ways,
    /// Where members are heard on the local network.
    pub discovery: Discovery,
    /// Addresses at which members see this node.
    pub seen: Seen,
    /// Places that the user says this node is told at.
    pub advertise: Vec<Place>,
    /// Signs the member log, where the root secret is.
    pub admission: Option<Arc<dyn Admission>>,
    /// Facts for and against signing now.
    pub standing: Standing,
    /// The store failed while this node did what the member log says: it is to be done again.
    pub unfollowed: AtomicBool,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({:?})", self.core)
    }
}
