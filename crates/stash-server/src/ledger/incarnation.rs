//! The writers that this node has been, as its store remembers them.
//!
//! A copy of the whole directory that is put back remembers what was so when the copy was made, and
//! nothing of what came after. So nothing here is taken for what others know, only for what this
//! life of the node has done itself.

use std::collections::BTreeSet;

use stash_crypto::{Incarnation, NodeId, RecordHash, Writer};
use stash_p2p::Environment;
use stash_store::{Batch, ReadError, Store};

use crate::ledger::alarms::one_more;
use crate::ledger::error::LedgerError;
use crate::ledger::rows;

/// The incarnation that the store remembers as the current one.
pub(crate) fn current(store: &Store, node: NodeId) -> Result<Option<Writer>, ReadError> {
    let kept = store.row(rows::INCARNATION)?.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
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
    let batch =
        batch.row(rows::INCARNATION, Some(&bytes)).row(&rows::own_incarnation(&writer), Some(&[]));
    store.commit(batch.row(rows::AGREED, Some(&encode(&writer, 0, false))))?;
    Ok(writer)
}

/// The incarnations of this life of the node.
pub(crate) fn own(store: &Store) -> Result<BTreeSet<Writer>, ReadError> {
    let writer = |(key, _): (Vec<u8>, Vec<u8>)| {
        Some(Writer::from_bytes(key.strip_prefix(rows::OWN_INCARNATION)?.try_into().ok()?))
    };
    Ok(store.rows(rows::OWN_INCARNATION)?.into_iter().filter_map(writer).collect())
}

/// True if the incarnation is one of this life of the node.
pub(crate) fn is_own(store: &Store, writer: &Writer) -> Result<bool, ReadError> {
    Ok(store.row(&rows::own_incarnation(writer))?.is_some())
}

/// The last number of the current incarnation that certainly means the same in all lives, when the
/// store has just been opened and holds `n` as the last number. The store may be a copy that was
/// put back. If it has met nobody since it was opened before, it may have been put back twice, and
/// what it wrote in between is nowhere: then it is at most the number that was noted before.
pub(crate) fn agreed(store: &Store, writer: &Writer, n: u64) -> Result<u64, ReadError> {
    let noted = store.row(rows::AGREED)?.and_then(|row| decode(&row, writer));
    Ok(match noted {
        Some((agreed, false)) => agreed.min(n),
        _ => n,
    })
}

/// [`agreed`], kept until all records have been exchanged with a member.
pub(crate) fn opened(store: &Store, writer: &Writer, n: u64) -> Result<u64, LedgerError> {
    let agreed = agreed(store, writer, n)?;
    let noted = store.row(rows::AGREED)?.and_then(|row| decode(&row, writer));
    if noted != Some((agreed, false)) || !is_own(store, writer)? {
        let batch = Batch::new().row(rows::AGREED, Some(&encode(writer, agreed, false)));
        if let Err(error) =
            store.commit(batch.row(&rows::own_incarnation(writer), Some(&[])).even_if_full())
        {
            // It takes no records either, so that no two lives can part.
            tracing::warn!(%error, "that the store was opened could not be noted");
        }
    }
    Ok(agreed)
}

/// Notes that this node has exchanged all records with a member. Whatever another life had told
/// that member has come here, and would have ended this incarnation.
pub(crate) fn met(store: &Store, writer: &Writer, opened: u64) -> Result<(), LedgerError> {
    let batch = Batch::new().row(rows::AGREED, Some(&encode(writer, opened, true)));
    store.commit(batch.even_if_full())?;
    Ok(())
}

fn encode(writer: &Writer, n: u64, met: bool) -> Vec<u8> {
    [&writer.to_bytes()[..], &n.to_le_bytes(), &[u8::from(met)]].concat()
}

fn decode(row: &[u8], writer: &Writer) -> Option<(u64, bool)> {
    let rest = row.strip_prefix(&writer.to_bytes()[..])?;
    let (n, met) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*n), met == [1]))
}

/// A writer that was given up because its numbers were used elsewhere, or may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) writer: Writer,
    /// Its last number here.
    pub(crate) n: u64,
    /// The hash of that record; zeros if there is none, or if this store knows nothing of any life
    /// of it.
    pub(crate) hash: RecordHash,
    /// The last number that certainly means the same in all lives of this node.
    pub(crate) opened: u64,
    /// The last record of this store when it was given up: what is held of the writer up to there
    /// is of this life, and nothing that came later is.
    pub(crate) sequence: u64,
    /// True if a record has shown another life. False if it was given up only because the store may
    /// not be the one that the node had left.
    pub(crate) is_shown: bool,
}

impl Past {
    /// A writer that this store does not remember, with the lowest and the highest number under
    /// which two records came: the store that either life wrote to was lost.
    pub(crate) fn unknown(writer: Writer, (first, last): (u64, u64), sequence: u64) -> Past {
        let hash = RecordHash::from_bytes([0; 32]);
        Past { writer, n: last, hash, opened: first - 1, sequence, is_shown: true }
    }

    /// True if nothing tells which of its records are of which life.
    pub(crate) fn is_unknown(&self) -> bool {
        self.n > 0 && self.hash == RecordHash::from_bytes([0; 32])
    }
}

/// The row of a past incarnation.
pub(crate) fn remember(batch: Batch, past: &Past) -> Batch {
    let Past { writer, n, hash, opened, sequence, is_shown } = past;
    let numbers = [opened.to_le_bytes(), sequence.to_le_bytes()].concat();
    let unshown: &[u8] = if *is_shown { &[] } else { &[0] };
    let value = [&n.to_le_bytes()[..], hash.as_bytes(), &numbers, unshown].concat();
    batch.row(&[rows::PAST_INCARNATION, &writer.to_bytes()].concat(), Some(&value))
}

/// The row of a past incarnation whose numbers were used elsewhere, and the alarm that goes with
/// it.
pub(crate) fn note(store: &Store, batch: Batch, past: &Past) -> Result<Batch, ReadError> {
    one_more(
        store,
        remember(batch, past),
        b"restored/",
        &past.writer.to_bytes(),
        "this node's numbers were used by another life of it: it was brought back from a copy, or a \
         second machine runs with its keys. If one does, stop it for good: it needs a ticket of its own",
    )
}

pub(crate) fn pasts(store: &Store) -> Result<Vec<Past>, ReadError> {
    let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
        let writer = Writer::from_bytes(key.strip_prefix(rows::PAST_INCARNATION)?.try_into().ok()?);
        let (n, rest) = value.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (opened, rest) = rest.split_first_chunk::<8>()?;
        let (sequence, unshown) = rest.split_first_chunk::<8>()?;
        Some(Past {
            writer,
            n: u64::from_le_bytes(*n),
            hash: RecordHash::from_bytes(*hash),
            opened: u64::from_le_bytes(*opened),
            sequence: u64::from_le_bytes(*sequence),
            is_shown: unshown.is_empty(),
        })
    };
    Ok(store.rows(rows::PAST_INCARNATION)?.into_iter().filter_map(decode).collect())
}
