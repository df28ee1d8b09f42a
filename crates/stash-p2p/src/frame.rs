//! The frames of a stream, its class, and its handle on this side.

use bytes::Bytes;

/// The urgency of a stream, and with it the connection on which it prefers to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Small and urgent: the control connection, ahead of everything else.
    Control,
    /// Large: a bulk connection once one is up, until then the control connection, behind
    /// everything urgent.
    Bulk,
}

/// A message, or a piece of raw data, of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, as it was sent.
    Message(Bytes),
    /// A piece of a byte stream, of any length but zero. Boundaries mean nothing.
    Data(Bytes),
}

impl Frame {
    /// Its weight in a queue, in bytes.
    pub(crate) fn queue_cost(&self) -> usize {
        match self {
            Self::Message(bytes) => bytes.len() + 64,
            Self::Data(bytes) => bytes.len(),
        }
    }
}

/// A stream's handle on this side; unlike the id on the wire it exists from the start and is
/// never used twice.
pub(crate) type StreamKey = u64;
