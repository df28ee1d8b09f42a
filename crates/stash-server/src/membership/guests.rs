//! Holders of open tickets, whom the door lets in.

use stash_crypto::{MemberChange, MemberLog, NodeId, Ticket, TicketId};

use crate::door::join_realm;
use crate::ledger::tickets::Row;
use crate::ledger::{LedgerError, tickets};
use crate::membership::Membership;

/// Opens the door to all that may still come by a ticket in the table.
pub(crate) fn open_to_tickets(membership: &Membership) -> Result<(), LedgerError> {
    let tickets = tickets::all(membership.core.disk.store())?;
    let open = membership.core.roster.log(|log| {
        let guest = |row: &Row| {
            let ticket = row.ticket.parse::<Ticket>().ok()?;
            Some((join_realm(&ticket), row.guest(admitted_with(log, &ticket.id))))
        };
        tickets.iter().filter_map(guest).collect()
    });
    membership.core.door.open_to(open);
    Ok(())
}

/// The node that was admitted with a ticket.
pub(crate) fn admitted_with(log: &MemberLog, id: &TicketId) -> Option<NodeId> {
    log.entries().iter().find_map(|entry| match entry.change() {
        MemberChange::Admit { identity, ticket, .. } if ticket == id => Some(identity.node),
        _ => None,
    })
}
