//! Sealed chunks of file content, and the manifests that list them.
//!
//! Start with [`ChunkKeys`], which seals and opens a chunk in place.

pub(crate) mod manifest;
pub(crate) mod padme;
pub(crate) mod seal;

pub use crate::ids::ChunkTag;
pub use manifest::{
    ChunkRef, DIRECT_CHUNKS, MANIFEST_CHUNK_MAX, MANIFEST_ENTRIES_MAX, Manifest, ManifestError,
    decode_manifest_chunk, manifest_chunks,
};
pub use padme::{last_chunk_padding, padme};
pub use seal::{
    CHUNK_HEADER, CHUNK_OVERHEAD, ChunkHeader, ChunkKeys, ChunkKind, HeaderError, MAX_CHUNK_PLAIN,
    OpenError, SealError, Sealed, chunk_header,
};
