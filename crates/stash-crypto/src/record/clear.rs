//! The clear part of a record: what every member can read.

use thiserror::Error;

use crate::chunk::manifest::{ChunkRef, DIRECT_CHUNKS, MANIFEST_ENTRIES_MAX, Manifest};
use crate::codec::{Reader, Truncated, count_u8};
use crate::ids::{NameId, NodeId, RecordHash, StashId};
use crate::record::vector::{Dot, MAX_SEEN, N_MAX, Vector, Writer};

/// Greatest height. It only breaks ties, and saturates here.
pub const HEIGHT_MAX: u64 = 1 << 48;

const MAGIC: [u8; 2] = *b"SR";
/// The formats of records: a signature over the body or the hash, a vector of writers alone or one
/// that names nodes, too.
const FORMATS: [(u8, SignedOver, Nodes); 4] = [
    (1, SignedOver::Body, Nodes::None),
    (2, SignedOver::Body, Nodes::Some),
    (3, SignedOver::Hash, Nodes::None),
    (4, SignedOver::Hash, Nodes::Some),
];
/// Bytes of a clear part with an empty vector and no chunks.
const FIXED: usize = 163;
const MANIFEST_DIRECT: u8 = 0;
const MANIFEST_INDIRECT: u8 = 1;

/// The bytes that a record's signature is over (decision 0049).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignedOver {
    /// The whole record before it. Read, and not written any more.
    Body,
    /// The record hash.
    Hash,
}

/// Says if a vector names nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    None,
    Some,
}

/// The effect of a forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForgetKind {
    /// Permission to drop a named record while a held record covers it.
    Covered,
    /// The named records are gone, at once and everywhere.
    Dead,
}

/// The statement of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The name has this content.
    Put,
    /// The name has no content any more.
    Tombstone,
    /// Records of the name at or below the vector may go or are gone.
    Forget(ForgetKind),
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Tombstone => 2,
            Self::Forget(ForgetKind::Covered) => 3,
            Self::Forget(ForgetKind::Dead) => 4,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Put,
            Self::Tombstone,
            Self::Forget(ForgetKind::Covered),
            Self::Forget(ForgetKind::Dead),
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }

    /// True for a put or a tombstone: a version of the file, which can cover others and be covered.
    pub fn is_version(self) -> bool {
        matches!(self, Self::Put | Self::Tombstone)
    }
}

/// The part of a record that every member can read: enough to verify, count, repair and collect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// The stash it belongs to.
    pub stash: StashId,
    /// The kind of statement.
    pub kind: RecordKind,
    /// The name that it is about.
    pub name: NameId,
    /// The writer, and the number of the record.
    pub dot: Dot,
    /// Hash of the same writer's record `n - 1`; zeros for `n` = 1 or when unknown.
    pub previous: RecordHash,
    /// The greatest height that the author held of this name, plus one, at most [`HEIGHT_MAX`].
    pub height: u64,
    /// Epoch of the read root that sealed the meta.
    pub epoch: u32,
    /// The records of this name that the author knew. For a forget, those that it names.
    pub seen: Vector,
    /// The chunks of the version.
    pub manifest: Manifest,
}

