//! Members: who belongs, inviting, joining.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use stash_vault::{Role, Ticket};

use super::answer::Document;
use super::operation::{self, Place};
use super::upkeep::moment;
use crate::body::{InviteDone, InviteRequest, JoinRequest, Peer, Peers};
use crate::daemon::{Daemon, home};
use crate::error::Problem;
use crate::output::time;

/// The longest life of a ticket.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GET /v1/peers`.
pub(super) async fn peers(State(daemon): State<Arc<Daemon>>) -> Result<Json<Peers>, Problem> {
    let served = daemon.served()?;
    let members = served.node.engine.members();
    let peers = members.into_iter().map(|member| Peer {
        node_id: member.node.to_string(),
        name: served.display_name(&member),
        role: member.role.to_string(),
        this: member.this,
        connected: member.connected,
        addresses: member.addresses,
        challenged: member.trial.at.map(moment),
        shown: member.trial.shown,
        failed: member.trial.failed,
        in_doubt_since: member.trial.doubted.map(moment),
    });
    Ok(Json(Peers { peers: peers.collect() }))
}

/// `POST /v1/invite`.
pub(super) async fn invite(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<InviteRequest>,
) -> Result<Json<InviteDone>, Problem> {
    let served = daemon.served()?;
    let role: Role = request
        .role
        .parse()
        .map_err(|_| Problem::usage("the role must be owner, reader or keeper"))?;
    let lifetime = Duration::from_secs(request.expires_seconds);
    if lifetime.is_zero() || lifetime > LIFETIME_MAX {
        return Err(Problem::usage("a ticket lives for 1 second to 30 days"));
    }
    let ticket = served.node.engine.invite(role, lifetime).await?;
    let expires = i64::try_from(ticket.expires).unwrap_or(i64::MAX);
    Ok(Json(InviteDone {
        ticket: ticket.to_text().to_string(),
        role: role.to_string(),
        expires: time(expires),
    }))
}

/// `POST /v1/join`: the node leaves its own empty stash and comes back as a member of another.
pub(super) async fn join(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<JoinRequest>,
) -> Result<Response, Problem> {
    let ticket: Ticket = request
        .ticket
        .trim()
        .parse()
        .map_err(|e| Problem::usage(format!("this is not a whole ticket: {e}")))?;
    let joining = Arc::clone(&daemon);
    let place = Place { tracker: &daemon.joins, cancel: &daemon.stop };
    // Once begun, it goes on without its client: there is no half of a join.
    operation::run(place, |_| async move { home::rejoin(&joining, &ticket, request.name).await })
        .await
}
