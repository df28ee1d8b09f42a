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

pub(crate) mod flag;
pub(crate) mod outcome;
pub(crate) mod page;
pub(crate) mod question;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use stash_crypto::Address;

use crate::transfer::Transfer;
use crate::transfer::evict::outcome::{EvictError, EvictStop, Evicted};
use crate::transfer::evict::page::Page;

/// Pages on their way at once: while one is being committed here, the next one is read there.
const UNDER_WAY: usize = 2;

/// Evicts those of `chunks` that are here and that records name, once `copies` other members, and one at
/// least, have proven each of them. What nothing names is for the next collection.
pub(crate) async fn evict(
    transfer: &Arc<Transfer>,
    chunks: Vec<Address>,
    copies: u64,
) -> Result<Evicted, EvictError> {
    let chunks: BTreeSet<Address> = chunks.into_iter().collect();
    let mut done = Evicted::default();
    let Some(flag) = transfer.evicting.raise(&chunks) else {
        return Err(EvictError { done: Box::default(), why: EvictStop::Busy });
    };
    let mut rest = &flag.chunks[..];
    let (mut under_way, mut stopped) = (FuturesUnordered::new(), None);
    loop {
        while under_way.len() < UNDER_WAY && !rest.is_empty() && stopped.is_none() {
            match Page::look(transfer, rest).await {
                Ok((page, taken)) => {
                    rest = &rest[taken..];
                    under_way.push(page.evict(transfer, &flag, copies.max(1)));
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
