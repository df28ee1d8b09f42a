//! A client of a node that runs: HTTP/1.1 over its Unix socket.

mod answer;
mod error;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::ErrorBody;
use crate::operation::{Event, Operation, Progress};
use crate::route::{Call, Get};
use answer::{Lines, SILENCE, collect};
use error::ended;

pub use answer::document;
pub use error::ClientError;

/// The longest wait until a node that listens takes a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Any body that a client sends. An error of it breaks the request off: [`ClientError::Ended`] has it
/// among its sources.
pub type Sent = UnsyncBoxBody<Bytes, io::Error>;

/// A client of the node that listens on one socket. Each request has its own connection, which ends
/// with it: to drop the future of a request is to cancel it.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the node that listens on `socket`, a path of 107 bytes at most. Nothing is asked yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// True if somebody listens.
    pub async fn daemon_runs(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// Asks for one document.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; nothing was changed.
    pub async fn get<T: DeserializeOwned>(&self, what: &Get<T>) -> Result<T, ClientError> {
        let request = Request::get(what.path()).body(empty()).map_err(ClientError::Request)?;
        document(self.send(request, Some(SILENCE)).await?).await
    }

    /// Sends one document and gets one back.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, ClientError> {
        document(self.send(json(C::ROUTE, request)?, Some(SILENCE)).await?).await
    }

    /// Starts an operation and follows it to its end. `progress` is called for each line that tells how
    /// far it is.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. An operation that fails late is [`ClientError::Answered`] as well.
    pub async fn operate<O: Operation>(
        &self,
        request: &O,
        mut progress: impl FnMut(Progress),
    ) -> Result<O::Done, ClientError> {
        let response = self.send(json(O::ROUTE, request)?, Some(SILENCE)).await?;
        let mut lines = Lines::new(response.into_body());
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line).map_err(ClientError::Unexpected)? {
                Event::Progress(far) => progress(far),
                Event::Done(done) => return Ok(done),
                Event::Error(problem) => return Err(ClientError::Answered(problem)),
            }
        }
        Err(ClientError::Ended { source: None })
    }

    /// Sends one request and waits for the head of its answer, at most `patience`: for bodies that are no
    /// documents, as those of `/v1/objects`. The header `host` is set here.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. An answer whose status tells of an error is one.
    pub async fn send(
        &self,
        request: Request<Sent>,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, ClientError> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(ended)?;
        tokio::spawn(async move {
            // An error of the connection is an error of the request, which is told there.
            let _told_there = connection.await;
        });
        let mut request = request;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("stash"));
        let answer = sender.send_request(request);
        let response = match patience {
            Some(patience) => {
                tokio::time::timeout(patience, answer).await.map_err(|_| ClientError::Silent)?
            }
            None => answer.await,
        };
        let response = response.map_err(ended)?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let socket = || self.socket.clone();
        match tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e))
                if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                Err(ClientError::NotRunning { socket: socket() })
            }
            Ok(Err(source)) => Err(ClientError::Unreachable { socket: socket(), source }),
            Err(_) => Err(ClientError::Silent),
        }
    }
}

/// No body.
#[must_use]
pub fn empty() -> Sent {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Sent {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn json(route: &str, body: &impl Serialize) -> Result<Request<Sent>, ClientError> {
    let body = serde_json::to_vec(body).map_err(ClientError::Unexpected)?;
    Request::builder()
        .method(Method::POST)
        .uri(route)
        .header(header::CONTENT_TYPE, "application/json")
        .body(full(body.into()))
        .map_err(ClientError::Request)
}

/// The error that an answer tells of.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let bytes = collect(response.into_body()).await.unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => ClientError::Answered(body.error),
        Err(_) => ClientError::Unexplained { status },
    }
}
