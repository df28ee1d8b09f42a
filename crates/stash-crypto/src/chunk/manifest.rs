//! Manifests: the ordered chunks of one version, readable without keys.

use thiserror::Error;

use crate::chunk::seal::{
    CHUNK_HEADER, CHUNK_OVERHEAD, ChunkKind, HeaderError, MAX_CHUNK_PLAIN, chunk_header,
    manifest_header,
};
use crate::codec::{Reader, Truncated, len_u32};
use crate::ids::Address;

/// Most references that stand in a record itself; beyond, manifest chunks hold them.
pub const DIRECT_CHUNKS: usize = 64;
/// Largest manifest chunk in bytes, header included: one file chunk's worth of buffer.
pub const MANIFEST_CHUNK_MAX: usize = 1 << 20;
/// Most references in one manifest chunk.
pub const MANIFEST_ENTRIES_MAX: usize = (MANIFEST_CHUNK_MAX - CHUNK_HEADER) / ChunkRef::ENCODED;

/// A chunk of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef {
    /// The address under which the chunk is kept.
    pub address: Address,
    /// Its length in bytes as kept, header included.
    pub sealed_len: u32,
}

impl ChunkRef {
    /// Bytes of one encoded reference.
    pub const ENCODED: usize = 36;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.address.as_bytes());
        out.extend_from_slice(&self.sealed_len.to_le_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self { address: Address::from_bytes(reader.array()?), sealed_len: reader.u32()? })
    }

    /// True if a sealed file chunk can have this length.
    pub(crate) fn has_file_length(&self) -> bool {
        (CHUNK_OVERHEAD..=CHUNK_OVERHEAD + MAX_CHUNK_PLAIN).contains(&(self.sealed_len as usize))
    }

    /// True if a manifest chunk can have this length.
    pub(crate) fn has_manifest_length(&self) -> bool {
        let len = self.sealed_len as usize;
        len > CHUNK_HEADER
            && len <= MANIFEST_CHUNK_MAX
            && (len - CHUNK_HEADER).is_multiple_of(Self::ENCODED)
    }
}

/// The chunks of one version, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// 0 to 64 file chunks. None for inline bytes and for tombstones.
    Direct(Vec<ChunkRef>),
    /// 1 to 64 manifest chunks, which name `total` file chunks.
    Indirect {
        /// The manifest chunks, in order.
        chunks: Vec<ChunkRef>,
        /// The number of file chunks that they name together.
        total: u64,
    },
}

impl Manifest {
    /// No chunks.
    pub const EMPTY: Self = Self::Direct(Vec::new());

    /// The chunks that the record names directly: file chunks or manifest chunks.
    pub fn refs(&self) -> &[ChunkRef] {
        match self {
            Self::Direct(refs) | Self::Indirect { chunks: refs, .. } => refs,
        }
    }

    /// The number of file chunks of the version.
    pub fn file_chunks(&self) -> u64 {
        match self {
            Self::Direct(refs) => refs.len() as u64,
            Self::Indirect { total, .. } => *total,
        }
    }
}

/// Why bytes are no manifest chunk. Its author, or the node that kept it, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The header is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A file chunk stands where a manifest chunk should.
    #[error("a file chunk is no manifest")]
    NotAManifest,
    /// The body's length is not what the header says, is zero, beyond the limit, or no whole
    /// number of references.
    #[error("manifest body of {got} bytes, header says {claimed}")]
    Length {
        /// Bytes that the header claims.
        claimed: u32,
        /// Bytes after the header.
        got: usize,
    },
    /// A reference has a length that no sealed chunk has.
    #[error("reference {at} has sealed length {sealed_len}")]
    Reference {
        /// Its position in this manifest chunk.
        at: usize,
        /// The length it claims.
        sealed_len: u32,
    },
}

/// Encodes references into as few manifest chunks as hold them, all but the last one full.
/// Manifest chunks are not encrypted. An empty list gives none.
pub fn manifest_chunks(refs: &[ChunkRef]) -> Vec<(ChunkRef, Vec<u8>)> {
    refs.chunks(MANIFEST_ENTRIES_MAX).map(manifest_chunk).collect()
}

fn manifest_chunk(refs: &[ChunkRef]) -> (ChunkRef, Vec<u8>) {
    let body = refs.len() * ChunkRef::ENCODED;
    let mut bytes = Vec::with_capacity(CHUNK_HEADER + body);
    bytes.extend_from_slice(&manifest_header(len_u32(body)));
    for chunk in refs {
        chunk.put(&mut bytes);
    }
    let sealed_len = len_u32(bytes.len());
    (ChunkRef { address: Address::of(&bytes), sealed_len }, bytes)
}

/// Decodes a manifest chunk. Strict: nothing but what [`manifest_chunks`] can have made.
pub fn decode_manifest_chunk(bytes: &[u8]) -> Result<Vec<ChunkRef>, ManifestError> {
    let header = chunk_header(bytes)?;
    if header.kind != ChunkKind::Manifest {
        return Err(ManifestError::NotAManifest);
    }
    let body = &bytes[CHUNK_HEADER..];
    let wrong = ManifestError::Length { claimed: header.padded_len, got: body.len() };
    let whole = !body.is_empty() && body.len().is_multiple_of(ChunkRef::ENCODED);
    if !whole || body.len() != header.padded_len as usize || bytes.len() > MANIFEST_CHUNK_MAX {
        return Err(wrong);
    }
    let mut reader = Reader::new(body);
    let mut refs = Vec::with_capacity(body.len() / ChunkRef::ENCODED);
    while !reader.is_empty() {
        let chunk = ChunkRef::read(&mut reader).map_err(|_| wrong)?;
        if !chunk.has_file_length() {
            return Err(ManifestError::Reference { at: refs.len(), sealed_len: chunk.sealed_len });
        }
        refs.push(chunk);
    }
    Ok(refs)
}
