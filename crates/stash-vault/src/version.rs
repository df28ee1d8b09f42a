//! What the records of one name say: the head, its siblings, and what has to be set aside. Pure.

use stash_crypto::{
    ForgetKind, Key, Meta, NameId, OpenError, Record, RecordHash, RecordKind, forgets, leaves,
};
use thiserror::Error;

use crate::keys::ReadKeys;

/// A record that is set aside: it counts for nothing and is never listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The record.
    pub record: RecordHash,
    /// The name it claims.
    pub name: NameId,
    /// What is wrong with it.
    pub reason: AlarmReason,
}

/// Why a record is set aside. Its author is at fault, or whoever gave it to this node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AlarmReason {
    /// Its sealed part does not open: it was sealed for another record, or with other keys.
    #[error("its sealed part does not open: {0}")]
    Sealed(#[from] OpenError),
    /// Its name id is not that of the key in its sealed part.
    #[error("its name id does not belong to the key that it seals")]
    WrongName,
    /// This node was not given the read keys of the record's epoch.
    #[error("this node has no read keys of epoch {epoch}")]
    UnknownEpoch {
        /// The epoch that the record names.
        epoch: u32,
    },
}

/// One version of a file that this node may read.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) record: Record,
    pub(crate) meta: Meta,
}

/// What the records of one name say together.
#[derive(Debug, Default)]
pub(crate) struct NameView {
    /// The head if it is a put; `None` when it is a tombstone or when there is no version.
    pub(crate) head: Option<Version>,
    /// The key, as any valid version states it.
    pub(crate) key: Option<Key>,
    /// Leaves beside the head.
    pub(crate) siblings: usize,
    /// Records that were set aside.
    pub(crate) alarms: Vec<Alarm>,
}

/// Opens the records of one name and finds its head.
pub(crate) fn view(keys: &ReadKeys, records: &[Record]) -> NameView {
    let mut view = NameView::default();
    let mut valid = Vec::with_capacity(records.len());
    for record in records.iter().filter(|record| !is_dead(record, records)) {
        match open(keys, record) {
            Ok(Some(meta)) => {
                view.key.get_or_insert_with(|| meta.key.clone());
                valid.push((record.clone(), meta));
            }
            Ok(None) => {}
            Err(reason) => {
                view.alarms.push(Alarm { record: record.hash(), name: record.clear().name, reason })
            }
        }
    }
    let versions: Vec<Record> = valid.iter().map(|(record, _)| record.clone()).collect();
    let leaves = leaves(&versions);
    view.siblings = leaves.len().saturating_sub(1);
    let head = leaves.first().filter(|head| head.clear().kind == RecordKind::Put);
    view.head = head.and_then(|head| {
        let hash = head.hash();
        let (record, meta) = valid.into_iter().find(|(record, _)| record.hash() == hash)?;
        Some(Version { record, meta })
    });
    view
}

fn is_dead(record: &Record, all: &[Record]) -> bool {
    all.iter().any(|other| {
        other.clear().kind == RecordKind::Forget(ForgetKind::Dead)
            && forgets(other.clear(), record.clear())
    })
}

/// Opens one record's meta and checks that it stands under its own name. `None` for forgets.
fn open(keys: &ReadKeys, record: &Record) -> Result<Option<Meta>, AlarmReason> {
    let clear = record.clear();
    if !clear.kind.is_version() {
        return Ok(None);
    }
    let epoch = clear.epoch;
    let epoch_keys = keys.epoch(epoch).ok_or(AlarmReason::UnknownEpoch { epoch })?;
    let meta = record.open_meta(&epoch_keys.meta)?;
    if keys.name_id(&meta.key) != clear.name {
        return Err(AlarmReason::WrongName);
    }
    Ok(Some(meta))
}

#[cfg(test)]
mod tests;
