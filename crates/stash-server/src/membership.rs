//! Who is a member, where members are, and how a node comes to know it.

pub(crate) mod addresses;
pub(crate) mod announce;
pub(crate) mod confirmation;
pub(crate) mod cut_exchange;
pub(crate) mod departed;
pub(crate) mod exchange;
pub(crate) mod guests;
pub(crate) mod join;
pub(crate) mod learn;
pub(crate) mod recovery;
pub(crate) mod root_holders;
pub(crate) mod standing;
