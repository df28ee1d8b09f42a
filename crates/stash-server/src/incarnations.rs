//! The writers that this node has been, as its store remembers them.
//!
//! A copy of the whole directory that is put back remembers what was so when the copy was made, and
//! nothing of what came after. So nothing here is taken for what others know, only for what this life
//! of the node has done itself.

use std::collections::BTreeSet;

use stash_crypto::{Incarnation, NodeId, Writer};
use stash_p2p::Environment;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::{INCARNATION, LedgerError};

/// Store rows of the incarnations that this life of the node has begun, by writer; the value is empty.
const OWN: &[u8] = b"writer/own/";

/// The store row of how far the current incarnation's numbers certainly mean one record each: its
/// writer, the number (little-endian), and whether this node has exchanged all records with a member
/// since.
const AGREED: &[u8] = b"writer/agreed";

/// The incarnation that the store remembers as the current one.
pub(crate) fn current(store: &Store, node: NodeId) -> Result<Option<Writer>, ReadError> {
    let kept = store.row(INCARNATION)?.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    Ok(kept.map(|bytes| Writer { node, incarnation: Incarnation::from_bytes(bytes) }))
}

/// A new incarnation, durable before its first use, together with what the batch says.
pub(crate) fn begin(
    store: &Store,
    batch: Batch,
    node: NodeId,
    environment: &Environment,
) -> Result<Writer, LedgerError> {
    let mut bytes = [0; 8];
    environment.entropy.fill(&mut bytes);
    let writer = Writer { node, incarnation: Incarnation::from_bytes(bytes) };
    let batch = batch.row(INCARNATION, Some(&bytes)).row(&own_row(&writer), Some(&[]));
    store.commit(batch.row(AGREED, Some(&encode(&writer, 0, false))))?;
    Ok(writer)
}

/// The incarnations that this life of the node has begun.
pub(crate) fn own(store: &Store) -> Result<BTreeSet<Writer>, ReadError> {
    let writer = |(key, _): (Vec<u8>, Vec<u8>)| {
        Some(Writer::from_bytes(key.strip_prefix(OWN)?.try_into().ok()?))
    };
    Ok(store.rows(OWN)?.into_iter().filter_map(writer).collect())
}

/// Whether this life of the node began that incarnation.
pub(crate) fn is_own(store: &Store, writer: &Writer) -> Result<bool, ReadError> {
    Ok(store.row(&own_row(writer))?.is_some())
}

/// The last number of the current incarnation before which no two lives can have parted, if its last
/// number is `n` and the store has just been opened: it may be a copy, put back. One that has met
/// nobody since the last time may have been put back twice, and what it wrote in between is nowhere.
pub(crate) fn opened(store: &Store, writer: &Writer, n: u64) -> Result<u64, LedgerError> {
    let noted = store.row(AGREED)?.and_then(|row| decode(&row, writer));
    let agreed = match noted {
        Some((agreed, false)) => agreed.min(n),
        _ => n,
    };
    if noted != Some((agreed, false)) || !is_own(store, writer)? {
        let batch = Batch::new().row(AGREED, Some(&encode(writer, agreed, false)));
        if let Err(error) = store.commit(batch.row(&own_row(writer), Some(&[])).even_if_full()) {
            // It takes no records either, so that no two lives can part.
            tracing::warn!(%error, "that the store was opened could not be noted");
        }
    }
    Ok(agreed)
}

/// This node has exchanged all records with a member: whatever another life of it had told that member
/// has come here, and would have ended this incarnation.
pub(crate) fn met(store: &Store, writer: &Writer, opened: u64) -> Result<(), LedgerError> {
    let batch = Batch::new().row(AGREED, Some(&encode(writer, opened, true)));
    store.commit(batch.even_if_full())?;
    Ok(())
}

fn own_row(writer: &Writer) -> Vec<u8> {
    [OWN, &writer.to_bytes()[..]].concat()
}

fn encode(writer: &Writer, n: u64, met: bool) -> Vec<u8> {
    [&writer.to_bytes()[..], &n.to_le_bytes(), &[u8::from(met)]].concat()
}

fn decode(row: &[u8], writer: &Writer) -> Option<(u64, bool)> {
    let rest = row.strip_prefix(&writer.to_bytes()[..])?;
    let (n, met) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*n), met == [1]))
}
