//! The changes that a member entry can make.

use thiserror::Error;

use crate::codec::{Reader, Truncated, len_u16};
use crate::ids::{CutsHash, Incarnation, NodeId, NoisePublic, RecordHash, TicketId, WrapPublic};
use crate::keys::wrap::WRAP_OVERHEAD;
use crate::member::identity::{Identity, Role};
use crate::member::label::SEALED_LABEL;
use crate::record::vector::N_MAX;

/// Most incarnations that one removal or change of role cuts by itself.
pub const MAX_CUTS: usize = 1024;
/// Most cuts in a list that an entry names: 768 KiB, which a node holds whole until the hash is
/// checked. More cuts take several lists, each with its own entry.
pub const MAX_LISTED: usize = 16_384;
/// Most wrapped keys in one epoch entry.
pub const MAX_WRAPS: usize = 1024;
/// Longest wrapped key in an epoch entry.
pub const MAX_EPOCH_WRAP: usize = 128;
/// Length of a sealed previous read root: T and the key.
const SEALED_PREVIOUS: usize = 64;

/// The end of one incarnation of a node that may no longer write. Later records of it are set
/// aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The writer's incarnation.
    pub incarnation: Incarnation,
    /// The last number that counts.
    pub n: u64,
    /// The hash of the record with that number.
    pub hash: RecordHash,
}

impl Cut {
    /// Bytes of an encoded cut.
    pub const ENCODED: usize = 48;

    /// Incarnation, number (little-endian), hash.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[..8].copy_from_slice(self.incarnation.as_bytes());
        bytes[8..16].copy_from_slice(&self.n.to_le_bytes());
        bytes[16..].copy_from_slice(self.hash.as_bytes());
        bytes
    }

    /// The reverse of [`to_bytes`](Self::to_bytes); `None` for a number that no record has.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED]) -> Option<Self> {
        let cut = Self::read(&mut Reader::new(bytes)).ok()?;
        (1..=N_MAX).contains(&cut.n).then_some(cut)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        Ok(Self {
            incarnation: Incarnation::from_bytes(reader.array()?),
            n: reader.u64()?,
            hash: RecordHash::from_bytes(reader.array()?),
        })
    }
}

/// The kind of key in a wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WrapKind {
    /// A network key.
    Network,
    /// A read root.
    Read,
}

impl WrapKind {
    fn code(self) -> u8 {
        match self {
            Self::Network => 1,
            Self::Read => 2,
        }
    }
}

/// A key of the new epoch, wrapped to one member or to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochWrap {
    /// The member that can open it; `None` is the root. On the wire the root is 32 zeros.
    pub to: Option<NodeId>,
    /// The kind of key.
    pub kind: WrapKind,
    /// The wrap of a [`KeyGrant`](crate::KeyGrant) with this one key.
    pub sealed: Vec<u8>,
}

impl EpochWrap {
    pub(crate) fn order(&self) -> ([u8; 32], WrapKind) {
        (self.to.map_or([0; 32], |node| *node.as_bytes()), self.kind)
    }
}

/// The change that an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A node becomes a member.
    Admit {
        /// Its keys.
        identity: Identity,
        /// Its role.
        role: Role,
        /// The ticket it came with; zeros for the founder.
        ticket: TicketId,
        /// Its display name, sealed by [`LabelKeys`](crate::member::LabelKeys); empty for none.
        label: Vec<u8>,
        /// The node's own signature over identity and ticket: a
        /// [`JoinRequest`](crate::JoinRequest)'s.
        node_signature: [u8; 64],
    },
    /// A member gets another role.
    SetRole {
        /// The member.
        node: NodeId,
        /// Its role from now on.
        role: Role,
        /// The ends of its records, as for a removal; none if it was no owner. These incarnations
        /// stay cut, even if it becomes an owner again: it then writes under a new incarnation.
        cuts: Vec<Cut>,
    },
    /// A member is removed, for good.
    Remove {
        /// The member.
        node: NodeId,
        /// The ends of its records, sorted by incarnation. An incarnation that no entry lists ends
        /// before its first record.
        cuts: Vec<Cut>,
    },
    /// A new epoch of keys begins.
    Epoch {
        /// Its number, one more than the last.
        epoch: u32,
        /// The read root before, sealed by the new one; empty if the read root does not change.
        previous_read: Vec<u8>,
        /// The new keys, sorted by recipient and kind.
        wraps: Vec<EpochWrap>,
    },
    /// The root tells its own public keys, once: members accept its Noise static always.
    Root {
        /// The Noise key with which the root speaks to members.
        noise: NoisePublic,
        /// The key to which the keys of an epoch are wrapped for the root.
        wrap: WrapPublic,
    },
    /// A member that has been away for long does not count as a copy, or does again. What it may do, and
    /// which of its records count, does not change.
    Lapse {
        /// The member.
        node: NodeId,
        /// True if it has lapsed, false if it is back.
        lapsed: bool,
    },
    /// More incarnations of a member end than fit into its removal or change of role. It stands
    /// before that entry, which names none then.
    Cuts {
        /// The member.
        node: NodeId,
        /// The number of incarnations.
        count: u32,
        /// The hash of the [`CutList`](crate::member::CutList).
        list: CutsHash,
    },
}

