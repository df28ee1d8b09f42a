//! Frames of a connection's own, besides those of its streams.

use bytes::Bytes;

use crate::error::CloseReason;
use crate::packer::Segment;
use crate::wire::{ACK, Header, Kind};

pub(super) fn own(kind: Kind, flags: u8, payload: Bytes) -> Segment {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    Segment::new(Header { flags, ..Header::plain(kind, len) }, payload)
}

/// The last word of a connection.
pub(crate) fn last_word(reason: &CloseReason) -> Segment {
    goodbye(reason, ACK)
}

pub(super) fn goodbye(reason: &CloseReason, flags: u8) -> Segment {
    own(Kind::GoAway, flags, Bytes::copy_from_slice(&reason.code().to_le_bytes()))
}

pub(super) fn credit(stream: u32, amount: u64) -> Segment {
    let amount = u32::try_from(amount).unwrap_or(u32::MAX);
    let header = Header { stream, ..Header::plain(Kind::Credit, 4) };
    Segment::new(header, Bytes::copy_from_slice(&amount.to_le_bytes()))
}

pub(super) fn reclaim(flags: u8, amount: u32) -> Segment {
    own(Kind::Reclaim, flags, Bytes::copy_from_slice(&amount.to_le_bytes()))
}
