//! Sealed chunks: header ‖ T ‖ C, sealed and opened in place.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroize;

use crate::ids::{Address, ChunkTag};
use crate::siv::{self, Siv, TAG};

/// Bytes of the header that file chunks and manifest chunks share.
pub const CHUNK_HEADER: usize = 16;
/// Bytes that sealing adds in front of the padded plaintext: header and T.
pub const CHUNK_OVERHEAD: usize = CHUNK_HEADER + TAG;
/// Largest padded plaintext of a chunk in bytes: bounds every buffer that holds one.
pub const MAX_CHUNK_PLAIN: usize = 4 << 20;

const MAGIC: [u8; 2] = *b"SC";
const FORMAT: u8 = 1;
const SUITE_NONE: u8 = 0;
const SUITE_SIV: u8 = 1;
const KIND_FILE: u8 = 1;
const KIND_MANIFEST: u8 = 2;

/// The content of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    /// A sealed piece of a file.
    File,
    /// Addresses of file chunks, not encrypted.
    Manifest,
}

/// The header of a chunk, readable without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The content of the chunk.
    pub kind: ChunkKind,
    /// The epoch of the read root that sealed it; 0 for manifests.
    pub epoch: u32,
    /// Bytes of padded plaintext, or of manifest entries.
    pub padded_len: u32,
}

/// Why 16 bytes are no chunk header. The node that made or kept the chunk is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Fewer than 16 bytes.
    #[error("a chunk header has 16 bytes, got {got}")]
    TooShort {
        /// Bytes given.
        got: usize,
    },
    /// Another kind of file.
    #[error("these bytes are no chunk")]
    Magic,
    /// A format of a later version.
    #[error("chunk format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// A kind of a later version.
    #[error("chunk kind {found} is not known")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// A suite of a later version, or one that does not go with the kind.
    #[error("chunk suite {found} is not known for this kind")]
    Suite {
        /// The suite byte.
        found: u8,
    },
    /// A field that must be zero is not.
    #[error("a reserved field of the chunk header is not zero")]
    Reserved,
    /// A length beyond [`MAX_CHUNK_PLAIN`].
    #[error("chunk of {padded_len} bytes is beyond the limit")]
    TooLong {
        /// The length claimed.
        padded_len: u32,
    },
}

/// Why a chunk cannot be sealed. The caller is at fault; the buffer is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// No room for header and T.
    #[error("the buffer has {got} bytes, fewer than the 48 of header and tag")]
    NoRoom {
        /// Bytes given.
        got: usize,
    },
    /// More than [`MAX_CHUNK_PLAIN`] bytes of plaintext.
    #[error("{padded_len} bytes are too many for one chunk")]
    TooLong {
        /// Bytes given.
        padded_len: usize,
    },
}

/// Why a chunk cannot be opened. Unless a variant says otherwise, the node that kept the bytes is
/// at fault, nothing of the plaintext was released, and another copy may be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The header is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The chunk is longer or shorter than it says.
    #[error("the chunk should have {expected} bytes and has {got}")]
    Length {
        /// Bytes that its header demands.
        expected: u64,
        /// Bytes given.
        got: u64,
    },
    /// The caller used the keys of another epoch: retry with the right ones.
    #[error("sealed in epoch {sealed}, but the keys are of epoch {keys}")]
    Epoch {
        /// Epoch that the chunk names.
        sealed: u32,
        /// Epoch of the keys.
        keys: u32,
    },
    /// A manifest chunk, which is not sealed: the caller asked for the wrong thing.
    #[error("a manifest chunk is not sealed")]
    NotSealed,
    /// The tag differs: other keys, or at least one changed bit.
    #[error("the chunk is not authentic: its tag does not match")]
    NotAuthentic,
}

/// The tag and the address of a chunk that was just sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// T, the tag: an equal chunk is found again by it without being sealed.
    pub tag: ChunkTag,
    /// The address of the sealed bytes.
    pub address: Address,
}

fn encode_header(suite: u8, kind: u8, epoch: u32, padded_len: u32) -> [u8; CHUNK_HEADER] {
    let mut header = [0; CHUNK_HEADER];
    header[..2].copy_from_slice(&MAGIC);
    header[2] = FORMAT;
    header[3] = suite;
    header[4] = kind;
    header[8..12].copy_from_slice(&epoch.to_le_bytes());
    header[12..].copy_from_slice(&padded_len.to_le_bytes());
    header
}

pub(crate) fn manifest_header(len: u32) -> [u8; CHUNK_HEADER] {
    encode_header(SUITE_NONE, KIND_MANIFEST, 0, len)
}

