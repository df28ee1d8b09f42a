//! Which versions of a name count: covering, leaves, head.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::clear::{Clear, RecordKind};
use crate::ids::NameId;
use crate::record::Record;
use crate::vector::Writer;

/// Whether version `r` covers version `s` of the same name. Forgets neither cover nor are covered.
pub fn covers(r: &Clear, s: &Clear) -> bool {
    r.kind.is_version()
        && s.kind.is_version()
        && (r.stash, r.name) == (s.stash, s.name)
        && r.seen.covers(&s.dot)
}

/// Whether forget `f` names version `s`.
pub fn forgets(f: &Clear, s: &Clear) -> bool {
    !f.kind.is_version()
        && s.kind.is_version()
        && (f.stash, f.name) == (s.stash, s.name)
        && f.seen.covers(&s.dot)
}

/// The order that picks the head: a put is greater than a tombstone, then height, writer, hash.
pub fn compare_leaves(a: &Record, b: &Record) -> Ordering {
    let rank = |record: &Record| match record.clear().kind {
        RecordKind::Put => 2,
        RecordKind::Tombstone => 1,
        RecordKind::Forget(_) => 0,
    };
    let order = |record: &Record| {
        (rank(record), record.clear().height, record.clear().dot.writer, record.hash())
    };
    order(a).cmp(&order(b))
}

/// The versions that no other covers, greatest first. Forgets are left out; the caller has taken
/// away what dead forgets name. Records of several names do not disturb each other.
pub fn leaves(records: &[Record]) -> Vec<&Record> {
    let mut seen: BTreeMap<(NameId, Writer), u64> = BTreeMap::new();
    let versions = || records.iter().filter(|record| record.clear().kind.is_version());
    for clear in versions().map(Record::clear) {
        for dot in clear.seen.iter() {
            let n = seen.entry((clear.name, dot.writer)).or_default();
            *n = dot.n.max(*n);
        }
    }
    // No record covers itself, so the join over all covers exactly what some other one covers.
    let uncovered = |record: &&Record| {
        let Clear { name, dot, .. } = record.clear();
        seen.get(&(*name, dot.writer)).is_none_or(|n| *n < dot.n)
    };
    let mut leaves: Vec<_> = versions().filter(uncovered).collect();
    leaves.sort_by(|a, b| compare_leaves(b, a));
    leaves.dedup_by_key(|record| record.hash());
    leaves
}

/// The greatest leaf.
pub fn head(records: &[Record]) -> Option<&Record> {
    leaves(records).into_iter().next()
}
