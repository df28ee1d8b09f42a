//! The outcome of an eviction.

use std::collections::BTreeSet;
use std::fmt;

use stash_crypto::{NodeId, RecordHash};

use crate::ledger::LedgerError;

/// Work that an eviction did.
#[derive(Clone, Debug, Default)]
pub struct Evicted {
    /// Chunks dropped.
    pub chunks: u64,
    /// Sealed bytes dropped.
    pub bytes: u64,
    /// Members that proved them.
    pub proven_by: BTreeSet<NodeId>,
}

impl Evicted {
    pub(crate) fn add(&mut self, other: Evicted) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.proven_by.extend(other.proven_by);
    }
}

/// An eviction did not come to its end. What was dropped before stays dropped, and is proven; every
/// other byte is still here.
#[derive(Debug)]
pub struct EvictError {
    /// Work that it did before it stopped.
    pub done: Box<Evicted>,
    /// The reason why it stopped.
    pub why: EvictStop,
}

impl From<LedgerError> for EvictError {
    fn from(error: LedgerError) -> EvictError {
        EvictError { done: Box::default(), why: error.into() }
    }
}

impl fmt::Display for EvictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for EvictError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.why.source()
    }
}

/// Reason why an eviction stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvictStop {
    /// Too few other members proved that they have every chunk, and will keep it.
    #[error("{} proven that {} the bytes{}", few(*.copies), have(*.copies), answers(.asked))]
    NotProven {
        /// Other members that had to prove it.
        copies: u64,
        /// The members that are connected, and their answers; or why they were not asked.
        asked: Vec<(NodeId, String)>,
    },
    /// A record that uses the same bytes came while others were asked. They may be evicted again.
    #[error("a file with the same bytes was stored meanwhile")]
    Named {
        /// The record.
        by: RecordHash,
    },
    /// An eviction of the same bytes is under way.
    #[error("the same bytes are being evicted already")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn few(copies: u64) -> String {
    match copies {
        1 => "no other member has".to_owned(),
        copies => format!("fewer than {copies} other members have"),
    }
}

fn have(copies: u64) -> &'static str {
    if copies == 1 { "it has" } else { "they have" }
}

fn answers(asked: &[(NodeId, String)]) -> String {
    if asked.is_empty() {
        return ": none is connected".to_owned();
    }
    let one = |(node, answer): &(NodeId, String)| format!("{}: {answer}", node.short());
    format!(" ({})", asked.iter().map(one).collect::<Vec<_>>().join(", "))
}
