//! Objects as bytes: what `curl`, `put -` and `cat` use.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use stash_api::error::ErrorBody;
use stash_api::files::{CONFLICTS, PutDone, RmDone};
use stash_vault::{GetError, PutOptions, Reading};
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

use super::answer::{self, KeyOfPath, Parameters};
use super::files::{confirmed_days, removed, root};
use super::operation;
use crate::daemon::Daemon;
use crate::error::Problem;
use crate::range::Range;

/// The longest pause within a body that is sent: a slow pipe may feed it, a dead one may not hold
/// its chunks for ever.
const PAUSE: Duration = Duration::from_secs(3600);

/// The time that a client may take to hear that its body is refused.
const REFUSAL: Duration = Duration::from_secs(10);

/// The query of a read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {
    #[serde(default = "yes")]
    keep: bool,
    version: Option<String>,
}

fn yes() -> bool {
    true
}

/// `GET /v1/objects/{key}`: the whole file, or one range of it.
pub(super) async fn read(
    State(daemon): State<Arc<Daemon>>,
    KeyOfPath(key): KeyOfPath,
    Parameters(query): Parameters<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let version = query.version.as_deref().map(answer::version).transpose()?;
    let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = match asked.and_then(Range::from_header) {
        Some(asked) => {
            let size = match &version {
                None => vault.stat(&key).await?.size,
                Some(version) => vault.version(&key, version).await?.size,
            };
            let Some(range) = asked.within(size) else {
                return Ok(unsatisfiable(size));
            };
            Some(range)
        }
        None => None,
    };
    let ranged = range.is_some();
    let reading = match &version {
        None => {
            let read = vault.read(&key, range, query.keep).await;
            answer::found(&vault, key.as_str(), read).await?
        }
        Some(version) => vault.read_version(&key, version, range, query.keep).await?,
    };
    let (status, headers) = head(&reading, ranged);
    let body = body(reading, served.cancel.clone()).await?;
    Ok((status, headers, body).into_response())
}

fn head(reading: &Reading, ranged: bool) -> (StatusCode, HeaderMap) {
    let (part, size) = (reading.range(), reading.meta().size);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    headers.insert(HeaderName::from_static(CONFLICTS), HeaderValue::from(reading.conflicts()));
    if !ranged {
        return (StatusCode::OK, headers);
    }
    // A range that is not empty has a last byte.
    let value = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    if let Ok(value) = value.parse() {
        headers.insert(CONTENT_RANGE, value);
    }
    (StatusCode::PARTIAL_CONTENT, headers)
}

/// The bytes. A failure before the first one is an answer of its own; a later one breaks the
/// transfer, so that nobody takes what came for the whole. So does the end of the node.
async fn body(mut reading: Reading, cancel: CancellationToken) -> Result<Body, Problem> {
    let Some(first) = reading.next().await.transpose()? else {
        return Ok(Body::empty());
    };
    let rest = futures::stream::unfold(Some(reading), move |reading| {
        let cancel = cancel.clone();
        async move {
            let mut reading = reading?;
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => Some(Err(GetError::Cancelled)),
                next = reading.next() => next,
            }?;
            let more = next.is_ok().then_some(reading);
            Some((next, more))
        }
    });
    Ok(Body::from_stream(futures::stream::once(async { Ok(first) }).chain(rest)))
}

/// RFC 9110, section 15.5.17.
fn unsatisfiable(size: u64) -> Response {
    let problem =
        Problem::usage(format!("the range lies outside of the file, which has {size} bytes"));
    let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
    (StatusCode::RANGE_NOT_SATISFIABLE, range, Json(ErrorBody::from(problem))).into_response()
}

/// The query of a write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    wait: Option<String>,
}

/// `PUT /v1/objects/{key}`: the body becomes the file. A body that does not come to its end stores
/// nothing.
pub(super) async fn write(
    State(daemon): State<Arc<Daemon>>,
    KeyOfPath(key): KeyOfPath,
    Parameters(query): Parameters<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PutDone>, Problem> {
    let body = Box::pin(without_long_pauses(body));
    let prepared = daemon.served().and_then(|served| Ok((served.vault()?, served)));
    let prepared = answer::wait(query.wait.as_deref()).and_then(|wait| Ok((wait, prepared?)));
    let (wait, (vault, served)) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            tokio::spawn(drain(body));
            return Err(problem);
        }
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|value| value.parse().ok());
    let confirmed_days = confirmed_days(&served);
    let node = Arc::clone(&served);
    let done = operation::finish(served.place(), |progress| async move {
        let mut body = body;
        let options = PutOptions { wait, jobs: 0 };
        let reader = StreamReader::new(&mut body);
        match vault.put_reader(key, reader, length, options, &progress).await {
            Ok(report) => {
                let roots = vec![root(&node, report).await];
                Ok(PutDone { roots, confirmed_days })
            }
            Err(error) => {
                tokio::spawn(drain(body));
                Err(error.into())
            }
        }
    });
    done.await.map(Json)
}

/// Reads on while the client hears that its body is refused: a connection that is closed with unread
/// bytes takes its answer back.
async fn drain(mut body: impl Stream<Item = io::Result<Bytes>> + Unpin) {
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    // A client that goes on sending for so long does not listen.
    let _deaf = tokio::time::timeout(REFUSAL, rest).await;
}

fn without_long_pauses(body: Body) -> impl Stream<Item = io::Result<Bytes>> {
    let frames = body.into_data_stream().map_err(io::Error::other);
    let pieces = futures::stream::unfold(Some(frames.boxed()), |frames| async move {
        let mut frames = frames?;
        match tokio::time::timeout(PAUSE, frames.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(frames))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    });
    // A put that is refused after the end of the body is drained: it is asked for more once again.
    pieces.fuse()
}

/// The query of a remove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveQuery {
    wait: Option<String>,
    #[serde(default)]
    purge: bool,
}

/// `DELETE /v1/objects/{key}`: a tombstone, or with `purge` the end of all versions.
pub(super) async fn remove(
    State(daemon): State<Arc<Daemon>>,
    KeyOfPath(key): KeyOfPath,
    Parameters(query): Parameters<RemoveQuery>,
) -> Result<Json<RmDone>, Problem> {
    let served = daemon.served()?;
    let vault = served.vault()?;
    let wait = answer::wait(query.wait.as_deref())?;
    let node = Arc::clone(&served);
    let done = operation::finish(served.place(), |progress| async move {
        let report = match query.purge {
            true => vault.purge(key.as_str(), false, wait, &progress).await?,
            false => vault.rm(key.as_str(), false, wait, &progress).await?,
        };
        Ok(removed(&node, report).await)
    });
    done.await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_for_too_long_ends_with_an_error() {
        let stuck = futures::stream::once(async { Ok::<_, io::Error>(Bytes::from("a")) })
            .chain(futures::stream::pending());
        let pieces: Vec<_> = without_long_pauses(Body::from_stream(stuck)).collect().await;
        assert_eq!(pieces[0].as_ref().unwrap(), "a");
        assert_eq!(pieces[1].as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(pieces.len(), 2);
    }

    #[tokio::test]
    async fn a_body_that_has_ended_may_be_drained_all_the_same() {
        for parts in [vec![], vec![Ok(Bytes::from("a"))], vec![Err(io::Error::other("broken"))]] {
            let mut body =
                Box::pin(without_long_pauses(Body::from_stream(futures::stream::iter(parts))));
            while body.next().await.is_some() {}
            drain(body).await;
        }
    }

    // Fault case 40.
    #[test]
    fn a_range_outside_of_the_file_tells_its_size() {
        let response = unsatisfiable(7);
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes */7");
    }
}
