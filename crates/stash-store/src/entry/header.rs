//! The header of a log entry, and the digest over the headers of a batch.

use super::op::{HEADER, MAX_BODY, Place};
use super::reader::Reader;

/// A header whose tag was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
}

fn tag(log_key: &[u8; 32], segment: u64, offset: u64, fields: &[u8]) -> [u8; 8] {
    let mut input = [0; 40];
    input[..8].copy_from_slice(&segment.to_le_bytes());
    input[8..16].copy_from_slice(&offset.to_le_bytes());
    input[16..].copy_from_slice(fields);
    let hash = blake3::keyed_hash(log_key, &input);
    let mut tag = [0; 8];
    tag.copy_from_slice(&hash.as_bytes()[..8]);
    tag
}

impl Header {
    /// The header of a whole entry that was read from a place. `Err` says what is wrong with the entry.
    pub(crate) fn of_entry(
        entry: &[u8],
        log_key: &[u8; 32],
        place: Place,
    ) -> Result<Header, &'static str> {
        let header = Header::decode(entry, log_key, place.segment, u64::from(place.offset))
            .ok_or("the header of its log entry does not match its tag")?;
        if header.len != place.len || crc32fast::hash(&entry[HEADER..]) != header.crc {
            return Err("the checksum of its log entry does not match");
        }
        Ok(header)
    }

    pub(crate) fn encode(&self, log_key: &[u8; 32], segment: u64, offset: u64) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4] = self.kind;
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..20].copy_from_slice(&self.crc.to_le_bytes());
        let tag = tag(log_key, segment, offset, &out[..24]);
        out[24..].copy_from_slice(&tag);
        out
    }

    /// `None` if these bytes are not a header that was written at exactly this place.
    pub(crate) fn decode(
        bytes: &[u8],
        log_key: &[u8; 32],
        segment: u64,
        offset: u64,
    ) -> Option<Header> {
        let mut reader = Reader(bytes.get(..HEADER)?);
        let len = reader.u32()?;
        let kind = reader.take(4)?;
        let sequence = reader.u64()?;
        let crc = reader.u32()?;
        let zero = reader.u32()?;
        // Cheap tests first: while looking for the next entry after damage, nearly every place
        // fails here.
        if len > MAX_BODY || kind[1..] != [0, 0, 0] || zero != 0 || kind[0] == 0 {
            return None;
        }
        let right = tag(log_key, segment, offset, &bytes[..24]) == bytes[24..HEADER];
        right.then_some(Header { len, kind: kind[0], sequence, crc })
    }
}

/// Hashes the header tags of a batch's entries.
#[derive(Debug, Clone)]
pub(crate) struct BatchDigest(blake3::Hasher);

impl BatchDigest {
    pub(crate) fn new(log_key: &[u8; 32]) -> BatchDigest {
        BatchDigest(blake3::Hasher::new_keyed(log_key))
    }

    pub(crate) fn add(&mut self, header: &[u8]) {
        self.0.update(&header[24..HEADER]);
    }

    pub(crate) fn add_tag(&mut self, tag: &[u8; 8]) {
        self.0.update(tag);
    }

    pub(crate) fn finish(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_valid_at_its_own_place_only() {
        let header = Header { len: 5, kind: 1, sequence: 6, crc: 7 };
        let bytes = header.encode(&[1; 32], 3, 256);
        assert_eq!(Header::decode(&bytes, &[1; 32], 3, 256), Some(header));
        assert_eq!(Header::decode(&bytes, &[1; 32], 3, 264), None);
        assert_eq!(Header::decode(&bytes, &[1; 32], 4, 256), None);
        assert_eq!(Header::decode(&bytes, &[2; 32], 3, 256), None);
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, &[1; 32], 3, 256), None, "bit {bit}");
        }
    }
}
