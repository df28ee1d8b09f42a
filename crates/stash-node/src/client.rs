//! The command line's end of the local API: HTTP/1.1 over the daemon's Unix socket.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::body::{Event, Progress};
use crate::error::{Class, ErrorBody, Problem};

/// Seconds until a daemon that listens takes a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest silence of the daemon: it answers at once, or tells of its progress every few
/// seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer that is one document; a page of a listing is the longest.
const DOCUMENT_MAX: usize = 64 * 1024 * 1024;

/// What a URL path may show as it is (RFC 3986, unreserved, and the separator of keys).
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Any body that the client sends.
pub(crate) type Sent = UnsyncBoxBody<Bytes, io::Error>;

/// The way to the daemon.
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens at `socket`.
    pub(crate) fn new(socket: &Path) -> Result<Self, Problem> {
        crate::paths::check_socket(socket)?;
        Ok(Self { socket: socket.to_owned() })
    }

    /// Whether a daemon listens.
    pub(crate) async fn daemon_runs(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Asks for one document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = Request::get(path).body(empty())?;
        document(self.send(request, Some(SILENCE)).await?).await
    }

    /// Sends one document and gets one back.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        document(self.send(json(Method::POST, path, body)?, Some(SILENCE)).await?).await
    }

    /// Starts an operation and follows its progress to its end.
    pub(crate) async fn operate<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut progress: impl FnMut(Progress),
    ) -> anyhow::Result<T> {
        let response = self.send(json(Method::POST, path, body)?, Some(SILENCE)).await?;
        let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new() };
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line)? {
                Event::Progress(far) => progress(far),
                Event::Done(done) => return Ok(done),
                Event::Error(problem) => return Err(problem.into()),
            }
        }
        Err(gone_away().into())
    }

    /// Sends one request and waits for the head of its answer, at most `patience`. Answers that
    /// tell of an error become that error.
    pub(crate) async fn send(
        &self,
        request: Request<Sent>,
        patience: Option<Duration>,
    ) -> anyhow::Result<Response<Incoming>> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(async move {
            // An error of the connection is an error of the request, which is told there.
            let _told_there = connection.await;
        });
        let mut request = request;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("stash"));
        let answer = sender.send_request(request);
        let response = match patience {
            Some(patience) => tokio::time::timeout(patience, answer).await.map_err(|_| silent())?,
            None => answer.await,
        };
        let response = response.map_err(|e| broken(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn connect(&self) -> Result<UnixStream, Problem> {
        let socket = self.socket.display();
        match tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e))
                if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                let message =
                    format!("the stash daemon is not running: nobody answers at {socket}");
                Err(Problem::new(Class::Temporary, message).hint("start it with: stash up"))
            }
            Ok(Err(e)) => {
                let message = format!("cannot reach the stash daemon at {socket}: {e}");
                Err(Problem::new(Class::Failed, message)
                    .hint("the daemon serves its own user only; is this the right --socket?"))
            }
            Err(_) => Err(silent()),
        }
    }
}

/// The path of a route that ends with a key.
pub(crate) fn key_path(route: &str, key: &str) -> String {
    format!("{route}/{}", utf8_percent_encode(key, PATH))
}

/// A value as it may stand in a query.
pub(crate) fn query_value(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// No body.
pub(crate) fn empty() -> Sent {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Sent {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn json(method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<Request<Sent>> {
    Ok(Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(full(serde_json::to_vec(body)?.into()))?)
}

/// Reads an answer that is one JSON document.
pub(crate) async fn document<T: DeserializeOwned>(
    response: Response<Incoming>,
) -> anyhow::Result<T> {
    let bytes = collect(response.into_body()).await.ok_or_else(gone_away)?;
    Ok(serde_json::from_slice(&bytes)?)
}

async fn collect(body: Incoming) -> Option<Bytes> {
    let whole = Limited::new(body, DOCUMENT_MAX).collect();
    Some(tokio::time::timeout(SILENCE, whole).await.ok()?.ok()?.to_bytes())
}

/// The error that an answer tells of.
async fn refusal(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status();
    let bytes = collect(response.into_body()).await.unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => body.error.into(),
        Err(_) => {
            let message = format!("the daemon answered {status} without saying why");
            Problem::new(Class::Failed, message).into()
        }
    }
}

/// Cuts a body into lines.
struct Lines<B> {
    body: B,
    buffer: BytesMut,
}

impl<B: Body<Data = Bytes> + Unpin> Lines<B> {
    /// The next line without its end; `None` at a clean end of the body.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > DOCUMENT_MAX {
                return Err(gone_away());
            }
            match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Err(_) => return Err(silent()),
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                Ok(Some(Err(_))) => return Err(gone_away()),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(gone_away()),
            }
        }
    }
}

fn silent() -> Problem {
    Problem::new(Class::Temporary, "the stash daemon does not answer")
        .hint("it may be stopped or overloaded; see its log")
}

/// The connection ended where more was due.
pub(crate) fn gone_away() -> Problem {
    let message = "the stash daemon went away before it was done; what it had not confirmed is not \
                   stored";
    Problem::new(Class::Temporary, message).hint("start it with: stash up, and repeat the command")
}

fn broken(error: &hyper::Error) -> anyhow::Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // The client's own input failed, not the daemon.
        if let Some(problem) = cause.downcast_ref::<Problem>() {
            return problem.clone().into();
        }
        if let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(problem) = inner.downcast_ref::<Problem>()
        {
            return problem.clone().into();
        }
        source = cause.source();
    }
    gone_away().into()
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[test]
    fn keys_travel_percent_encoded_and_keep_their_separators() {
        assert_eq!(key_path("/v1/where", "a b/ü?#%"), "/v1/where/a%20b/%C3%BC%3F%23%25");
        assert_eq!(query_value("a/b&c"), "a%2Fb%26c");
    }

    async fn lines(pieces: &[&'static str]) -> Vec<Result<Option<Bytes>, Problem>> {
        let frames: Vec<Result<_, io::Error>> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        let body = StreamBody::new(futures::stream::iter(frames));
        let mut lines = Lines { body, buffer: BytesMut::new() };
        let mut all = Vec::new();
        loop {
            let line = lines.next().await;
            let last = !matches!(line, Ok(Some(_)));
            all.push(line);
            if last {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_are_found_however_the_body_was_cut() {
        let expected = [Ok(Some("ab".into())), Ok(Some("".into())), Ok(Some("c".into())), Ok(None)];
        for pieces in [&["ab\n\nc\n"][..], &["a", "b\n", "\nc", "\n"]] {
            assert_eq!(lines(pieces).await, expected);
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_within_a_line_is_an_error() {
        let all = lines(&["ab\nc"]).await;
        assert_eq!(all[0], Ok(Some("ab".into())));
        assert_eq!(all[1].as_ref().unwrap_err().code, Class::Temporary);
    }

    #[tokio::test]
    async fn without_a_daemon_the_hint_says_how_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(&dir.path().join("none.sock")).unwrap();
        let error = client.get::<serde_json::Value>("/v1/status").await.unwrap_err();
        let problem = Problem::of(&error);
        assert_eq!(problem.code, Class::Temporary);
        assert_eq!(problem.hint.as_deref(), Some("start it with: stash up"));
    }
}
