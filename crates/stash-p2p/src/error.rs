//! What can go wrong, and whose fault it is.

use std::io;
use std::net::SocketAddr;

use crate::gate::GateError;
use crate::wire::ProtocolError;

/// Why a connection, and with its last one a peer, went down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// One side is shutting down. Nobody's fault; dial again later.
    #[error("the node shuts down")]
    Shutdown,
    /// Another connection of the same two nodes won. Nobody's fault; use that one.
    #[error("another connection to the same node took over")]
    Duplicate,
    /// The connection reached its greatest age; a new one follows.
    #[error("the connection reached its greatest age")]
    Aged,
    /// The side that was dialled has no room for another connection. Nobody's fault; dial again later.
    #[error("there is no room for another connection")]
    NoRoom,
    /// Credit that was asked back did not come in time. The fault of the side that had it.
    #[error("credit that was asked back did not come")]
    CreditKept,
    /// The layer above ended it, with a code of its own.
    #[error("closed by the application with code {0}")]
    Application(u32),
    /// The remote broke the protocol. The remote's fault.
    #[error("the remote broke the protocol: {0}")]
    Protocol(ProtocolError),
    /// The remote says that we broke the protocol, with its code.
    #[error("the remote says that we broke the protocol (code {0})")]
    Accused(u32),
    /// A message failed to decrypt: the link or somebody on it changed bytes.
    #[error("a message did not decrypt: it was changed on the way")]
    Decrypt,
    /// Nothing arrived for too long. The network's or the remote's fault.
    #[error("nothing arrived for too long")]
    Dead,
    /// The remote did not take a byte for too long.
    #[error("the remote takes no data")]
    WriteStall,
    /// The remote ended the TCP connection without saying goodbye.
    #[error("the connection broke off")]
    Lost,
    /// The operating system reports an error.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
}

impl CloseReason {
    /// The code that go-away carries.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::Shutdown | Self::Lost => 0,
            Self::Duplicate => 1,
            Self::Aged => 2,
            Self::Dead | Self::WriteStall | Self::Io(_) => 3,
            Self::Decrypt => 4,
            Self::Accused(_) => 5,
            Self::NoRoom => 6,
            Self::CreditKept => 7,
            Self::Protocol(error) => 0x100 | u32::from(error.code()),
            Self::Application(code) => 0x1_0000 | (code & 0xffff),
        }
    }

    /// What a received go-away code means to us.
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Shutdown,
            1 => Self::Duplicate,
            2 => Self::Aged,
            3 => Self::Dead,
            6 => Self::NoRoom,
            7 => Self::CreditKept,
            code if code >= 0x1_0000 => Self::Application(code & 0xffff),
            code => Self::Accused(code),
        }
    }
}

/// The endpoint could not start. The caller's or the system's fault; nothing is left open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on (taken, not ours, not permitted).
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A limit has a value with which nothing can work.
    #[error("the limit `{0}` is out of range")]
    Limit(&'static str),
}

/// A dial failed. Nothing changed but the counter; retrying later is sound unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No address was given. The caller's fault.
    #[error("no address to dial")]
    NoAddress,
    /// The key to dial is our own. The caller's fault.
    #[error("the address leads to this node itself")]
    SelfDial,
    /// Nothing accepts connections there.
    #[error("{addr} cannot be reached: {source}")]
    Unreachable {
        /// The last address tried.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Something accepts connections and gave no valid answer: another node, another network, or
    /// one that does not know us. They cannot be told apart from here, by design.
    #[error("no node with this identity answers there ({addr})")]
    NoSuchIdentity {
        /// The last address tried.
        addr: SocketAddr,
    },
    /// The deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// The connection came up and broke before it was usable.
    #[error("the connection broke at once: {0}")]
    Closed(CloseReason),
    /// Our own counter could not be made durable.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The endpoint is shutting down, or has no room for another connection itself.
    #[error("this node takes no more connections")]
    Refused,
}

/// An operation on a peer failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer is down.
    #[error("the peer is gone: {0}")]
    Closed(CloseReason),
}

/// An operation on a stream failed; the stream is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The remote ended the stream early, with a code of the application's.
    #[error("the remote reset the stream with code {0}")]
    Reset(u32),
    /// The connection under it went down.
    #[error("the connection went down: {0}")]
    Closed(CloseReason),
    /// A message is longer than [`MAX_MESSAGE`](crate::MAX_MESSAGE). The caller's fault.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// The stream was already reset on this side.
    #[error("the stream was reset here")]
    Finished,
}
