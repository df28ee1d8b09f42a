//! Asking a member, step by step, about the records that it was known to lack.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use stash_crypto::NodeId;
use stash_p2p::Peer;
use tokio::time::Instant;

use crate::message::HOLDING_PAGE;
use crate::replication::Replication;
use crate::rpc::AskError;
use crate::transfer::holders;
use crate::transfer::lacking::{Lacked, QUESTIONS, strike};

/// Rest after a question, in times that it took, when the member lacks most of what it was asked
/// about: it looks up every chunk, and will be asked again.
const REST: u32 = 10;

/// Asks a member about the records that it is known to lack: those that it has by now are struck
/// out, and it is told of the rest. Each step is short, so that other work with the member need not
/// wait for it.
#[derive(Debug)]
pub(crate) struct Settling {
    lacked: Lacked,
    /// Questions of the next step.
    questions: usize,
}

impl Settling {
    pub(crate) fn with(node: NodeId) -> Settling {
        Settling { lacked: Lacked::by(BTreeSet::from([node])), questions: 1 }
    }

    /// Asks about some. Returns the rest until the next step; `None` if the member was asked about
    /// all.
    pub(crate) async fn step(
        &mut self,
        replication: &Arc<Replication>,
        peer: &Peer,
    ) -> Result<Option<Duration>, AskError> {
        let begun = Instant::now();
        let page = self.lacked.next(&replication.transfer, self.questions * HOLDING_PAGE).await?;
        let Some(page) = page else {
            return Ok(None);
        };
        let asked = page.chunks(HOLDING_PAGE).map(|some| holders::there(peer, some));
        let states = try_join_all(asked).await?.concat();
        let split = |wanted: bool| {
            let pairs =
                page.iter().zip(&states).filter(move |(_, state)| state.is_lacking() == wanted);
            pairs.map(|(hash, _)| *hash).collect::<Vec<_>>()
        };
        let lacking = split(true);
        strike(&replication.transfer, &self.lacked.nodes, split(false)).await?;
        if !lacking.is_empty() {
            holders::tell(peer, &lacking).await;
        }
        Ok(Some(self.rest(page.len(), lacking.len(), begun.elapsed())))
    }

    /// The rest after a step. A record that is struck out is never asked about again, so such
    /// questions may take half of the time; others may have to be asked many times.
    fn rest(&mut self, asked: usize, lacking: usize, took: Duration) -> Duration {
        if lacking * 2 > asked {
            self.questions = 1;
            return took * REST;
        }
        self.questions = (self.questions * 2).min(QUESTIONS);
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_grow_while_a_member_has_most_and_are_few_and_rare_while_it_lacks_most() {
        let took = Duration::from_millis(20);
        let mut settling = Settling::with(NodeId::from_bytes([1; 32]));
        let mut rest = |asked, lacking| (settling.rest(asked, lacking, took), settling.questions);
        assert_eq!(rest(HOLDING_PAGE, 0), (took, 2));
        assert_eq!(rest(2 * HOLDING_PAGE, HOLDING_PAGE), (took, 4));
        assert_eq!(rest(4 * HOLDING_PAGE, 2 * HOLDING_PAGE + 1), (took * REST, 1));
        for questions in [2, 4, 8, QUESTIONS, QUESTIONS] {
            assert_eq!(rest(HOLDING_PAGE, 1), (took, questions));
        }
        assert_eq!(rest(0, 0), (took, QUESTIONS), "what others lack is passed over quickly");
    }
}
