//! The engine's side of the founder: tickets, confirmations, vouching.

use stash_crypto::{MemberLog, NodeId, TicketId};
use stash_store::{Batch, Store};

use crate::engine::Engine;
use crate::founder::tickets::{RevokeError, TicketView, look};
use crate::ledger::tickets::Now;
use crate::ledger::{LedgerError, tickets};
use crate::membership::confirmation::Confirmed;
use crate::membership::guests;

impl Engine {
    /// The founder's last confirmation of the member log; `None` if there never was one.
    #[must_use]
    pub fn confirmed(&self) -> Option<Confirmed> {
        let layers = &self.layers;
        let told = layers.core.roster.confirmed()?;
        let at = told.time.min(layers.core.environment.seconds());
        let missing = told.length.saturating_sub(layers.core.roster.log(MemberLog::len));
        Some(Confirmed { at, missing })
    }

    /// The caller says that no member knows more of the member log than this node, since those that
    /// might are gone for good: until this engine stops, the founder signs without having met them.
    /// If that is wrong, the log forks: an alarm on every member that sees both sides, which does
    /// not end.
    pub fn vouch(&self) {
        self.layers.membership.standing.vouch();
    }

    /// The tickets that this node has made and remembers, the oldest first.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn tickets(&self) -> Result<Vec<TicketView>, LedgerError> {
        look(&self.layers.founder).await;
        let wall = self.layers.core.environment.seconds();
        let read = move |store: &Store| {
            let now = Now::of(store, wall)?;
            let rows = tickets::all(store)?;
            Ok::<_, LedgerError>(rows.iter().filter_map(|row| TicketView::of(row, &now)).collect())
        };
        let mut tickets: Vec<TicketView> = self.layers.core.disk.run(read).await?;
        tickets.sort_by_key(|ticket| (ticket.made, ticket.expires));
        Ok(tickets)
    }

    /// Takes a ticket back that nobody has used: it is unknown from now on, as if it had never been
    /// made.
    ///
    /// # Errors
    ///
    /// [`RevokeError`]; the ticket is as before.
    pub async fn revoke_ticket(&self, ticket: TicketId) -> Result<(), RevokeError> {
        let layers = &self.layers;
        if layers.membership.admission.is_none() {
            return Err(RevokeError::NotFounder);
        }
        // Nobody is admitted meanwhile.
        let guard = layers.founder.admitting.lock().await;
        let work = move |store: &Store| {
            let rows = tickets::all(store).map_err(LedgerError::from)?;
            let row = rows.into_iter().find(|row| row.id == *ticket.as_bytes());
            let row = row.ok_or(RevokeError::Unknown(ticket))?;
            if let Some(used) = row.used {
                return Err(RevokeError::Used { ticket, node: NodeId::from_bytes(used.node) });
            }
            let batch = tickets::remove(Batch::new(), &row.id);
            store.commit(batch.even_if_full()).map_err(LedgerError::from)?;
            Ok(())
        };
        layers.core.disk.run(work).await?;
        drop(guard);
        guests::open_to_tickets(&layers.membership)?;
        Ok(())
    }
}
