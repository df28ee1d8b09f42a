//! Gathers records into commits: many small files share one sync and one message.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use stash_crypto::Record;
use stash_server::{Outcome, Write};

use super::error::PutError;
use super::session::{GROUP, Session};
use crate::operations::tally::Tally;
use crate::tags::TagIndex;

/// Commits under way at once: while one syncs, another is signed and a third is on the wire.
const COMMITS: usize = 6;

/// The records of one put on their way into the store and to other members.
pub(super) struct Batches {
    session: Arc<Session>,
    writes: Vec<Write>,
    unchanged: Vec<Record>,
    /// Records that were there already.
    resent: u64,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Outcome, PutError>>>,
    tally: Tally,
}

impl Batches {
    pub(super) fn new(session: Arc<Session>) -> Batches {
        Batches {
            session,
            writes: Vec::new(),
            unchanged: Vec::new(),
            resent: 0,
            under_way: FuturesUnordered::new(),
            tally: Tally::default(),
        }
    }

    /// Takes records to write, and records that need not be written again but are offered to
    /// members that may have missed them.
    pub(super) fn add(&mut self, writes: Vec<Write>, unchanged: Vec<Record>) {
        self.writes.extend(writes);
        self.unchanged.extend(unchanged);
    }

    /// Records that wait for a commit.
    pub(super) fn waiting(&self) -> usize {
        self.writes.len() + self.unchanged.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.under_way.is_empty()
    }

    /// Starts commits: full ones, and any at all when nothing else is under way or `rest` says
    /// that no more records will come.
    pub(super) fn launch(&mut self, rest: bool) {
        while self.under_way.len() < COMMITS {
            let any = rest || self.under_way.is_empty();
            if !self.writes.is_empty() && (any || self.writes.len() >= GROUP) {
                let rest = self.writes.split_off(self.writes.len().min(GROUP));
                let writes = std::mem::replace(&mut self.writes, rest);
                let session = Arc::clone(&self.session);
                self.under_way.push(Box::pin(async move {
                    Ok(session.upload.commit(writes).await?.wait().await)
                }));
            } else if !self.unchanged.is_empty() && (any || self.unchanged.len() >= GROUP) {
                let rest = self.unchanged.split_off(self.unchanged.len().min(GROUP));
                let records = std::mem::replace(&mut self.unchanged, rest);
                self.resent += records.len() as u64;
                let session = Arc::clone(&self.session);
                self.under_way.push(Box::pin(async move {
                    Ok(session.upload.resend(records).await?.wait().await)
                }));
            } else {
                return;
            }
        }
    }

    /// The next commit that ends; `None` when none is under way. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Result<(), PutError>> {
        let outcome = self.under_way.next().await?;
        Some(outcome.map(|outcome| {
            self.session.progress.finished(outcome.records.len() as u64);
            self.tally.add(outcome);
            // What was sealed for these records is in the cache of tags.
            self.session.inner.tags.iter().for_each(TagIndex::begin_merge);
        }))
    }

    /// The outcome of everything, and the number of records that were there already.
    pub(super) fn into_tally(self) -> (Tally, u64) {
        (self.tally, self.resent)
    }
}
