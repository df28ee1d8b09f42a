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

use crate::error::ProtocolError;
use crate::limits::{MAX_DATA, MAX_HELLO_APP, MAX_MESSAGE};

/// Length of a frame header in bytes.
pub(crate) const HEADER: usize = 12;
/// Longest payload of a hello: the application's part and room for the rest.
pub(crate) const MAX_HELLO: usize = MAX_HELLO_APP + 8 * 1024;
/// Longest payload of an unknown, optional frame, which is skipped.
pub(crate) const MAX_UNKNOWN: usize = 256 * 1024;

/// The kind of a frame.
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