impl Clear {
    /// The rules that bind decoded bytes and drafts alike.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        check_number(self.dot.n)?;
        if self.dot.n == 1 && self.previous != RecordHash::ZERO {
            return Err(RecordError::PreviousOfFirst);
        }
        if self.height > HEIGHT_MAX {
            return Err(RecordError::Height { height: self.height });
        }
        self.seen.iter().try_for_each(|dot| check_number(dot.n))?;
        if self.seen.covers(&self.dot) {
            return Err(RecordError::SeenSelf);
        }
        if !self.kind.is_version() && self.seen.is_empty() {
            return Err(RecordError::SeenEmpty);
        }
        self.check_manifest()
    }

    fn check_manifest(&self) -> Result<(), RecordError> {
        let refs = self.manifest.refs();
        let count = refs.len();
        let indirect = matches!(self.manifest, Manifest::Indirect { .. });
        if indirect && self.kind != RecordKind::Put {
            return Err(RecordError::ManifestKind { found: MANIFEST_INDIRECT });
        }
        if count > DIRECT_CHUNKS
            || (indirect && count == 0)
            || (self.kind != RecordKind::Put && count != 0)
        {
            return Err(RecordError::ManifestCount { count });
        }
        let fits = if indirect { ChunkRef::has_manifest_length } else { ChunkRef::has_file_length };
        if let Some(at) = refs.iter().position(|chunk| !fits(chunk)) {
            return Err(RecordError::Reference { at, sealed_len: refs[at].sealed_len });
        }
        match &self.manifest {
            Manifest::Indirect { chunks, total } => check_indirect(chunks, *total),
            Manifest::Direct(_) => Ok(()),
        }
    }

    pub(crate) fn encode(&self, signed: SignedOver, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        let nodes = self.seen.nodes().count();
        out.extend_from_slice(&[format_of(signed, nodes), self.kind.code()]);
        out.extend_from_slice(self.stash.as_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.dot.writer.to_bytes());
        out.extend_from_slice(&self.dot.n.to_le_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(count_u8(self.seen.len() - nodes));
        for dot in self.seen.iter() {
            out.extend_from_slice(&dot.writer.to_bytes());
            out.extend_from_slice(&dot.n.to_le_bytes());
        }
        if nodes > 0 {
            out.push(count_u8(nodes));
        }
        for (node, removed_at) in self.seen.nodes() {
            out.extend_from_slice(node.as_bytes());
            out.extend_from_slice(&removed_at.to_le_bytes());
        }
        let indirect = matches!(self.manifest, Manifest::Indirect { .. });
        out.push(if indirect { MANIFEST_INDIRECT } else { MANIFEST_DIRECT });
        out.push(count_u8(self.manifest.refs().len()));
        self.manifest.refs().iter().for_each(|chunk| chunk.put(out));
        if let Manifest::Indirect { total, .. } = self.manifest {
            out.extend_from_slice(&total.to_le_bytes());
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<(Self, SignedOver), RecordError> {
        if reader.array()? != MAGIC {
            return Err(RecordError::Magic);
        }
        let found = reader.u8()?;
        let known = FORMATS.into_iter().find(|(format, ..)| *format == found);
        let (_, signed, nodes) = known.ok_or(RecordError::Format { found })?;
        let code = reader.u8()?;
        let clear = Self {
            kind: RecordKind::from_code(code).ok_or(RecordError::Kind { found: code })?,
            stash: StashId::from_bytes(reader.array()?),
            name: NameId::from_bytes(reader.array()?),
            dot: Dot { writer: Writer::read(reader)?, n: reader.u64()? },
            previous: RecordHash::from_bytes(reader.array()?),
            height: reader.u64()?,
            epoch: reader.u32()?,
            seen: read_vector(reader, nodes)?,
            manifest: read_manifest(reader)?,
        };
        clear.check()?;
        Ok((clear, signed))
    }

    /// The length of the encoded clear part in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let nodes = self.seen.nodes().count();
        let named = if nodes == 0 { 0 } else { 1 + nodes * 40 };
        let total = if matches!(self.manifest, Manifest::Indirect { .. }) { 8 } else { 0 };
        FIXED
            + (self.seen.len() - nodes) * 48
            + named
            + self.manifest.refs().len() * ChunkRef::ENCODED
            + total
    }
}

fn format_of(signed: SignedOver, nodes: usize) -> u8 {
    let nodes = if nodes == 0 { Nodes::None } else { Nodes::Some };
    let known = FORMATS.into_iter().find(|(_, over, with)| (*over, *with) == (signed, nodes));
    known.expect("each pair has a format").0
}

fn check_number(n: u64) -> Result<(), RecordError> {
    if (1..=N_MAX).contains(&n) { Ok(()) } else { Err(RecordError::Number { n }) }
}

/// Allows one encoding of a list of chunks: manifest chunks only where the record has no room, each
/// full but the last. Their lengths tell how many references they hold.
fn check_indirect(chunks: &[ChunkRef], total: u64) -> Result<(), RecordError> {
    let entries = |chunk: &ChunkRef| u64::from(chunk.sealed_len) / ChunkRef::ENCODED as u64;
    let full = |chunk: &ChunkRef| entries(chunk) == MANIFEST_ENTRIES_MAX as u64;
    let front = &chunks[..chunks.len().saturating_sub(1)];
    if let Some(at) = front.iter().position(|chunk| !full(chunk)) {
        return Err(RecordError::Reference { at, sealed_len: front[at].sealed_len });
    }
    let named: u64 = chunks.iter().map(entries).sum();
    if total == named && total > DIRECT_CHUNKS as u64 {
        Ok(())
    } else {
        Err(RecordError::ManifestTotal { total })
    }
}

fn read_vector(reader: &mut Reader<'_>, nodes: Nodes) -> Result<Vector, RecordError> {
    let entries = usize::from(reader.u8()?);
    if entries > MAX_SEEN {
        return Err(RecordError::SeenCount { entries });
    }
    let mut seen = Vector::new();
    for at in 0..entries {
        let dot = Dot { writer: Writer::read(reader)?, n: reader.u64()? };
        if !seen.push_sorted(dot) {
            return Err(RecordError::SeenOrder { at });
        }
    }
    if nodes == Nodes::Some {
        read_nodes(reader, &mut seen)?;
    }
    Ok(seen)
}

fn read_nodes(reader: &mut Reader<'_>, seen: &mut Vector) -> Result<(), RecordError> {
    let count = usize::from(reader.u8()?);
    if count == 0 {
        return Err(RecordError::NoNodes);
    }
    if seen.len() + count > MAX_SEEN {
        return Err(RecordError::SeenCount { entries: seen.len() + count });
    }
    for at in 0..count {
        let (node, removed_at) = (NodeId::from_bytes(reader.array()?), reader.u64()?);
        if !seen.push_node_sorted(node, removed_at) {
            return Err(RecordError::NodeOrder { at });
        }
    }
    Ok(())
}

fn read_manifest(reader: &mut Reader<'_>) -> Result<Manifest, RecordError> {
    let kind = reader.u8()?;
    let count = usize::from(reader.u8()?);
    if count > DIRECT_CHUNKS {
        return Err(RecordError::ManifestCount { count });
    }
    let refs = (0..count).map(|_| ChunkRef::read(reader)).collect::<Result<Vec<_>, _>>()?;
    match kind {
        MANIFEST_DIRECT => Ok(Manifest::Direct(refs)),
        MANIFEST_INDIRECT => Ok(Manifest::Indirect { chunks: refs, total: reader.u64()? }),
        found => Err(RecordError::ManifestKind { found }),
    }
}

/// Why bytes are no record, or a clear part can belong to none. For bytes, their maker or a relay
/// is at fault; for a draft, the caller. Nothing changed; the same input never becomes right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end inside a field.
    #[error("the record ends inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the record")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// More than [`MAX_RECORD`](crate::record::MAX_RECORD) bytes.
    #[error("a record of {len} bytes is beyond the limit")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no record")]
    Magic,
    /// A format of a later version.
    #[error("record format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// A kind of a later version.
    #[error("record kind {found} is not known")]
    Kind {
        /// The kind byte.
        found: u8,
    },
    /// A record of another stash.
    #[error("a record of stash {}, expected {}", got.short(), expected.short())]
    OtherStash {
        /// The stash that the caller serves.
        expected: StashId,
        /// The stash that the record names.
        got: StashId,
    },
    /// A number outside 1 to [`N_MAX`](crate::record::N_MAX), in the dot or in the vector.
    #[error("record number {n} is outside 1 to 2^63 - 1")]
    Number {
        /// The number.
        n: u64,
    },
    /// A first record that names a previous one.
    #[error("the first record of a writer names a previous one")]
    PreviousOfFirst,
    /// A height beyond [`HEIGHT_MAX`](crate::record::HEIGHT_MAX).
    #[error("height {height} is beyond 2^48")]
    Height {
        /// The height.
        height: u64,
    },
    /// More than [`MAX_SEEN`] entries.
    #[error("{entries} entries in the vector, the limit is {MAX_SEEN}")]
    SeenCount {
        /// Entries claimed.
        entries: usize,
    },
    /// Entries of the vector out of order or doubled.
    #[error("entry {at} of the vector is out of order")]
    SeenOrder {
        /// Its position.
        at: usize,
    },
    /// A vector of the format that names nodes names none.
    #[error("the vector names no node, and its format says that it does")]
    NoNodes,
    /// Nodes of the vector out of order or doubled, or one of which a writer is named as well.
    #[error("node {at} of the vector is out of order")]
    NodeOrder {
        /// Its position.
        at: usize,
    },
    /// The vector includes the record itself.
    #[error("the record covers itself")]
    SeenSelf,
    /// A forget that names nothing.
    #[error("a forget names at least one record")]
    SeenEmpty,
    /// A manifest kind that is not known, or one that the record's kind must not have.
    #[error("manifest kind {found} is not allowed here")]
    ManifestKind {
        /// The manifest kind byte.
        found: u8,
    },
    /// More references than [`DIRECT_CHUNKS`], none where there must be some, or some where there
    /// must be none.
    #[error("{count} chunk references are not allowed here")]
    ManifestCount {
        /// References claimed.
        count: usize,
    },
    /// A reference has a length that no such chunk has.
    #[error("chunk reference {at} has sealed length {sealed_len}")]
    Reference {
        /// Its position.
        at: usize,
        /// The length it claims.
        sealed_len: u32,
    },
    /// The number of file chunks does not fit the manifest chunks, or would fit into the record.
    #[error("{total} file chunks do not fit the manifest")]
    ManifestTotal {
        /// The number claimed.
        total: u64,
    },
    /// A sealed meta of a length that none has, or one in a forget.
    #[error("a sealed part of {len} bytes is not allowed here")]
    MetaLength {
        /// Bytes claimed.
        len: u32,
    },
}

impl From<Truncated> for RecordError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}
