//! Retention: old versions are forgotten. What of one name goes is decided here, and pure.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::time::Duration;

use stash_crypto::record::{covered_vector, covers, dead_vector, leaves};
use stash_crypto::{ForgetKind, Record, RecordHash, RecordKind, Vector};

use crate::model::keys::ReadKeys;

/// The old versions that are kept. Carried out by owners, for all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The time for which a version stays after it was replaced, and a removed file after its removal.
    pub age: Duration,
    /// So many versions of a name stay however old they are, those that nobody covers included.
    pub versions: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { age: Duration::from_secs(30 * 24 * 3_600), versions: 10 }
    }
}

/// A version, and when its writer wrote it in seconds since 1970, as far as anybody can tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dated<'a> {
    pub(crate) record: &'a Record,
    pub(crate) written: Option<i64>,
}

/// The versions of one name that are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: ForgetKind,
    pub(crate) vector: Vector,
    /// The number of versions that are held and go.
    pub(crate) versions: u64,
}

/// The versions among the records of a name, with their dates.
pub(crate) fn dated<'a>(keys: &ReadKeys, records: &'a [Record]) -> Vec<Dated<'a>> {
    let written = |record: &Record| {
        let keys = keys.epoch(record.clear().epoch)?;
        Some(record.open_meta(&keys.meta).ok()?.written?.0)
    };
    let versions = records.iter().filter(|record| record.clear().kind.is_version());
    versions.map(|record| Dated { record, written: written(record) }).collect()
}

/// Plans what retention forgets of a name.
///
/// A removed name, one whose only leaf is a tombstone, goes as a whole once the tombstone is older
/// than the age. Otherwise a version goes if a later one covers it and did so longer than the age
/// ago, if it is not among the last ones, and if everything that it covers goes as well. Leaves never
/// go. A version whose date, or that of all that cover it, is not known does not go by age.
pub(crate) fn plan(versions: &[Dated<'_>], rules: &Retention, now: i64) -> Option<Plan> {
    let age = i64::try_from(rules.age.as_secs()).unwrap_or(i64::MAX);
    let before = now.saturating_sub(age);
    let records: Vec<Record> = versions.iter().map(|one| one.record.clone()).collect();
    let leaves = leaves(&records);
    if let [leaf] = leaves[..]
        && leaf.clear().kind == RecordKind::Tombstone
    {
        let written = versions.iter().find(|one| one.record == leaf)?.written;
        if written.is_some_and(|written| written < before) {
            let vector = dead_vector(leaf.clear()).ok()?;
            let going = records.iter().filter(|record| vector.covers(&record.clear().dot));
            let versions = going.count() as u64;
            return Some(Plan { kind: ForgetKind::Dead, vector, versions });
        }
    }
    let leaves: Vec<RecordHash> = leaves.into_iter().map(Record::hash).collect();
    let going = going(versions, &leaves, rules, before);
    if going.is_empty() {
        return None;
    }
    // Beyond the bound of a vector nobody can write the name either.
    let vector = covered_vector(going.iter().map(|record| record.clear())).ok()?;
    Some(Plan { kind: ForgetKind::Covered, vector, versions: going.len() as u64 })
}

fn going<'a>(
    versions: &[Dated<'a>],
    leaves: &[RecordHash],
    rules: &Retention,
    before: i64,
) -> Vec<&'a Record> {
    // What covers a version is higher than it: the last versions are the highest.
    let mut ordered = versions.to_vec();
    ordered.sort_by_cached_key(|one| (Reverse(one.record.clear().height), one.record.hash()));
    let keep = usize::try_from(rules.versions).unwrap_or(usize::MAX);
    let (last, old) = ordered.split_at(keep.min(ordered.len()));
    let mut kept: Vec<&Record> = last.iter().map(|one| one.record).collect();
    let mut going = Vec::new();
    // From the lowest: what a version covers is decided before it.
    for one in old.iter().rev() {
        let goes = !leaves.contains(&one.record.hash())
            && replaced_before(one, versions, before)
            && !kept.iter().any(|kept| covers(one.record.clear(), kept.clear()));
        if goes { going.push(one.record) } else { kept.push(one.record) }
    }
    going
}

/// True if a version was replaced before this time: when the first of those that cover it was
/// written, yet not before it was written itself, which another clock may say.
fn replaced_before(version: &Dated<'_>, all: &[Dated<'_>], before: i64) -> bool {
    if version.written.is_some_and(|written| written >= before) {
        return false;
    }
    let later = all.iter().filter(|by| covers(by.record.clear(), version.record.clear()));
    later.filter_map(|by| by.written).min().is_some_and(|replaced| replaced < before)
}
