//! The records and rows in the store, and the rules by which they come and go. No network, no task.

pub(crate) mod admit;
pub(crate) mod alarms;
pub(crate) mod author;
pub(crate) mod clock;
pub(crate) mod cursor;
pub(crate) mod cut_lists;
pub(crate) mod cuts;
pub(crate) mod divergence;
pub(crate) mod error;
pub(crate) mod evicted;
pub(crate) mod forgets;
pub(crate) mod group_commit;
pub(crate) mod incarnation;
pub(crate) mod lease;
pub(crate) mod manifest;
pub(crate) mod name_locks;
pub(crate) mod progress;
pub(crate) mod read;
pub(crate) mod room;
pub(crate) mod roster;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod seen;
pub(crate) mod sums;
pub(crate) mod tickets;

pub(crate) use admit::{admit, unknown};
pub(crate) use alarms::{FORK, alarm, one_more};
pub(crate) use cuts::{Aside, set_aside, set_aside_count, take_back};
pub(crate) use error::{LedgerError, RosterError, WriteError, at};
pub(crate) use evicted::{GivenUp, give_up, given_up, is_given_up, unused};
pub(crate) use forgets::resume;
pub(crate) use manifest::{Chunks, Named, announce, announce_coming, read_manifest};
pub(crate) use read::{decode, records_of, whole};
pub(crate) use room::{FEW, is_read, is_roomy, readable};

#[cfg(test)]
mod cuts_tests;
#[cfg(test)]
mod evicted_tests;
#[cfg(test)]
mod forgets_tests;
#[cfg(test)]
mod tests;
