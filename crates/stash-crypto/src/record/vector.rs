//! Dots and vectors: versions without clocks.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::codec::{Reader, Truncated};
use crate::ids::{Incarnation, NodeId};

/// Most entries in one vector. It bounds a record, and with it what a peer can make others keep.
pub const MAX_SEEN: usize = 64;
/// Greatest number of a record: leaves the top bit free, so that counting can never wrap.
pub const N_MAX: u64 = (1 << 63) - 1;

/// A node in one incarnation. Each writer numbers its own records from 1.
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

/// The name of a record: its writer and its number. Two records under one dot are equivocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The writer of the record.
    pub writer: Writer,
    /// The number that the writer gave it, from 1 to [`N_MAX`].
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

/// A set of records: of some writers all records up to a number, of some nodes all records. At most
/// [`MAX_SEEN`] writers and nodes together, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vector {
    writers: Vec<(Writer, u64)>,
    nodes: Vec<(NodeId, u64)>,
}

impl Vector {
    /// Includes nothing.
    pub const fn new() -> Self {
        Self { writers: Vec::new(), nodes: Vec::new() }
    }

    /// The greatest included number of this writer, 0 for none.
    pub fn get(&self, writer: &Writer) -> u64 {
        if self.has_node(&writer.node) {
            return N_MAX;
        }
        self.find(writer).map_or(0, |at| self.writers[at].1)
    }

    /// Includes a dot and all before it of the same writer. A dot with number 0 is nothing.
    pub fn insert(&mut self, dot: Dot) -> Result<(), SeenFull> {
        match self.find(&dot.writer) {
            _ if self.has_node(&dot.writer.node) => {}
            Ok(at) => self.writers[at].1 = self.writers[at].1.max(dot.n),
            Err(_) if dot.n == 0 => {}
            Err(_) if self.len() == MAX_SEEN => return Err(SeenFull),
            Err(at) => self.writers.insert(at, (dot.writer, dot.n)),
        }
        Ok(())
    }

    /// Includes all records of a node that the member log removed with its entry `removed_at`. No
    /// other records of it count ever again, so that these are finitely many.
    pub fn insert_node(&mut self, node: NodeId, removed_at: u64) -> Result<(), SeenFull> {
        let Err(at) = self.nodes.binary_search_by_key(&node, |(named, _)| *named) else {
            return Ok(());
        };
        let other = |(writer, _): &&(Writer, u64)| writer.node != node;
        if self.writers.iter().filter(other).count() + self.nodes.len() == MAX_SEEN {
            return Err(SeenFull);
        }
        self.writers.retain(|(writer, _)| writer.node != node);
        self.nodes.insert(at, (node, removed_at));
        Ok(())
    }

    /// Includes all that `other` includes, or nothing if that does not fit.
    pub fn join(&mut self, other: &Vector) -> Result<(), SeenFull> {
        let mut joined = self.clone();
        other.nodes().try_for_each(|(node, at)| joined.insert_node(node, at))?;
        other.iter().try_for_each(|dot| joined.insert(dot))?;
        *self = joined;
        Ok(())
    }

    /// True if the dot is included.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.get(&dot.writer) >= dot.n
    }

    /// True if everything that `other` includes is included.
    pub fn includes(&self, other: &Vector) -> bool {
        other.nodes().all(|(node, _)| self.has_node(&node))
            && other.iter().all(|dot| self.covers(&dot))
    }

    /// The greatest dot of each writer, sorted by writer. Those of nodes of which everything is
    /// included are not among them.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.writers.iter().map(|&(writer, n)| Dot { writer, n })
    }

    /// The nodes of which everything is included, sorted, with the index of the entry that removed
    /// each.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.nodes.iter().copied()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.writers.len() + self.nodes.len()
    }

    /// True if nothing is included.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an entry only if it keeps the order; for decoding.
    pub(crate) fn push_sorted(&mut self, dot: Dot) -> bool {
        let sorted = self.writers.last().is_none_or(|(last, _)| *last < dot.writer);
        if sorted {
            self.writers.push((dot.writer, dot.n));
        }
        sorted
    }

    /// Appends a node only if it keeps the order and no writer of it is named; for decoding.
    pub(crate) fn push_node_sorted(&mut self, node: NodeId, removed_at: u64) -> bool {
        let sorted = self.nodes.last().is_none_or(|(last, _)| *last < node);
        let fits = sorted && self.writers.iter().all(|(writer, _)| writer.node != node);
        if fits {
            self.nodes.push((node, removed_at));
        }
        fits
    }

    fn has_node(&self, node: &NodeId) -> bool {
        self.nodes.binary_search_by_key(node, |(named, _)| *named).is_ok()
    }

    fn find(&self, writer: &Writer) -> Result<usize, usize> {
        self.writers.binary_search_by(|(candidate, _)| candidate.cmp(writer))
    }
}

/// The union of several vectors, without the limit of one. It has no encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    writers: BTreeMap<Writer, u64>,
    nodes: BTreeMap<NodeId, u64>,
}

impl Reached {
    /// Includes a dot and all before it of the same writer. A dot with number 0 is nothing.
    pub fn insert(&mut self, dot: Dot) {
        if dot.n > 0 && !self.nodes.contains_key(&dot.writer.node) {
            let n = self.writers.entry(dot.writer).or_default();
            *n = dot.n.max(*n);
        }
    }

    /// Includes all records of a node that the member log removed with its entry `removed_at`.
    pub fn insert_node(&mut self, node: NodeId, removed_at: u64) {
        self.writers.retain(|writer, _| writer.node != node);
        self.nodes.insert(node, removed_at);
    }

    /// Includes all that a vector includes.
    pub fn join(&mut self, vector: &Vector) {
        vector.nodes().for_each(|(node, at)| self.insert_node(node, at));
        vector.iter().for_each(|dot| self.insert(dot));
    }

    /// Leaves out the writers that the caller does not keep.
    pub fn retain(&mut self, keep: impl Fn(&Writer) -> bool) {
        self.writers.retain(|writer, _| keep(writer));
    }

    /// The writers that are named one by one.
    pub fn writers(&self) -> impl Iterator<Item = &Writer> + '_ {
        self.writers.keys()
    }

    /// True if the dot is included.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.nodes.contains_key(&dot.writer.node)
            || self.writers.get(&dot.writer).is_some_and(|n| *n >= dot.n)
    }

    /// True if everything that a vector includes is included.
    pub fn includes(&self, vector: &Vector) -> bool {
        vector.nodes().all(|(node, _)| self.nodes.contains_key(&node))
            && vector.iter().all(|dot| self.covers(&dot))
    }

    /// The same as a vector.
    ///
    /// # Errors
    ///
    /// [`SeenFull`]: one cannot name so many.
    pub fn vector(&self) -> Result<Vector, SeenFull> {
        if self.writers.len() + self.nodes.len() > MAX_SEEN {
            return Err(SeenFull);
        }
        let writers = self.writers.iter().map(|(writer, n)| (*writer, *n)).collect();
        let nodes = self.nodes.iter().map(|(node, at)| (*node, *at)).collect();
        Ok(Vector { writers, nodes })
    }
}
