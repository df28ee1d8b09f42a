//! Records: one signed statement about a name.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::chunk::manifest::{ChunkRef, DIRECT_CHUNKS};
use crate::codec::{Reader, len_u32};
use crate::contexts;
use crate::ids::{NodeId, RecordHash, StashId};
use crate::keys::node::NodeSigner;
use crate::keys::sign::{self, SIGNATURE, SignatureError};
use crate::record::clear::{Clear, RecordError, RecordKind};
use crate::record::meta::{MAX_SEALED_META, Meta, MetaError, MetaKeys, OpenMetaError};
use crate::record::vector::MAX_SEEN;
use crate::siv::TAG;

/// Largest record in bytes, signature included.
pub const MAX_RECORD: usize = 64 << 10;

const META_STEP: usize = 256;

/// A record before it is sealed and signed.
#[derive(Debug, Clone)]
pub struct RecordDraft {
    /// The part that all will see.
    pub clear: Clear,
    /// The part that is sealed: required for versions, absent for forgets.
    pub meta: Option<Meta>,
}

impl RecordDraft {
    /// Seals the meta and signs the whole.
    pub fn sign(self, signer: &NodeSigner, keys: &MetaKeys) -> Result<Record, SignError> {
        let Self { clear, meta } = self;
        clear.check()?;
        let (node, writer) = (signer.node_id(), clear.dot.writer.node);
        if node != writer {
            return Err(SignError::Signer { signer: node, writer });
        }
        if meta.is_some() != clear.kind.is_version() {
            return Err(SignError::MetaPresence);
        }
        let mut bytes = Vec::with_capacity(1024);
        clear.encode(&mut bytes);
        let clear_len = bytes.len();
        let sealed = match &meta {
            Some(meta) => seal_meta(meta, &clear, &bytes, keys)?,
            None => Vec::new(),
        };
        bytes.extend_from_slice(&len_u32(sealed.len()).to_le_bytes());
        bytes.extend_from_slice(&sealed);
        let signature = signer.sign(contexts::TAG_RECORD, &clear.stash, &bytes);
        bytes.extend_from_slice(&signature);
        Ok(Record::assemble(clear, clear_len, bytes.into()))
    }
}

fn seal_meta(
    meta: &Meta,
    clear: &Clear,
    clear_bytes: &[u8],
    keys: &MetaKeys,
) -> Result<Vec<u8>, SignError> {
    if clear.epoch != keys.epoch() {
        return Err(SignError::Epoch { record: clear.epoch, keys: keys.epoch() });
    }
    meta.check(clear)?;
    Ok(keys.seal(clear_bytes, meta))
}

/// Why a draft cannot be signed. The caller is at fault; the same draft never becomes right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignError {
    /// The clear part breaks a rule.
    #[error(transparent)]
    Clear(#[from] RecordError),
    /// A version without meta, or a forget with one.
    #[error("a version needs a meta, and a forget has none")]
    MetaPresence,
    /// The meta breaks a rule.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The keys are of another epoch than the clear part says.
    #[error("the record names epoch {record}, but the keys are of epoch {keys}")]
    Epoch {
        /// Epoch in the clear part.
        record: u32,
        /// Epoch of the keys.
        keys: u32,
    },
    /// The signer is not the writer.
    #[error("{} signs a record of {}", signer.short(), writer.short())]
    Signer {
        /// The node that would sign.
        signer: NodeId,
        /// The node that the dot names.
        writer: NodeId,
    },
}

/// A well-formed record. Its signature holds only once [`verify`](Self::verify) said so. Cloning
/// is cheap.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

struct Inner {
    clear: Clear,
    clear_len: usize,
    hash: RecordHash,
    bytes: Arc<[u8]>,
}

impl Record {
    /// Decodes: structure and every limit, one encoding per value; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (clear, clear_len) = parse(bytes)?;
        Ok(Self::assemble(clear, clear_len, bytes.into()))
    }

    /// As [`decode`](Self::decode), keeping the caller's allocation.
    pub fn decode_shared(bytes: Arc<[u8]>) -> Result<Self, RecordError> {
        let (clear, clear_len) = parse(&bytes)?;
        Ok(Self::assemble(clear, clear_len, bytes))
    }

    /// As [`decode`](Self::decode), and refuses a record of another stash.
    pub fn decode_in(stash: &StashId, bytes: &[u8]) -> Result<Self, RecordError> {
        let (clear, clear_len) = parse(bytes)?;
        if clear.stash != *stash {
            return Err(RecordError::OtherStash { expected: *stash, got: clear.stash });
        }
        Ok(Self::assemble(clear, clear_len, bytes.into()))
    }

    fn assemble(clear: Clear, clear_len: usize, bytes: Arc<[u8]>) -> Self {
        let body = &bytes[..bytes.len() - SIGNATURE];
        let hash = RecordHash::from_bytes(blake3::derive_key(contexts::RECORD_HASH, body));
        Self(Arc::new(Inner { clear, clear_len, hash, bytes }))
    }

    /// Checks that the writer that the dot names signed exactly these bytes for this stash. The
    /// member log says if that writer may write.
    pub fn verify(&self) -> Result<(), SignatureError> {
        let bytes = &self.0.bytes;
        let (body, signature) =
            bytes.split_last_chunk::<SIGNATURE>().expect("a decoded record ends with a signature");
        let writer = self.0.clear.dot.writer.node;
        sign::verify(writer.as_bytes(), contexts::TAG_RECORD, &self.0.clear.stash, body, signature)
    }

    /// The part that all may read.
    pub fn clear(&self) -> &Clear {
        &self.0.clear
    }

    /// The record's name: the hash of all but the signature.
    pub fn hash(&self) -> RecordHash {
        self.0.hash
    }

    /// The encoded record.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The encoded record, shared.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.0.bytes)
    }

    /// Opens the sealed part and checks it against the clear one.
    pub fn open_meta(&self, keys: &MetaKeys) -> Result<Meta, OpenMetaError> {
        let clear = &self.0.clear;
        if !clear.kind.is_version() {
            return Err(OpenMetaError::NoMeta);
        }
        if clear.epoch != keys.epoch() {
            return Err(OpenMetaError::Epoch { sealed: clear.epoch, keys: keys.epoch() });
        }
        let meta =
            keys.open(&self.0.bytes[..self.0.clear_len], &self.0.bytes[self.meta_range()])?;
        meta.check(clear)?;
        Ok(meta)
    }

    fn meta_range(&self) -> Range<usize> {
        self.0.clear_len + 4..self.0.bytes.len() - SIGNATURE
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clear { kind, dot, .. } = &self.0.clear;
        write!(f, "Record({}, {kind:?}, {dot})", self.0.hash.short())
    }
}

