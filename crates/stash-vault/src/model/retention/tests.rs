use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use stash_crypto::record::{covers, includes_forget};
use stash_crypto::{
    Clear, Dot, Incarnation, Manifest, Meta, NameId, NodeKeys, RecordDraft, RootSecret, StashId,
    Writer,
};

use super::*;

const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;

/// A name under test: its versions with the day, before now, on which each was written.
#[derive(Default)]
struct Name {
    records: Vec<(Record, Option<i64>)>,
    n: u64,
}

impl Name {
    /// Writes a version so many days ago that covers these versions, by their place; the place of the
    /// new one.
    fn write(&mut self, kind: RecordKind, days: i64, of: &[usize]) -> usize {
        self.write_at(kind, Some(NOW - days * DAY), of)
    }

    fn write_at(&mut self, kind: RecordKind, written: Option<i64>, of: &[usize]) -> usize {
        self.n += 1;
        // Each by a writer of its own: numbers alone cover nothing.
        let keys = NodeKeys::from_seed([u8::try_from(self.n).unwrap(); 32]);
        let of = || of.iter().map(|at| self.records[*at].0.clear());
        let clear = Clear {
            stash: StashId::from_bytes([1; 32]),
            kind,
            name: NameId::from_bytes([2; 32]),
            dot: Dot {
                writer: Writer {
                    node: keys.node_id(),
                    incarnation: Incarnation::from_bytes([3; 8]),
                },
                n: 1,
            },
            previous: RecordHash::from_bytes([0; 32]),
            height: of().map(|clear| clear.height).max().unwrap_or(0) + 1,
            epoch: 0,
            seen: covered_vector(of()).unwrap(),
            manifest: Manifest::EMPTY,
        };
        let inline = (kind == RecordKind::Put).then(Vec::new);
        let key = stash_crypto::Key::new("k").unwrap();
        let written_at = written.map(|seconds| (seconds, 0));
        let meta = Meta { inline, written: written_at, ..Meta::new(key, 0) };
        let root = RootSecret::from_bytes([4; 32]).read_root();
        let record = RecordDraft { clear, meta: Some(meta) }.sign(keys.signer(), &root.meta_keys());
        self.records.push((record.unwrap(), written));
        self.records.len() - 1
    }

    /// Puts, each over the one before, on these days before now.
    fn chain(&mut self, days: &[i64]) {
        for day in days {
            let last = self.records.len().checked_sub(1);
            self.write(RecordKind::Put, *day, &last.into_iter().collect::<Vec<_>>());
        }
    }

    fn plan(&self, rules: Retention) -> Option<Plan> {
        let versions: Vec<Dated<'_>> = self
            .records
            .iter()
            .map(|(record, written)| Dated { record, written: *written })
            .collect();
        plan(&versions, &rules, NOW)
    }

    /// The places of what a plan names.
    fn gone(&self, plan: Option<Plan>) -> Vec<usize> {
        let Some(plan) = plan else { return Vec::new() };
        let named = |at: &usize| plan.vector.covers(&self.records[*at].0.clear().dot);
        let gone: Vec<usize> = (0..self.records.len()).filter(named).collect();
        assert_eq!(plan.versions, gone.len() as u64, "what it says goes is what it names");
        gone
    }
}

fn keep(versions: u32) -> Retention {
    Retention { versions, ..Retention::default() }
}

#[test]
fn the_default_keeps_thirty_days_and_ten_versions() {
    let mut name = Name::default();
    name.chain(&[100, 90, 80, 70, 60, 50, 45, 44, 43, 42, 41, 40, 35]);
    assert_eq!(name.gone(name.plan(Retention::default())), [0, 1, 2]);
}

#[test]
fn a_version_goes_when_it_was_replaced_long_ago_and_not_when_it_was_written_long_ago() {
    let mut name = Name::default();
    name.chain(&[100, 90, 29]);
    assert_eq!(name.gone(name.plan(keep(1))), [0], "the second was good until 29 days ago");
    let mut name = Name::default();
    name.chain(&[100, 90, 31]);
    assert_eq!(name.gone(name.plan(keep(1))), [0, 1]);
}

