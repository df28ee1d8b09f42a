//! Addresses at which a node says that it can be reached, signed by it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::codec::{Reader, Truncated, count_u8, put_socket_addr};
use crate::contexts;
use crate::ids::{NodeId, StashId};
use crate::keys::node::NodeSigner;
use crate::keys::sign::{self, SIGNATURE, SignatureError};
use crate::ticket::text::TextError;

/// Most addresses of one node.
pub const MAX_ADDRESSES: usize = 8;
const MAGIC: [u8; 2] = *b"SA";
const FORMAT: u8 = 1;

/// The addresses of a node, signed by it. Of two that verify, the greater sequence replaces the
/// smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAddresses {
    /// The node that listens there.
    pub node: NodeId,
    /// Grows with every change.
    pub sequence: u64,
    /// At most 8, none with port 0; scope ids are not carried.
    pub addresses: Vec<SocketAddr>,
    /// The node's signature over all fields.
    pub signature: [u8; 64],
}

/// Why bytes are no signed addresses, or a list cannot be signed. Whoever made them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressesError {
    /// The bytes end inside a field.
    #[error("the addresses end inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the addresses")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no signed addresses")]
    Magic,
    /// A format of a later version.
    #[error("format {found} of signed addresses is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// More than [`MAX_ADDRESSES`].
    #[error("{count} addresses, the limit is {MAX_ADDRESSES}")]
    Count {
        /// The number claimed.
        count: usize,
    },
    /// An address of an unknown family or with port 0.
    #[error("address {at} is not usable")]
    Address {
        /// Its position, from 0.
        at: usize,
    },
}

impl From<Truncated> for AddressesError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// A fault in a list of addresses. Each operation turns it into its own error.
pub(crate) enum ListError {
    Truncated,
    Count(usize),
    Address(usize),
}

impl From<Truncated> for ListError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl From<ListError> for AddressesError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Truncated => Self::Truncated,
            ListError::Count(count) => Self::Count { count },
            ListError::Address(at) => Self::Address { at },
        }
    }
}

impl From<ListError> for TextError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Truncated => Self::Fields,
            ListError::Count(count) => Self::Count { count },
            ListError::Address(at) => Self::Address { at },
        }
    }
}

pub(crate) fn put_addresses(out: &mut Vec<u8>, addresses: &[SocketAddr]) {
    out.push(count_u8(addresses.len()));
    addresses.iter().for_each(|addr| put_socket_addr(out, addr));
}

pub(crate) fn read_addresses(
    reader: &mut Reader<'_>,
    allowed: RangeInclusive<usize>,
) -> Result<Vec<SocketAddr>, ListError> {
    let count = usize::from(reader.u8()?);
    if !allowed.contains(&count) {
        return Err(ListError::Count(count));
    }
    (0..count).map(|at| reader.socket_addr()?.ok_or(ListError::Address(at))).collect()
}

impl SignedAddresses {
    /// Signs this node's addresses for one stash.
    pub fn sign(
        signer: &NodeSigner,
        stash: &StashId,
        sequence: u64,
        addresses: Vec<SocketAddr>,
    ) -> Result<Self, AddressesError> {
        if addresses.len() > MAX_ADDRESSES {
            return Err(AddressesError::Count { count: addresses.len() });
        }
        if let Some(at) = addresses.iter().position(|addr| addr.port() == 0) {
            return Err(AddressesError::Address { at });
        }
        let node = signer.node_id();
        let mut signed = Self { node, sequence, addresses, signature: [0; SIGNATURE] };
        signed.signature = signer.sign(contexts::TAG_ADDRESSES, stash, &signed.body());
        Ok(signed)
    }

    /// Checks that the node signed these addresses for this stash.
    pub fn verify(&self, stash: &StashId) -> Result<(), SignatureError> {
        let (key, body) = (self.node.as_bytes(), self.body());
        sign::verify(key, contexts::TAG_ADDRESSES, stash, &body, &self.signature)
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&[FORMAT, 0]);
        body.extend_from_slice(self.node.as_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        put_addresses(&mut body, &self.addresses);
        body
    }

    /// Encodes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend_from_slice(&self.signature);
        out
    }

    /// Decodes: structure and limits; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, AddressesError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(AddressesError::Magic);
        }
        match reader.array()? {
            [FORMAT, 0] => {}
            [FORMAT, found] | [found, _] => return Err(AddressesError::Format { found }),
        }
        let signed = Self {
            node: NodeId::from_bytes(reader.array()?),
            sequence: reader.u64()?,
            addresses: read_addresses(&mut reader, 0..=MAX_ADDRESSES)?,
            signature: reader.array()?,
        };
        match reader.rest().len() {
            0 => Ok(signed),
            extra => Err(AddressesError::Trailing { extra }),
        }
    }
}