impl MemberChange {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Admit { .. } => 1,
            Self::SetRole { .. } => 2,
            Self::Remove { .. } => 3,
            Self::Epoch { .. } => 4,
            Self::Root { .. } => 5,
            Self::Lapse { .. } => 6,
            Self::Cuts { .. } => 7,
        }
    }

    /// The rules that bind decoded bytes and changes to be signed alike.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        match self {
            Self::Admit { label, .. } => check_sealed(label.len(), is_label),
            Self::Root { .. } | Self::Lapse { .. } => Ok(()),
            Self::Cuts { count, .. } => check_listed(*count as usize),
            Self::SetRole { cuts, .. } | Self::Remove { cuts, .. } => check_cuts(cuts),
            Self::Epoch { previous_read, wraps, .. } => {
                check_sealed(previous_read.len(), is_previous)?;
                check_count(wraps.len(), MAX_WRAPS)?;
                check_sorted(wraps, EpochWrap::order)?;
                wraps.iter().try_for_each(|wrap| check_sealed(wrap.sealed.len(), is_epoch_wrap))
            }
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Admit { identity, role, ticket, label, node_signature } => {
                identity.put(out);
                out.push(role.code());
                out.extend_from_slice(ticket.as_bytes());
                put_sealed(out, label);
                out.extend_from_slice(node_signature);
            }
            Self::SetRole { node, role, cuts } => {
                out.extend_from_slice(node.as_bytes());
                out.push(role.code());
                put_cuts(out, cuts);
            }
            Self::Remove { node, cuts } => {
                out.extend_from_slice(node.as_bytes());
                put_cuts(out, cuts);
            }
            Self::Epoch { epoch, previous_read, wraps } => {
                out.extend_from_slice(&epoch.to_le_bytes());
                put_sealed(out, previous_read);
                out.extend_from_slice(&len_u16(wraps.len()).to_le_bytes());
                for wrap in wraps {
                    out.extend_from_slice(&wrap.order().0);
                    out.push(wrap.kind.code());
                    put_sealed(out, &wrap.sealed);
                }
            }
            Self::Root { noise, wrap } => {
                out.extend_from_slice(noise.as_bytes());
                out.extend_from_slice(wrap.as_bytes());
            }
            Self::Lapse { node, lapsed } => {
                out.extend_from_slice(node.as_bytes());
                out.push(u8::from(*lapsed));
            }
            Self::Cuts { node, count, list } => {
                out.extend_from_slice(node.as_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(list.as_bytes());
            }
        }
    }

    pub(crate) fn read(code: u8, reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        match code {
            1 => Ok(Self::Admit {
                identity: Identity::read(reader)?,
                role: read_role(reader)?,
                ticket: TicketId::from_bytes(reader.array()?),
                label: read_sealed(reader, is_label)?,
                node_signature: reader.array()?,
            }),
            2 => Ok(Self::SetRole {
                node: NodeId::from_bytes(reader.array()?),
                role: read_role(reader)?,
                cuts: read_list(reader, MAX_CUTS, Cut::read)?,
            }),
            3 => Ok(Self::Remove {
                node: NodeId::from_bytes(reader.array()?),
                cuts: read_list(reader, MAX_CUTS, Cut::read)?,
            }),
            4 => Ok(Self::Epoch {
                epoch: reader.u32()?,
                previous_read: read_sealed(reader, is_previous)?,
                wraps: read_list(reader, MAX_WRAPS, read_epoch_wrap)?,
            }),
            5 => Ok(Self::Root {
                noise: NoisePublic::from_bytes(reader.array()?),
                wrap: WrapPublic::from_bytes(reader.array()?),
            }),
            6 => Ok(Self::Lapse {
                node: NodeId::from_bytes(reader.array()?),
                lapsed: match reader.u8()? {
                    0 => false,
                    1 => true,
                    found => return Err(EntryError::Lapsed { found }),
                },
            }),
            7 => Ok(Self::Cuts {
                node: NodeId::from_bytes(reader.array()?),
                count: reader.u32()?,
                list: CutsHash::from_bytes(reader.array()?),
            }),
            found => Err(EntryError::Kind { found }),
        }
    }
}

/// The length of a list that an entry names.
pub(crate) fn check_listed(count: usize) -> Result<(), EntryError> {
    if count == 0 { Err(EntryError::Count { count }) } else { check_count(count, MAX_LISTED) }
}

fn check_cuts(cuts: &[Cut]) -> Result<(), EntryError> {
    check_count(cuts.len(), MAX_CUTS)?;
    check_order(cuts)
}

