//! Files and trees by name: put, get, list, where, remove, evict.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use stash_api::files::{
    Entry, EvictDone, EvictRequest, Failed, Folder, GetDone, GetRequest, Holder, Kind, Listing,
    PutDone, PutRequest, PutRoot, Replaced, RmDone, RmRequest, Skipped, Where,
};
use stash_vault::names::Names;
use stash_vault::{
    Failure, FileType, GetOptions, GetReport, Key, NodeId, Progress, PutError, PutOptions,
    PutReport, RemoveReport, Restore, Vault, check_distinct,
};

use super::answer::{self, Document, KeyOfPath, Parameters, here, number};
use super::members::missing;
use super::node::days_since;
use super::paths::{absolute, same_to_all};
use super::{operation, versions};
use crate::daemon::{Daemon, Served};
use crate::error::{Class, Problem, code};
use crate::hints::Hint as _;
use crate::output::{count, time};
use crate::typed;

/// Entries of one page of a listing, unless the client wants fewer.
const PAGE: usize = 1000;
/// Names of one page of a listing by versions, of which each shows up to a hundred.
const NAMES: usize = 100;

/// Files that are purged below a name although nobody has said how many there are.
const PURGED_UNCOUNTED: u64 = 100;

/// `POST /v1/put`.
pub(super) async fn put(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<PutRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let options = PutOptions { wait: answer::wait(request.wait.as_deref())?, jobs: 0 };
    let key = request.key.as_deref().map(typed::key).transpose()?;
    let paths: Vec<PathBuf> =
        request.paths.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
    let paths = same_to_all(paths).await?;
    if paths.is_empty() || (key.is_some() && paths.len() > 1) {
        return Err(Problem::usage("--as renames one path, and at least one path is needed"));
    }
    let paths = distinct(paths).await?;
    let confirmed_days = confirmed_days(&served);
    let node = Arc::clone(&served);
    operation::run(served.place(), |progress| async move {
        let done = put_roots(&node, &vault, &paths, (key, options), &progress).await?;
        Ok(PutDone { confirmed_days, ..done })
    })
    .await
}

