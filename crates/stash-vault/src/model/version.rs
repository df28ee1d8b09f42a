//! The view that the records of one name give: the head, its siblings, and what has to be set aside. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use stash_crypto::record::{FileType, OpenMetaError, Reached, forgets, head, leaves};
use stash_crypto::{ForgetKind, Key, Meta, NameId, Record, RecordHash, RecordKind};
use thiserror::Error;

use crate::model::keys::ReadKeys;

/// The place of a file's content: on this node or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// All of it.
    Local,
    /// Some of its chunks.
    Partial,
    /// None of it: a get fetches it from other members.
    Evicted,
    /// Its record is damaged here, and whole on no member that could be asked: what is shown is
    /// what the index of names has noted.
    Damaged,
}

impl Here {
    /// The word for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Here::Local => "local",
            Here::Partial => "partial",
            Here::Evicted => "evicted",
            Here::Damaged => "damaged",
        }
    }
}

/// A record that is set aside: it counts for nothing and is never listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The record.
    pub record: RecordHash,
    /// The name it claims.
    pub name: NameId,
    /// The fault.
    pub reason: AlarmReason,
}

/// Why a record is set aside. Its author is at fault, or whoever gave it to this node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AlarmReason {
    /// Its sealed part does not open: it was sealed for another record, or with other keys.
    #[error("its sealed part does not open: {0}")]
    Sealed(#[from] OpenMetaError),
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

/// Where a version stands among the versions of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is what the name shows: the file, or that it is removed.
    Head {
        /// Versions beside it that nobody covers either.
        siblings: usize,
    },
    /// Nobody covers it, and another version is the head.
    Sibling,
    /// A later version replaced it, or removed it.
    Covered,
}

impl Standing {
    /// The word for machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Standing::Head { .. } => "head",
            Standing::Sibling => "sibling",
            Standing::Covered => "covered",
        }
    }

    /// Versions beside the head; 0 for all others.
    #[must_use]
    pub fn siblings(self) -> usize {
        match self {
            Standing::Head { siblings } => siblings,
            Standing::Sibling | Standing::Covered => 0,
        }
    }
}

/// A version of a file that this node may read.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) record: Record,
    pub(crate) meta: Meta,
    pub(crate) standing: Standing,
}

impl Version {
    pub(crate) fn is_put(&self) -> bool {
        self.record.clear().kind == RecordKind::Put
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.is_put() && self.meta.file_type == FileType::Directory
    }

    /// Versions beside the head between which somebody has to choose. Of directories there are none:
    /// they differ in times and modes, and the newer one is as good.
    pub(crate) fn siblings(&self) -> usize {
        if self.is_directory() { 0 } else { self.standing.siblings() }
    }
}

/// Every version held of one name.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// The leaves, greatest first; then what they cover, each version before those that it covers.
    pub(crate) all: Vec<Version>,
    /// The number of them that are leaves.
    pub(crate) leaves: usize,
    /// Records that were set aside.
    pub(crate) alarms: Vec<Alarm>,
}

impl Versions {
    /// The head, a file or a removal.
    pub(crate) fn head(&self) -> Option<&Version> {
        self.all.first()
    }

    /// The key, as the greatest version states it.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.all.first().map(|version| &version.meta.key)
    }

    /// The version that the name showed before it was removed; `None` unless it is removed and that is held.
    pub(crate) fn restorable(&self) -> Option<&Version> {
        if self.head()?.is_put() {
            return None;
        }
        let covered = &self.all[self.leaves..];
        let records = |puts_only: bool| -> Vec<Record> {
            let wanted = covered.iter().filter(|version| !puts_only || version.is_put());
            wanted.map(|version| version.record.clone()).collect()
        };
        // A removal of what was removed before shows nothing: then the last file counts.
        let before = [records(false), records(true)];
        let mut shown = before.iter().filter_map(|records| head(records));
        let shown = shown.find(|head| head.clear().kind == RecordKind::Put)?.hash();
        covered.iter().find(|version| version.record.hash() == shown)
    }
}

/// The view that the records of one name give together.
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
    let versions = versions(keys, records);
    NameView {
        key: versions.key().cloned(),
        siblings: versions.leaves.saturating_sub(1),
        head: versions.all.into_iter().next().filter(Version::is_put),
        alarms: versions.alarms,
    }
}

/// Opens the records of one name and puts its versions in order.
pub(crate) fn versions(keys: &ReadKeys, records: &[Record]) -> Versions {
    let mut found = Versions::default();
    let mut valid = Vec::with_capacity(records.len());
    for record in records.iter().filter(|record| !is_dead(record, records)) {
        match open(keys, record) {
            Ok(Some(meta)) => valid.push((record.clone(), meta)),
            Ok(None) => {}
            Err(reason) => found.alarms.push(Alarm {
                record: record.hash(),
                name: record.clear().name,
                reason,
            }),
        }
    }
    let records: Vec<Record> = valid.iter().map(|(record, _)| record.clone()).collect();
    let ranks: BTreeMap<RecordHash, usize> =
        leaves(&records).iter().enumerate().map(|(rank, leaf)| (leaf.hash(), rank)).collect();
    found.leaves = ranks.len();
    let standing = |record: &Record| match ranks.get(&record.hash()) {
        Some(0) => Standing::Head { siblings: ranks.len() - 1 },
        Some(_) => Standing::Sibling,
        None => Standing::Covered,
    };
    let version = |(record, meta)| Version { standing: standing(&record), record, meta };
    found.all = valid.into_iter().map(version).collect();
    // What covers a version is higher than it.
    found.all.sort_by_cached_key(|Version { record, meta, .. }| {
        let hash = record.hash();
        let clear = record.clear();
        let rank = ranks.get(&hash).copied().unwrap_or(usize::MAX);
        (rank, Reverse((clear.height, meta.written, clear.dot, hash)))
    });
    found
}

/// Everything that whoever holds these records has seen of their name: more, maybe, than a new record
/// can name.
pub(crate) fn seen(records: &[Record]) -> Reached {
    let mut seen = Reached::default();
    for clear in records.iter().map(Record::clear) {
        seen.join(&clear.seen);
        // As the engine counts: what a forget names is known, and the forget itself is no version.
        if clear.kind.is_version() {
            seen.insert(clear.dot);
        }
    }
    seen
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
