//! Keys, sealed chunks, names, records, members and tickets of a stash.
//!
//! **What it is:** the formats and the cryptography of a stash as pure functions: bytes in, bytes
//! out. Every format is strict (one encoding per value), every signature is checked with the
//! strict rule of Ed25519, and no plaintext leaves a sealed object before its tag was recomputed.
//! `docs/format.md` specifies each layout for a second implementation.
//!
//! **What it is not:** it does no I/O, knows no clock, no async and no ambient randomness: the
//! random generator is an argument. It does not decide who may write; it says who signed.
//!
//! Start with [`RootSecret`] (everything derives from it), [`ChunkKeys`] (sealing) and
//! [`RecordDraft`] (what a writer signs).
//!
//! ```
//! use stash_crypto::{CHUNK_OVERHEAD, RootSecret, padme};
//!
//! let root = RootSecret::generate(&mut rand::rng());
//! let keys = root.read_root().chunk_keys();
//!
//! let plain = b"a picture";
//! let padded = usize::try_from(padme(plain.len() as u64))?;
//! let mut buffer = vec![0; CHUNK_OVERHEAD + padded];
//! buffer[CHUNK_OVERHEAD..][..plain.len()].copy_from_slice(plain);
//!
//! let sealed = keys.seal_in_place(&mut buffer)?;
//! assert_eq!(sealed.address, stash_crypto::Address::of(&buffer));
//! assert_eq!(&keys.open_in_place(&mut buffer)?[..plain.len()], plain);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod change;
mod chunk;
mod clear;
mod codec;
mod confirmation;
mod contexts;
mod cuts;
mod entry;
mod epoch;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod ids;
mod join;
mod key;
mod keyring;
mod label;
mod log;
mod manifest;
mod member;
mod meta;
mod node;
mod padme;
mod random;
mod record;
mod recovery;
mod secret;
mod sign;
mod siv;
mod text;
mod ticket;
mod vector;
mod version;
mod wrap;
mod x25519;

pub use address::{AddressesError, MAX_ADDRESSES, SignedAddresses};
pub use change::{
    Cut, EntryError, EpochWrap, MAX_CUTS, MAX_EPOCH_WRAP, MAX_LISTED, MAX_WRAPS, MemberChange,
    WrapKind,
};
pub use chunk::{
    CHUNK_HEADER, CHUNK_OVERHEAD, ChunkHeader, ChunkKeys, ChunkKind, HeaderError, MAX_CHUNK_PLAIN,
    OpenError, SealError, Sealed, chunk_header,
};
pub use clear::{Clear, ForgetKind, HEIGHT_MAX, RecordError, RecordKind};
pub use confirmation::{CONFIRMATION, Confirmation, ConfirmationError};
pub use cuts::CutList;
pub use entry::{MAX_ENTRY, MemberEntry};
pub use epoch::{ChangeError, EpochError, change_members, next_epoch};
pub use grant::{GrantError, KeyGrant, MAX_EPOCHS};
pub use ids::{
    Address, ChunkTag, CutsHash, EntryHash, IdError, Incarnation, NameId, NodeId, NoisePublic,
    RecordHash, StashId, TicketId, WrapPublic,
};
pub use join::{JoinError, JoinRequest};
pub use key::{Key, KeyError, MAX_KEY, NameKey};
pub use keyring::{Keyring, KeyringError, Protection};
pub use label::{LabelError, LabelKeys, MAX_DISPLAY_NAME, OpenLabelError, label_epoch};
pub use log::{Barred, Member, MemberError, MemberLog, Misnamed, Removal};
pub use manifest::{
    ChunkRef, DIRECT_CHUNKS, MANIFEST_CHUNK_MAX, MANIFEST_ENTRIES_MAX, Manifest, ManifestError,
    decode_manifest_chunk, manifest_chunks,
};
pub use member::{Identity, Role, RoleError};
pub use meta::{
    INLINE_MAX, MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_VALUE, MAX_ATTRIBUTES, Meta, MetaError, MetaKeys,
    OpenMetaError,
};
pub use node::{NodeKeys, NodeSigner, NoiseSecret, WrapSecret};
pub use padme::{last_chunk_padding, padme};
pub use record::{MAX_RECORD, Record, RecordDraft, SignError};
pub use recovery::RecoveryText;
pub use secret::{NetworkKey, NotAPrevious, ReadRoot, RootSecret};
pub use sign::{RootSigner, SignatureError};
pub use text::{TextError, Typo};
pub use ticket::{Ticket, TicketError, TicketSecret};
pub use vector::{Dot, MAX_SEEN, N_MAX, Reached, SeenFull, Vector, Writer};
pub use version::{
    Gone, Settled, compare_leaves, covered_vector, covers, dead_vector, forgets, head,
    includes_forget, leaves, settle,
};
pub use wrap::{WRAP_OVERHEAD, WrapError, unwrap, wrap};
