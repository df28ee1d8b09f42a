//! Versions whose local bytes were given up.

use stash_crypto::{Address, NameId, Record, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::error::{LedgerError, at};
use crate::ledger::read::{decode, records_of, whole};
use crate::ledger::rows;

/// Notes that the local bytes of a name's version are given up, or (`None`) wanted again.
pub(crate) fn give_up(
    store: &Store,
    name: &NameId,
    version: Option<RecordHash>,
) -> Result<(), LedgerError> {
    let key = [rows::EVICTED, name.as_bytes()].concat();
    let value = version.map(|hash| *hash.as_bytes());
    if store.row(&key)?.as_deref() != value.as_ref().map(<[u8; 32]>::as_slice) {
        // An eviction begins with it, and gives room back.
        let batch = Batch::new().row(&key, value.as_ref().map(<[u8; 32]>::as_slice));
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// The row that says that the local bytes of this record are given up, if they are.
pub(crate) fn given_up_row(
    store: &Store,
    hash: &RecordHash,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let Some(record) = whole(store, hash)? else {
        return Ok(None);
    };
    let row = [rows::EVICTED, record.clear().name.as_bytes()].concat();
    Ok(is_given_up(store, &record)?.then_some(row))
}

/// True if the local bytes of this version are given up.
pub(crate) fn is_given_up(store: &Store, record: &Record) -> Result<bool, ReadError> {
    let given_up = store.row(&[rows::EVICTED, record.clear().name.as_bytes()].concat())?;
    Ok(given_up.as_deref() == Some(record.hash().as_bytes().as_slice()))
}

/// True if a current version whose local bytes are not given up uses this chunk.
pub(crate) fn in_use(store: &Store, address: &Address) -> Result<bool, LedgerError> {
    for hash in store.referrers(&at(address))? {
        let Some(stored) = store.record(&hash)? else {
            continue;
        };
        let record = decode(&stored)?;
        if is_given_up(store, &record)? {
            continue;
        }
        let held = records_of(store, &record.clear().name)?;
        if stash_crypto::record::leaves(&held).iter().any(|leaf| leaf.hash() == record.hash()) {
            return Ok(true);
        }
    }
    Ok(false)
}
