//! Rows that say how far this node has come in the orders of others, and what it still lacks.

use stash_store::{Batch, ReadError, Store};

use crate::ledger::cursor::Cursor;
use crate::ledger::error::LedgerError;
use crate::ledger::rows;

/// The store may not be the one that this node had: what it holds is compared with others before it
/// is called synchronised again.
pub(crate) fn doubt(store: &Store) -> Result<(), LedgerError> {
    store.commit(with_doubt(store, Batch::new())?.even_if_full())?;
    Ok(())
}

/// The same as a part of a batch.
pub(crate) fn with_doubt(store: &Store, batch: Batch) -> Result<Batch, LedgerError> {
    let strike = |batch: Batch, (key, _): &(Vec<u8>, Vec<u8>)| batch.row(key, None);
    Ok(store.rows(rows::CURSOR)?.iter().fold(batch.row(rows::COMPLETE, None), strike))
}

/// True once a full exchange of records has ended in a store.
pub(crate) fn is_complete(store: &Store) -> bool {
    matches!(store.row(rows::COMPLETE), Ok(Some(_)))
}

pub(crate) fn encode(cursor: &Cursor) -> Vec<u8> {
    [&cursor.log[..], &cursor.after.to_le_bytes()].concat()
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (log, after) = bytes.split_first_chunk::<16>()?;
    Some(Cursor { log: *log, after: u64::from_le_bytes(after.try_into().ok()?) })
}

/// Wanted records that a status counts.
const COUNTED: usize = 10_000;

/// Number of records that lack chunks here; at most 10,000 are counted.
pub(crate) fn count_wanted(store: &Store) -> Result<u64, ReadError> {
    Ok(store.rows_after(rows::WANT, &[], COUNTED)?.len() as u64)
}
