//! What a node does unasked: collection, scrub, repair, challenges.

pub(crate) mod challenge;
pub(crate) mod counts;
pub(crate) mod heal;
pub(crate) mod housekeeping;
pub(crate) mod lapse;
pub(crate) mod on_demand;
pub(crate) mod repair;
pub(crate) mod schedule;
