//! From frames to the bytes of a connection: one copy into the write buffer, encrypted in place.

use bytes::Bytes;

use crate::cipher::{CipherError, Sealer};
use crate::intake::PREFIX;
use crate::limits::NOISE_PLAIN;
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

/// Appends `segments` to `out` as sealed Noise messages, each as full as it can be. The last one
/// ends with the last frame, so that nothing waits for more.
pub(crate) fn pack(
    sealer: &mut Sealer,
    segments: &[Segment],
    out: &mut Vec<u8>,
) -> Result<(), CipherError> {
    let mut start = begin(out);
    for segment in segments {
        for mut part in [&segment.header[..], &segment.payload[..]] {
            while !part.is_empty() {
                let room = start + PREFIX + NOISE_PLAIN - out.len();
                let (now, later) = part.split_at(part.len().min(room));
                out.extend_from_slice(now);
                part = later;
                if now.len() == room {
                    seal(sealer, out, start)?;
                    start = begin(out);
                }
            }
        }
    }
    if out.len() > start + PREFIX {
        seal(sealer, out, start)
    } else {
        out.truncate(start);
        Ok(())
    }
}

fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    start
}

fn seal(sealer: &mut Sealer, out: &mut Vec<u8>, start: usize) -> Result<(), CipherError> {
    let tag = sealer.seal(&mut out[start + PREFIX..])?;
    out.extend_from_slice(&tag);
    let len = u16::try_from(out.len() - start - PREFIX).map_err(|_| CipherError)?;
    out[start..start + PREFIX].copy_from_slice(&len.to_le_bytes());
    Ok(())
}
