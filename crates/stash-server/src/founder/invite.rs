//! Making tickets.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::member::Place;
use stash_crypto::ticket::TicketSecret;
use stash_crypto::{Role, Ticket, TicketId};
use stash_store::{Batch, Store};

use crate::admission::Full;
use crate::founder::Founder;
use crate::ledger::tickets::{MAX_TICKETS, Row};
use crate::ledger::{LedgerError, tickets};
use crate::membership::guests::open_to_tickets;
use crate::membership::may_sign;
use crate::membership::standing::NotMet;

/// Longest life of a ticket: a day is the default, 30 days the limit.
pub const MAX_TICKET_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Inviting failed; no ticket was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Only the node that holds the root secret signs the member log.
    #[error("only the node that founded the stash can invite: it alone holds the root secret")]
    NotFounder,
    /// Another member may know more of the member log. Connect one, or vouch for this node's.
    #[error(transparent)]
    NotMet(#[from] NotMet),
    /// There is no room for one more member.
    #[error(transparent)]
    Full(#[from] Full),
    /// Too many tickets are open or remembered.
    #[error("{MAX_TICKETS} tickets are open or remembered; wait for some to lapse")]
    TooMany,
    /// The ticket would live longer than [`MAX_TICKET_LIFE`], or not at all.
    #[error("a ticket lives for a second to 30 days")]
    Lifetime,
    /// The node does not know an address at which others can reach it.
    #[error("this node has no address to put into a ticket; set one with --advertise")]
    NoAddress,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Makes a ticket.
pub(crate) async fn invite(
    founder: &Arc<Founder>,
    role: Role,
    lifetime: Duration,
    places: &[Place],
) -> Result<Ticket, InviteError> {
    if founder.membership.admission.is_none() {
        return Err(InviteError::NotFounder);
    }
    may_sign::assure(&founder.membership, None).await?;
    if !founder.core.roster.log(|log| log.has_room_for(role)) {
        return Err(Full.into());
    }
    if lifetime < Duration::from_secs(1) || lifetime > MAX_TICKET_LIFE {
        return Err(InviteError::Lifetime);
    }
    let addresses = Ticket::fitting(places);
    if addresses.is_empty() {
        return Err(InviteError::NoAddress);
    }
    let now = founder.core.environment.seconds();
    let ticket = Ticket {
        stash: founder.core.stash,
        inviter: founder.core.keys.noise_public(),
        addresses,
        id: TicketId::from_bytes(founder.core.environment.rng().random()),
        secret: TicketSecret::generate(&mut founder.core.environment.rng()),
        expires: now + lifetime.as_secs(),
    };
    let row = Row {
        id: *ticket.id.as_bytes(),
        ticket: ticket.to_string(),
        role: role.to_string(),
        expires: ticket.expires,
        used: None,
        made: now,
        made_at_uptime: Some(founder.core.disk.store().stats().uptime),
        struck: false,
    };
    let guard = founder.admitting.lock().await;
    let work = move |store: &Store| {
        let rows = tickets::all(store)?;
        let (old, kept): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.forgotten(now));
        if kept.len() >= MAX_TICKETS {
            return Ok(false);
        }
        let batch = old.iter().fold(Batch::new(), |batch, row| tickets::remove(batch, &row.id));
        store.commit(row.put(batch))?;
        Ok::<bool, LedgerError>(true)
    };
    let made = founder.core.disk.run(work).await?;
    drop(guard);
    if !made {
        return Err(InviteError::TooMany);
    }
    open_to_tickets(&founder.membership)?;
    Ok(ticket)
}
