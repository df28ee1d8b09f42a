//! The local API on the socket: who may ask, how much, and how long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stash_api::error::ErrorBody;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Class, Problem};

/// Connections served at once; more wait in the socket's backlog.
const CONNECTIONS: usize = 64;

/// Connections of other users that are told why they are refused; more are closed at once.
const STRANGERS: usize = 4;

/// Until the head of a request must be there, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);

/// Header lines of a request.
const HEADERS: usize = 64;

/// Bytes of a request's head: a key of 1,024 bytes, percent-encoded, fits many times.
const HEAD_MAX: usize = 16 * 1024;

/// Bytes read ahead on a connection.
const BUFFER: usize = 512 * 1024;

/// The time that answers under way may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Before the next try after the system refused a connection (no descriptors left).
const BACK_OFF: Duration = Duration::from_millis(100);

/// Ends the serving.
type Stop = CancellationToken;

/// The local API while it is served.
pub(crate) struct Serving {
    connections: TaskTracker,
    stop: Stop,
}

impl Serving {
    /// Serves `router` on `listener` until `stop`.
    pub(crate) fn start(listener: UnixListener, router: Router, stop: Stop) -> Self {
        let connections = TaskTracker::new();
        let accept = accept(listener, router, stop.clone(), connections.clone());
        connections.spawn(accept);
        Self { connections, stop }
    }

    /// Ends the serving: answers that are under way get a few seconds.
    pub(crate) async fn drain(self) {
        self.stop.cancel();
        self.connections.close();
        if timeout(DRAIN, self.connections.wait()).await.is_err() {
            tracing::warn!("transfers were cut off by the stop");
        }
    }
}

async fn accept(listener: UnixListener, router: Router, stop: Stop, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let owner = rustix::process::geteuid().as_raw();
    let mut told = false;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            let same_user = stream.peer_cred()?.uid() == owner;
            io::Result::Ok((place, stream, same_user))
        };
        let next = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        match next {
            Ok((place, stream, true)) => {
                connections.spawn(connection(stream, router.clone(), stop.clone(), place));
            }
            Ok((_, stream, false)) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("another user tried the socket; further tries are not logged");
                }
                if let Ok(place) = Arc::clone(&strangers).try_acquire_owned() {
                    connections.spawn(connection(stream, forbidden(), stop.clone(), place));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, router: Router, stop: Stop, _place: OwnedSemaphorePermit) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(HEADERS)
            .max_header_size(HEAD_MAX)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let end = tokio::select! {
        end = connection.as_mut() => end,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = end {
        // A client may leave at any time; what it had asked for is cancelled with its request.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The answer to another user, whatever the request.
fn forbidden() -> Router {
    Router::new().fallback(|| async {
        let error = Problem::new(Class::Refused, "this socket serves its own user only");
        (StatusCode::FORBIDDEN, Json(ErrorBody::from(error)))
    })
}
