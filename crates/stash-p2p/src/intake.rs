//! From the bytes of a connection to frames: blocks, decryption in place, frame boundaries.
//!
//! The driver reads into [`Intake::space`] and calls [`Intake::take`]; what comes out are whole
//! messages and pieces of data that share the block they were read into.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::cipher::Opener;
use crate::error::{CloseReason, ProtocolError};
use crate::limits::{READ_BLOCK, SHARE_FROM};
use crate::resolver::TAG;
use crate::wire::{HEADER, Header, Kind};

/// Length of the prefix of a Noise message, in bytes.
pub(crate) const PREFIX: usize = 2;
/// Block of a quiet connection, in bytes: one Noise message and some room.
const SMALL_BLOCK: usize = 72 * 1024;
/// A read that brings this many bytes makes large blocks worth their memory.
const BUSY: usize = 32 * 1024;
/// Blocks that a connection keeps for reuse. When all are still shared by pieces that the
/// application holds, pieces are copied out instead, so this bounds what pieces can pin.
const BLOCKS: usize = 12;

/// A unit for the connection machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A whole frame of any kind but data.
    Whole(Header, Bytes),
    /// A piece of a data frame; `first` and `last` say where in the frame it lies.
    Piece { header: Header, bytes: Bytes, first: bool, last: bool },
}

/// Decrypts and cuts what arrives on one connection.
pub(crate) struct Intake {
    opener: Opener,
    block: BytesMut,
    retired: VecDeque<BytesMut>,
    /// The last read brought a lot: large blocks pay.
    busy: bool,
    /// The current block is a large one.
    grown: bool,
    deframer: Deframer,
}

impl Intake {
    pub(crate) fn new(opener: Opener) -> Self {
        Self {
            opener,
            block: BytesMut::new(),
            retired: VecDeque::new(),
            busy: false,
            grown: false,
            deframer: Deframer::default(),
        }
    }

    /// Room to read into: never empty, and enough for the rest of the message under way.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        let need = self.message_len().map_or(PREFIX, |len| PREFIX + len) - self.block.len();
        let left = self.block.capacity() - self.block.len();
        let worthwhile = if self.busy { READ_BLOCK / 8 } else { 4096 };
        if left < need.max(worthwhile) {
            self.next_block();
        }
        &mut self.block
    }

    /// True if it holds memory that a quiet connection does not need.
    pub(crate) fn is_large(&self) -> bool {
        self.grown
    }

    /// Gives that memory back.
    pub(crate) fn shrink(&mut self) {
        self.retired.clear();
        let rest = std::mem::take(&mut self.block);
        self.block.extend_from_slice(&rest);
        self.grown = false;
        self.busy = false;
    }

    /// True if pieces should be copied because too many blocks are pinned.
    fn crowded(&self) -> bool {
        self.retired.len() >= BLOCKS
    }

    fn next_block(&mut self) {
        if !self.busy && !self.grown {
            // Reuses the block if nobody holds a piece of it.
            return self.block.reserve(SMALL_BLOCK);
        }
        let reusable = self.retired.iter_mut().position(|block| block.try_reclaim(READ_BLOCK));
        let mut next = match reusable.and_then(|at| self.retired.swap_remove_back(at)) {
            Some(block) => block,
            None => BytesMut::with_capacity(READ_BLOCK),
        };
        let mut last = std::mem::take(&mut self.block);
        next.extend_from_slice(&last);
        last.clear();
        if self.grown && self.retired.len() < BLOCKS {
            self.retired.push_back(last);
        }
        self.grown = true;
        self.block = next;
    }

    fn message_len(&self) -> Option<usize> {
        let prefix = self.block.get(..PREFIX)?;
        Some(usize::from(u16::from_le_bytes([prefix[0], prefix[1]])))
    }

    /// Cuts all whole messages that have arrived into `out`. After an error the connection must
    /// be closed; what was cut before it stands in `out`.
    pub(crate) fn take(&mut self, out: &mut Vec<Inbound>) -> Result<(), CloseReason> {
        self.busy = self.block.len() >= BUSY;
        while let Some(len) = self.message_len() {
            if len <= TAG {
                let len = u16::try_from(len).unwrap_or(0);
                return Err(CloseReason::Protocol(ProtocolError::ShortMessage(len)));
            }
            if self.block.len() < PREFIX + len {
                break;
            }
            let mut message = self.block.split_to(PREFIX + len);
            message.advance(PREFIX);
            let text = self.opener.open(&mut message).map_err(|_| CloseReason::Decrypt)?;
            message.truncate(text);
            let share = !self.crowded();
            self.deframer.push(message.freeze(), share, out).map_err(CloseReason::Protocol)?;
        }
        Ok(())
    }

    /// True if the bytes so far end between two frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_boundary(&self) -> bool {
        self.block.is_empty() && self.deframer.at_boundary()
    }
}

/// Finds frames in the plaintext stream. Pure.
#[derive(Default)]
pub(crate) struct Deframer {
    header: [u8; HEADER],
    header_len: usize,
    current: Option<Current>,
}

struct Current {
    header: Header,
    left: usize,
    first: bool,
    whole: BytesMut,
}

