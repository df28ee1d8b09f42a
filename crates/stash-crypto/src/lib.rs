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
//! [`RecordDraft`] (what a writer signs). What callers name all the time stands here as well as in its
//! module; limits, errors and functions stand in the modules:
//!
//! - [`keys`]: the root secret, the keys that derive from it, a node's own keys and its keyring file
//! - [`chunk`]: sealed chunks, their padding, and the manifests that list them
//! - [`record`]: names, records and their sealed part, vectors, and which records of a name count
//! - [`member`]: the member log, what its entries change, cuts, epochs, labels and addresses
//! - [`ticket`]: tickets, join requests, the recovery text, and where a typing mistake lies
//!
//! ```
//! use stash_crypto::RootSecret;
//! use stash_crypto::chunk::{CHUNK_OVERHEAD, padme};
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

pub mod chunk;
mod codec;
mod contexts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
pub mod keys;
pub mod member;
mod random;
pub mod record;
mod siv;
pub mod ticket;

pub use chunk::{ChunkKeys, ChunkRef, Manifest};
pub use ids::{
    Address, EntryHash, IdError, Incarnation, NameId, NodeId, NoisePublic, RecordHash, StashId,
    TicketId, WrapPublic,
};
pub use keys::{Keyring, LAN_TAG_LEN, NetworkKey, NodeKeys, ReadRoot, RootSecret};
pub use member::{Cut, Identity, KeyGrant, Member, MemberChange, MemberEntry, MemberLog, Role};
pub use record::{
    Clear, Dot, ForgetKind, Key, Meta, Record, RecordDraft, RecordKind, Vector, Writer,
};
pub use ticket::{JoinRequest, RecoveryText, Ticket};
