//! Keeping the store in order: collecting, scrubbing, checking.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use stash_api::node::{GcState, Room, ScrubState};
use stash_api::upkeep::{CheckRequest, Damaged, GcDone, GcRequest, ScrubDone, ScrubRequest};
use stash_vault::server::housekeeping::HouseStatus;
use stash_vault::server::store::{Finding, Room as StoreRoom, ScrubProgress, Stats};
use stash_vault::server::transfers::{Damage, Damaged as Damages};

use super::answer::Document;
use super::operation;
use crate::check::{checked_store, unhealed};
use crate::daemon::{Daemon, Served};
use crate::error::Problem;
use crate::output::time;

/// `POST /v1/gc`.
pub(super) async fn gc(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<GcRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let engine = served.node.engine.clone();
    // A keeper knows no dates: owners forget for it.
    let vault = served.vault().ok();
    let GcRequest { dry_run, now } = request;
    operation::run(served.place(), move |progress| async move {
        let mut done = GcDone {
            dry_run,
            chunks: 0,
            bytes: 0,
            waiting_chunks: 0,
            waiting_bytes: 0,
            strays: 0,
            stray_bytes: 0,
            forgotten_versions: 0,
            forgotten_names: 0,
            retention_waits_seconds: None,
        };
        if let Some(vault) = vault {
            let forgotten = vault.retain(vault.moment(), dry_run, &progress).await?;
            done.forgotten_versions = forgotten.versions;
            done.forgotten_names = forgotten.names;
            done.retention_waits_seconds = forgotten.waits.map(|waits| waits.as_secs());
        }
        if !dry_run {
            let mut told = 0;
            let collected = engine.collect(now, |so_far| {
                progress.moved(so_far.bytes().saturating_sub(told));
                told = so_far.bytes().max(told);
                !progress.cancelled()
            });
            let collected = collected.await?;
            (done.chunks, done.bytes) = (collected.chunks, collected.bytes());
            (done.strays, done.stray_bytes) = (collected.strays, collected.stray_bytes);
        }
        let promise = engine.collectable(now).await?;
        if dry_run {
            (done.chunks, done.bytes) = (promise.chunks, promise.bytes());
        }
        (done.waiting_chunks, done.waiting_bytes) = (promise.waiting_chunks, promise.waiting_bytes);
        Ok(done)
    })
    .await
}

/// `POST /v1/scrub`.
pub(super) async fn scrub(
    State(daemon): State<Arc<Daemon>>,
    Document(ScrubRequest {}): Document<ScrubRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let node = Arc::clone(&served);
    operation::run(served.place(), move |progress| async move {
        let engine = &node.node.engine;
        progress.found(0, engine.status().await?.store.scrub.total_bytes);
        let report = engine.scrub(|step| {
            progress.moved(step.bytes);
            !progress.cancelled()
        });
        let report = report.await?;
        Ok(ScrubDone {
            bytes: report.bytes,
            found: report.found,
            healed: report.healed,
            unhealed: report.unhealed,
            findings: report.findings.iter().map(Finding::to_string).collect(),
            damaged: damaged(&node, report.damaged).await,
        })
    })
    .await
}

/// `POST /v1/check`.
pub(super) async fn check(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<CheckRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let node = Arc::clone(&served);
    operation::run(served.place(), move |_| async move {
        let checked = node.node.engine.check(request.read_data).await?;
        let mut done = checked_store(&checked.report);
        done.healed = checked.healed;
        done.unhealed = unhealed(&checked.report, checked.unhealed);
        done.sound = done.unhealed == 0;
        done.damaged = damaged(&node, checked.damaged).await;
        Ok(done)
    })
    .await
}

/// Damage as it is told: with keys where the node may know them.
pub(super) async fn damaged(served: &Served, damages: Vec<Damages>) -> Vec<Damaged> {
    let keys = match served.vault() {
        // An index that stands still hides no damage.
        Ok(vault) if !damages.is_empty() => vault.keys_of(&damages).await.ok(),
        _ => None,
    };
    let one = |(at, damage): (usize, Damages)| {
        let (kind, id) = match damage.damage {
            Damage::Chunk(address) => ("chunk", address.to_string()),
            Damage::Record(hash) => ("record", hash.to_string()),
        };
        let keys = keys.as_ref().and_then(|keys| keys.get(at));
        Damaged {
            kind: kind.to_owned(),
            id,
            why: damage.why,
            names: damage.names.iter().map(ToString::to_string).collect(),
            keys: keys.map(|keys| keys.iter().map(ToString::to_string).collect()),
        }
    };
    damages.into_iter().enumerate().map(one).collect()
}

pub(super) fn room(stats: &Stats) -> Room {
    let (state, why) = match &stats.room {
        StoreRoom::Enough => ("enough", None),
        room @ StoreRoom::AboveSoft { .. } => ("above_soft", Some(room.to_string())),
        room @ StoreRoom::Refusing(_) => ("refusing", Some(room.to_string())),
    };
    Room {
        used: stats.used_bytes,
        soft: stats.quota.soft,
        hard: stats.quota.hard,
        reserve: stats.quota.reserve_bytes,
        disk_free: stats.disk.map(|disk| disk.free),
        state: state.to_owned(),
        why,
    }
}

pub(super) fn moment(seconds: u64) -> String {
    time(i64::try_from(seconds).unwrap_or(i64::MAX))
}

pub(super) fn gc_state(house: &HouseStatus) -> GcState {
    GcState {
        running: house.collecting,
        last: house.collected_at.map(moment),
        freed: house.freed,
        collectable: house.collectable.bytes(),
        chunks: house.collectable.chunks,
        waiting: house.collectable.waiting_bytes,
        waiting_chunks: house.collectable.waiting_chunks,
    }
}

pub(super) fn scrub_state(progress: &ScrubProgress, house: &HouseStatus) -> ScrubState {
    ScrubState {
        passes: progress.passes,
        last: house.scrubbed_at.map(moment),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        findings: progress.findings,
        last_findings: progress.last_findings,
        found: house.found,
        healed: house.healed,
        unhealed: house.unhealed,
    }
}
