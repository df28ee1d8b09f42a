//! The commits of an operation that writes many names.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stash_server::Outcome;

use crate::operations::tally::Tally;

/// Commits under way at once: while the copies of some are awaited, the next is prepared.
const COMMITS: usize = 4;

/// Commits under way, and what became of those that have ended.
pub(crate) struct Commits<F> {
    under_way: FuturesUnordered<F>,
    tally: Tally,
}

impl<F, E> Commits<F>
where
    F: Future<Output = Result<Outcome, E>>,
{
    pub(crate) fn new() -> Commits<F> {
        Commits { under_way: FuturesUnordered::new(), tally: Tally::default() }
    }

    /// Takes a commit to its end beside the others; waits while too many are under way.
    pub(crate) async fn add(&mut self, commit: F) -> Result<(), E> {
        self.under_way.push(commit);
        while self.under_way.len() >= COMMITS
            && let Some(outcome) = self.under_way.next().await
        {
            self.tally.add(outcome?);
        }
        Ok(())
    }

    /// Waits for those that are left.
    pub(crate) async fn finish(mut self) -> Result<Tally, E> {
        while let Some(outcome) = self.under_way.next().await {
            self.tally.add(outcome?);
        }
        Ok(self.tally)
    }
}
