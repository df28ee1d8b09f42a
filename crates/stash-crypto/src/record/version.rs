//! The versions of a name that count (covering, leaves, head), and the records of it that stay.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use crate::ids::NameId;
use crate::record::clear::{Clear, ForgetKind, RecordKind};
use crate::record::signed::Record;
use crate::record::vector::{Reached, SeenFull, Vector};

/// True if version `r` covers version `s` of the same name. Forgets neither cover nor are covered.
pub fn covers(r: &Clear, s: &Clear) -> bool {
    r.kind.is_version()
        && s.kind.is_version()
        && (r.stash, r.name) == (s.stash, s.name)
        && r.seen.covers(&s.dot)
}

/// True if forget `f` names version `s`.
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
    let versions = || records.iter().filter(|record| record.clear().kind.is_version());
    // No record covers itself, so the join over all covers exactly what some other one covers.
    let seen = Reach::of(versions().map(Record::clear));
    let uncovered = |record: &&Record| !seen.includes(record.clear());
    let mut leaves: Vec<_> = versions().filter(uncovered).collect();
    leaves.sort_by(|a, b| compare_leaves(b, a));
    leaves.dedup_by_key(|record| record.hash());
    leaves
}

/// The greatest leaf.
pub fn head(records: &[Record]) -> Option<&Record> {
    leaves(records).into_iter().next()
}

/// Why a record of a name is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// A dead forget names the version.
    Dead,
    /// A covered forget names the version, and a version that is here covers it.
    Covered,
    /// Another forget includes all that this one names.
    Replaced,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gone::Dead => "a dead forget names it",
            Gone::Covered => "a covered forget names it, and a later version is here",
            Gone::Replaced => "another forget includes it",
        })
    }
}

/// The records of one name, sorted into those that a node keeps and those that go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The records that stay, in the order given, each once.
    pub keep: Vec<Record>,
    /// The records that go, and why.
    pub drop: Vec<(Record, Gone)>,
}

/// Settles the records of one name: those held together with those that arrive.
///
/// - A version that a dead forget names goes, whatever else is here.
/// - A version that a covered forget names goes while a version that is here, and that no dead
///   forget names, covers it.
/// - A forget goes when another of its kind, or a dead one, includes its vector. Of two with one
///   kind and one vector, the one with the smaller hash stays.
///
/// Settling step by step, as records arrive, gives the same as settling all at once, if every
/// `seen` and every vector is closed (see [`covered_vector`]). So nodes that received the same
/// records hold the same ones, in whatever order they came. Vectors that are not closed can only
/// come from an owner that breaks the rules; nodes may then differ until one offers the other the
/// records that it lacks.
pub fn settle(records: &[Record]) -> Settled {
    let [dead, covered] = [ForgetKind::Dead, ForgetKind::Covered].map(|kind| {
        let forgets =
            records.iter().filter(|record| record.clear().kind == RecordKind::Forget(kind));
        Reach::of(forgets.map(Record::clear))
    });
    let is_dead = |clear: &Clear| clear.kind.is_version() && dead.includes(clear);
    let alive = records.iter().map(Record::clear);
    // No record covers itself, so the join over all covers exactly what some other one covers.
    let later = Reach::of(alive.filter(|clear| clear.kind.is_version() && !is_dead(clear)));
    let forgets: Vec<_> =
        records.iter().filter(|record| !record.clear().kind.is_version()).collect();
    let gone = |record: &Record| {
        let clear = record.clear();
        match clear.kind.is_version() {
            true if is_dead(clear) => Some(Gone::Dead),
            true if covered.includes(clear) && later.includes(clear) => Some(Gone::Covered),
            true => None,
            false => forgets.iter().any(|by| replaces(by, record)).then_some(Gone::Replaced),
        }
    };
    let mut settled = Settled::default();
    let mut met = std::collections::BTreeSet::new();
    for record in records.iter().filter(|record| met.insert(record.hash())) {
        match gone(record) {
            Some(why) => settled.drop.push((record.clone(), why)),
            None => settled.keep.push(record.clone()),
        }
    }
    settled
}

/// The vector of the dead forget that ends a removed name: all that the tombstone covers, and the
/// tombstone. The tombstone may be one that nobody holds any more.
///
/// # Errors
///
/// [`SeenFull`]: more writers than one vector can name.
pub fn dead_vector(tombstone: &Clear) -> Result<Vector, SeenFull> {
    covered_vector([tombstone])
}

/// The vector of a covered forget of these versions.
///
/// It also names all versions that these cover: it is *closed* under `seen`. A later record that
/// knows one of these versions only through the forget has the forget's vector in its `seen`. If
/// the vector were not closed, that record would cover the version, but not the older ones below
/// it. Such an older one would be a leaf again wherever it is still stored.
///
/// # Errors
///
/// [`SeenFull`]: more writers than one vector can name.
pub fn covered_vector<'a>(
    versions: impl IntoIterator<Item = &'a Clear>,
) -> Result<Vector, SeenFull> {
    let mut vector = Vector::new();
    for version in versions {
        vector.join(&version.seen)?;
        vector.insert(version.dot)?;
    }
    Ok(vector)
}

/// True if forget `by` does all that forget `f` of the same name does. Of two equal forgets, each
/// includes the other.
pub fn includes_forget(by: &Clear, f: &Clear) -> bool {
    let dead = RecordKind::Forget(ForgetKind::Dead);
    !by.kind.is_version()
        && (by.kind == f.kind || by.kind == dead)
        && (by.stash, by.name) == (f.stash, f.name)
        && by.seen.includes(&f.seen)
}

/// True if forget `f` goes where `by` is held.
fn replaces(by: &Record, f: &Record) -> bool {
    let equal = (by.clear().kind, &by.clear().seen) == (f.clear().kind, &f.clear().seen);
    includes_forget(by.clear(), f.clear()) && (!equal || by.hash() < f.hash())
}

/// The union of vectors of each name.
struct Reach(BTreeMap<NameId, Reached>);

impl Reach {
    fn of<'a>(clears: impl Iterator<Item = &'a Clear>) -> Reach {
        let mut reach: BTreeMap<NameId, Reached> = BTreeMap::new();
        for clear in clears {
            reach.entry(clear.name).or_default().join(&clear.seen);
        }
        Reach(reach)
    }

    fn includes(&self, version: &Clear) -> bool {
        self.0.get(&version.name).is_some_and(|reached| reached.covers(&version.dot))
    }
}
