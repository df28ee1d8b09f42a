//! Files by what they are like, and sums of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use stash_api::files::{Listing, Sum};
use stash_vault::names::{Filter, Glob};

use super::answer::{self, Parameters};
use super::files::entry;
use crate::daemon::Daemon;
use crate::error::Problem;

/// Entries of one page, unless the client wants fewer.
const PAGE: usize = 1000;

/// The query of a search.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
    name: Option<String>,
    at_least: Option<u64>,
    at_most: Option<u64>,
    since: Option<i64>,
    before: Option<i64>,
}

/// `GET /v1/find`.
pub(super) async fn find(
    State(daemon): State<Arc<Daemon>>,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Listing>, Problem> {
    let vault = daemon.served()?.vault()?;
    let Query { prefix, after, limit, name, at_least, at_most, since, before } = query;
    let name = name.map(|name| glob(&name)).transpose()?;
    let filter = Filter { name, at_least, at_most, since, before };
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
    let found = vault.find(&prefix, filter, after.as_deref(), limit).await?;
    let is_empty = found.entries.is_empty() && found.next.is_none();
    if is_empty && !prefix.is_empty() && vault.ls(&prefix, None, 1).await?.is_empty() {
        return Err(answer::absent(&vault, &prefix).await);
    }
    let entries = found.entries.into_iter().map(entry).collect();
    Ok(Json(Listing { entries, folders: Vec::new(), next: found.next }))
}

fn glob(text: &str) -> Result<Glob, Problem> {
    text.parse().map_err(|error| {
        Problem::usage(format!("{text:?} is no pattern: {error}"))
            .hint("as in a shell: * and ?, [a-z] for one of these, ** for a / too")
    })
}

/// The query of a sum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Below {
    #[serde(default)]
    prefix: String,
}

/// `GET /v1/sum`.
pub(super) async fn sum(
    State(daemon): State<Arc<Daemon>>,
    Parameters(Below { prefix }): Parameters<Below>,
) -> Result<Json<Sum>, Problem> {
    let sum = daemon.served()?.vault()?.sum(&prefix).await?;
    Ok(Json(Sum { files: sum.files, bytes: sum.bytes }))
}
