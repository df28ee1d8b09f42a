//! What a node says of itself: the records that it holds, which of them are whole there, and its room.

use thiserror::Error;

use crate::codec::{Reader, Truncated};
use crate::contexts;
use crate::ids::{NodeId, StashId};
use crate::keys::node::NodeSigner;
use crate::keys::sign::{self, SIGNATURE, SignatureError};

const MAGIC: [u8; 2] = *b"ST";
const FORMAT: u8 = 1;
/// Which records are whole is known.
const SETTLED: u8 = 1;
/// The node refuses content.
const FULL: u8 = 2;

/// Bytes of an encoded statement.
pub const STATEMENT: usize = 4 + 32 + 8 + 8 + 40 + 40 + 8 + 8 + 8 + SIGNATURE;

/// Some records in two figures: two nodes in which they are equal mean the same records, unless somebody
/// chose hashes to that end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordSum {
    /// The number of records.
    pub count: u64,
    /// The sum of their hashes as 256-bit little-endian numbers, modulo 2^256.
    pub sum: [u8; 32],
}

/// What a node says of itself, before it is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// The records that it holds.
    pub held: RecordSum,
    /// Those of which it has every chunk.
    pub whole: RecordSum,
    /// False while it does not know which are whole.
    pub settled: bool,
    /// Bytes that its store takes.
    pub used: u64,
    /// Bytes that it may take in all.
    pub limit: u64,
    /// True if it refuses content.
    pub full: bool,
    /// Bytes of chunks that it keeps; [`u64::MAX`] if it keeps all.
    pub keep: u64,
}

/// The figures of a node, signed by it. Of two that verify, the greater sequence replaces the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The node that speaks of itself.
    pub node: NodeId,
    /// Grows with every statement.
    pub sequence: u64,
    /// Seconds since 1970 by the signer's clock. It tells how old the statement is; nothing is ordered by it.
    pub time: u64,
    /// What it says.
    pub figures: Figures,
    /// The node's signature over all fields.
    pub signature: [u8; SIGNATURE],
}

/// Why bytes are no statement. Whoever made them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StatementError {
    /// The bytes end inside a field.
    #[error("the statement ends inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the statement")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no statement")]
    Magic,
    /// A format of a later version.
    #[error("format {found} of statements is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// A flag that this version does not know.
    #[error("flags {found:#04x} of a statement are not known")]
    Flags {
        /// The byte of flags.
        found: u8,
    },
}

impl From<Truncated> for StatementError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Statement {
    /// Signs what this node says of itself in one stash.
    pub fn sign(
        signer: &NodeSigner,
        stash: &StashId,
        sequence: u64,
        time: u64,
        figures: Figures,
    ) -> Self {
        let node = signer.node_id();
        let mut signed = Self { node, sequence, time, figures, signature: [0; SIGNATURE] };
        signed.signature = signer.sign(contexts::TAG_STATEMENT, stash, &signed.body());
        signed
    }

    /// Checks that the node signed it for this stash.
    pub fn verify(&self, stash: &StashId) -> Result<(), SignatureError> {
        let (key, body) = (self.node.as_bytes(), self.body());
        sign::verify(key, contexts::TAG_STATEMENT, stash, &body, &self.signature)
    }

    fn body(&self) -> Vec<u8> {
        let Figures { held, whole, settled, used, limit, full, keep } = self.figures;
        let flags = if settled { SETTLED } else { 0 } | if full { FULL } else { 0 };
        let mut body = Vec::with_capacity(STATEMENT);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&[FORMAT, flags]);
        body.extend_from_slice(self.node.as_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        body.extend_from_slice(&self.time.to_le_bytes());
        for RecordSum { count, sum } in [held, whole] {
            body.extend_from_slice(&count.to_le_bytes());
            body.extend_from_slice(&sum);
        }
        body.extend([used, limit, keep].iter().flat_map(|word| word.to_le_bytes()));
        body
    }

    /// Encodes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend_from_slice(&self.signature);
        out
    }

    /// Decodes: structure; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(StatementError::Magic);
        }
        let [format, flags] = reader.array()?;
        if format != FORMAT {
            return Err(StatementError::Format { found: format });
        }
        if flags & !(SETTLED | FULL) != 0 {
            return Err(StatementError::Flags { found: flags });
        }
        let node = NodeId::from_bytes(reader.array()?);
        let (sequence, time) = (reader.u64()?, reader.u64()?);
        let held = RecordSum { count: reader.u64()?, sum: reader.array()? };
        let whole = RecordSum { count: reader.u64()?, sum: reader.array()? };
        let (settled, full) = (flags & SETTLED != 0, flags & FULL != 0);
        let (used, limit, keep) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let figures = Figures { held, whole, settled, used, limit, full, keep };
        let signed = Self { node, sequence, time, figures, signature: reader.array()? };
        match reader.rest().len() {
            0 => Ok(signed),
            extra => Err(StatementError::Trailing { extra }),
        }
    }
}
