//! Errors, and whose fault each of them is.

use std::io;
use std::net::SocketAddr;

use crate::gate::GateError;

/// Why a connection, and with its last one a peer, went down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// A node is shutting down. Nobody's fault; dial again later.
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
    /// A message failed to decrypt: it was changed on the way.
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

    /// The meaning of a go-away code that was received.
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
        /// The system's error.
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
        /// The system's error.
        source: io::Error,
    },
    /// Something accepts connections and gave no valid answer: another node, another network, or
    /// one that does not know us. They cannot be told apart from here, by design.
    #[error("no node with this identity answers there ({addr})")]
    NoSuchIdentity {
        /// The last address tried.
        addr: SocketAddr,
    },
    /// A name leads nowhere, or could not be looked up. The network, or whoever named it.
    #[error("{name} cannot be looked up: {source}")]
    NoSuchName {
        /// The name, with its port.
        name: String,
        /// The system's error.
        source: io::Error,
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

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
            StreamError::Closed(_) => io::ErrorKind::ConnectionAborted,
            StreamError::TooLong(_) => io::ErrorKind::InvalidInput,
            StreamError::Finished => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

/// A breach of the protocol. Always the remote's fault; the connection is closed, and dialling it
/// again leads to the same end until one side is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame kind that is not known and not marked optional.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// A flag that the kind does not have.
    #[error("flags {flags:#04x} do not fit frame kind {kind:#04x}")]
    BadFlags {
        /// The frame's kind.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
    /// The reserved byte is not zero.
    #[error("the reserved byte of a frame is {0:#04x}")]
    Reserved(u8),
    /// A length beyond what the kind allows.
    #[error("a frame of kind {kind:#04x} announces {len} bytes")]
    BadLength {
        /// The frame's kind.
        kind: u8,
        /// The length it announces.
        len: u32,
    },
    /// A stream id where none may stand, or none where one must.
    #[error("stream id {stream} does not fit frame kind {kind:#04x}")]
    BadStream {
        /// The frame's kind.
        kind: u8,
        /// The id.
        stream: u32,
    },
    /// A Noise message shorter than an authentication tag and one byte.
    #[error("a noise message of {0} bytes")]
    ShortMessage(u16),
    /// The first frame is not a hello, or a second one came.
    #[error("hello is missing or came twice")]
    HelloOrder,
    /// The hello does not decode or announces impossible limits.
    #[error("the hello is malformed")]
    BadHello,
    /// A response to a stream that was never opened from here.
    #[error("a response on stream {0}, which was never opened")]
    ResponseWithoutRequest(u32),
    /// A stream id was used again after its end, or ids went backwards.
    #[error("stream id {0} is used twice")]
    StreamReused(u32),
    /// A frame after the frame that ended its direction of the stream.
    #[error("a frame on stream {0} after its end")]
    FrameAfterEnd(u32),
    /// More bytes than there was credit for.
    #[error("stream {0} exceeds its credit")]
    CreditExceeded(u32),
    /// The connection as a whole exceeds its credit.
    #[error("the connection exceeds its credit")]
    ConnectionCreditExceeded,
    /// A credit of zero, or one that adds up to more than the protocol's greatest.
    #[error("a credit of {0} is out of range")]
    BadCredit(u32),
    /// More open streams than were allowed.
    #[error("more than {0} streams at once")]
    TooManyStreams(u32),
    /// A new stream after the sender itself had said go-away.
    #[error("stream {0} was opened after go-away")]
    OpenedAfterGoAway(u32),
    /// A bulk frame that does not fit this side or this connection.
    #[error("a bulk frame out of place")]
    BulkOutOfPlace,
    /// Credit was asked back before the last question was answered, or for none; or the answer does not
    /// fit a question.
    #[error("credit was asked or given back out of turn")]
    ReclaimOutOfTurn,
    /// A data frame that carries nothing and ends nothing.
    #[error("an empty data frame on stream {0}")]
    EmptyData(u32),
}

impl ProtocolError {
    /// The low byte of the go-away code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::UnknownKind(_) => 1,
            Self::BadFlags { .. } => 2,
            Self::Reserved(_) => 3,
            Self::BadLength { .. } => 4,
            Self::BadStream { .. } => 5,
            Self::ShortMessage(_) => 6,
            Self::HelloOrder => 7,
            Self::BadHello => 8,
            Self::ResponseWithoutRequest(_) => 9,
            Self::StreamReused(_) => 10,
            Self::FrameAfterEnd(_) => 11,
            Self::CreditExceeded(_) => 12,
            Self::ConnectionCreditExceeded => 13,
            Self::BadCredit(_) => 14,
            Self::TooManyStreams(_) => 15,
            Self::OpenedAfterGoAway(_) => 16,
            Self::BulkOutOfPlace => 17,
            Self::EmptyData(_) => 18,
            Self::ReclaimOutOfTurn => 19,
        }
    }
}
