//! Member entries: the root's statements on who belongs to the stash.

use std::fmt;
use std::sync::Arc;

use crate::codec::Reader;
use crate::contexts;
use crate::ids::{EntryHash, StashId};
use crate::keys::sign::{self, RootSigner, SIGNATURE, SignatureError};
use crate::member::change::{EntryError, MemberChange};
use crate::member::identity::check_keys;
use crate::ticket::join;

/// Largest member entry in bytes: fits one message of the wire.
pub const MAX_ENTRY: usize = 192 << 10;

const MAGIC: [u8; 2] = *b"SM";
const FORMAT: u8 = 1;
const HEAD: usize = 76;

/// An entry of the member log. It is well-formed; [`verify`](Self::verify) checks its signatures.
/// Cloning is cheap.
#[derive(Clone)]
pub struct MemberEntry(Arc<Inner>);

struct Inner {
    stash: StashId,
    index: u64,
    previous: EntryHash,
    change: MemberChange,
    hash: EntryHash,
    bytes: Vec<u8>,
}

impl MemberEntry {
    /// Makes the entry with this index after the entry with hash `previous`.
    pub fn sign(
        root: &RootSigner,
        index: u64,
        previous: EntryHash,
        change: MemberChange,
    ) -> Result<Self, EntryError> {
        change.check()?;
        let stash = root.stash_id();
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[FORMAT, change.code()]);
        bytes.extend_from_slice(stash.as_bytes());
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(previous.as_bytes());
        change.encode(&mut bytes);
        let signature = root.sign(contexts::TAG_ENTRY, &bytes);
        bytes.extend_from_slice(&signature);
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong { len: bytes.len() });
        }
        Ok(Self::assemble(stash, index, previous, change, bytes))
    }

    /// Decodes: structure and every limit, one encoding per value; not the signatures.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong { len: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(EntryError::Magic);
        }
        match reader.u8()? {
            FORMAT => {}
            found => return Err(EntryError::Format { found }),
        }
        let code = reader.u8()?;
        let stash = StashId::from_bytes(reader.array()?);
        let index = reader.u64()?;
        let previous = EntryHash::from_bytes(reader.array()?);
        debug_assert_eq!(reader.position(), HEAD);
        let change = MemberChange::read(code, &mut reader)?;
        change.check()?;
        reader.take(SIGNATURE)?;
        match reader.rest().len() {
            0 => Ok(Self::assemble(stash, index, previous, change, bytes.to_vec())),
            extra => Err(EntryError::Trailing { extra }),
        }
    }

    fn assemble(
        stash: StashId,
        index: u64,
        previous: EntryHash,
        change: MemberChange,
        bytes: Vec<u8>,
    ) -> Self {
        let body = &bytes[..bytes.len() - SIGNATURE];
        let hash = EntryHash::from_bytes(blake3::derive_key(contexts::ENTRY_HASH, body));
        Self(Arc::new(Inner { stash, index, previous, change, hash, bytes }))
    }

    /// Checks the root's signature, and for an admission also the node's.
    pub fn verify(&self, stash: &StashId) -> Result<(), SignatureError> {
        let (body, signature) = self
            .0
            .bytes
            .split_last_chunk::<SIGNATURE>()
            .expect("a decoded entry ends with a signature");
        sign::verify(stash.as_bytes(), contexts::TAG_ENTRY, stash, body, signature)?;
        match &self.0.change {
            MemberChange::Admit { identity, ticket, node_signature, .. } => {
                join::verify(stash, identity, ticket, node_signature)
            }
            MemberChange::Root { noise, wrap } => check_keys(noise, wrap),
            _ => Ok(()),
        }
    }

    /// The stash that the entry names.
    pub fn stash(&self) -> StashId {
        self.0.stash
    }

    /// Its position in the log, from 0.
    pub fn index(&self) -> u64 {
        self.0.index
    }

    /// The hash of the entry before; zeros for entry 0.
    pub fn previous(&self) -> EntryHash {
        self.0.previous
    }

    /// The change that it makes.
    pub fn change(&self) -> &MemberChange {
        &self.0.change
    }

    /// The entry's name: the hash of all but the root's signature.
    pub fn hash(&self) -> EntryHash {
        self.0.hash
    }

    /// The encoded entry.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The encoded entry, copied.
    pub fn encode(&self) -> Vec<u8> {
        self.0.bytes.clone()
    }
}

impl PartialEq for MemberEntry {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for MemberEntry {}

impl fmt::Debug for MemberEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { index, hash, change, .. } = &*self.0;
        write!(f, "MemberEntry({index}, {}, {change:?})", hash.short())
    }
}
