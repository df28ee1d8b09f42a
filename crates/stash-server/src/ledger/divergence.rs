//! The number at which the lives of a writer diverged, and the records of each life.

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::{Dot, NameId, Record, RecordHash, Vector, Writer};
use stash_store::{ReadError, Store};

use crate::ledger::error::LedgerError;
use crate::ledger::incarnation::Past;
use crate::ledger::read::whole;

/// Own records that are looked at, at most, on the way back to that number.
const FAR: usize = 100_000;

/// Numbers that are read at once.
const PAGE: usize = 4096;

/// A record, and the sequence number under which it is stored here.
pub(crate) type Held = (u64, Record);

/// The number at which the lives of a writer diverged: the first one, if they did more than once.
pub(crate) struct Divergence {
    writer: Writer,
    /// The last number that means the same in all lives.
    common: u64,
    /// The last number that may mean two things.
    last: u64,
    /// The records of this life after the common ones, by number.
    ours: BTreeMap<u64, RecordHash>,
    /// The last record of this store when two lives were noticed, if nothing tells which records
    /// are of this life.
    noticed: Option<u64>,
    /// Records held of all lives after the common ones.
    tree: Tree,
}

/// The lowest and the highest number of a writer that two records have.
pub(crate) fn twice(store: &Store, writer: &Writer) -> Result<Option<(u64, u64)>, LedgerError> {
    let (mut from, mut found) = (1, None);
    loop {
        let page = store.dots_from(&writer.to_bytes(), from, PAGE)?;
        for n in page.windows(2).filter(|two| two[0].0 == two[1].0).map(|two| two[0].0) {
            found = Some(found.map_or((n, n), |(first, _)| (first, n)));
        }
        match page.last() {
            // The next one may have the number of the last one.
            Some((n, _)) if page.len() == PAGE => from = (*n).max(from + 1),
            _ => return Ok(found),
        }
    }
}

/// Records of one writer, each with the one before it.
#[derive(Default)]
struct Tree {
    links: BTreeMap<RecordHash, Link>,
    lanes: Vec<Lane>,
}

struct Link {
    n: u64,
    name: NameId,
    previous: RecordHash,
    lane: usize,
}

/// Records that follow on each other, without a gap.
struct Lane {
    first: u64,
    tip: RecordHash,
    /// The lane of the record before the first, and that one's number; `None` if it is not held.
    from: Option<(usize, u64)>,
}

impl Tree {
    /// Reads all records of a writer that are held after a number.
    fn read(store: &Store, writer: Writer, after: u64) -> Result<Tree, LedgerError> {
        let mut tree = Tree::default();
        for (n, hash) in store.dots_from(&writer.to_bytes(), after + 1, 2 * FAR)? {
            let hash = RecordHash::from_bytes(hash);
            if let Some(record) = whole(store, &hash)? {
                tree.add(n, hash, record.clear().previous, record.clear().name);
            }
        }
        Ok(tree)
    }

    /// Adds a record; those of lower numbers come before it.
    fn add(&mut self, n: u64, hash: RecordHash, previous: RecordHash, name: NameId) {
        let before = self.links.get(&previous).map(|link| (link.lane, link.n));
        let lane = match before {
            Some((lane, _)) if self.lanes[lane].tip == previous => {
                self.lanes[lane].tip = hash;
                lane
            }
            from => {
                self.lanes.push(Lane { first: n, tip: hash, from });
                self.lanes.len() - 1
            }
        };
        self.links.insert(hash, Link { n, name, previous, lane });
    }

    /// True if there are records, and every chain of them follows on the same record with the
    /// number `after`: on `before`, if that is given.
    fn is_whole(&self, after: u64, before: Option<RecordHash>) -> bool {
        let roots = || self.links.values().filter(|link| !self.links.contains_key(&link.previous));
        let before = before.or_else(|| roots().next().map(|root| root.previous));
        let follows = |root: &Link| root.n == after + 1 && Some(root.previous) == before;
        !self.links.is_empty() && roots().all(follows)
    }