/// Reads the header of any chunk. It says nothing about the rest of the bytes.
pub fn chunk_header(bytes: &[u8]) -> Result<ChunkHeader, HeaderError> {
    let header: &[u8; CHUNK_HEADER] =
        bytes.first_chunk().ok_or(HeaderError::TooShort { got: bytes.len() })?;
    let [m0, m1, format, suite, kind, r0, r1, r2, e0, e1, e2, e3, l0, l1, l2, l3] = *header;
    if [m0, m1] != MAGIC {
        return Err(HeaderError::Magic);
    }
    if format != FORMAT {
        return Err(HeaderError::Format { found: format });
    }
    let (kind, expected_suite) = match kind {
        KIND_FILE => (ChunkKind::File, SUITE_SIV),
        KIND_MANIFEST => (ChunkKind::Manifest, SUITE_NONE),
        found => return Err(HeaderError::Kind { found }),
    };
    if suite != expected_suite {
        return Err(HeaderError::Suite { found: suite });
    }
    let epoch = u32::from_le_bytes([e0, e1, e2, e3]);
    if [r0, r1, r2] != [0; 3] || (kind == ChunkKind::Manifest && epoch != 0) {
        return Err(HeaderError::Reserved);
    }
    let padded_len = u32::from_le_bytes([l0, l1, l2, l3]);
    if padded_len as usize > MAX_CHUNK_PLAIN {
        return Err(HeaderError::TooLong { padded_len });
    }
    Ok(ChunkHeader { kind, epoch, padded_len })
}

/// Seals and opens the file chunks of one epoch.
///
/// Equal plaintexts give equal sealed bytes: any owner re-creates a lost chunk bit for bit, and
/// keepers see which chunks of one stash are equal.
pub struct ChunkKeys {
    epoch: u32,
    siv: Siv,
}

impl ChunkKeys {
    pub(crate) fn new(epoch: u32, siv: Siv) -> Self {
        Self { epoch, siv }
    }

    /// The epoch of the read root that these keys derive from.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals `buf` in place: 48 bytes of room, then the padded plaintext. No allocation.
    pub fn seal_in_place(&self, buf: &mut [u8]) -> Result<Sealed, SealError> {
        let padded_len =
            buf.len().checked_sub(CHUNK_OVERHEAD).ok_or(SealError::NoRoom { got: buf.len() })?;
        if padded_len > MAX_CHUNK_PLAIN {
            return Err(SealError::TooLong { padded_len });
        }
        let tag = self.siv.tag(&[&self.header(buf), &buf[CHUNK_OVERHEAD..]]);
        let header = self.header(buf);
        buf[..CHUNK_HEADER].copy_from_slice(&header);
        buf[CHUNK_HEADER..CHUNK_OVERHEAD].copy_from_slice(&tag);
        self.siv.apply(&tag, &mut buf[CHUNK_OVERHEAD..]);
        Ok(Sealed { tag: ChunkTag::from_bytes(tag), address: Address::of(buf) })
    }

    /// T alone, for the index from T to address. `buf` is laid out as for
    /// [`seal_in_place`](Self::seal_in_place); its first 48 bytes are not read.
    ///
    /// # Panics
    /// If `buf` is shorter than 48 bytes or longer than a chunk can be.
    pub fn tag(&self, buf: &[u8]) -> ChunkTag {
        assert!(buf.len() <= CHUNK_OVERHEAD + MAX_CHUNK_PLAIN, "longer than a chunk");
        ChunkTag::from_bytes(self.siv.tag(&[&self.header(buf), &buf[CHUNK_OVERHEAD..]]))
    }

    /// Opens `buf` in place and returns the padded plaintext. On any error the whole buffer is
    /// zeroed: no unverified byte is left behind.
    pub fn open_in_place<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        match self.open(buf) {
            Ok(()) => Ok(&buf[CHUNK_OVERHEAD..]),
            Err(error) => {
                buf.zeroize();
                Err(error)
            }
        }
    }

    fn open(&self, buf: &mut [u8]) -> Result<(), OpenError> {
        let header = chunk_header(buf)?;
        if header.kind != ChunkKind::File {
            return Err(OpenError::NotSealed);
        }
        let expected = CHUNK_OVERHEAD as u64 + u64::from(header.padded_len);
        if buf.len() as u64 != expected {
            return Err(OpenError::Length { expected, got: buf.len() as u64 });
        }
        if header.epoch != self.epoch {
            return Err(OpenError::Epoch { sealed: header.epoch, keys: self.epoch });
        }
        let (front, body) = buf.split_at_mut(CHUNK_OVERHEAD);
        let (ad, stored) = front.split_at(CHUNK_HEADER);
        let mut tag = [0; TAG];
        tag.copy_from_slice(stored);
        self.siv.apply(&tag, body);
        if siv::equal(&self.siv.tag(&[ad, body]), &tag) {
            Ok(())
        } else {
            Err(OpenError::NotAuthentic)
        }
    }

    fn header(&self, buf: &[u8]) -> [u8; CHUNK_HEADER] {
        let padded_len = crate::codec::len_u32(buf.len() - CHUNK_OVERHEAD);
        encode_header(SUITE_SIV, KIND_FILE, self.epoch, padded_len)
    }
}

impl fmt::Debug for ChunkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkKeys(epoch {}, redacted)", self.epoch)
    }
}
