//! Records: one signed statement about a name.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunk::manifest::{ChunkRef, DIRECT_CHUNKS};
use crate::codec::{Reader, len_u32};
use crate::contexts;
use crate::ids::{NodeId, RecordHash, StashId};
use crate::keys::node::NodeSigner;
use crate::keys::sign::{RecentKey, SIGNATURE, SignatureError};
use crate::record::clear::{Clear, RecordError, RecordKind, SignedOver};
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
    /// Seals the meta and signs the record hash, which is over all before the signature.
    pub fn sign(self, signer: &NodeSigner, keys: &MetaKeys) -> Result<Record, SignError> {
        self.sign_over(SignedOver::Hash, signer, keys)
    }

    pub(crate) fn sign_over(
        self,
        signed: SignedOver,
        signer: &NodeSigner,
        keys: &MetaKeys,
    ) -> Result<Record, SignError> {
        let Self { clear, meta } = self;
        clear.check()?;
        let (node, writer) = (signer.node_id(), clear.dot.writer.node);
        if node != writer {
            return Err(SignError::Signer { signer: node, writer });
        }
        if meta.is_some() != clear.kind.is_version() {
            return Err(SignError::MetaPresence);
        }
        let plain = meta.map(|meta| encode_meta(&meta, &clear, keys)).transpose()?;
        let clear_len = clear.encoded_len();
        let sealed_len = plain.as_ref().map_or(0, |plain| TAG + plain.len());
        let mut bytes = Vec::with_capacity(clear_len + 4 + sealed_len + SIGNATURE);
        clear.encode(signed, &mut bytes);
        debug_assert_eq!(bytes.len(), clear_len, "the clear part has the length that it says");
        bytes.extend_from_slice(&len_u32(sealed_len).to_le_bytes());
        if let Some(plain) = plain {
            keys.seal(&mut bytes, clear_len, &plain);
        }
        let hash = hash_of(&bytes);
        let signature = match signed {
            SignedOver::Body => signer.sign(contexts::TAG_RECORD_BODY, &clear.stash, &bytes),
            SignedOver::Hash => {
                signer.sign(contexts::TAG_RECORD_HASH, &clear.stash, hash.as_bytes())
            }
        };
        bytes.extend_from_slice(&signature);
        Ok(Record(Arc::new(Inner { clear, clear_len, signed, hash, bytes: bytes.into() })))
    }
}

fn encode_meta(
    meta: &Meta,
    clear: &Clear,
    keys: &MetaKeys,
) -> Result<Zeroizing<Vec<u8>>, SignError> {
    if clear.epoch != keys.epoch() {
        return Err(SignError::Epoch { record: clear.epoch, keys: keys.epoch() });
    }
    meta.check(clear)?;
    Ok(meta.encode())
}

fn hash_of(body: &[u8]) -> RecordHash {
    RecordHash::from_bytes(blake3::derive_key(contexts::RECORD_HASH, body))
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
    signed: SignedOver,
    hash: RecordHash,
    bytes: Arc<[u8]>,
}

