//! An exchange with a peer: a request, its answer, their deadlines and errors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use stash_p2p::{Class, Frame, Peer, RecvStream, StreamError};
use stash_store::{CommitError, ReadError};
use tokio::time::timeout;

use crate::ledger::LedgerError;
use crate::message::{self, Refusal, Reply, Request};

/// Longest wait for the next frame of a request or an answer: as long as the transport takes to
/// find a dead connection.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// An exchange with a peer came to nothing. The peer or the network is at fault, but for
/// [`AskError::NotKept`] and [`AskError::Here`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The peer is not connected, or the connection broke.
    #[error("{0}")]
    Gone(String),
    /// Nothing came within 30 seconds.
    #[error("no answer within 30 seconds")]
    Late,
    /// The peer refused.
    #[error("refused: {reason}")]
    Refused {
        /// A word for programs.
        code: Refusal,
        /// A sentence for people.
        reason: String,
    },
    /// The peer answered something that does not belong here.
    #[error("the answer breaks the protocol: {0}")]
    Protocol(String),
    /// The store here does not take what the peer has, in words for people.
    #[error("what it holds is not kept here: {0}")]
    NotKept(String),
    /// The store of this node failed.
    #[error("the store here: {0}")]
    Here(Arc<LedgerError>),
}

impl From<LedgerError> for AskError {
    fn from(error: LedgerError) -> AskError {
        AskError::Here(Arc::new(error))
    }
}

impl From<ReadError> for AskError {
    fn from(error: ReadError) -> AskError {
        LedgerError::from(error).into()
    }
}

impl From<CommitError> for AskError {
    fn from(error: CommitError) -> AskError {
        LedgerError::from(error).into()
    }
}

/// The next frame within [`ANSWER`].
pub(crate) async fn next(stream: &mut RecvStream) -> Result<Option<Frame>, AskError> {
    in_time(stream.next()).await
}

async fn in_time<T>(next: impl Future<Output = Result<T, StreamError>>) -> Result<T, AskError> {
    match timeout(ANSWER, next).await {
        Err(_) => Err(AskError::Late),
        Ok(Err(error)) => Err(AskError::Gone(error.to_string())),
        Ok(Ok(next)) => Ok(next),
    }
}

/// The next frame of an answer that may stand behind others of the same peer: late when nothing has
/// come for [`ANSWER`] while the peer sent next to nothing else, or for [`LINE`] in all.
pub(crate) async fn next_in_line(
    peer: &Peer,
    stream: &mut RecvStream,
) -> Result<Option<Frame>, AskError> {
    in_line(peer, stream, |stream| Box::pin(next(stream))).await
}

/// The same for bytes that go to lent memory: how many came, 0 if something else did.
pub(crate) async fn filled_in_line(
    peer: &Peer,
    stream: &mut RecvStream,
) -> Result<usize, AskError> {
    in_line(peer, stream, |stream| Box::pin(in_time(stream.filled()))).await
}

async fn in_line<T>(
    peer: &Peer,
    stream: &mut RecvStream,
    next: for<'s> fn(&'s mut RecvStream) -> BoxFuture<'s, Result<T, AskError>>,
) -> Result<T, AskError> {
    for _ in 0..LINE {
        let before = peer.stats().bytes_in;
        match next(stream).await {
            Err(AskError::Late) if peer.stats().bytes_in > before + BUSY => {}
            next => return next,
        }
    }
    Err(AskError::Late)
}

/// Longest wait in a line, in times [`ANSWER`]: ten minutes, in which the least rate of a node
/// brings several times what a node asks for at once.
const LINE: u32 = 20;

/// A peer that sends more than this within [`ANSWER`] is at work on what was asked before. Bytes:
/// far above what pings and credit take, and a sixtieth of what the least rate of a node brings.
const BUSY: u64 = 64 << 10;

/// The next message, decoded.
pub(crate) async fn next_message<T: DeserializeOwned>(
    stream: &mut RecvStream,
) -> Result<T, AskError> {
    decoded(next(stream).await?)
}

/// A frame as the message that is due.
pub(crate) fn decoded<T: DeserializeOwned>(frame: Option<Frame>) -> Result<T, AskError> {
    match frame {
        Some(Frame::Message(bytes)) => {
            message::decode(&bytes).map_err(|error| AskError::Protocol(error.to_string()))
        }
        Some(Frame::Data(_)) => Err(AskError::Protocol("data where a message is due".to_owned())),
        None => Err(AskError::Protocol("the stream ended where a message is due".to_owned())),
    }
}

/// Asks one question on a stream of its own and returns the answer.
pub(crate) async fn ask(peer: &Peer, request: &Request) -> Result<Reply, AskError> {
    let gone = |error: &dyn fmt::Display| AskError::Gone(error.to_string());
    let opened = timeout(ANSWER, peer.open(Class::Control)).await.map_err(|_| AskError::Late)?;
    let (mut send, mut recv) = opened.map_err(|error| gone(&error))?.split();
    let sent = timeout(ANSWER, send.message(message::encode(request))).await;
    sent.map_err(|_| AskError::Late)?.map_err(|error| gone(&error))?;
    send.finish();
    match next_message(&mut recv).await? {
        Reply::Refused { code, reason } => Err(AskError::Refused { code, reason }),
        reply => Ok(reply),
    }
}

/// The answer was of a kind that the question does not have.
pub(crate) fn unexpected(reply: &Reply) -> AskError {
    let text = format!("{reply:?}");
    AskError::Protocol(text.chars().take(40).collect())
}

/// Reads the first message of a stream as a request; `None` when it is none that is known here.
pub(crate) async fn opening(recv: &mut RecvStream) -> Result<Option<Request>, StreamError> {
    match timeout(ANSWER, recv.next()).await {
        Ok(Ok(Some(Frame::Message(bytes)))) => Ok(message::decode(&bytes).ok()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(None),
    }
}

/// The rate at which an answer must be taken, in bytes a second: a sixtieth of the least rate that
/// a node may be limited to. Below it, the largest chunk takes more than half an hour.
const LEAST_RATE: u64 = 2 << 10;

/// Longest time for an answer of `len` bytes, from its first byte to its last, at either end.
pub(crate) fn time_for(len: usize) -> Duration {
    ANSWER + Duration::from_millis(len as u64 * 1000 / LEAST_RATE)
}
