//! The local API: what the daemon answers on its Unix socket. `docs/api.md` specifies it.

mod answer;
mod files;
mod find;
mod members;
mod node;
pub(crate) mod notify;
mod objects;
mod operation;
mod paths;
mod repair;
mod safety;
mod tickets;
mod upkeep;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::daemon::Daemon;
use crate::error::Problem;

/// Bytes of a request that is one JSON document: room for as many paths as fit into a command line.
const DOCUMENT_MAX: usize = 4 * 1024 * 1024;

/// Every route.
pub(crate) fn router(daemon: Arc<Daemon>) -> Router {
    let objects = get(objects::read)
        .put(objects::write)
        .delete(objects::remove)
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/v1/status", get(node::status))
        .route("/v1/version", get(node::version))
        .route("/v1/recovery", get(node::recovery))
        .route("/v1/settings", get(node::settings))
        .route("/v1/reload", post(node::reload))
        .route("/v1/shutdown", post(node::shutdown))
        .route("/v1/peers", get(members::peers))
        .route("/v1/peers/address", post(members::address))
        .route("/v1/peers/remove", post(members::remove))
        .route("/v1/peers/role", post(members::role))
        .route("/v1/invite", post(members::invite))
        .route("/v1/tickets", get(tickets::list))
        .route("/v1/tickets/revoke", post(tickets::revoke))
        .route("/v1/join", post(members::join))
        .route("/v1/ls", get(files::list))
        .route("/v1/find", get(find::find))
        .route("/v1/sum", get(find::sum))
        .route("/v1/where/{*key}", get(files::locate))
        .route("/v1/history/{*key}", get(versions::history))
        .route("/v1/undelete", post(versions::undelete))
        .route("/v1/resolve", post(versions::resolve))
        .route("/v1/put", post(files::put))
        .route("/v1/get", post(files::get))
        .route("/v1/rm", post(files::remove))
        .route("/v1/evict", post(files::evict))
        .route("/v1/gc", post(upkeep::gc))
        .route("/v1/scrub", post(upkeep::scrub))
        .route("/v1/check", post(upkeep::check))
        .route("/v1/repair", post(repair::repair))
        .route("/v1/objects/{*key}", objects)
        .fallback(|| async { no_route() })
        .method_not_allowed_fallback(|| async { no_route() })
        .layer(DefaultBodyLimit::max(DOCUMENT_MAX))
        .with_state(daemon)
}

fn no_route() -> Problem {
    Problem::usage("the local API has no such route or method").hint("see docs/api.md")
}
