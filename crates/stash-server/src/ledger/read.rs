//! Reading the records that are held.

use std::collections::BTreeSet;
use std::sync::Arc;

use stash_crypto::{Dot, NameId, Record, RecordHash, Writer};
use stash_store::{DamagedRecord, ReadError, Store, StoredRecord};

use crate::ledger::error::LedgerError;
use crate::ledger::rows;

/// The records held of one name. One that is damaged, and that another one covers, says nothing any
/// more, and is left out.
pub(crate) fn records_of(store: &Store, name: &NameId) -> Result<Vec<Record>, LedgerError> {
    let Held { whole, damaged } = held(store, name)?;
    let covered = |dot: &Dot| whole.iter().any(|record| record.clear().seen.covers(dot));
    match damaged.into_iter().find(|(dot, _)| !covered(dot)) {
        None => Ok(whole),
        Some((_, DamagedRecord { hash, what, .. })) => {
            Err(ReadError::RecordDamaged { hash, what }.into())
        }
    }
}

/// The records held of a name.
pub(crate) struct Held {
    pub whole: Vec<Record>,
    /// Versions whose entries are damaged, with their dots. A damaged forget is not among them:
    /// what it forgets has gone, and it is kept until a good copy takes its place, or a larger
    /// forget.
    pub damaged: Vec<(Dot, DamagedRecord)>,
}

pub(crate) fn held(store: &Store, name: &NameId) -> Result<Held, LedgerError> {
    let (stored, broken) = match store.records_of(name.as_bytes()) {
        Err(ReadError::RecordDamaged { .. }) => store.records_of_and_damaged(name.as_bytes())?,
        stored => (stored?, Vec::new()),
    };
    let whole: Result<_, _> = stored.iter().map(decode).collect();
    let mut damaged = Vec::with_capacity(broken.len());
    for one in broken {
        if store.row(&rows::forget(&one.hash))?.is_none() {
            let dot = Dot { writer: Writer::from_bytes(&one.writer), n: one.n };
            damaged.push((dot, one));
        }
    }
    Ok(Held { whole: whole?, damaged })
}

/// The record as it is in memory already: its bytes are shared.
pub(crate) fn decode(stored: &StoredRecord) -> Result<Record, LedgerError> {
    let damaged = |reason: String| LedgerError::Damaged { sequence: stored.sequence, reason };
    Record::decode_shared(Arc::clone(&stored.bytes)).map_err(|error| damaged(error.to_string()))
}

/// A record that is held and can be read: a damaged one is as good as none until its good copy
/// comes.
pub(crate) fn whole(store: &Store, hash: &RecordHash) -> Result<Option<Record>, LedgerError> {
    match store.record(hash.as_bytes()) {
        Ok(Some(stored)) => Ok(Some(decode(&stored)?)),
        Ok(None) | Err(ReadError::RecordDamaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn names_of(records: &[Record]) -> BTreeSet<NameId> {
    records.iter().map(|record| record.clear().name).collect()
}

/// True if a record is here whole. A damaged one counts as absent: a good copy replaces it.
pub(crate) fn is_stored(store: &Store, hash: &RecordHash) -> Result<bool, ReadError> {
    match store.record(hash.as_bytes()) {
        Ok(stored) => Ok(stored.is_some()),
        Err(ReadError::RecordDamaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
