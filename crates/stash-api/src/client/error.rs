//! Errors of requests.

use std::io;
use std::path::PathBuf;

use hyper::StatusCode;

use crate::error::Problem;

/// The reason why a request has no answer, or another one than was asked for.
///
/// Of a request that changes something, only [`NotRunning`](Self::NotRunning),
/// [`Unreachable`](Self::Unreachable) and [`Request`](Self::Request) say that nothing was changed;
/// [`Answered`](Self::Answered) says what its [`Problem`] says. After the others it may have been
/// done as a whole: look, or ask again.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node was reached, and answered with an error.
    #[error("{}", .0.message)]
    Answered(Problem),
    /// No process listens on the socket. Try again once a node runs.
    #[error("the stash daemon is not running: nobody answers at {}", socket.display())]
    NotRunning {
        /// The path of the socket.
        socket: PathBuf,
    },
    /// The system does not connect to the socket: it belongs to another user, or its path to something else.
    #[error("cannot reach the stash daemon at {}: {source}", socket.display())]
    Unreachable {
        /// The path of the socket.
        socket: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The node takes no connection for 5 s, does not say within 15 s that it lives, or says nothing more for 30 s
    /// within an answer: it is stopped, or has too much to do.
    #[error("the stash daemon does not answer")]
    Silent,
    /// The answer broke off, or never came: the node has ended, or the body that was sent.
    #[error(
        "the stash daemon went away before it was done; what it had not confirmed is not stored"
    )]
    Ended {
        /// The error of the connection; `None` where its end came too early.
        source: Option<hyper::Error>,
    },
    /// The answer tells of an error by its HTTP status alone: whatever listens there is no stash node.
    #[error("the daemon answered {status} without saying why")]
    Unexplained {
        /// The status.
        status: StatusCode,
    },
    /// The answer is not what this crate knows under its route: the node is of another version.
    #[error("the answer is not what this route gives: {0}")]
    Unexpected(serde_json::Error),
    /// No request can be made of it: a key that is longer than a URL may be.
    #[error("it cannot be asked for: {0}")]
    Request(hyper::http::Error),
}

pub(super) fn ended(source: hyper::Error) -> ClientError {
    ClientError::Ended { source: Some(source) }
}
