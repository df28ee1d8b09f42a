//! Tickets, join requests, and the recovery text, for paper.
//!
//! Start with [`Ticket`] to invite, [`JoinRequest`] to join, and [`RecoveryText`] to recover a stash.

pub(crate) mod invitation;
pub(crate) mod join;
pub(crate) mod recovery;
pub(crate) mod text;

pub use invitation::{Ticket, TicketError, TicketSecret};
pub use join::{JoinError, JoinRequest};
pub use recovery::RecoveryText;
pub use text::{TextError, Typo};
