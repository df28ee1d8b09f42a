//! Dropping local chunks that another member has proven to have, and to keep.
//!
//! Nobody holds anything for anybody. A copy stays because every member keeps the chunks of every
//! record that it has: the prover must have all records that name the chunk where the evictor is.
//! Three rules make that enough, whoever else evicts, forgets, puts or stops at the same moment
//! (decision 0031):
//!
//! - the evicting flag is raised before the first question, and who has it raised proves nothing;
//! - the commit that deletes looks again: no record outside of the question names the chunk;
//! - while the flag is raised, the bytes are not served to whoever is asked for them.
//!
//! A restart forgets the flag and so abandons.

mod page;
mod question;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::stream::{FuturesUnordered, StreamExt};
use stash_crypto::{Address, NodeId, RecordHash};

use crate::core::{Core, lock};
use crate::ledger::LedgerError;
use page::Page;
pub(crate) use question::answer;

/// Pages on their way at once: while one is being committed here, the next one is read there.
const UNDER_WAY: usize = 2;

/// What an eviction did.
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
    fn add(&mut self, other: Evicted) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.proven_by.extend(other.proven_by);
    }
}

/// An eviction did not come to its end. What was dropped before stays dropped, and is proven; every
/// other byte is still here.
#[derive(Debug)]
pub struct EvictError {
    /// How far it came.
    pub done: Box<Evicted>,
    /// Why it went no further.
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

/// Why an eviction stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvictStop {
    /// No other member proved that it has every chunk, and will keep it.
    #[error("no other member has proven that it has the bytes{}", answers(.asked))]
    NotProven {
        /// Who was asked, and what came of it.
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

fn answers(asked: &[(NodeId, String)]) -> String {
    if asked.is_empty() {
        return ": none is connected that is not in doubt".to_owned();
    }
    let one = |(node, answer): &(NodeId, String)| format!("{}: {answer}", node.short());
    format!(" ({})", asked.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Members that an eviction has asked.
type Asked = Mutex<BTreeSet<NodeId>>;

/// Chunks with the evicting flag raised.
#[derive(Debug, Default)]
pub(crate) struct Evicting(Mutex<BTreeMap<Address, Arc<Asked>>>);

impl Evicting {
    pub(crate) fn is_raised(&self, chunk: &Address) -> bool {
        lock(&self.0).contains_key(chunk)
    }

    /// True if this node is asked to prove that it has the chunk, and so must not get it from here.
    pub(crate) fn asks(&self, node: &NodeId, chunk: &Address) -> bool {
        let asked = lock(&self.0).get(chunk).cloned();
        asked.is_some_and(|asked| lock(&asked).contains(node))
    }
}

/// The evicting flag of some chunks; dropping it takes it down.
struct Flag {
    core: Arc<Core>,
    chunks: Vec<Address>,
    asked: Arc<Asked>,
}

impl Flag {
    fn raise(core: &Arc<Core>, chunks: &BTreeSet<Address>) -> Option<Flag> {
        let mut evicting = lock(&core.evicting.0);
        if chunks.iter().any(|chunk| evicting.contains_key(chunk)) {
            return None;
        }
        let asked = Arc::new(Asked::default());
        evicting.extend(chunks.iter().map(|chunk| (*chunk, Arc::clone(&asked))));
        let chunks = chunks.iter().copied().collect();
        Some(Flag { core: Arc::clone(core), chunks, asked })
    }

    /// From now on this node gets none of the chunks from here.
    fn asks(&self, node: NodeId) {
        lock(&self.asked).insert(node);
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        let mut evicting = lock(&self.core.evicting.0);
        self.chunks.iter().for_each(|chunk| {
            evicting.remove(chunk);
        });
    }
}

/// Evicts those of `chunks` that are here and that records name. What nothing names is for the next
/// collection.
pub(crate) async fn evict(core: &Arc<Core>, chunks: Vec<Address>) -> Result<Evicted, EvictError> {
    let chunks: BTreeSet<Address> = chunks.into_iter().collect();
    let mut done = Evicted::default();
    let Some(flag) = Flag::raise(core, &chunks) else {
        return Err(EvictError { done: Box::default(), why: EvictStop::Busy });
    };
    let mut rest = &flag.chunks[..];
    let (mut under_way, mut stopped) = (FuturesUnordered::new(), None);
    loop {
        while under_way.len() < UNDER_WAY && !rest.is_empty() && stopped.is_none() {
            match Page::look(core, rest).await {
                Ok((page, taken)) => {
                    rest = &rest[taken..];
                    under_way.push(page.evict(core, &flag));
                }
                Err(error) => stopped = Some(error.into()),
            }
        }
        match under_way.next().await {
            Some(Ok(more)) => done.add(more),
            Some(Err(why)) => {
                stopped.get_or_insert(why);
            }
            None => break,
        }
    }
    drop(under_way);
    match stopped {
        None => Ok(done),
        Some(why) => Err(EvictError { done: Box::new(done), why }),
    }
}
