//! The state of a record at a node: asked of others, and answered.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::Store;

use crate::ledger::{LedgerError, Named};
use crate::message::{HOLDING_PAGE, Holding, Refusal, Reply, Request, refused, unable};
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::Transfer;
use crate::{ledger, message};

/// State of a record here. Blocking.
pub(crate) fn here(store: &Store, hash: &RecordHash) -> Result<Holding, LedgerError> {
    let Some(record) = ledger::whole(store, hash)? else {
        return Ok(Holding::Absent);
    };
    if is_whole(store, &record)? {
        return Ok(Holding::Whole);
    }
    Ok(match ledger::is_given_up(store, &record)? {
        true => Holding::GivenUp,
        false => Holding::Incomplete,
    })
}

/// States of records here, for a look-up each; `None` while the store does not know which of its records are whole.
/// Blocking.
pub(crate) fn known(
    store: &Store,
    hashes: &[RecordHash],
) -> Result<Option<Vec<Holding>>, LedgerError> {
    let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
    let held = store.has_records(&raw)?;
    let Some(lacking) = store.are_lacking(&raw)? else {
        return Ok(None);
    };
    let state = |((hash, held), lacks): ((&RecordHash, bool), bool)| match (held, lacks) {
        (false, _) => Ok(Holding::Absent),
        (true, false) => Ok(Holding::Whole),
        (true, true) => here(store, hash),
    };
    let states = hashes.iter().zip(held).zip(lacking).map(state);
    states.collect::<Result<_, LedgerError>>().map(Some)
}

/// True if every chunk of a record is here. The store knows, but while it follows changes of chunks to the records
/// that name them.
fn is_whole(store: &Store, record: &Record) -> Result<bool, LedgerError> {
    match store.are_lacking(&[*record.hash().as_bytes()])?.as_deref() {
        Some([lacks]) => Ok(!lacks),
        _ => Ok(Named::of(store, &record.clear().manifest)?.missing.is_empty()),
    }
}

/// Asks a member how much of these records it has, at most [`HOLDING_PAGE`].
pub(crate) async fn there(peer: &Peer, hashes: &[RecordHash]) -> Result<Vec<Holding>, AskError> {
    let reply = ask(peer, &Request::Holding { hashes: message::pack_hashes(hashes) }).await?;
    let Reply::Holding { states } = reply else {
        return Err(unexpected(&reply));
    };
    let holdings: Option<Vec<_>> = states.iter().map(|byte| Holding::of_byte(*byte)).collect();
    let wrong = || AskError::Protocol("states of other records".to_owned());
    holdings.filter(|all| all.len() == hashes.len()).ok_or_else(wrong)
}

/// Tells a member what it lacks, as far as it will listen.
pub(crate) async fn tell(peer: &Peer, lacking: &[RecordHash]) {
    let request = Request::Lack { hashes: message::pack_hashes(lacking) };
    if let Err(error) = ask(peer, &request).await {
        tracing::debug!(peer = %peer.addr(), %error, "a member was not told what it lacks");
    }
}

/// Answers a member that asks how much of some records is here.
pub(crate) async fn answer(transfer: &Arc<Transfer>, member: NodeId, hashes: &[u8]) -> Reply {
    let hashes = match message::unpack_hashes(hashes) {
        Ok(hashes) if hashes.len() <= HOLDING_PAGE => hashes,
        Ok(_) => return refused(Refusal::Malformed, "more than 256 records"),
        Err(error) => return refused(Refusal::Malformed, &error.to_string()),
    };
    // A record of many chunks takes its time: members come in turn.
    let _turn = transfer.comparing.of(member).await;
    let look = move |store: &Store| {
        let states = match known(store, &hashes)? {
            Some(states) => states,
            None => hashes.iter().map(|hash| here(store, hash)).collect::<Result<_, _>>()?,
        };
        Ok(states.into_iter().map(|holding| holding as u8).collect::<Vec<u8>>())
    };
    match transfer.core.disk.run(look).await {
        Ok(states) => Reply::Holding { states: ByteBuf::from(states) },
        Err(LedgerError::Read(error)) => unable(&error),
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}