    /// The highest number that two records have.
    fn last_twice(&self) -> u64 {
        let mut numbers: Vec<u64> = self.links.values().map(|link| link.n).collect();
        numbers.sort_unstable();
        numbers.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).max().unwrap_or(0)
    }

    /// True if the author of the later one of two records of this writer had written the earlier
    /// one in the same life. `None` if something between them is not held any more.
    fn follows(&self, later: &RecordHash, earlier: &RecordHash) -> Option<bool> {
        let (at, to) = (self.links.get(later)?, self.links.get(earlier)?);
        let (mut lane, mut until) = (at.lane, at.n);
        while lane != to.lane {
            match self.lanes[lane].from {
                Some((parent, n)) if n >= to.n => (lane, until) = (parent, n),
                Some(_) => return Some(false),
                None => return (self.lanes[lane].first <= to.n).then_some(false),
            }
        }
        Some(to.n <= until)
    }
}

/// The records of a life, from its last one back along the hashes.
struct Chain {
    records: BTreeMap<u64, RecordHash>,
    /// The number after which all are there.
    end: u64,
}

impl Chain {
    /// Reads them as far as they are held and readable, but not beyond the number `until`.
    fn back(store: &Store, hash: RecordHash, last: u64, until: u64) -> Result<Chain, LedgerError> {
        let (mut records, mut expected, mut end) = (BTreeMap::new(), hash, last);
        for n in (until + 1..=last).rev().take(FAR) {
            let Some(record) = whole(store, &expected)? else { break };
            records.insert(n, expected);
            expected = record.clear().previous;
            end = n - 1;
        }
        Ok(Chain { records, end })
    }

    fn reaches(&self, common: u64) -> bool {
        self.end <= common
    }

    fn has(&self, n: u64, hash: &RecordHash) -> bool {
        self.records.get(&n) == Some(hash)
    }
}

/// The lowest number after `past.opened` of a record that is not of this life and came after the
/// writer was given up.
fn stranger(
    store: &Store,
    past: &Past,
    held: &[(u64, [u8; 32])],
    chain: &Chain,
) -> Result<Option<u64>, LedgerError> {
    for (n, hash) in held.iter().filter(|(n, _)| (past.opened + 1..=past.n).contains(n)) {
        let hash = RecordHash::from_bytes(*hash);
        // One of this life that was damaged and healed has come anew.
        let is_new =
            || sequence(store, &hash).map(|came| came.is_some_and(|at| at > past.sequence));
        if !chain.has(*n, &hash) && is_new()? {
            return Ok(Some(*n));
        }
    }
    Ok(None)
}

