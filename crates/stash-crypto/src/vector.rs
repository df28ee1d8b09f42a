//! Dots and vectors: versions without clocks.

use std::fmt;

use thiserror::Error;

use crate::codec::{Reader, Truncated};
use crate::ids::{Incarnation, NodeId};

/// Most writers in one vector. It bounds a record, and with it what a peer can make others keep.
pub const MAX_SEEN: usize = 64;
/// Greatest number of a record: leaves the top bit free, so that counting can never wrap.
pub const N_MAX: u64 = (1 << 63) - 1;

/// One life of one node's record counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    /// The node that signs.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl Writer {
    /// Bytes of an encoded writer.
    pub const ENCODED: usize = 40;

    /// Node id, then incarnation.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        bytes[..32].copy_from_slice(self.node.as_bytes());
        bytes[32..].copy_from_slice(self.incarnation.as_bytes());
        bytes
    }

    /// The reverse of [`to_bytes`](Self::to_bytes); every value is a writer.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED]) -> Self {
        let mut node = [0; 32];
        let mut incarnation = [0; 8];
        node.copy_from_slice(&bytes[..32]);
        incarnation.copy_from_slice(&bytes[32..]);
        Self { node: NodeId::from_bytes(node), incarnation: Incarnation::from_bytes(incarnation) }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self::from_bytes(&reader.array()?))
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.short(), self.incarnation.short())
    }
}

/// Which record of which writer. Two records under one dot are equivocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote.
    pub writer: Writer,
    /// The writer's count, from 1 to [`N_MAX`].
    pub n: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.writer, self.n)
    }
}

/// A vector would need more than [`MAX_SEEN`] entries. The vector is as it was; entries are never
/// left out, so the write that needs them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this name has been written by more than {MAX_SEEN} writers")]
pub struct SeenFull;

/// For each writer, the greatest number of its records that is included. At most [`MAX_SEEN`]
/// writers, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vector(Vec<(Writer, u64)>);

impl Vector {
    /// Includes nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The greatest included number of this writer, 0 for none.
    pub fn get(&self, writer: &Writer) -> u64 {
        self.find(writer).map_or(0, |at| self.0[at].1)
    }

    /// Includes a dot and all before it of the same writer. A dot with number 0 is nothing.
    pub fn insert(&mut self, dot: Dot) -> Result<(), SeenFull> {
        match self.find(&dot.writer) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(dot.n),
            Err(_) if dot.n == 0 => {}
            Err(_) if self.0.len() == MAX_SEEN => return Err(SeenFull),
            Err(at) => self.0.insert(at, (dot.writer, dot.n)),
        }
        Ok(())
    }

    /// Includes all that `other` includes, or nothing if that does not fit.
    pub fn join(&mut self, other: &Vector) -> Result<(), SeenFull> {
        let new = other.0.iter().filter(|(writer, _)| self.find(writer).is_err()).count();
        if self.0.len() + new > MAX_SEEN {
            return Err(SeenFull);
        }
        other.iter().try_for_each(|dot| self.insert(dot))
    }

    /// Whether the dot is included.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.get(&dot.writer) >= dot.n
    }

    /// Whether everything that `other` includes is included.
    pub fn includes(&self, other: &Vector) -> bool {
        other.iter().all(|dot| self.covers(&dot))
    }

    /// The greatest dot of each writer, sorted by writer.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().map(|&(writer, n)| Dot { writer, n })
    }

    /// How many writers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is included.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends an entry only if it keeps the order; for decoding.
    pub(crate) fn push_sorted(&mut self, dot: Dot) -> bool {
        let sorted = self.0.last().is_none_or(|(last, _)| *last < dot.writer);
        if sorted {
            self.0.push((dot.writer, dot.n));
        }
        sorted
    }

    fn find(&self, writer: &Writer) -> Result<usize, usize> {
        self.0.binary_search_by(|(candidate, _)| candidate.cmp(writer))
    }
}
