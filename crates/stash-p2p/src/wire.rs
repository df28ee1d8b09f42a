//! The frame header: twelve bytes before every payload.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | kind |
//! | 1 | 1 | flags |
//! | 2 | 1 | priority |
//! | 3 | 1 | reserved, 0 |
//! | 4 | 4 | stream id, little-endian |
//! | 8 | 4 | payload length in bytes, little-endian |

use crate::limits::{MAX_DATA, MAX_HELLO_APP, MAX_MESSAGE};

/// Length of a frame header in bytes.
pub(crate) const HEADER: usize = 12;
/// Longest payload of a hello: the application's part and room for the rest.
pub(crate) const MAX_HELLO: usize = MAX_HELLO_APP + 8 * 1024;
/// Longest payload of an unknown, optional frame, which is skipped.
pub(crate) const MAX_UNKNOWN: usize = 256 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A whole message of a stream.
    Message,
    /// A piece of a stream's raw bytes.
    Data,
    /// More room for a stream, or for the connection (stream 0).
    Credit,
    /// The early end of a stream, both ways.
    Reset,
    /// Are you there; with ACK: I am.
    Ping,
    /// No new streams from here; with END: and the last one has ended.
    GoAway,
    /// The first frame each way.
    Hello,
    /// Asks for, wants or carries a bulk token.
    Bulk,
    /// Asks for unused credit of the connection; with ACK: gives it back.
    Reclaim,
    /// Unknown here, marked as optional by its sender.
    Skip,
}

/// Last frame of the stream in this direction; on go-away, the last frame of the connection.
pub(crate) const END: u8 = 0x01;
/// Answers a ping or a reclaim; on reset, asks the other side to stop sending; on go-away, ends at once.
pub(crate) const ACK: u8 = 0x02;
/// A receiver that does not know the kind skips the frame instead of closing.
pub(crate) const OPTIONAL: u8 = 0x80;

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) priority: u8,
    pub(crate) stream: u32,
    pub(crate) len: u32,
}

/// How a remote broke the protocol. Always the remote's fault; the connection is closed and
/// dialling it again leads to the same end until one side is repaired.
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

impl Kind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Message => 0x01,
            Self::Data => 0x02,
            Self::Credit => 0x03,
            Self::Reset => 0x04,
            Self::Ping => 0x05,
            Self::GoAway => 0x06,
            Self::Hello => 0x07,
            Self::Bulk => 0x08,
            Self::Reclaim => 0x09,
            Self::Skip => 0x7f,
        }
    }

    fn from_code(code: u8, flags: u8) -> Result<Self, ProtocolError> {
        Ok(match code {
            0x01 => Self::Message,
            0x02 => Self::Data,
            0x03 => Self::Credit,
            0x04 => Self::Reset,
            0x05 => Self::Ping,
            0x06 => Self::GoAway,
            0x07 => Self::Hello,
            0x08 => Self::Bulk,
            0x09 => Self::Reclaim,
            _ if flags & OPTIONAL != 0 => Self::Skip,
            _ => return Err(ProtocolError::UnknownKind(code)),
        })
    }

    fn allowed_flags(self) -> u8 {
        match self {
            Self::Message | Self::Data => END,
            Self::Reset | Self::GoAway => END | ACK,
            Self::Ping | Self::Reclaim => ACK,
            Self::Credit | Self::Hello | Self::Bulk => 0,
            Self::Skip => 0xff,
        }
    }

    fn fits_length(self, len: u32) -> bool {
        let max = |max: usize| usize::try_from(len).is_ok_and(|len| len <= max);
        match self {
            Self::Message => max(MAX_MESSAGE),
            Self::Data => max(MAX_DATA),
            Self::Credit | Self::Reset | Self::GoAway | Self::Reclaim => len == 4,
            Self::Ping => len == 8,
            Self::Hello => max(MAX_HELLO),
            Self::Bulk => len == 1 || len == 33,
            Self::Skip => max(MAX_UNKNOWN),
        }
    }

    fn fits_stream(self, stream: u32) -> bool {
        match self {
            Self::Message | Self::Data | Self::Reset => stream != 0,
            Self::Credit | Self::Skip => true,
            Self::Ping | Self::GoAway | Self::Hello | Self::Bulk | Self::Reclaim => stream == 0,
        }
    }
}

impl Header {
    /// A header without flags, stream or priority.
    pub(crate) fn plain(kind: Kind, len: u32) -> Self {
        Self { kind, flags: 0, priority: 0, stream: 0, len }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind.code();
        bytes[1] = self.flags;
        bytes[2] = self.priority;
        bytes[4..8].copy_from_slice(&self.stream.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Decodes and checks everything that a header alone can show, before its length is believed.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<Self, ProtocolError> {
        let [code, flags, priority, reserved, ..] = *bytes;
        let field = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (stream, len) = (field(4), field(8));
        let kind = Kind::from_code(code, flags)?;
        if flags & !kind.allowed_flags() != 0 {
            return Err(ProtocolError::BadFlags { kind: code, flags });
        }
        if reserved != 0 {
            return Err(ProtocolError::Reserved(reserved));
        }
        if !kind.fits_length(len) {
            return Err(ProtocolError::BadLength { kind: code, len });
        }
        if !kind.fits_stream(stream) {
            return Err(ProtocolError::BadStream { kind: code, stream });
        }
        if kind == Kind::Data && len == 0 && flags & END == 0 {
            return Err(ProtocolError::EmptyData(stream));
        }
        Ok(Self { kind, flags, priority, stream, len })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
