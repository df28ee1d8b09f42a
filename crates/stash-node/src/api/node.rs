//! The node itself: its state, its recovery text, its end.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use stash_api::node::{
    CacheState, Confirmed, Discovery, PeerState, Recovery, RecoveryTextState, Status, Stopping,
    Task, Traffic, Version,
};
use stash_api::settings::{Reloaded, Settings};
use stash_vault::names::Alarm;
use stash_vault::server::members::DiscoveryState;
use stash_vault::server::{self, PeerStats, Rate, TaskStatus};

use super::answer::number;
use super::members::full_sentences;
use super::safety::safety;
use super::{repair, tickets, upkeep};
use crate::daemon::{Daemon, Served};
use crate::error::{Class, Problem};

/// Damage that a status lists; the rest is counted.
const DAMAGED: usize = 10;

/// `GET /v1/status`.
pub(super) async fn status(State(daemon): State<Arc<Daemon>>) -> Result<Json<Status>, Problem> {
    Ok(Json(state(&*daemon.served()?).await?))
}

/// The state of a node.
pub(super) async fn state(served: &Served) -> Result<Status, Problem> {
    let engine = &served.node.engine;
    let status = engine.status().await?;
    let mut alarms = status.alarms;
    let mut files = None;
    if let Ok(vault) = served.vault() {
        files = vault.files().await?;
        alarms.extend(vault.alarms().await?.iter().map(describe));
    }
    let paper = match served.node.is_founder() && !engine.visits() {
        true => Some(paper(engine.recovery_text_finds().await?)),
        false => None,
    };
    let damaged = upkeep::damaged(served, engine.damaged(DAMAGED).await).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let this = engine.members().into_iter().find(|member| member.this);
    Ok(Status {
        safety: Some(safety(served, &engine.safety(), &status.repair, now)),
        peers: peers(served),
        label: served.label.clone(),
        node_id: status.node.to_string(),
        stash_id: status.stash.to_string(),
        role: status.role.to_string(),
        name: this.and_then(|member| served.display_name(&member)),
        listen: engine.listen(),
        confirmed: engine.confirmed().map(confirmed),
        recovery_text: paper,
        visits: engine.visits(),
        synchronised: status.synchronised,
        members: number(status.members),
        connected: number(status.connected),
        records: status.records,
        files,
        chunks: status.chunks,
        bytes: status.bytes,
        cache: status.cache.map(|cache| CacheState { keep: cache.keep, stuck: cache.stuck }),
        missing_copies: status.missing_copies,
        incomplete: status.incomplete,
        refused: status.refused,
        full: full_sentences(served).await?.into_values().collect(),
        read_only: status.read_only,
        away: status.store.away.as_ref().map(ToString::to_string),
        alarms,
        quarantined: status.quarantined,
        tickets: tickets::all(served).await?,
        traffic: traffic(status.traffic, status.transferred),
        discovery: Some(discovery(status.discovery)),
        store: upkeep::room(&status.store),
        gc: upkeep::gc_state(&status.house),
        scrub: upkeep::scrub_state(&status.store.scrub, &status.house),
        repair: repair::state(&status.repair),
        damaged,
        tasks: engine.tasks().iter().map(task).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The members, each at one look.
fn peers(served: &Served) -> Vec<PeerState> {
    let one = |member: server::MemberView| {
        let room = member.room.or(member.stated_room);
        PeerState {
            node_id: member.node.to_string(),
            name: served.display_name(&member),
            role: member.role.to_string(),
            founder: member.founder,
            this: member.this,
            connected: member.connected,
            last_seen: member.seen.map(upkeep::moment),
            in_doubt: member.trial.doubted.is_some(),
            lapsed: member.lapsed,
            percent: member.percent,
            seconds_to_go: member.to_go,
            // Nothing limits it where the limit is the greatest number.
            free: room
                .filter(|room| room.limit < u64::MAX)
                .map(|room| room.limit.saturating_sub(room.used)),
            full: room.is_some_and(|room| room.full),
            version: member.program,
            keep: member.keep,
        }
    };
    served.node.engine.members().into_iter().map(one).collect()
}

fn task(task: &TaskStatus) -> Task {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let at = |at: Duration| upkeep::moment(at.as_secs());
    Task {
        name: task.name.to_owned(),
        member: task.about.map(|node| node.to_string()),
        state: if task.is_running { "running" } else { "waiting" }.to_owned(),
        last_run: task.last_run.map(|ago| at(now.saturating_sub(ago))),
        next_run: task.next_run.map(|wait| at(now.saturating_add(wait))),
    }
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

fn discovery(state: DiscoveryState) -> Discovery {
    let (state, links, why) = match state {
        DiscoveryState::Off => ("off", 0, None),
        DiscoveryState::Loopback => ("loopback", 0, None),
        DiscoveryState::On(links) => ("on", links, None),
        DiscoveryState::Failing(why) => ("failing", 0, Some(why)),
    };
    Discovery { state: state.to_owned(), links: number(links), why }
}

/// The founder's last confirmation of the member log, and its age.
fn confirmed(told: server::members::Confirmed) -> Confirmed {
    Confirmed { at: upkeep::moment(told.at), days: days_since(told.at), missing: told.missing }
}

/// Whole days since a time in seconds since 1970.
pub(super) fn days_since(at: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs().saturating_sub(at) / 86_400)
}

fn paper(found: Option<server::members::Paper>) -> RecoveryTextState {
    RecoveryTextState {
        printed: found.is_some(),
        named: number(found.map_or(0, |paper| paper.named)),
        found: number(found.map_or(0, |paper| paper.found)),
    }
}

fn describe(alarm: &Alarm) -> String {
    format!("record {} was set aside: {}", alarm.record.short(), alarm.reason)
}

/// `GET /v1/recovery`: on the node that founded the stash.
pub(super) async fn recovery(State(daemon): State<Arc<Daemon>>) -> Result<Json<Recovery>, Problem> {
    let text = daemon.served()?.node.print_recovery_text().await?;
    Ok(Json(Recovery { recovery: text.to_string() }))
}

/// `GET /v1/version`: needs nothing of the node, so that it tells whether this process lives.
pub(super) async fn version() -> Json<Version> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Json(Version { version, pid: std::process::id() })
}

/// `GET /v1/settings`.
pub(super) async fn settings(State(daemon): State<Arc<Daemon>>) -> Json<Settings> {
    Json(Settings { settings: daemon.settings_now().rows() })
}

/// `POST /v1/reload`.
pub(super) async fn reload(State(daemon): State<Arc<Daemon>>) -> Result<Json<Reloaded>, Problem> {
    let read = tokio::task::spawn_blocking(move || daemon.reload()).await;
    read.map_err(|error| Problem::new(Class::Failed, error.to_string()))?.map(Json)
}

/// `POST /v1/shutdown`: what SIGTERM does.
pub(super) async fn shutdown(State(daemon): State<Arc<Daemon>>) -> Json<Stopping> {
    daemon.stop.cancel();
    Json(Stopping { stopping: true })
}
