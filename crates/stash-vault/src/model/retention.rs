//! Retention: old versions are forgotten. What of one name goes is decided here, and pure.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stash_crypto::record::{covered_vector, dead_vector, leaves};
use stash_crypto::{Dot, ForgetKind, Record, RecordHash, RecordKind, Vector, Writer};

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
    let leaves: BTreeSet<RecordHash> = leaves.iter().copied().collect();
    let mut kept = Kept::default();
    last.iter().for_each(|one| kept.add(one.record));
    let replaced = Replaced::by(versions, old);
    let mut going = Vec::new();
    // From the lowest: what a version covers is decided before it.
    for one in old.iter().rev() {
        let goes = !leaves.contains(&one.record.hash())
            && replaced.before(one, before)
            && !kept.is_covered_in_part(one.record);
        if goes { going.push(one.record) } else { kept.add(one.record) }
    }
    going
}

/// Versions that stay: the smallest number of each writer, since a vector that covers any of them covers
/// that one.
#[derive(Default)]
struct Kept(BTreeMap<Writer, u64>);

impl Kept {
    fn add(&mut self, record: &Record) {
        let Dot { writer, n } = record.clear().dot;
        let least = self.0.entry(writer).or_insert(n);
        *least = n.min(*least);
    }

    /// True if a version covers any of these.
    fn is_covered_in_part(&self, version: &Record) -> bool {
        let seen = &version.clear().seen;
        self.0.iter().any(|(writer, n)| seen.covers(&Dot { writer: *writer, n: *n }))
    }
}

/// Of each writer, the numbers up to which versions cover what it wrote, the greatest first, each with the
/// earliest time at which one that reaches so far was written.
struct Replaced(BTreeMap<Writer, Vec<(u64, i64)>>);

impl Replaced {
    /// All `versions` may cover, those of `old` are asked for.
    fn by(versions: &[Dated<'_>], old: &[Dated<'_>]) -> Replaced {
        let writers: BTreeSet<Writer> =
            old.iter().map(|one| one.record.clear().dot.writer).collect();
        let of = |writer: Writer| {
            let reaches = |by: &Dated<'_>| Some((by.record.clear().seen.get(&writer), by.written?));
            let mut reaches: Vec<(u64, i64)> =
                versions.iter().filter_map(reaches).filter(|(n, _)| *n > 0).collect();
            reaches.sort_unstable_by_key(|(n, written)| (Reverse(*n), *written));
            let mut earliest = i64::MAX;
            for (_, written) in &mut reaches {
                earliest = earliest.min(*written);
                *written = earliest;
            }
            (writer, reaches)
        };
        Replaced(writers.into_iter().map(of).collect())
    }

    /// True if a version was replaced before this time: when the first of those that cover it was
    /// written, yet not before it was written itself, which another clock may say.
    fn before(&self, version: &Dated<'_>, before: i64) -> bool {
        if version.written.is_some_and(|written| written >= before) {
            return false;
        }
        let Dot { writer, n } = version.record.clear().dot;
        let Some(reaches) = self.0.get(&writer) else { return false };
        let covering = reaches.partition_point(|(reached, _)| *reached >= n);
        let last = covering.checked_sub(1).and_then(|at| reaches.get(at));
        last.is_some_and(|(_, replaced)| *replaced < before)
    }
}