/// The rules of every list of cuts: incarnations strictly ascending, numbers that records have.
pub(crate) fn check_order(cuts: &[Cut]) -> Result<(), EntryError> {
    check_sorted(cuts, |cut| cut.incarnation)?;
    let bad = cuts.iter().map(|cut| cut.n).find(|n| !(1..=N_MAX).contains(n));
    bad.map_or(Ok(()), |n| Err(EntryError::Number { n }))
}

fn put_cuts(out: &mut Vec<u8>, cuts: &[Cut]) {
    out.extend_from_slice(&len_u16(cuts.len()).to_le_bytes());
    for cut in cuts {
        out.extend_from_slice(&cut.to_bytes());
    }
}

fn check_sealed(len: usize, fits: fn(usize) -> bool) -> Result<(), EntryError> {
    if fits(len) { Ok(()) } else { Err(EntryError::SealedLength { len }) }
}

fn check_count(count: usize, limit: usize) -> Result<(), EntryError> {
    if count <= limit { Ok(()) } else { Err(EntryError::Count { count }) }
}

fn check_sorted<T, K: Ord>(list: &[T], order: impl Fn(&T) -> K) -> Result<(), EntryError> {
    match list.windows(2).position(|pair| order(&pair[0]) >= order(&pair[1])) {
        Some(at) => Err(EntryError::Order { at: at + 1 }),
        None => Ok(()),
    }
}

fn put_sealed(out: &mut Vec<u8>, sealed: &[u8]) {
    out.extend_from_slice(&len_u16(sealed.len()).to_le_bytes());
    out.extend_from_slice(sealed);
}

fn read_sealed(reader: &mut Reader<'_>, fits: fn(usize) -> bool) -> Result<Vec<u8>, EntryError> {
    let len = usize::from(reader.u16()?);
    check_sealed(len, fits)?;
    Ok(reader.take(len)?.to_vec())
}

fn is_label(len: usize) -> bool {
    len == 0 || len == SEALED_LABEL
}

fn is_previous(len: usize) -> bool {
    len == 0 || len == SEALED_PREVIOUS
}

fn is_epoch_wrap(len: usize) -> bool {
    len > WRAP_OVERHEAD && len <= MAX_EPOCH_WRAP
}

fn read_role(reader: &mut Reader<'_>) -> Result<Role, EntryError> {
    let found = reader.u8()?;
    Role::from_code(found).ok_or(EntryError::Role { found })
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    limit: usize,
    read: fn(&mut Reader<'_>) -> Result<T, EntryError>,
) -> Result<Vec<T>, EntryError> {
    let count = usize::from(reader.u16()?);
    check_count(count, limit)?;
    (0..count).map(|_| read(reader)).collect()
}

fn read_epoch_wrap(reader: &mut Reader<'_>) -> Result<EpochWrap, EntryError> {
    let to: [u8; 32] = reader.array()?;
    let kind = match reader.u8()? {
        1 => WrapKind::Network,
        2 => WrapKind::Read,
        found => return Err(EntryError::WrapKind { found }),
    };
    let to = (to != [0; 32]).then_some(NodeId::from_bytes(to));
    Ok(EpochWrap { to, kind, sealed: read_sealed(reader, is_epoch_wrap)? })
}

/// Why bytes are no member entry, or a change cannot be signed. For bytes, their maker or a relay
/// is at fault; for a change, the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The bytes end inside a field.
    #[error("the member entry ends inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the member entry")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// More than [`MAX_ENTRY`](crate::member::MAX_ENTRY) bytes.
    #[error("a member entry of {len} bytes is beyond the limit")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no member entry")]
    Magic,
    /// A format of a later version.
    #[error("member entry format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// A change of a later version.
    #[error("member change {found} is not known")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// A role of a later version.
    #[error("role {found} is not known")]
    Role {
        /// The role byte.
        found: u8,
    },
    /// A sealed label, previous read root or wrapped key of a length that none has.
    #[error("a sealed field of {len} bytes is not allowed here")]
    SealedLength {
        /// Bytes claimed.
        len: usize,
    },
    /// A list beyond its limit, or an empty one where none may be.
    #[error("a list of {count} entries is not allowed here")]
    Count {
        /// Entries claimed.
        count: usize,
    },
    /// A list out of order or with doubles.
    #[error("list entry {at} is out of order")]
    Order {
        /// Its position.
        at: usize,
    },
    /// A cut with a number outside 1 to [`N_MAX`](crate::record::N_MAX).
    #[error("record number {n} is outside 1 to 2^63 - 1")]
    Number {
        /// The number.
        n: u64,
    },
    /// The byte for a lapse is neither 0 nor 1.
    #[error("{found} does not say whether a member has lapsed")]
    Lapsed {
        /// The byte.
        found: u8,
    },
    /// A wrapped key of a later kind.
    #[error("wrapped key kind {found} is not known")]
    WrapKind {
        /// The kind byte.
        found: u8,
    },
}

impl From<Truncated> for EntryError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}