#[test]
fn a_leaf_is_never_forgotten_however_old_and_however_many() {
    let mut name = Name::default();
    let first = name.write(RecordKind::Put, 400, &[]);
    for _ in 0..20 {
        name.write(RecordKind::Put, 390, &[first]);
    }
    assert_eq!(name.gone(name.plan(keep(0))), [first]);
}

#[test]
fn a_file_removed_long_ago_goes_as_a_whole() {
    let mut name = Name::default();
    name.chain(&[50, 40]);
    name.write(RecordKind::Tombstone, 31, &[1]);
    let plan = name.plan(Retention::default()).unwrap();
    assert_eq!(plan.kind, ForgetKind::Dead);
    assert_eq!(name.gone(Some(plan)), [0, 1, 2]);
}

#[test]
fn a_file_removed_lately_or_beside_a_write_does_not_go_as_a_whole() {
    let mut name = Name::default();
    name.chain(&[50, 40]);
    name.write(RecordKind::Tombstone, 29, &[1]);
    assert_eq!(name.plan(Retention::default()), None);
    let mut name = Name::default();
    name.chain(&[50]);
    name.write(RecordKind::Tombstone, 40, &[0]);
    name.write(RecordKind::Put, 40, &[0]);
    assert_eq!(name.plan(Retention::default()), None);
    assert_eq!(name.gone(name.plan(keep(0))), [0], "both leaves stay");
}

// A covering version with a date before the one that it covers: its writer's clock is behind.
#[test]
fn a_slow_clock_of_a_later_writer_makes_no_version_old() {
    let mut name = Name::default();
    name.chain(&[5]);
    name.write(RecordKind::Put, 5_000, &[0]);
    assert_eq!(name.plan(keep(1)), None);
}

#[test]
fn what_has_no_date_goes_only_by_the_date_of_what_covers_it() {
    let mut name = Name::default();
    name.write_at(RecordKind::Put, None, &[]);
    name.write_at(RecordKind::Put, None, &[0]);
    assert_eq!(name.plan(keep(1)), None);
    name.write(RecordKind::Put, 31, &[1]);
    assert_eq!(name.gone(name.plan(keep(1))), [0, 1]);
    let mut removed = Name::default();
    removed.chain(&[50]);
    removed.write_at(RecordKind::Tombstone, None, &[0]);
    assert_eq!(removed.plan(Retention::default()), None);
}

// The vector of a forget has all that the version covers: it must not name what has to stay.
#[test]
fn a_version_stays_while_one_that_it_covers_has_to() {
    let mut name = Name::default();
    name.write(RecordKind::Put, 1, &[]);
    name.write(RecordKind::Put, 60, &[0]);
    name.write(RecordKind::Put, 50, &[1]);
    assert_eq!(name.plan(keep(1)), None);
}

// Two owners do it at once: what the later one does includes what the earlier one did.
#[test]
fn a_later_plan_includes_an_earlier_one() {
    let mut name = Name::default();
    name.chain(&[100, 90, 80, 70]);
    let early = name.plan(keep(3)).unwrap();
    let late = name.plan(keep(1)).unwrap();
    assert!(late.vector.includes(&early.vector) && late.vector != early.vector);
    assert_eq!(name.plan(keep(3)), Some(early.clone()), "the same for everybody");
    let forget = |plan: &Plan| Clear {
        kind: RecordKind::Forget(plan.kind),
        seen: plan.vector.clone(),
        ..name.records[0].0.clear().clone()
    };
    assert!(includes_forget(&forget(&late), &forget(&early)));
}

#[test]
fn an_age_without_end_forgets_nothing() {
    let mut name = Name::default();
    name.chain(&[10_000, 9_000, 8_000]);
    let rules = Retention { age: Duration::MAX, versions: 1 };
    assert_eq!(name.plan(rules), None);
}

