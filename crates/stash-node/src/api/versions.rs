//! Versions of files: history, undelete, resolve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use stash_api::versions::{
    History, Name, Names, ResolveDone, ResolveRequest, SetAside, Unavailable, UndeleteDone,
    UndeleteRequest, Version,
};
use stash_vault::names::{Absence, NamePage, VersionEntry};
use stash_vault::{ResolveReport, UndeleteReport};

use super::answer::{self, Document, KeyOfPath, Parameters, here, number};
use super::members::missing;
use super::operation;
use super::paths::{absolute, same_to_all};
use crate::daemon::{Daemon, Served};
use crate::error::Problem;
use crate::output::time;
use crate::typed;

/// Versions of one page of a history, unless the client wants fewer.
const PAGE: usize = 1000;

/// The query of a history.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/history/{key}`.
pub(super) async fn history(
    State(daemon): State<Arc<Daemon>>,
    KeyOfPath(key): KeyOfPath,
    Parameters(page): Parameters<Page>,
) -> Result<Json<History>, Problem> {
    let vault = daemon.served()?.vault()?;
    let after = page.after.as_deref().map(answer::version).transpose()?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    if after.is_none() && matches!(vault.absence(key.as_str()).await?, Absence::Tree) {
        return Err(answer::absent(&vault, key.as_str()).await);
    }
    let history = vault.history(&key, after.as_ref(), limit).await?;
    let last = history.versions.last().filter(|_| history.more > 0);
    let next = last.map(|version| version.version.to_string());
    let alarms = history
        .alarms
        .iter()
        .map(|alarm| SetAside { version: alarm.record.to_string(), why: alarm.reason.to_string() });
    Ok(Json(History {
        key: history.key.to_string(),
        alarms: alarms.collect(),
        versions: history.versions.into_iter().map(version).collect(),
        next,
    }))
}

pub(super) fn names(page: NamePage) -> Names {
    let entries = page.names.into_iter().map(|name| Name {
        key: name.key.to_string(),
        versions: name.versions.into_iter().map(version).collect(),
        more: number(name.more),
    });
    Names { entries: entries.collect(), next: page.next }
}

fn version(entry: VersionEntry) -> Version {
    Version {
        version: entry.version.to_string(),
        kind: if entry.removal { "removed" } else { "put" }.to_owned(),
        written: entry.written.map(|(seconds, _)| time(seconds)),
        size: entry.size,
        modified: entry.modified.map(|(seconds, _)| time(seconds)),
        mode: entry.mode,
        chunks: entry.chunks,
        writer: entry.writer.to_string(),
        writer_name: entry.writer_name,
        here: here(entry.here),
        place: entry.standing.word().to_owned(),
    }
}

/// `POST /v1/undelete`.
pub(super) async fn undelete(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<UndeleteRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let wait = answer::wait(request.wait.as_deref())?;
    let node = Arc::clone(&served);
    operation::run(served.place(), |progress| async move {
        let report = vault.undelete(&request.key, request.recursive, wait, &progress).await?;
        Ok(undeleted(&node, report).await)
    })
    .await
}

async fn undeleted(served: &Served, report: UndeleteReport) -> UndeleteDone {
    let skipped = report.skipped.into_iter();
    UndeleteDone {
        restored: report.restored,
        bytes: report.bytes,
        unavailable: report.unavailable,
        skipped: skipped.map(|(key, why)| Unavailable { key: key.to_string(), why }).collect(),
        copies: number(report.copies),
        wanted: number(report.wanted),
        short: report.short,
        missing: missing(served, report.missing).await,
    }
}

/// The version that a conflict is resolved with.
enum With {
    Version(stash_vault::VersionId),
    File(std::path::PathBuf),
}

/// `POST /v1/resolve`.
pub(super) async fn resolve(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<ResolveRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let key = typed::key(&request.key)?;
    let wait = answer::wait(request.wait.as_deref())?;
    let with = match (request.take, request.file) {
        (Some(take), None) => With::Version(answer::version(&take)?),
        (None, Some(file)) => {
            let [file] = same_to_all([absolute(&file)?]).await?;
            With::File(file)
        }
        _ => return Err(Problem::usage("a conflict is resolved with one of take and file")),
    };
    let node = Arc::clone(&served);
    operation::run(served.place(), |progress| async move {
        let report = match with {
            With::Version(id) => vault.resolve_with_version(&key, &id, wait, &progress).await?,
            With::File(path) => vault.resolve_with_file(&key, &path, wait, &progress).await?,
        };
        Ok(resolved(&node, report).await)
    })
    .await
}

async fn resolved(served: &Served, report: ResolveReport) -> ResolveDone {
    ResolveDone {
        key: report.key.to_string(),
        version: report.version.to_string(),
        covered: number(report.covered),
        copies: number(report.copies),
        wanted: number(report.wanted),
        short: report.short,
        missing: missing(served, report.missing).await,
    }
}
