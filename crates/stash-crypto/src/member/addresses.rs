//! Addresses at which a node says that it can be reached, signed by it.

use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

use crate::codec::{Reader, Truncated, count_u8};
use crate::contexts;
use crate::ids::{NodeId, StashId};
use crate::keys::node::NodeSigner;
use crate::keys::sign::{self, SIGNATURE, SignatureError};
use crate::member::place::{Place, put_place, read_place, unusable};
use crate::ticket::text::TextError;

/// Most addresses of one node.
pub const MAX_ADDRESSES: usize = 8;
const MAGIC: [u8; 2] = *b"SA";
const FORMAT: u8 = 2;
/// The format of addresses without kinds and names.
const OLD_FORMAT: u8 = 1;

/// Greatest sequence of format 2: there is always room for a next one, whatever was signed before.
pub const MAX_SEQUENCE: u64 = (1 << 63) - 1;

/// The way in which a node comes to an address of its own: a hint which of them is worth trying first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// It is an address of its machine, for use in one network.
    Lan,
    /// It is an address of its machine that is good everywhere.
    Public,
    /// Its router passes on what comes there, as it says.
    Mapped,
    /// Its user named it.
    Configured,
    /// Other members see the node there.
    Seen,
}

impl AddressKind {
    const ALL: [Self; 5] = [Self::Lan, Self::Public, Self::Mapped, Self::Configured, Self::Seen];

    fn code(self) -> u8 {
        match self {
            Self::Lan => 0,
            Self::Public => 1,
            Self::Mapped => 2,
            Self::Configured => 3,
            Self::Seen => 4,
        }
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lan => "lan",
            Self::Public => "public",
            Self::Mapped => "mapped",
            Self::Configured => "configured",
            Self::Seen => "seen",
        })
    }
}

/// A place at which a node says that it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The way in which it comes to it.
    pub kind: AddressKind,
    /// The place.
    pub place: Place,
}

/// The addresses of a node, signed by it. Of two that verify, the greater sequence replaces the
/// smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAddresses {
    /// The node that listens there.
    pub node: NodeId,
    /// Grows with every change, by one as a rule: no clock has a part in it. At most [`MAX_SEQUENCE`].
    pub sequence: u64,
    /// Time at which it was made, in seconds since 1970 by the node's clock: it tells how old they are,
    /// and orders nothing. `None` in format 1, which nobody writes any more; it has neither kinds nor names.
    pub made: Option<u64>,
    /// At most 8, none with port 0. Of format 1, the kind is [`AddressKind::Configured`].
    pub places: Vec<Announced>,
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
    /// A sequence above [`MAX_SEQUENCE`].
    #[error("the sequence of these addresses leaves no room for a next one")]
    Sequence,
    /// An address of an unknown family or kind, with port 0, or a name that is not written as it has to be.
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

pub(crate) fn put_places(out: &mut Vec<u8>, places: &[Place]) {
    out.push(count_u8(places.len()));
    places.iter().for_each(|place| put_place(out, place));
}

/// A list of places; of names only where a version of the format has them.
pub(crate) fn read_places(
    reader: &mut Reader<'_>,
    allowed: RangeInclusive<usize>,
    names: bool,
) -> Result<Vec<Place>, ListError> {
    let count = read_count(reader, allowed)?;
    (0..count).map(|at| read_place(reader, names)?.ok_or(ListError::Address(at))).collect()
}

fn read_count(reader: &mut Reader<'_>, allowed: RangeInclusive<usize>) -> Result<usize, ListError> {
    let count = usize::from(reader.u8()?);
    if allowed.contains(&count) { Ok(count) } else { Err(ListError::Count(count)) }
}

fn read_announced(reader: &mut Reader<'_>) -> Result<Vec<Announced>, ListError> {
    let count = read_count(reader, 0..=MAX_ADDRESSES)?;
    let one = |at| {
        let code = reader.u8()?;
        let kind = AddressKind::ALL.into_iter().find(|kind| kind.code() == code);
        let place = read_place(reader, true)?;
        let announced = kind.zip(place).map(|(kind, place)| Announced { kind, place });
        announced.ok_or(ListError::Address(at))
    };
    (0..count).map(one).collect()
}

impl SignedAddresses {
    /// Signs this node's places for one stash.
    pub fn sign(
        signer: &NodeSigner,
        stash: &StashId,
        sequence: u64,
        made: u64,
        places: Vec<Announced>,
    ) -> Result<Self, AddressesError> {
        if places.len() > MAX_ADDRESSES {
            return Err(AddressesError::Count { count: places.len() });
        }
        if let Some(at) = unusable(places.iter().map(|one| &one.place)) {
            return Err(AddressesError::Address { at });
        }
        let node = signer.node_id();
        let sequence = sequence.min(MAX_SEQUENCE);
        let (made, signature) = (Some(made), [0; SIGNATURE]);
        let mut signed = Self { node, sequence, made, places, signature };
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
        body.extend_from_slice(&[if self.made.is_some() { FORMAT } else { OLD_FORMAT }, 0]);
        body.extend_from_slice(self.node.as_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        if let Some(made) = self.made {
            body.extend_from_slice(&made.to_le_bytes());
        }
        body.push(count_u8(self.places.len()));
        for Announced { kind, place } in &self.places {
            if self.made.is_some() {
                body.push(kind.code());
            }
            put_place(&mut body, place);
        }
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
        let old = match reader.array()? {
            [OLD_FORMAT, 0] => true,
            [FORMAT, 0] => false,
            [OLD_FORMAT | FORMAT, found] | [found, _] => {
                return Err(AddressesError::Format { found });
            }
        };
        let (node, sequence) = (NodeId::from_bytes(reader.array()?), reader.u64()?);
        let made = if old { None } else { Some(reader.u64()?) };
        if !old && sequence > MAX_SEQUENCE {
            return Err(AddressesError::Sequence);
        }
        let plain = |place| Announced { kind: AddressKind::Configured, place };
        let places = match old {
            true => {
                read_places(&mut reader, 0..=MAX_ADDRESSES, false)?.into_iter().map(plain).collect()
            }
            false => read_announced(&mut reader)?,
        };
        let signed = Self { node, sequence, made, places, signature: reader.array()? };
        match reader.rest().len() {
            0 => Ok(signed),
            extra => Err(AddressesError::Trailing { extra }),
        }
    }
}
