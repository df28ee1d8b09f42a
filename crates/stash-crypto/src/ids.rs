//! Identifiers: fixed-size byte strings with a strict text form.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use thiserror::Error;

/// Why a text is no identifier. The caller's text is wrong; nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text has another number of characters.
    #[error("expected {expected} hexadecimal digits, got {got} bytes")]
    Length {
        /// Digits that this kind of id has.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A character is no lower-case hexadecimal digit.
    #[error("byte {at} is not a lower-case hexadecimal digit")]
    Digit {
        /// Position of the first bad byte, from 0.
        at: usize,
    },
}

fn parse<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    if text.len() != 2 * N {
        return Err(IdError::Length { expected: 2 * N, got: text.len() });
    }
    let mut bytes = [0; N];
    HEXLOWER
        .decode_mut(text.as_bytes(), &mut bytes)
        .map_err(|partial| IdError::Digit { at: partial.error.position })?;
    Ok(bytes)
}

macro_rules! id {
    ($( $(#[$doc:meta])* $name:ident($len:literal); )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The identifier with these bytes; every value is one.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes as they stand on the wire and on disk.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first ten hexadecimal digits: for logs and tables, never for lookups.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }
    )* };
}

id! {
    /// A stash: the Ed25519 public key of its root.
    StashId(32);
    /// A node: its Ed25519 public key.
    NodeId(32);
    /// A file's name as peers see it: keyed BLAKE3 of the [`Key`](crate::Key).
    NameId(32);
    /// BLAKE3-256 of the sealed bytes of a chunk.
    Address(32);
    /// Hash of a record without its signature.
    RecordHash(32);
    /// Hash of a member entry without its root signature.
    EntryHash(32);
    /// Hash of a list of cuts that a member entry names.
    CutsHash(32);
    /// T: the authentication tag of a sealed chunk, a function of keys, header and plaintext.
    ChunkTag(32);
    /// An incarnation of a node, under which it numbers its records from 1: 8 random bytes.
    Incarnation(8);
    /// A ticket, used once.
    TicketId(16);
    /// An X25519 public key for the Noise handshake.
    NoisePublic(32);
    /// An X25519 public key to which keys are wrapped.
    WrapPublic(32);
}

impl Address {
    /// The address of these sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }
}

impl RecordHash {
    /// "No previous record": the hash that a writer's first record names.
    pub const ZERO: Self = Self([0; 32]);
}

impl EntryHash {
    /// "No previous entry": the hash that entry 0 names.
    pub const ZERO: Self = Self([0; 32]);
}
