//! The founder's tickets: which there are, and taking one back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use stash_api::tickets::{Ticket, TicketRevoke, TicketRevoked, Tickets};
use stash_vault::server::TicketView;

use super::answer::Document;
use super::upkeep::moment;
use crate::daemon::{Daemon, Served};
use crate::error::{Class, Problem};

/// Digits of a ticket's id that name it, at least.
const ID_DIGITS: usize = 8;

/// `GET /v1/tickets`.
pub(super) async fn list(State(daemon): State<Arc<Daemon>>) -> Result<Json<Tickets>, Problem> {
    let served = daemon.served()?;
    Ok(Json(Tickets { tickets: all(&served).await? }))
}

/// The tickets of this node, and who used them; the oldest first.
pub(super) async fn all(served: &Served) -> Result<Vec<Ticket>, Problem> {
    let tickets = served.node.engine.tickets().await?;
    Ok(tickets.iter().map(|ticket| body(served, ticket)).collect())
}

/// `POST /v1/tickets/revoke`: on the node that founded the stash.
pub(super) async fn revoke(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<TicketRevoke>,
) -> Result<Json<TicketRevoked>, Problem> {
    let served = daemon.served()?;
    let id = request.id.to_lowercase();
    if id.len() < ID_DIGITS {
        return Err(Problem::usage(format!("{ID_DIGITS} digits of the id are needed at least"))
            .hint("stash tickets lists them"));
    }
    let tickets = served.node.engine.tickets().await?;
    let mut found = tickets.into_iter().filter(|ticket| ticket.id.to_string().starts_with(&id));
    let ticket = match (found.next(), found.next()) {
        (Some(ticket), None) => ticket,
        (None, _) => {
            return Err(Problem::new(Class::NotFound, format!("there is no ticket {id}"))
                .hint("stash tickets lists them, on the founding node"));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::usage(format!("the ids of several tickets begin with {id}")));
        }
    };
    served.node.engine.revoke_ticket(ticket.id).await?;
    Ok(Json(TicketRevoked { id: ticket.id.to_string(), role: ticket.role.to_string() }))
}

/// The tickets with which somebody can still join.
pub(super) async fn open(served: &Served) -> Vec<Ticket> {
    // Whoever asks has changed something else: that this is not known takes nothing from it.
    let tickets = served.node.engine.tickets().await.unwrap_or_default();
    tickets.iter().filter(|ticket| ticket.is_open()).map(|ticket| body(served, ticket)).collect()
}

fn body(served: &Served, ticket: &TicketView) -> Ticket {
    let members = served.node.engine.members();
    let removed = served.node.engine.removed();
    let name = |node| {
        let member = members.iter().find(|member| member.node == node);
        let gone = removed.iter().find(|gone| gone.node == node);
        let gone = gone.and_then(|gone| served.name_of(&gone.label, &gone.node));
        member.map_or(gone, |member| served.display_name(member))
    };
    let state = match (&ticket.used, ticket.over) {
        (Some(_), _) => "used",
        (None, true) => "expired",
        (None, false) => "open",
    };
    Ticket {
        id: ticket.id.to_string(),
        role: ticket.role.to_string(),
        state: state.to_owned(),
        made: ticket.made.map(moment),
        expires: moment(ticket.expires),
        used_by: ticket.used.map(|(node, _)| node.to_string()),
        used_by_name: ticket.used.and_then(|(node, _)| name(node)),
        used_at: ticket.used.and_then(|(_, at)| at).map(moment),
    }
}
