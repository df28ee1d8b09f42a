//! Finding out in which records a member has something else than is believed of it here.

use std::sync::Arc;

use stash_crypto::{NodeId, RecordHash};
use stash_p2p::Peer;
use stash_store::{ReadError, Store};

use crate::message::{HOLDING_PAGE, Holding};
use crate::replication::reconcile::{Subject, compare_parts, differing_parts};
use crate::replication::{Replication, difference};
use crate::rounds::Rounds;
use crate::rpc::AskError;
use crate::transfer::{holders, lacking};

/// Compares all that is believed of a member with what is whole there, believes what it says, and tells it what it
/// lacks. Returns of how many records something else was believed.
pub(crate) async fn compare_all(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
) -> Result<u64, AskError> {
    let subject = Subject::Whole(node);
    let parts = differing_parts(replication, peer, subject).await?;
    let size = difference::told(parts.len());
    let (mut rest, mut rounds, mut corrected) = (&parts[..], Rounds::default(), 0);
    while !rest.is_empty() {
        let page = &rest[..rest.len().min(difference::SMALL)];
        let told = compare_parts(replication, peer, page, size, subject).await?;
        rest = &rest[told.parts..];
        let is_over = !rounds.answer(told.taught(page));
        let mut not_there = told.difference.here;
        replication.transfer.in_flight.strike(&node, &mut not_there);
        corrected += not_whole(replication, node, peer, &not_there).await?;
        corrected += whole(replication, node, told.difference.there).await?;
        if is_over {
            let error = "it tells too little at a time of what is whole there";
            return Err(AskError::Protocol(error.to_owned()));
        }
    }
    Ok(corrected)
}

/// Asks a member what it has of records that it has not whole.
async fn not_whole(
    replication: &Arc<Replication>,
    node: NodeId,
    peer: &Peer,
    records: &[RecordHash],
) -> Result<u64, AskError> {
    let mut corrected = 0;
    for page in records.chunks(HOLDING_PAGE) {
        let states = holders::there(peer, page).await?;
        let states: Vec<(RecordHash, Holding)> = page.iter().copied().zip(states).collect();
        let of = |is: fn(Holding) -> bool| states.iter().filter(move |(_, state)| is(*state));
        corrected += of(|state| state != Holding::Whole).count() as u64;
        let lacking: Vec<RecordHash> = of(Holding::is_lacking).map(|(hash, _)| *hash).collect();
        if !lacking.is_empty() {
            holders::tell(peer, &lacking).await;
        }
        lacking::note(&replication.transfer, node, states).await?;
    }
    Ok(corrected)
}

/// Believes that a member has records whole, of which it told the first bytes of the hashes.
async fn whole(
    replication: &Arc<Replication>,
    node: NodeId,
    told: Vec<Vec<u8>>,
) -> Result<u64, AskError> {
    let find = move |store: &Store| {
        let mut found = Vec::new();
        for begin in told {
            let mut take = |hash: &[u8; 32]| found.push(RecordHash::from_bytes(*hash));
            store.record_hashes_under(&begin, &mut take)?;
        }
        Ok::<_, ReadError>(found)
    };
    // What is not held here is no business of this comparison.
    let held = replication.core.disk.run(find).await?;
    let corrected = held.len() as u64;
    let states = held.into_iter().map(|hash| (hash, Holding::Whole)).collect();
    lacking::note(&replication.transfer, node, states).await?;
    Ok(corrected)
}