/// True if a record with the next number follows on another record than the last of this life.
fn parts_after(store: &Store, past: &Past, held: &[(u64, [u8; 32])]) -> Result<bool, LedgerError> {
    for (_, hash) in held.iter().filter(|(n, _)| *n == past.n + 1) {
        let next = whole(store, &RecordHash::from_bytes(*hash))?;
        if next.is_some_and(|next| next.clear().previous != past.hash) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Divergence {
    /// Finds it: right before the first number under which two records are held. If records of
    /// other lives may have been forgotten, it is `past.opened`, the last number that certainly
    /// means the same in all lives.
    pub(crate) fn find(store: &Store, past: &Past) -> Result<Divergence, LedgerError> {
        let Past { writer, n: last, hash, opened, .. } = *past;
        let from = last.saturating_sub(FAR as u64) + 1;
        let held = store.dots_from(&writer.to_bytes(), from, 2 * FAR)?;
        let twice = held.windows(2).find(|two| two[0].0 == two[1].0).map(|two| two[0].0);
        if past.is_unknown() {
            return Divergence::unknown(store, past, twice);
        }
        let goes_on = held.last().is_some_and(|(n, _)| *n > last);
        let chain = Chain::back(store, hash, last, opened)?;
        let stranger = stranger(store, past, &held, &chain)?;
        let is_shown = past.is_shown || twice.is_some_and(|n| n <= last) || stranger.is_some();
        if !is_shown && !parts_after(store, past, &held)? {
            // One life, as far as anybody can tell: nothing has two meanings.
            return Ok(Divergence::new(writer, last, last, BTreeMap::new(), Tree::default()));
        }
        let (mut common, before) = match twice {
            // Not where the last life parted: one that was put back more than once has others.
            Some(n) if n <= last => (n - 1, None),
            // Another life wrote more after this one's last record, if that follows on it.
            _ if goes_on => (last, Some(hash)),
            _ => (opened, None),
        };
        let mut tree = Tree::read(store, writer, common)?;
        if common > opened && !tree.is_whole(common, before) {
            common = opened;
            tree = Tree::read(store, writer, common)?;
        }
        // Whatever this life had under a lower number may have been forgotten, and so the first number
        // that two records have may be of a later parting than the first one.
        if stranger.is_some_and(|n| n <= common) {
            common = opened;
            tree = Tree::read(store, writer, common)?;
        }
        match chain.reaches(common) {
            true => Ok(Divergence::new(writer, common, last, chain.records, tree)),
            false => Divergence::by_arrival(store, past, chain.records),
        }
    }

    fn new(
        writer: Writer,
        common: u64,
        last: u64,
        mut ours: BTreeMap<u64, RecordHash>,
        tree: Tree,
    ) -> Divergence {
        ours.retain(|n, _| *n > common);
        // Two other lives may have gone on for longer than this one.
        let last = last.max(tree.last_twice());
        Divergence { writer, common, last, ours, noticed: None, tree }
    }

    /// The divergence when nothing is known of either life: before the first number that two
    /// records had, which a forget may have taken since.
    fn unknown(store: &Store, past: &Past, twice: Option<u64>) -> Result<Divergence, LedgerError> {
        let common = past.opened.min(twice.map_or(past.n, |n| n - 1));
        let tree = Tree::read(store, past.writer, common)?;
        let divergence = Divergence::new(past.writer, common, past.n, BTreeMap::new(), tree);
        Ok(Divergence { noticed: Some(past.sequence), ..divergence })
    }

    /// True if no number has two meanings, as far as anybody can tell.
    pub(crate) fn is_one_life(&self) -> bool {
        self.tree.links.is_empty()
    }

    /// The divergence when a forget has taken a record of the chain, of which `shown` is left.
    /// Records of this writer that were here when it was given up are of this life: none of the
    /// other life was here.
    fn by_arrival(
        store: &Store,
        past: &Past,
        shown: BTreeMap<u64, RecordHash>,
    ) -> Result<Divergence, LedgerError> {
        let Past { writer, n: last, opened, .. } = *past;
        let (mut ours, mut least) = (shown, last + 1);
        for n in (1..=last).rev().take(FAR) {
            for hash in store.dots(&writer.to_bytes(), n)? {
                let hash = RecordHash::from_bytes(hash);
                match sequence(store, &hash)? {
                    Some(came) if came <= past.sequence => drop(ours.insert(n, hash)),
                    // One that was damaged here and healed has come anew.
                    Some(_) if ours.get(&n) != Some(&hash) => least = n,
                    _ => {}
                }
            }
        }
        let common = opened.min(least - 1);
        Ok(Divergence::new(writer, common, last, ours, Tree::read(store, writer, common)?))
    }

    /// Names that any life has written since the lives diverged.
    pub(crate) fn names(&self) -> BTreeSet<NameId> {
        let doubtful = self.tree.links.values().filter(|link| link.n <= self.last);
        doubtful.map(|link| link.name).collect()
    }

    /// Versions of one name to be written again. Their number means two things, and a version
    /// covers them whose author has seen the other record; for versions of this life, it is enough
    /// that such a version may come. `later` is true of the writers that this life is now.
    pub(crate) fn confused(&self, held: &[Held], later: impl Fn(&Writer) -> bool) -> Vec<Reissue> {
        let is_ours = |record: &Record| {
            let dot = record.clear().dot;
            let mine = self.ours.get(&dot.n).is_some_and(|hash| *hash == record.hash());
            dot.writer == self.writer && mine || later(&dot.writer)
        };
        let mut again = Vec::new();
        for (came, record) in held.iter().filter(|(_, record)| self.doubtful(record)) {
            let (dot, side) = (record.clear().dot, is_ours(record));
            let (mut rightly, mut wrongly) = (false, false);
            // Another node may have seen either thing under that number: this one, as far as anybody can
            // tell, if what it wrote came later.
            let saw_it = |written: &u64, other: &Record| {
                side || other.clear().dot.writer.node == self.writer.node || written > came
            };
            for (written, other) in held.iter().filter(|(_, other)| other.hash() != record.hash()) {
                let covers = other.clear().seen.covers(&dot);
                let chained = covers && other.clear().dot.writer == self.writer;
                let follows = chained.then(|| self.tree.follows(&other.hash(), &record.hash()));
                match (follows.flatten(), self.noticed) {
                    (Some(true), _) => rightly = true,
                    (Some(false), _) => wrongly = true,
                    // Of what came before that was noticed, either may have been seen.
                    (None, Some(noticed)) => {
                        let after = later(&other.clear().dot.writer) || *written > noticed;
                        rightly |= covers && after && written > came;
                        wrongly |= covers;
                    }
                    (None, None) if is_ours(other) == side => {
                        rightly |= covers && saw_it(written, other)
                    }
                    (None, None) if side => wrongly |= covers || other.clear().dot == dot,
                    (None, None) => {
                        // What was written here after it came covers it as it should.
                        rightly |= covers && written > came;
                        wrongly |= covers;
                    }
                }
            }
            if wrongly && !rightly {
                let seen = self.before(&record.clear().seen);
                again.push(Reissue { record: record.clone(), seen });
            }
        }
        again
    }

    /// True if it is a version under a number that may mean two things.
    fn doubtful(&self, record: &Record) -> bool {
        let (dot, kind) = (record.clear().dot, record.clear().kind);
        let range = self.common + 1..=self.last;
        kind.is_version() && dot.writer == self.writer && range.contains(&dot.n)
    }

    /// A `seen` without this writer's numbers after the divergence.
    fn before(&self, seen: &Vector) -> Vector {
        let mut before = Vector::new();
        let fits = seen.nodes().try_for_each(|(node, at)| before.insert_node(node, at));
        fits.expect("a part of a vector fits into a vector");
        for dot in seen.iter() {
            let n = if dot.writer == self.writer { dot.n.min(self.common) } else { dot.n };
            let fits = before.insert(Dot { writer: dot.writer, n });
            fits.expect("a part of a vector fits into a vector");
        }
        before
    }
}

/// The sequence number of a record here; `None` if it is not here or cannot be read.
fn sequence(store: &Store, hash: &RecordHash) -> Result<Option<u64>, LedgerError> {
    match store.record(hash.as_bytes()) {
        Ok(stored) => Ok(stored.map(|stored| stored.sequence)),
        Err(ReadError::RecordDamaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A version to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reissue {
    /// The version as it was written.
    pub record: Record,
    /// The `seen` of the new record: that of this one, without numbers that mean two things.
    pub seen: Vector,
}

#[cfg(test)]
mod tests {
    use super::*;

    use stash_crypto::{Clear, ForgetKind, Incarnation, Manifest, NodeKeys, RecordKind, StashId};
    use stash_store::Committer;

    use crate::ledger::forgets_tests::{Owner, admit_now, name, sign, store, vector};
    use crate::ledger::name_locks::NameLocks;

    fn hash(which: u8) -> RecordHash {
        RecordHash::from_bytes([which; 32])
    }

    /// Records by number, own mark and the mark of the one before.
    fn tree(records: &[(u64, u8, u8)]) -> Tree {
        let mut tree = Tree::default();
        for (n, this, previous) in records {
            tree.add(*n, hash(*this), hash(*previous), NameId::from_bytes([0; 32]));
        }
        tree
    }

    #[test]
    fn a_record_follows_on_those_before_it_in_its_own_life_and_on_no_others() {
        // After the common 10: one life wrote 21 to 24, a second one parted at 22, a third one at once; of
        // a fourth one, only its last two records are held.
        let lives = [
            (3, 21, 10),
            (3, 41, 10),
            (4, 22, 21),
            (4, 42, 41),
            (5, 23, 22),
            (5, 33, 22),
            (6, 24, 23),
            (6, 34, 33),
            (6, 56, 55),
            (7, 57, 56),
        ];
        let tree = tree(&lives);
        let follows = |later, earlier| tree.follows(&hash(later), &hash(earlier));
        for (later, earlier) in
            [(24, 21), (24, 23), (34, 21), (34, 22), (34, 33), (42, 41), (57, 56)]
        {
            assert_eq!(follows(later, earlier), Some(true), "{later} on {earlier}");
        }
        for (later, earlier) in
            [(24, 33), (34, 23), (34, 41), (42, 21), (23, 42), (57, 24), (21, 24)]
        {
            assert_eq!(follows(later, earlier), Some(false), "{later} on {earlier}");
        }
        assert_eq!(follows(57, 23), None, "what 56 follows on is not held");
        assert_eq!(tree.last_twice(), 6);
    }

    #[test]
    fn a_tree_is_whole_if_everything_follows_on_one_record() {
        assert!(tree(&[(3, 21, 10), (3, 31, 10), (4, 22, 21)]).is_whole(2, None));
        assert!(!tree(&[(3, 21, 10), (3, 31, 11)]).is_whole(2, None), "they parted before");
        assert!(!tree(&[(3, 21, 10), (5, 33, 32)]).is_whole(2, None), "something was forgotten");
        assert!(tree(&[(3, 31, 10)]).is_whole(2, Some(hash(10))));
        assert!(!tree(&[(3, 31, 11)]).is_whole(2, Some(hash(10))));
        assert!(!tree(&[]).is_whole(2, Some(hash(10))), "none can be read");
    }

    /// The simulator's seed 9,861: the store is lost of a node that had two lives.
    #[test]
    fn what_one_of_two_lives_hid_of_the_other_is_written_again_though_the_store_knows_neither() {
        let scene = Scene::new();
        let one = scene.put(1, 1, 1, None, 0);
        let (first, second) =
            (scene.put(1, 1, 2, Some(&one), 1), scene.put(2, 2, 2, Some(&one), 0));
        // Of the second life, which had seen the first record under 2 of another name.
        let next = scene.put(2, 1, 3, Some(&second), 2);
        let third = scene.third.put(name(1), 1, &[&next]);
        scene.admit(&[&one, &first, &second, &next]);
        let past = |sequence| Past::unknown(scene.writer(), (2, 2), sequence);
        let noticed = scene.store.last_sequence();
        assert_eq!(scene.again_of(&past(noticed)), [first.hash()]);
        // Whoever wrote after that was noticed had seen it.
        scene.admit(&[&third]);
        assert_eq!(scene.again_of(&past(noticed)), []);
        let noticed = scene.store.last_sequence();
        assert_eq!(scene.again_of(&past(noticed)), [first.hash()], "it came before");
        // A purge takes the other one of the two, before the first could be written again.
        let purge = scene.third.record(
            RecordKind::Forget(ForgetKind::Dead),
            name(2),
            2,
            vector(&[&second]),
        );
        scene.admit(&[&purge]);
        assert!(!scene.store.has_records(&[*second.hash().as_bytes()]).unwrap()[0]);
        assert_eq!(scene.again_of(&past(noticed)), [first.hash()], "what was noticed stands");
    }

    /// A node that was put back, with one name of its own and one that is purged.
    struct Scene {
        store: Store,
        locks: NameLocks,
        keys: NodeKeys,
        third: Owner,
        /// True if it was given up since a record showed another life.
        is_shown: bool,
    }

    impl Scene {
        fn new() -> Scene {
            let (store, locks) = (store(Committer::Inline), NameLocks::default());
            let (keys, third) = (NodeKeys::from_seed([1; 32]), Owner::new(2));
            Scene { store, locks, keys, third, is_shown: true }
        }

        fn writer(&self) -> Writer {
            let incarnation = Incarnation::from_bytes([1; 8]);
            Writer { node: self.keys.node_id(), incarnation }
        }

        /// A put of a life of the node, after another record, that has seen its numbers up to one.
        fn put(
            &self,
            life: u64,
            about: u8,
            n: u64,
            previous: Option<&Record>,
            seen: u64,
        ) -> Record {
            let mut vector = Vector::new();
            if seen > 0 {
                vector.insert(Dot { writer: self.writer(), n: seen }).unwrap();
            }
            let clear = Clear {
                stash: StashId::from_bytes([2; 32]),
                kind: RecordKind::Put,
                name: name(about),
                dot: Dot { writer: self.writer(), n },
                previous: previous.map_or(RecordHash::from_bytes([0; 32]), Record::hash),
                height: 10 * life + n,
                epoch: 0,
                seen: vector,
                manifest: Manifest::Direct(Vec::new()),
            };
            sign(&self.keys, clear)
        }

        fn admit(&self, records: &[&Record]) {
            for record in records {
                admit_now(&self.locks, &self.store, std::slice::from_ref(*record));
            }
        }

        /// The versions to be written again if the node gave up after `last`, and `later` came
        /// then.
        fn again(&self, last: &Record, later: &[&Record]) -> Vec<RecordHash> {
            let (n, hash, sequence) = (last.clear().dot.n, last.hash(), self.store.last_sequence());
            let past = Past {
                writer: self.writer(),
                n,
                hash,
                opened: 1,
                sequence,
                is_shown: self.is_shown,
            };
            self.admit(later);
            self.again_of(&past)
        }

        fn again_of(&self, past: &Past) -> Vec<RecordHash> {
            let divergence = Divergence::find(&self.store, past).unwrap();
            let (stored, _) = self.store.records_of_and_damaged(name(1).as_bytes()).unwrap();
            let held = stored
                .iter()
                .map(|one| (one.sequence, Record::decode(&one.bytes).expect("it was admitted")));
            let again = divergence.confused(&held.collect::<Vec<_>>(), |_| false);
            again.iter().map(|one| one.record.hash()).collect()
        }
    }

    /// The simulator's seed 4,155.
    #[test]
    fn what_a_third_node_hid_before_it_came_is_written_again_and_what_it_hid_later_is_not() {
        for came_first in [false, true] {
            let scene = Scene::new();
            let one = scene.put(1, 1, 1, None, 0);
            let ours = scene.put(1, 1, 2, Some(&one), 1);
            let next = scene.put(1, 1, 3, Some(&ours), 2);
            let theirs = scene.put(2, 1, 2, Some(&one), 1);
            let third = scene.third.put(name(1), 1, &[&next]);
            scene.admit(&[&one, &ours, &next]);
            let later = if came_first { [&theirs, &third] } else { [&third, &theirs] };
            let again = scene.again(&next, &later);
            assert_eq!(again.contains(&theirs.hash()), !came_first, "{came_first}");
        }
    }

    /// The simulator's seed 5,028.
    #[test]
    fn lives_that_parted_before_what_was_forgotten_are_told_apart() {
        let scene = Scene::new();
        let one = scene.put(1, 1, 1, None, 0);
        let two = scene.put(1, 2, 2, Some(&one), 0);
        let three = scene.put(1, 2, 3, Some(&two), 2);
        let four = scene.put(1, 1, 4, Some(&three), 1);
        let five = scene.put(1, 1, 5, Some(&four), 4);
        // The first other life parted before 2, the second one before 4.
        let (first, second) =
            (scene.put(2, 1, 2, Some(&one), 1), scene.put(3, 3, 4, Some(&three), 0));
        scene.admit(&[&one, &two, &three, &four, &five]);
        let purge =
            scene.third.record(RecordKind::Forget(ForgetKind::Dead), name(2), 1, vector(&[&three]));
        let again = scene.again(&five, &[&purge, &first, &second]);
        assert!(!scene.store.has_records(&[*two.hash().as_bytes()]).unwrap()[0]);
        assert!(again.contains(&first.hash()), "five hides it and has not seen it");
    }

    /// A store that was put back, of a node that had one life.
    #[test]
    fn what_others_replaced_of_one_life_stays_replaced_when_its_store_is_put_back() {
        for is_shown in [false, true] {
            let scene = Scene { is_shown, ..Scene::new() };
            let one = scene.put(1, 1, 1, None, 0);
            let two = scene.put(1, 1, 2, Some(&one), 1);
            let three = scene.put(1, 2, 3, Some(&two), 0);
            // What came after the copy was made: a record was forgotten, and another one follows on it.
            let gone = scene.put(1, 2, 4, Some(&three), 3);
            let five = scene.put(1, 3, 5, Some(&gone), 0);
            let third = scene.third.put(name(1), 1, &[&two]);
            scene.admit(&[&one, &two, &three]);
            let again = scene.again(&three, &[&third, &five]);
            // With another life, nobody knows which of the two the third node had seen.
            assert_eq!(again.is_empty(), !is_shown, "{again:?}");
        }
    }
}
