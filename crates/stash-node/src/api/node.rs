//! The node itself: its state, its recovery text, its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use stash_vault::server::{self, PeerStats, Rate, TicketUse};
use stash_vault::{Alarm, NodeId};

use super::answer::number;
use super::members::full_sentences;
use super::{repair, upkeep};
use crate::body::{Recovery, Status, TicketState, Traffic};
use crate::daemon::{Daemon, Served};
use crate::error::Problem;
use crate::output::time;

/// Damage that a status lists; the rest is counted.
const DAMAGED: usize = 10;

/// `GET /v1/status`.
pub(super) async fn status(State(daemon): State<Arc<Daemon>>) -> Result<Json<Status>, Problem> {
    let served = daemon.served()?;
    let engine = &served.node.engine;
    let status = engine.status().await?;
    let mut alarms = status.alarms;
    let mut files = None;
    if let Ok(vault) = served.vault() {
        files = Some(vault.files().await?);
        alarms.extend(vault.alarms().await?.iter().map(describe));
    }
    let damaged = upkeep::damaged(&served, engine.damaged(DAMAGED).await).await;
    let this = engine.members().into_iter().find(|member| member.this);
    Ok(Json(Status {
        node_id: status.node.to_string(),
        stash_id: status.stash.to_string(),
        role: status.role.to_string(),
        name: this.and_then(|member| served.display_name(&member)),
        listen: engine.listen(),
        synchronised: status.synchronised,
        members: number(status.members),
        connected: number(status.connected),
        records: status.records,
        files,
        chunks: status.chunks,
        bytes: status.bytes,
        missing_copies: status.missing_copies,
        incomplete: status.incomplete,
        refused: status.refused,
        full: full_sentences(&served).await?.into_values().collect(),
        read_only: status.read_only,
        away: status.store.away.as_ref().map(ToString::to_string),
        alarms,
        quarantined: status.quarantined,
        tickets: tickets(&served, engine.ticket_uses().await?),
        traffic: traffic(status.traffic, status.transferred),
        store: upkeep::room(&status.store),
        gc: upkeep::gc_state(&status.house),
        scrub: upkeep::scrub_state(&status.store.scrub, &status.house),
        repair: repair::state(&status.repair),
        damaged,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// The tickets of this node, and who used them.
fn tickets(served: &Served, tickets: Vec<TicketUse>) -> Vec<TicketState> {
    let members = served.node.engine.members();
    let removed = served.node.engine.removed();
    let name = |node: &NodeId| {
        let member = members.iter().find(|member| member.node == *node);
        let gone = removed.iter().find(|gone| gone.node == *node);
        let gone = gone.and_then(|gone| served.name_of(&gone.label, &gone.node));
        member.map_or(gone, |member| served.display_name(member))
    };
    let one = |ticket: TicketUse| TicketState {
        id: ticket.id.to_string(),
        role: ticket.role,
        expires: time(i64::try_from(ticket.expires).unwrap_or(i64::MAX)),
        state: match ticket.used_by {
            Some(_) => "used",
            None if ticket.is_open => "open",
            None => "expired",
        }
        .to_owned(),
        used_by: ticket.used_by.map(|node| node.to_string()),
        used_by_name: ticket.used_by.as_ref().and_then(name),
    };
    tickets.into_iter().map(one).collect()
}

fn traffic(limits: server::Traffic, transferred: PeerStats) -> Traffic {
    let bytes = |rate: Option<Rate>| rate.map(Rate::bytes_per_second);
    Traffic {
        sent: transferred.bytes_out,
        received: transferred.bytes_in,
        up: bytes(limits.bandwidth.up),
        down: bytes(limits.bandwidth.down),
        background_down: bytes(limits.background_down),
    }
}

fn describe(alarm: &Alarm) -> String {
    format!("record {} was set aside: {}", alarm.record.short(), alarm.reason)
}

/// `GET /v1/recovery`: on the node that founded the stash.
pub(super) async fn recovery(State(daemon): State<Arc<Daemon>>) -> Result<Json<Recovery>, Problem> {
    let text = daemon.served()?.node.recovery_text()?;
    Ok(Json(Recovery { recovery: text.to_string() }))
}

/// The answer to a shutdown.
#[derive(Serialize)]
pub(super) struct Stopping {
    stopping: bool,
}

/// `POST /v1/shutdown`: what SIGTERM does.
pub(super) async fn shutdown(State(daemon): State<Arc<Daemon>>) -> Json<Stopping> {
    daemon.stop.cancel();
    Json(Stopping { stopping: true })
}
