//! What this node believes of the records that another member has whole: all that are held here, but for those that it is
//! known not to have.
//!
//! A member numbers the changes of what is whole there, and is asked for those since the last that were heard of. Whether that
//! left nothing out, two figures tell: what is believed and what the member says, number and sum. Only if they differ is it
//! found out where, as for the records themselves (`replication/difference.rs`).
//!
//! Until the figures have agreed, nothing is believed; and once they have, nothing of records that came here later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stash_crypto::member::RecordSum;
use stash_crypto::{NodeId, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, ReadError, Store};
use tokio::time::timeout;

use crate::ledger::{LedgerError, progress, rows, sums};
use crate::message::{Holding, Reply, Request, TURNED_PAGE};
use crate::replication::beliefs::Position;
use crate::replication::schedule::Compared;
use crate::replication::{Replication, apart};
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::lacking;

/// With so few records, finding out where two members differ costs next to nothing.
const FEW: u64 = 65_536;

/// A member that holds less than all but one part in so many of what is held here is catching up: it will say so of each
/// record, and until then it is not written down what it lacks.
const PART: u64 = 16;

/// Pages of changes that are read in a row: four times as many as a member remembers. The rest is read the next time.
const PAGES: usize = 64;

/// Bytes of a record and its state.
const STATE: usize = 33;

/// Longest wait until what is believed of connected members was compared with what they say.
const REFRESH: Duration = Duration::from_secs(60);

/// Has what is believed of connected members compared with what they say: of all, or of those of which it is not known
/// already what they have. Returns those of which it is known.
pub(crate) async fn refresh(replication: &Arc<Replication>, all: bool) -> BTreeSet<NodeId> {
    let one = |node: NodeId| async move {
        if !all && replication.beliefs.is_current(&node) {
            return Some(node);
        }
        let mut times = replication.beliefs.times(node);
        let before = *times.borrow_and_update();
        replication.core.peers.follower(&node)?.believe();
        let compared = times.wait_for(|times| times.tried > before.tried);
        let times = *timeout(REFRESH, compared).await.ok()?.ok()?;
        (times.agreed > before.agreed).then_some(node)
    };
    let copies = |(node, _): &(NodeId, Peer)| replication.core.keeps.keeps_all(node);
    let connected = replication.core.connected().into_iter().filter(copies);
    join_all(connected.map(|(node, _)| one(node))).await.into_iter().flatten().collect()
}

/// What a member said.
struct Said {
    /// The records that are whole there.
    whole: RecordSum,
    /// Changes that are not in these figures are behind it.
    position: Position,
    /// True if all changes up to there have been heard of.
    is_heard: bool,
}

/// Hears what has changed at a member since the last time.
async fn hear(replication: &Arc<Replication>, node: NodeId, peer: &Peer) -> Result<Said, AskError> {
    let mut pages = 0;
    loop {
        let known = replication.beliefs.position(&node);
        let Position { run, after } = known.unwrap_or_default();
        let reply = ask(peer, &Request::Turned { run, after }).await?;
        let Reply::Turned { known: is_known, records, run: next_run, last, n, sum } = reply else {
            return Err(unexpected(&reply));
        };
        let states = states(&records)?;
        let position = Position { run: next_run, after: last };
        let said = |is_heard| Said { whole: RecordSum { count: n, sum }, position, is_heard };
        if !is_known || known.is_none_or(|known| known.run != next_run || last < known.after) {
            replication.beliefs.set(node, None);
            return Ok(said(false));
        }
        lacking::note(&replication.transfer, node, states).await?;
        replication.beliefs.set(node, Some(position));
        // Less than a page was all.
        let is_all = records.len() < TURNED_PAGE * STATE;
        pages += 1;
        if is_all || pages >= PAGES {
            return Ok(said(is_all));
        }
    }
}

fn states(packed: &[u8]) -> Result<Vec<(RecordHash, Holding)>, AskError> {
    let (parts, rest) = packed.as_chunks();
    let state = |part: &[u8; STATE]| {
        let (state, hash) = part.split_last()?;
        Some((RecordHash::from_bytes(hash.try_into().ok()?), Holding::of_byte(*state)?))
    };
    let states: Option<Vec<_>> = parts.iter().map(state).collect();
    let wrong = || AskError::Protocol("no records with their states".to_owned());
    states.filter(|_| rest.is_empty()).ok_or_else(wrong)
}

/// Hears what has changed at a member, and compares what is believed of it with what it says. If they differ, and if it
/// `may_take_long`, finds out where.
pub(crate) async fn compare(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    may_take_long: bool,
) -> Result<Compared, AskError> {
    // What comes here later is not in what is compared.
    let before = replication.core.disk.store().last_sequence();
    let said = hear(replication, node, peer).await?;
    let mut is_same = is_believed(replication, node, said.whole).await?;
    if !is_same {
        replication.beliefs.doubt(node);
        if !may_take_long {
            return Ok(Compared::Differs);
        }
    }
    if !is_same && replication.transfer.under_replicated.some() {
        // Rows of records that went since are counted until now.
        lacking::count(&replication.transfer).await?;
        is_same = is_believed(replication, node, said.whole).await?;
    }
    let mut compared = Compared::Same;
    if !is_same {
        if !said.is_heard && is_catching_up(replication, said.whole.count) {
            return Ok(Compared::Unknown);
        }
        compared = Compared::Corrected(apart::compare_all(replication, node, peer).await?);
    }
    replication.beliefs.set(node, Some(said.position));
    if is_same || hear(replication, node, peer).await?.is_heard {
        agreed(replication, node, before).await?;
    }
    Ok(compared)
}

/// True if a member says that the records are whole there which it is believed to have whole. It may have those besides
/// that found no room here.
async fn is_believed(
    replication: &Arc<Replication>,
    node: NodeId,
    said: RecordSum,
) -> Result<bool, AskError> {
    let shared = Arc::clone(replication);
    let look = move |store: &Store| {
        let (held, refused) = shared.refused.with_totals(store)?;
        let (held, refused) = (sums::sum_of(held), sums::sum_of(refused));
        let not_whole = shared.transfer.under_replicated.of(&node);
        let believed = not_whole.map(|not_whole| sums::without(held, not_whole.all));
        Ok::<_, ReadError>(
            believed
                .is_some_and(|believed| said == believed || said == sums::with(believed, refused)),
        )
    };
    Ok(replication.core.disk.run(look).await?)
}

fn is_catching_up(replication: &Replication, whole: u64) -> bool {
    let held = sums::held(replication.core.disk.store()).count;
    held > FEW && whole < held - held / PART
}

/// Notes that it is known of every record up to a sequence number whether a member has it.
async fn agreed(
    replication: &Arc<Replication>,
    node: NodeId,
    sequence: u64,
) -> Result<(), LedgerError> {
    let row = rows::believed(&node);
    let value = progress::encode(&replication.stretches.cursor(sequence));
    let write = move |store: &Store| {
        if store.row(&row)?.as_ref() != Some(&value) {
            store.commit(Batch::new().row(&row, Some(&value)).even_if_full())?;
        }
        Ok::<_, LedgerError>(())
    };
    replication.core.disk.run(write).await?;
    replication.beliefs.agree(node);
    Ok(())
}