fn parse(bytes: &[u8]) -> Result<(Clear, usize), RecordError> {
    if bytes.len() > MAX_RECORD {
        return Err(RecordError::TooLong { len: bytes.len() });
    }
    let mut reader = Reader::new(bytes);
    let clear = Clear::read(&mut reader)?;
    let clear_len = reader.position();
    let len = reader.u32()?;
    if !meta_length_fits(clear.kind, len) {
        return Err(RecordError::MetaLength { len });
    }
    reader.take(len as usize)?;
    reader.take(SIGNATURE)?;
    match reader.rest().len() {
        0 => Ok((clear, clear_len)),
        extra => Err(RecordError::Trailing { extra }),
    }
}

fn meta_length_fits(kind: RecordKind, len: u32) -> bool {
    let len = len as usize;
    if !kind.is_version() {
        return len == 0;
    }
    len > TAG && len <= MAX_SEALED_META && (len - TAG).is_multiple_of(META_STEP)
}

// Whatever the limits of the parts allow fits into a record.
const _: () = assert!(
    161 + MAX_SEEN * 48
        + 1
        + 2
        + DIRECT_CHUNKS * ChunkRef::ENCODED
        + 8
        + 4
        + MAX_SEALED_META
        + SIGNATURE
        <= MAX_RECORD
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::manifest::Manifest;
    use crate::ids::{Address, Incarnation, NameId};
    use crate::keys::node::NodeKeys;
    use crate::keys::secret::RootSecret;
    use crate::record::key::Key;
    use crate::record::vector::{Dot, Vector, Writer};

    /// A record by an author who has the keys and does not follow the rules.
    fn lie(meta: &Meta) -> Record {
        let (root, node) = (RootSecret::from_bytes([1; 32]), NodeKeys::from_seed([2; 32]));
        let incarnation = Incarnation::from_bytes([4; 8]);
        let chunk = ChunkRef { address: Address::from_bytes([6; 32]), sealed_len: 48 + 4096 };
        let clear = Clear {
            stash: root.stash_id(),
            kind: RecordKind::Put,
            name: NameId::from_bytes([7; 32]),
            dot: Dot { writer: Writer { node: node.node_id(), incarnation }, n: 1 },
            previous: RecordHash::ZERO,
            height: 1,
            epoch: 0,
            seen: Vector::new(),
            manifest: Manifest::Direct(vec![chunk]),
        };
        let mut bytes = Vec::new();
        clear.encode(&mut bytes);
        let sealed = root.read_root().meta_keys().seal(&bytes, meta);
        bytes.extend_from_slice(&len_u32(sealed.len()).to_le_bytes());
        bytes.extend_from_slice(&sealed);
        let signature = node.signer().sign(contexts::TAG_RECORD, &clear.stash, &bytes);
        bytes.extend_from_slice(&signature);
        Record::decode(&bytes).unwrap()
    }

    // Fault case 14.
    #[test]
    fn a_signed_meta_that_does_not_agree_with_the_manifest_is_refused_on_opening() {
        let keys = RootSecret::from_bytes([1; 32]).read_root().meta_keys();
        let meta = |size| Meta { chunk_size: 4096, ..Meta::new(Key::new("k").unwrap(), size) };
        let open = |size| {
            let record = lie(&meta(size));
            assert_eq!(record.verify(), Ok(()));
            record.open_meta(&keys)
        };
        assert_eq!(open(4096), Ok(meta(4096)));
        let wrong = MetaError::Size { size: 4097, chunks: 1 };
        assert_eq!(open(4097), Err(OpenMetaError::Meta(wrong)));
        let wrong = MetaError::ChunkLength { at: 0, expected: 48 + 1024, got: 48 + 4096 };
        assert_eq!(open(1000), Err(OpenMetaError::Meta(wrong)));
        let huge = Meta { chunk_size: 3, ..meta(4096) };
        let wrong = MetaError::ChunkSize { chunk_size: 3 };
        assert_eq!(lie(&huge).open_meta(&keys), Err(OpenMetaError::Meta(wrong)));
    }
}