/// What goes, found version by version: as the rule says it.
fn going_slowly(versions: &[Dated<'_>], rules: &Retention, before: i64) -> BTreeSet<RecordHash> {
    let records: Vec<Record> = versions.iter().map(|one| one.record.clone()).collect();
    let leaves: Vec<RecordHash> = leaves(&records).into_iter().map(Record::hash).collect();
    let mut ordered = versions.to_vec();
    ordered.sort_by_cached_key(|one| (Reverse(one.record.clear().height), one.record.hash()));
    let (last, old) = ordered.split_at((rules.versions as usize).min(ordered.len()));
    let mut kept: Vec<&Record> = last.iter().map(|one| one.record).collect();
    let mut going = BTreeSet::new();
    for one in old.iter().rev() {
        let later = versions.iter().filter(|by| covers(by.record.clear(), one.record.clear()));
        let replaced = later.filter_map(|by| by.written).min();
        let goes = !leaves.contains(&one.record.hash())
            && one.written.is_none_or(|written| written < before)
            && replaced.is_some_and(|replaced| replaced < before)
            && !kept.iter().any(|kept| covers(one.record.clear(), kept.clear()));
        if goes {
            going.insert(one.record.hash());
        } else {
            kept.push(one.record);
        }
    }
    going
}

/// Versions by few writers that number what they write, each over some of those before.
fn random_history(rng: &mut StdRng, count: usize) -> Vec<(Record, Option<i64>)> {
    let writers: Vec<NodeKeys> =
        (1..=rng.random_range(1..=4)).map(|seed| NodeKeys::from_seed([seed; 32])).collect();
    let (mut numbers, mut all) = (vec![0; writers.len()], Vec::<(Record, Option<i64>)>::new());
    for _ in 0..count {
        let by = rng.random_range(0..writers.len());
        numbers[by] += 1;
        let of: Vec<usize> = (0..all.len()).filter(|_| rng.random_bool(0.3)).collect();
        let of = || of.iter().map(|at| all[*at].0.clear());
        let incarnation = Incarnation::from_bytes([3; 8]);
        let clear = Clear {
            stash: StashId::from_bytes([1; 32]),
            kind: RecordKind::Put,
            name: NameId::from_bytes([2; 32]),
            dot: Dot {
                writer: Writer { node: writers[by].node_id(), incarnation },
                n: numbers[by],
            },
            previous: RecordHash::from_bytes([0; 32]),
            height: of().map(|clear| clear.height).max().unwrap_or(0) + 1,
            epoch: 0,
            seen: covered_vector(of()).unwrap(),
            manifest: Manifest::EMPTY,
        };
        let written = rng.random_bool(0.9).then(|| NOW - rng.random_range(0..90) * DAY);
        let meta =
            Meta { inline: Some(vec![]), ..Meta::new(stash_crypto::Key::new("k").unwrap(), 0) };
        let keys = RootSecret::from_bytes([4; 32]).read_root().meta_keys();
        let record = RecordDraft { clear, meta: Some(meta) }.sign(writers[by].signer(), &keys);
        all.push((record.unwrap(), written));
    }
    all
}

#[test]
fn what_goes_is_what_goes_when_each_version_is_compared_with_each() {
    let seed = std::env::var("STASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().next_u64());
    let mut rng = StdRng::seed_from_u64(seed);
    let mut gone = 0;
    for _ in 0..200 {
        let count = rng.random_range(1..24);
        let all = random_history(&mut rng, count);
        let versions: Vec<Dated<'_>> =
            all.iter().map(|(record, written)| Dated { record, written: *written }).collect();
        let records: Vec<Record> = all.iter().map(|(record, _)| record.clone()).collect();
        let heads: Vec<RecordHash> = leaves(&records).into_iter().map(Record::hash).collect();
        let rules = keep(rng.random_range(0..4));
        let before = NOW - 30 * DAY;
        let found: BTreeSet<RecordHash> =
            going(&versions, &heads, &rules, before).into_iter().map(Record::hash).collect();
        gone += found.len();
        assert_eq!(found, going_slowly(&versions, &rules, before), "STASH_SEED={seed}");
    }
    assert!(gone > 100, "{gone} versions went: the histories show nothing");
}