impl Record {
    /// Decodes: structure and every limit, one encoding per value; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(Self::assemble(parse(bytes)?, bytes.into()))
    }

    /// As [`decode`](Self::decode), keeping the caller's allocation.
    pub fn decode_shared(bytes: Arc<[u8]>) -> Result<Self, RecordError> {
        Ok(Self::assemble(parse(&bytes)?, bytes))
    }

    /// As [`decode`](Self::decode), and refuses a record of another stash.
    pub fn decode_in(stash: &StashId, bytes: &[u8]) -> Result<Self, RecordError> {
        let parsed = parse(bytes)?;
        if parsed.clear.stash != *stash {
            return Err(RecordError::OtherStash { expected: *stash, got: parsed.clear.stash });
        }
        Ok(Self::assemble(parsed, bytes.into()))
    }

    fn assemble(parsed: Parsed, bytes: Arc<[u8]>) -> Self {
        let Parsed { clear, clear_len, signed } = parsed;
        let hash = hash_of(&bytes[..bytes.len() - SIGNATURE]);
        Self(Arc::new(Inner { clear, clear_len, signed, hash, bytes }))
    }

    /// Checks that the writer that the dot names signed exactly these bytes for this stash. The
    /// member log says if that writer may write.
    pub fn verify(&self) -> Result<(), SignatureError> {
        Verifier::default().verify(self)
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

/// Verifies records in a row: for those of one writer, its key is decoded once. The same as
/// [`Record::verify`] otherwise.
#[derive(Debug, Default)]
pub struct Verifier(RecentKey);

impl Verifier {
    /// As [`Record::verify`].
    pub fn verify(&mut self, record: &Record) -> Result<(), SignatureError> {
        let Inner { clear, signed, hash, bytes, .. } = &*record.0;
        let (body, signature) =
            bytes.split_last_chunk::<SIGNATURE>().expect("a decoded record ends with a signature");
        let (tag, body) = match signed {
            SignedOver::Body => (contexts::TAG_RECORD_BODY, body),
            SignedOver::Hash => (contexts::TAG_RECORD_HASH, hash.as_bytes().as_slice()),
        };
        let writer = clear.dot.writer.node;
        self.0.verify(writer.as_bytes(), tag, &clear.stash, body, signature)
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

struct Parsed {
    clear: Clear,
    clear_len: usize,
    signed: SignedOver,
}

fn parse(bytes: &[u8]) -> Result<Parsed, RecordError> {
    if bytes.len() > MAX_RECORD {
        return Err(RecordError::TooLong { len: bytes.len() });
    }
    let mut reader = Reader::new(bytes);
    let (clear, signed) = Clear::read(&mut reader)?;
    let clear_len = reader.position();
    let len = reader.u32()?;
    if !meta_length_fits(clear.kind, len) {
        return Err(RecordError::MetaLength { len });
    }
    reader.take(len as usize)?;
    reader.take(SIGNATURE)?;
    match reader.rest().len() {
        0 => Ok(Parsed { clear, clear_len, signed }),
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

    fn node() -> NodeKeys {
        NodeKeys::from_seed([2; 32])
    }

    /// A record by an author who has the keys and does not follow the rules.
    fn forged(
        signed: SignedOver,
        meta: &Meta,
        sign: impl Fn(&StashId, &[u8]) -> [u8; SIGNATURE],
    ) -> Record {
        let root = RootSecret::from_bytes([1; 32]);
        let incarnation = Incarnation::from_bytes([4; 8]);
        let chunk = ChunkRef { address: Address::from_bytes([6; 32]), sealed_len: 48 + 4096 };
        let clear = Clear {
            stash: root.stash_id(),
            kind: RecordKind::Put,
            name: NameId::from_bytes([7; 32]),
            dot: Dot { writer: Writer { node: node().node_id(), incarnation }, n: 1 },
            previous: RecordHash::ZERO,
            height: 1,
            epoch: 0,
            seen: Vector::new(),
            manifest: Manifest::Direct(vec![chunk]),
        };
        let (mut bytes, plain) = (Vec::new(), meta.encode());
        clear.encode(signed, &mut bytes);
        let clear_len = bytes.len();
        bytes.extend_from_slice(&len_u32(TAG + plain.len()).to_le_bytes());
        root.read_root().meta_keys().seal(&mut bytes, clear_len, &plain);
        let signature = sign(&clear.stash, &bytes);
        bytes.extend_from_slice(&signature);
        Record::decode(&bytes).unwrap()
    }

    fn lie(meta: &Meta) -> Record {
        forged(SignedOver::Hash, meta, |stash, body| {
            node().signer().sign(contexts::TAG_RECORD_HASH, stash, hash_of(body).as_bytes())
        })
    }

    // Fault case 8.
    #[test]
    fn a_signature_counts_in_its_own_format_and_over_its_own_bytes_alone() {
        let meta = Meta { chunk_size: 4096, ..Meta::new(Key::new("k").unwrap(), 4096) };
        let tags = [
            (SignedOver::Body, contexts::TAG_RECORD_BODY),
            (SignedOver::Hash, contexts::TAG_RECORD_HASH),
        ];
        let key = *node().node_id().as_bytes();
        let mut verifier = Verifier::default();
        for (format, _) in tags {
            for (tagged, tag) in tags {
                for over in [SignedOver::Body, SignedOver::Hash] {
                    let record = forged(format, &meta, |stash, body| match over {
                        SignedOver::Body => node().signer().sign(tag, stash, body),
                        SignedOver::Hash => {
                            node().signer().sign(tag, stash, hash_of(body).as_bytes())
                        }
                    });
                    let expected = match (format, tagged) == (over, over) {
                        true => Ok(()),
                        false => Err(SignatureError::Signature { key }),
                    };
                    assert_eq!(record.verify(), expected, "{format:?} {tagged:?} {over:?}");
                    assert_eq!(verifier.verify(&record), expected, "with a key that is known");
                }
            }
        }
    }

    #[test]
    fn records_of_both_forms_say_the_same_under_two_names() {
        let keys = RootSecret::from_bytes([1; 32]).read_root().meta_keys();
        let meta = Meta { chunk_size: 4096, ..Meta::new(Key::new("k").unwrap(), 4096) };
        let draft = RecordDraft { clear: lie(&meta).clear().clone(), meta: Some(meta.clone()) };
        let sign = |over| draft.clone().sign_over(over, node().signer(), &keys).unwrap();
        let (old, new) = (sign(SignedOver::Body), sign(SignedOver::Hash));
        assert_eq!((old.bytes()[2], new.bytes()[2]), (1, 3));
        assert_ne!(old.hash(), new.hash());
        for record in [&old, &new] {
            assert_eq!(record.clear(), &draft.clear);
            assert_eq!(record.verify(), Ok(()));
            assert_eq!(record.open_meta(&keys).as_ref(), Ok(&meta));
        }
    }

    #[test]
    fn a_verifier_tells_writers_apart() {
        let keys = RootSecret::from_bytes([1; 32]).read_root().meta_keys();
        let sign = |seed: u8| {
            let node = NodeKeys::from_seed([seed; 32]);
            let clear = lie(&Meta::new(Key::new("k").unwrap(), 4096)).clear().clone();
            let writer = Writer { node: node.node_id(), ..clear.dot.writer };
            let clear = Clear {
                dot: Dot { writer, n: 1 },
                kind: RecordKind::Tombstone,
                manifest: Manifest::EMPTY,
                ..clear
            };
            let meta = Some(Meta::new(Key::new("k").unwrap(), 0));
            RecordDraft { clear, meta }.sign(node.signer(), &keys).unwrap()
        };
        let mut verifier = Verifier::default();
        for seed in [2, 3, 3, 2] {
            assert_eq!(verifier.verify(&sign(seed)), Ok(()), "{seed}");
        }
        let mut weak = sign(2).bytes().to_vec();
        weak[68..100].fill(0);
        weak[68] = 1;
        let weak = Record::decode(&weak).unwrap();
        for record in [weak.clone(), sign(2), weak] {
            assert_eq!(verifier.verify(&record), record.verify());
        }
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