impl Deframer {
    pub(crate) fn push(
        &mut self,
        mut text: Bytes,
        share: bool,
        out: &mut Vec<Inbound>,
    ) -> Result<(), ProtocolError> {
        loop {
            let Some(current) = &mut self.current else {
                if !self.take_header(&mut text)? {
                    return Ok(());
                }
                continue;
            };
            if text.is_empty() && current.left > 0 {
                return Ok(());
            }
            let part = text.split_to(current.left.min(text.len()));
            current.left -= part.len();
            let last = current.left == 0;
            match current.header.kind {
                Kind::Data => {
                    out.push(Inbound::Piece {
                        header: current.header,
                        bytes: if share { shared(part) } else { Bytes::copy_from_slice(&part) },
                        first: std::mem::take(&mut current.first),
                        last,
                    });
                }
                Kind::Skip => {}
                _ => current.whole.extend_from_slice(&part),
            }
            if last {
                self.finish(out);
            }
        }
    }

    fn take_header(&mut self, text: &mut Bytes) -> Result<bool, ProtocolError> {
        let part = text.split_to((HEADER - self.header_len).min(text.len()));
        self.header[self.header_len..self.header_len + part.len()].copy_from_slice(&part);
        self.header_len += part.len();
        if self.header_len < HEADER {
            return Ok(false);
        }
        self.header_len = 0;
        let header = Header::decode(&self.header)?;
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        self.current = Some(Current { header, left, first: true, whole: BytesMut::new() });
        Ok(true)
    }

    fn finish(&mut self, out: &mut Vec<Inbound>) {
        let Some(current) = self.current.take() else {
            return;
        };
        if !matches!(current.header.kind, Kind::Data | Kind::Skip) {
            out.push(Inbound::Whole(current.header, current.whole.freeze()));
        }
    }

    /// True if the bytes so far end between two frames.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn at_boundary(&self) -> bool {
        self.current.is_none() && self.header_len == 0
    }
}

/// A short piece is copied, so that it does not pin its block.
fn shared(part: Bytes) -> Bytes {
    if part.len() < SHARE_FROM { Bytes::copy_from_slice(&part) } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::END;

    fn frames() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, len) in [
            (Kind::Message, 0, 1, 300_u32),
            (Kind::Data, 0, 1, 70),
            (Kind::Data, END, 1, 0),
            (Kind::Message, END, 3, 0),
        ] {
            let header = Header { kind, flags, priority: 0, stream, len };
            bytes.extend_from_slice(&header.encode());
            bytes.extend((0..len).map(|n| n.to_le_bytes()[0]));
        }
        bytes
    }

    fn summary(items: Vec<Inbound>) -> Vec<(Header, Vec<u8>)> {
        let mut out: Vec<(Header, Vec<u8>)> = Vec::new();
        for item in items {
            match item {
                Inbound::Whole(header, bytes) => out.push((header, bytes.to_vec())),
                Inbound::Piece { header, bytes, first: true, .. } => {
                    out.push((header, bytes.to_vec()));
                }
                Inbound::Piece { bytes, .. } => out.last_mut().unwrap().1.extend(bytes),
            }
        }
        out
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let bytes = frames();
        let mut whole = Vec::new();
        Deframer::default().push(Bytes::from(bytes.clone()), true, &mut whole).unwrap();
        let whole = summary(whole);
        assert_eq!(whole.len(), 4);
        for cut in 0..=bytes.len() {
            let (mut deframer, mut out) = (Deframer::default(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                deframer.push(Bytes::copy_from_slice(part), true, &mut out).unwrap();
            }
            assert!(deframer.at_boundary());
            assert_eq!(summary(out), whole, "cut at {cut}");
        }
    }

    // Fault case 31.
    #[test]
    fn a_length_bomb_is_refused_by_its_header() {
        for kind in 0x01..=0x08_u8 {
            for len in [u32::MAX, 1 << 20] {
                let mut bytes = [0; HEADER];
                bytes[0] = kind;
                bytes[4] = u8::from(kind <= 0x04);
                bytes[8..].copy_from_slice(&len.to_le_bytes());
                let mut out = Vec::new();
                let pushed =
                    Deframer::default().push(Bytes::copy_from_slice(&bytes), true, &mut out);
                assert_eq!(pushed, Err(ProtocolError::BadLength { kind, len }));
            }
        }
    }

    // Fault case 34.
    #[test]
    fn an_unknown_kind_closes_unless_it_is_optional() {
        let mut bytes = vec![0x55, 0, 9, 0, 1, 0, 0, 0, 5, 0, 0, 0];
        bytes.extend_from_slice(b"12345");
        let mut out = Vec::new();
        let refused = Deframer::default().push(Bytes::from(bytes.clone()), true, &mut out);
        assert_eq!(refused, Err(ProtocolError::UnknownKind(0x55)));
        bytes[1] = crate::wire::OPTIONAL;
        bytes.extend_from_slice(&frames());
        Deframer::default().push(Bytes::from(bytes), true, &mut out).unwrap();
        assert_eq!(summary(out).len(), 4);
    }

    #[test]
    fn flags_reserved_byte_and_stream_id_are_checked() {
        let good = Header { kind: Kind::Data, flags: 0, priority: 0, stream: 1, len: 9 }.encode();
        assert!(Header::decode(&good).is_ok());
        for (at, value) in [(1, 2), (1, 0x80), (3, 1), (4, 0), (8, 0)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Header::decode(&bad).is_err(), "offset {at}");
        }
    }
}
