//! What only the holder of the root secret does: invite, admit, change, end.

pub(crate) mod admit;
pub(crate) mod change;
pub(crate) mod invite;
pub(crate) mod tickets;
pub(crate) mod writers;
