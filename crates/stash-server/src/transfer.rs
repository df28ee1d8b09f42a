//! Bytes between two nodes: puts, gets, proofs, evictions, and the room for them.

pub(crate) mod accept;
pub(crate) mod answer;
pub(crate) mod background;
pub(crate) mod damage;
pub(crate) mod evict;
pub(crate) mod fetch;
pub(crate) mod holders;
pub(crate) mod in_flight;
pub(crate) mod intake;
pub(crate) mod lane;
pub(crate) mod local;
pub(crate) mod proof;
pub(crate) mod restored;
pub(crate) mod rooms;
pub(crate) mod shipment;
pub(crate) mod sources;
pub(crate) mod suspects;
pub(crate) mod tally;
pub(crate) mod under_replicated;
pub(crate) mod upload;
