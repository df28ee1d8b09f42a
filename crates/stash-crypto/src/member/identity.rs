//! The identity of a member: its role and public keys.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::codec::{Reader, Truncated};
use crate::ids::{NodeId, NoisePublic, WrapPublic};
use crate::keys::sign::SignatureError;
use crate::keys::x25519::is_contributory;

/// The role of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads and writes.
    Owner,
    /// Reads.
    Reader,
    /// Holds ciphertext.
    Keeper,
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a role is owner, reader or keeper")]
pub struct RoleError;

impl Role {
    const ALL: [Self; 3] = [Self::Owner, Self::Reader, Self::Keeper];

    /// True if it holds read roots.
    pub fn reads(self) -> bool {
        matches!(self, Self::Owner | Self::Reader)
    }

    /// True if its records count.
    pub fn writes(self) -> bool {
        self == Self::Owner
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::Reader => 2,
            Self::Keeper => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Owner => "owner",
            Self::Reader => "reader",
            Self::Keeper => "keeper",
        })
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or(RoleError)
    }
}

/// The three public keys of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The key that signs its records.
    pub node: NodeId,
    /// The key with which it speaks to peers.
    pub noise: NoisePublic,
    /// The key to which secrets are wrapped for it.
    pub wrap: WrapPublic,
}

impl Identity {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(self.noise.as_bytes());
        out.extend_from_slice(self.wrap.as_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            node: NodeId::from_bytes(reader.array()?),
            noise: NoisePublic::from_bytes(reader.array()?),
            wrap: WrapPublic::from_bytes(reader.array()?),
        })
    }

    pub(crate) fn check(&self) -> Result<(), SignatureError> {
        check_keys(&self.noise, &self.wrap)
    }
}

/// Refuses keys of small order, which would let strangers speak or read in their owner's place.
pub(crate) fn check_keys(noise: &NoisePublic, wrap: &WrapPublic) -> Result<(), SignatureError> {
    [noise.as_bytes(), wrap.as_bytes()]
        .into_iter()
        .find(|key| !is_contributory(key))
        .map_or(Ok(()), |key| Err(SignatureError::Key { key: *key }))
}