/// Refuses paths of which one would replace the other.
async fn distinct(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, Problem> {
    let looked = tokio::task::spawn_blocking(move || check_distinct(&paths).map(|()| paths)).await;
    match looked {
        Ok(paths) => Ok(paths?),
        // The node is stopping.
        Err(_) => Err(Problem::new(Class::Temporary, "the node is stopping")),
    }
}

/// How many days ago the founder confirmed the members last, for whom the content is sealed.
pub(super) fn confirmed_days(served: &Served) -> Option<u64> {
    served.node.engine.confirmed().map(|told| days_since(told.at))
}

/// Stores one root after the other. Of several, one that cannot be read is skipped and told.
async fn put_roots(
    served: &Served,
    vault: &Vault,
    paths: &[PathBuf],
    (key, options): (Option<Key>, PutOptions),
    progress: &Progress,
) -> Result<PutDone, Problem> {
    let mut done = PutDone::default();
    let mut more = Some(progress.walks());
    for (at, path) in paths.iter().enumerate() {
        if at + 1 == paths.len() {
            more.take();
        }
        match vault.put_path(path, key.clone(), options, progress).await {
            Ok(report) => done.roots.push(root(served, report).await),
            Err(error) if skippable(&error) && paths.len() > 1 => {
                done.roots.push(unread(path, &error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

fn skippable(error: &PutError) -> bool {
    error.class() == Class::Unreadable
}

pub(super) async fn root(served: &Served, report: PutReport) -> PutRoot {
    PutRoot {
        key: report.key.to_string(),
        files: report.files,
        bytes: report.bytes,
        new: report.new_records,
        changed: report.changed,
        replaced: replaced(served, report.replaced),
        unchanged: report.unchanged,
        skipped: report.skipped.into_iter().map(|(path, why)| skipped(&path, why)).collect(),
        notes: report.notes.into_iter().map(|(path, what)| skipped(&path, what)).collect(),
        copies: number(report.copies),
        wanted: number(report.wanted),
        short: report.short,
        missing: missing(served, report.missing).await,
    }
}

fn replaced(served: &Served, replaced: Vec<(NodeId, u64)>) -> Vec<Replaced> {
    let names = served.node.vault.as_ref().map(Vault::writer_names).unwrap_or_default();
    let replaced = replaced.into_iter().map(|(node, files)| Replaced {
        node_id: node.to_string(),
        name: names.get(&node).cloned(),
        files,
    });
    replaced.collect()
}

/// A root of which nothing is stored.
fn unread(path: &Path, error: &PutError) -> PutRoot {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    PutRoot {
        key: name.into_owned(),
        files: 0,
        bytes: 0,
        new: 0,
        changed: 0,
        replaced: Vec::new(),
        unchanged: 0,
        skipped: vec![skipped(path, error.to_string())],
        notes: Vec::new(),
        copies: 0,
        wanted: 0,
        short: false,
        missing: Vec::new(),
    }
}

fn skipped(path: &Path, why: String) -> Skipped {
    Skipped { path: path.display().to_string(), why }
}

/// `POST /v1/get`.
pub(super) async fn get(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<GetRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let [output] = same_to_all([absolute(&request.output)?]).await?;
    let version = request.version.as_deref().map(answer::version).transpose()?;
    let GetRequest { key, keys, overwrite, verify, dry_run, restore, keep, umask, .. } = request;
    if key.is_some() != keys.is_empty() || (version.is_some() && key.is_none()) {
        return Err(Problem::usage("either key or keys, and a version of one key alone"));
    }
    let stash_api::files::Restore { owner, acl, xattr, privileged } = restore;
    let restore = Restore { owner, acl, xattr, privileged };
    let options = GetOptions { overwrite, verify, dry_run, restore, keep, version, umask };
    operation::run(served.place(), |progress| async move {
        let report = match key {
            Some(key) => {
                let report = vault.get_path(&key, Some(&output), options, &progress).await;
                answer::found(&vault, &key, report).await?
            }
            None => vault.get_names(&keys, &output, options, &progress).await?,
        };
        Ok(got(report, dry_run))
    })
    .await
}

fn got(report: GetReport, dry_run: bool) -> GetDone {
    let code = report.class().map(code);
    let more = |all: u64, named: usize| all - number(named);
    GetDone {
        files: report.files,
        bytes: report.bytes,
        unchanged: report.unchanged,
        unchanged_bytes: report.unchanged_bytes,
        dry_run,
        not_kept: report.not_kept,
        outputs: report.outputs.iter().map(|path| path.display().to_string()).collect(),
        conflicts: report.conflicts,
        lacking_more: more(report.lacks, report.lacking.len()),
        lacking: report.lacking.into_iter().map(|(path, what)| skipped(&path, what)).collect(),
        failed_more: more(report.failed, report.failures.len()),
        failed: report.failures.into_iter().map(failed).collect(),
        code,
    }
}

fn failed(failure: Failure) -> Failed {
    Failed { key: failure.key, code: code(failure.class), why: failure.why }
}

/// The query of a listing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    conflicts: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    versions: bool,
    #[serde(default)]
    folders: bool,
}

impl Page {
    /// True of the first page below a name, where something should lie.
    fn is_of_a_name(&self) -> bool {
        !self.prefix.is_empty() && self.after.is_none()
    }

    /// Which names are asked for by their versions; `None` for a plain listing of files.
    fn names(&self) -> Result<Option<Names>, Problem> {
        match (self.conflicts, self.deleted, self.versions, self.folders) {
            (false, false, false, _) => Ok(None),
            (true, false, false, false) => Ok(Some(Names::Conflicts)),
            (false, true, false, false) => Ok(Some(Names::Removed)),
            (false, false, true, false) => Ok(Some(Names::All)),
            _ => Err(Problem::usage("one of conflicts, deleted, versions and folders at a time")),
        }
    }
}

/// `GET /v1/ls`.
pub(super) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Parameters(page): Parameters<Page>,
) -> Result<Response, Problem> {
    let vault = daemon.served()?.vault()?;
    let of_level = page.folders;
    if let Some(which) = page.names()? {
        let limit = page.limit.unwrap_or(NAMES).clamp(1, NAMES);
        let page = vault.names(which, &page.prefix, page.after.as_deref(), limit).await?;
        return Ok(Json(versions::names(page)).into_response());
    }
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    if of_level {
        let level = vault.level(&page.prefix, page.after.as_deref(), limit).await?;
        let is_empty = level.entries.is_empty() && level.folders.is_empty() && level.next.is_none();
        if is_empty && page.is_of_a_name() {
            return Err(answer::absent(&vault, &page.prefix).await);
        }
        let (entries, folders) = (level.entries.into_iter(), level.folders.into_iter());
        let (entries, folders) = (entries.map(entry).collect(), folders.map(folder).collect());
        return Ok(Json(Listing { entries, folders, next: level.next }).into_response());
    }
    let mut entries = vault.ls(&page.prefix, page.after.as_deref(), limit + 1).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| last.key.to_string());
    if entries.is_empty() && page.is_of_a_name() {
        return Err(answer::absent(&vault, &page.prefix).await);
    }
    let entries = entries.into_iter().map(entry).collect();
    Ok(Json(Listing { entries, folders: Vec::new(), next }).into_response())
}

fn folder(folder: stash_vault::names::Folder) -> Folder {
    let stash_vault::names::Folder { key, sum } = folder;
    Folder {
        key: key.to_string(),
        files: sum.files,
        bytes: sum.bytes,
        modified: sum.modified.map(|(seconds, _)| time(seconds)),
    }
}

pub(super) fn entry(entry: stash_vault::Entry) -> Entry {
    Entry {
        key: entry.key.to_string(),
        kind: match entry.file_type {
            FileType::Regular => Kind::File,
            FileType::Link => Kind::Link,
            FileType::Directory => Kind::Directory,
        },
        size: entry.size,
        modified: entry.modified.map(|(seconds, _)| time(seconds)),
        mode: entry.mode,
        chunks: entry.chunks,
        here: here(entry.here),
        conflicts: number(entry.conflicts),
    }
}

/// `GET /v1/where/{key}`.
pub(super) async fn locate(
    State(daemon): State<Arc<Daemon>>,
    KeyOfPath(key): KeyOfPath,
) -> Result<Json<Where>, Problem> {
    let vault = daemon.served()?.vault()?;
    let found = answer::found(&vault, key.as_str(), vault.locations(&key).await).await?;
    let nodes = found.nodes.into_iter().map(|node| Holder {
        node_id: node.node.to_string(),
        name: node.name,
        role: node.role.to_string(),
        chunks: node.chunks,
        state: node.state.word().to_owned(),
    });
    Ok(Json(Where {
        key: found.key.to_string(),
        chunks: found.chunks,
        inline: found.inline,
        nodes: nodes.collect(),
    }))
}

/// `POST /v1/rm`.
pub(super) async fn remove(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<RmRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let wait = answer::wait(request.wait.as_deref())?;
    let node = Arc::clone(&served);
    operation::run(served.place(), |progress| async move {
        let RmRequest { key, recursive, purge, expect, .. } = request;
        if recursive {
            may_remove(&vault, &key, purge, expect).await?;
        }
        let report = match purge {
            true => vault.purge(&key, recursive, wait, &progress).await?,
            false => vault.rm(&key, recursive, wait, &progress).await?,
        };
        Ok(removed(&node, report).await)
    })
    .await
}

/// Refuses to remove another number of files than was expected, and to purge many that nobody has counted.
async fn may_remove(
    vault: &Vault,
    key: &str,
    purge: bool,
    expect: Option<u64>,
) -> Result<(), Problem> {
    if expect.is_none() && !purge {
        return Ok(());
    }
    let files = vault.sum(key).await?.files;
    let there = format!("'{key}' has {}", count(files, "file"));
    match expect {
        Some(expected) if expected == files => Ok(()),
        Some(expected) => Err(Problem::new(Class::Refused, format!("{there}, and not {expected}"))
            .hint("nothing was removed; look what has changed: stash ls")),
        None if files <= PURGED_UNCOUNTED => Ok(()),
        None => Err(Problem::new(
            Class::Refused,
            format!("{there}: to purge more than {PURGED_UNCOUNTED}, say how many"),
        )
        .hint(format!("nothing was purged; if all of them are meant: --expect {files}"))),
    }
}

pub(super) async fn removed(served: &Served, report: RemoveReport) -> RmDone {
    RmDone {
        removed: report.removed,
        copies: number(report.copies),
        wanted: number(report.wanted),
        short: report.short,
        missing: missing(served, report.missing).await,
    }
}

/// `POST /v1/evict`.
pub(super) async fn evict(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<EvictRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    operation::run(served.place(), |progress| async move {
        let report =
            vault.evict(&request.key, request.recursive, request.copies, &progress).await?;
        let class = report.stopped_class();
        let stopped = report.stopped.zip(class).map(|(error, code)| {
            Problem { code, message: error.to_string(), hint: error.hint() }.into()
        });
        Ok(EvictDone {
            key: request.key,
            files: report.files,
            chunks: report.chunks,
            bytes: report.bytes,
            proven_by: report.proven_by.iter().map(ToString::to_string).collect(),
            stopped,
        })
    })
    .await
}
