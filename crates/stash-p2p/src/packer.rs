//! From frames to the bytes of a connection: encrypted from where they lie into the write buffer.

use std::ops::Deref;

use bytes::Bytes;

use crate::cipher::{CipherError, Sealer};
use crate::intake::PREFIX;
use crate::limits::NOISE_PLAIN;
use crate::resolver::TAG;
use crate::wire::{HEADER, Header};

/// A frame on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    header: [u8; HEADER],
    payload: Bytes,
}

impl Segment {
    pub(crate) fn new(header: Header, payload: Bytes) -> Self {
        Self { header: header.encode(), payload }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.payload[..]].concat()
    }

    pub(crate) fn len(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// Sealed Noise messages, in a row. Emptied, it keeps its memory, and nothing is filled with zeros
/// that was used before.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    /// Bytes of it that are to be sent.
    len: usize,
}

impl From<Vec<u8>> for Packed {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), bytes }
    }
}

impl Deref for Packed {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Packed {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Room behind what is there, for so many bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.len..end]
    }

    /// Appends one message: the parts, of which only those before the last are copied.
    fn message(&mut self, sealer: &mut Sealer, parts: &[&[u8]]) -> Result<(), CipherError> {
        let Some((last, copied)) = parts.split_last() else { return Ok(()) };
        let front: usize = copied.iter().map(|part| part.len()).sum();
        let len = front + last.len() + TAG;
        let room = self.room(PREFIX + len);
        let (prefix, text) = room.split_at_mut(PREFIX);
        prefix.copy_from_slice(&u16::try_from(len).map_err(|_| CipherError)?.to_le_bytes());
        let (text, sealed) = text.split_at_mut(front);
        let mut at = 0;
        for part in copied {
            text[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        sealer.seal(text, last, sealed)?;
        self.len += PREFIX + len;
        Ok(())
    }
}

/// Appends `segments` to `out` as sealed Noise messages, each as full as it can be. The last one
/// ends with the last frame, so that nothing waits for more.
pub(crate) fn pack(
    sealer: &mut Sealer,
    segments: &[Segment],
    out: &mut Packed,
) -> Result<(), CipherError> {
    // All room at once, so that a growing buffer is not copied.
    let len: usize = segments.iter().map(Segment::len).sum();
    out.room(len + len.div_ceil(NOISE_PLAIN) * (PREFIX + TAG));
    let (mut parts, mut room) = (Vec::new(), NOISE_PLAIN);
    for segment in segments {
        for mut part in [&segment.header[..], &segment.payload[..]] {
            while !part.is_empty() {
                let (now, later) = part.split_at(part.len().min(room));
                parts.push(now);
                room -= now.len();
                part = later;
                if room == 0 {
                    out.message(sealer, &parts)?;
                    (room, _) = (NOISE_PLAIN, parts.clear());
                }
            }
        }
    }
    out.message(sealer, &parts)
}
