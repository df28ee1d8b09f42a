//! The founder's tickets: listing them, and taking one back.

use std::sync::Arc;

use stash_crypto::{NodeId, Role, TicketId};
use stash_store::Store;

use crate::founder::Founder;
use crate::ledger::tickets::{Now, Row};
use crate::ledger::{LedgerError, tickets};
use crate::membership::guests;

/// A ticket of the founder's table. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketView {
    /// The ticket.
    pub id: TicketId,
    /// The role that it admits to.
    pub role: Role,
    /// Time at which it was made; rows of older programs do not say.
    pub made: Option<u64>,
    /// Time at which it expires.
    pub expires: u64,
    /// The node that joined with it, and when, if the row says so.
    pub used: Option<(NodeId, Option<u64>)>,
    /// True if it admits nobody any more, used or not.
    pub over: bool,
}

impl TicketView {
    /// True if somebody can still join with it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.used.is_none() && !self.over
    }

    pub(crate) fn of(row: &Row, now: &Now) -> Option<TicketView> {
        let time = |seconds: u64| (seconds > 0).then_some(seconds);
        Some(TicketView {
            id: TicketId::from_bytes(row.id),
            role: row.role.parse().ok()?,
            made: time(row.made),
            expires: row.expires,
            used: row.used.as_ref().map(|used| (NodeId::from_bytes(used.node), time(used.at))),
            over: row.is_over(now),
        })
    }
}

/// A ticket was not taken back. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// Only the node that made a ticket knows it.
    #[error("only the node that founded the stash makes tickets, and knows them")]
    NotFounder,
    /// There is no such ticket, or it has been dropped.
    #[error("there is no ticket {}", .0.short())]
    Unknown(TicketId),
    /// Somebody has joined with it.
    #[error("ticket {} has been used by {}, who is to be removed instead", .ticket.short(), .node.short())]
    Used {
        /// The ticket.
        ticket: TicketId,
        /// The node that joined with it.
        node: NodeId,
    },
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Notes which tickets are over, on the node that makes them.
pub(crate) async fn look(founder: &Arc<Founder>) {
    if founder.membership.admission.is_none() {
        return;
    }
    let wall = founder.core.environment.seconds();
    let work = move |store: &Store| tickets::strike(store, &Now::of(store, wall)?);
    let guard = founder.admitting.lock().await;
    let struck = founder.core.disk.run(work).await;
    drop(guard);
    let shut = match struck {
        Ok(false) => Ok(()),
        Ok(true) => guests::open_to_tickets(&founder.membership),
        Err(error) => Err(error),
    };
    if let Err(error) = shut {
        tracing::warn!(%error, "that tickets have expired is not written down");
    }
}
