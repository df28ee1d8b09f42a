//! A client of a node that runs: HTTP/1.1 over its Unix socket.

mod answer;
mod error;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
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
use tokio::time::Instant;

use crate::error::ErrorBody;
use crate::node::Version;
use crate::operation::{Event, Operation, Progress};
use crate::route::{Call, Get};
use answer::{Lines, collect};
use error::ended;

pub use answer::document;
pub use error::ClientError;

/// The longest wait until a node that listens takes a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// From this wait on, whoever asked to be told is told.
const TELL: Duration = Duration::from_secs(3);

/// Between two questions whether a node still lives of which an answer is awaited.
const ASK: Duration = Duration::from_secs(5);

/// The longest wait for the answer to that question.
const ALIVE: Duration = Duration::from_secs(15);

/// The longest wait for an answer of a node that lives: it may have to ask members, or to build an index.
const ANSWER: Duration = Duration::from_secs(180);

/// Any body that a client sends. An error of it breaks the request off: [`ClientError::Ended`] has it
/// among its sources.
pub type Sent = UnsyncBoxBody<Bytes, io::Error>;

/// A client of the node that listens on one socket. Each request has its own connection, which ends
/// with it: to drop the future of a request is to cancel it.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    waits: Option<fn(&Path)>,
}

impl Client {
    /// A client of the node that listens on `socket`, a path of 107 bytes at most. Nothing is asked yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), waits: None }
    }

    /// The same client. It calls `tell` with the path of the socket once the node has not answered a request
    /// for 3 s.
    #[must_use]
    pub fn telling_of_waits(self, tell: fn(&Path)) -> Self {
        Self { waits: Some(tell), ..self }
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
        document(self.send(request, Some(ANSWER)).await?).await
    }

    /// Sends one document and gets one back.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, ClientError> {
        document(self.send(json(C::ROUTE, request)?, Some(ANSWER)).await?).await
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
        let response = self.send(json(O::ROUTE, request)?, Some(ANSWER)).await?;
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
    /// documents, as those of `/v1/objects`. The header `host` is set here. With `patience`, the
    /// node is asked meanwhile whether it lives: one that is stopped, or answers nobody, ends the wait within 25 s.
    /// Without, see [`Client::answers`].
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. An answer whose status tells of an error is one.
    pub async fn send(
        &self,
        request: Request<Sent>,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, ClientError> {
        let exchange = self.exchange(request);
        tokio::select! {
            answer = exchange => answer,
            silent = self.silence(patience) => Err(silent),
        }
    }

    /// Resolves if the node does not answer in time.
    async fn silence(&self, patience: Option<Duration>) -> ClientError {
        let begun = Instant::now();
        tokio::time::sleep(TELL).await;
        if let Some(tell) = self.waits {
            tell(&self.socket);
        }
        let Some(patience) = patience else { return std::future::pending().await };
        while begun.elapsed() < patience {
            tokio::time::sleep(ASK).await;
            // Of one that is not there any more, the request itself tells.
            if let Err(ClientError::Silent) = self.answers().await {
                break;
            }
        }
        ClientError::Silent
    }

    /// Asks whether the node lives, before a request whose answer may take any time.
    ///
    /// # Errors
    ///
    /// [`ClientError::Silent`] if it says nothing for 15 s, and [`ClientError::NotRunning`] or
    /// [`ClientError::Unreachable`] if it cannot be asked.
    pub async fn answers(&self) -> Result<(), ClientError> {
        let request = Request::get(Version::route().path()).body(empty());
        let request = request.map_err(ClientError::Request)?;
        match tokio::time::timeout(ALIVE, self.exchange(request)).await {
            Err(_) => Err(ClientError::Silent),
            Ok(Err(
                error @ (ClientError::Silent
                | ClientError::NotRunning { .. }
                | ClientError::Unreachable { .. }),
            )) => Err(error),
            // Whatever it says, it lives.
            Ok(_) => Ok(()),
        }
    }

    async fn exchange(&self, request: Request<Sent>) -> Result<Response<Incoming>, ClientError> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(ended)?;
        tokio::spawn(async move {
            // An error of the connection is an error of the request, which is told there.
            let _told_there = connection.await;
        });
        let mut request = request;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("stash"));
        let response = sender.send_request(request).await.map_err(ended)?;
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
