//! Facts that the schedule knows and no node does: every record that was written, what its author
//! had seen, what was acknowledged, and what no disk has any more.
//!
//! "Had seen" is kept as sets of records, without vectors, numbers and writers: a twin of the
//! product's rules that shares none of their shortcuts.

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::{
    Address, ChunkRef, ForgetKind, NameId, Record, RecordHash, RecordKind, Vector, Writer,
};
use stash_server::store::Store;

/// A record that somebody signed.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) record: Record,
    /// The machine that signed it.
    pub(crate) by: usize,
    /// Its author, and a number for people.
    pub(crate) title: String,
    /// Everything of the name that the author had seen; of a forget, all that it names.
    pub(crate) past: BTreeSet<RecordHash>,
    /// A node said that it is durable.
    pub(crate) acknowledged: bool,
    /// The last disk that had it is gone.
    pub(crate) lost: bool,
    /// It counts, or it does not, since its author was made to write no more.
    pub(crate) fate: Fate,
}

/// Effect of a change of members on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its author has been an owner all the time.
    Open,
    /// It was written up to where its author's records end.
    Counts,
    /// It was written later: by the number of the ending.
    Past(usize),
}

impl Known {
    pub(crate) fn kind(&self) -> RecordKind {
        self.record.clear().kind
    }

    pub(crate) fn is_past(&self) -> bool {
        matches!(self.fate, Fate::Past(_))
    }

    pub(crate) fn is_dead_forget(&self) -> bool {
        self.kind() == RecordKind::Forget(ForgetKind::Dead)
    }
}

/// Everything that was written in one schedule.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<RecordHash, Known>,
    pub(crate) chunks: BTreeMap<Address, ChunkRef>,
    /// Chunks whose last copies went with a disk.
    pub(crate) lost_chunks: BTreeSet<Address>,
    /// Chunks that are being evicted somewhere, and how often.
    pub(crate) evicting: BTreeMap<Address, u32>,
    /// Machines that may not write, each by the number of the ending.
    ended: BTreeMap<usize, usize>,
    /// Counters of machines that were made to write no more: each is used no more.
    ended_writers: BTreeMap<Writer, usize>,
    /// Records that the founder held at each ending.
    founder_held: Vec<BTreeSet<RecordHash>>,
    /// Machines that were removed.
    pub(crate) removed: BTreeSet<usize>,
    /// Counters that were used by two lives of a machine, each with what both lives have written.
    parted: BTreeMap<Writer, BTreeSet<RecordHash>>,
    /// Two machines with the same keys, and what both have in common.
    twins: Option<([usize; 2], BTreeSet<RecordHash>)>,
    /// Versions that were written again, and as what.
    pub(crate) again: BTreeMap<RecordHash, BTreeSet<RecordHash>>,
    /// Number of entries that the member log has by now.
    pub(crate) log_len: u64,
    /// Violations of what must hold.
    pub(crate) violations: Vec<String>,
}

impl Model {
    pub(crate) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    pub(crate) fn title(&self, hash: &RecordHash) -> String {
        self.records.get(hash).map_or_else(|| hash.short().to_string(), |known| known.title.clone())
    }

    pub(crate) fn titles<'a>(&self, hashes: impl IntoIterator<Item = &'a RecordHash>) -> String {
        hashes.into_iter().map(|hash| self.title(hash)).collect::<Vec<_>>().join(" ")
    }

    /// Everything that whoever holds these records has seen.
    pub(crate) fn seen_with(&self, held: &[Record]) -> BTreeSet<RecordHash> {
        let mut seen = BTreeSet::new();
        for record in held {
            if record.clear().kind.is_version() {
                seen.insert(record.hash());
            }
            if let Some(known) = self.records.get(&record.hash()) {
                seen.extend(&known.past);
            }
        }
        seen
    }

    pub(crate) fn signed(&mut self, record: &Record, by: usize, past: BTreeSet<RecordHash>) {
        let kind = match record.clear().kind {
            RecordKind::Put => "put",
            RecordKind::Tombstone => "tombstone",
            RecordKind::Forget(ForgetKind::Dead) => "dead",
            RecordKind::Forget(ForgetKind::Covered) => "covered",
        };
        let title = format!("{kind}#{}@{by}", self.records.len());
        let (record, hash) = (record.clone(), record.hash());
        let writer = record.clear().dot.writer;
        if let Some(ending) = self.ended.get(&by) {
            self.ended_writers.entry(writer).or_insert(*ending);
        }
        let fate = self.ended_writers.get(&writer).map_or(Fate::Open, |ending| Fate::Past(*ending));
        let known = Known { record, by, title, past, acknowledged: false, lost: false, fate };
        let first = self.records.entry(hash).or_insert(known).by;
        if let Some((machines, common)) = &mut self.twins
            && machines.contains(&first)
            && machines.contains(&by)
            && first != by
        {
            // The same file put in the same second: one record, to the last bit.
            common.insert(hash);
        }
        self.part_twins(by, writer);
    }

    /// From now on two machines run with the same keys. This is what both have signed.
    pub(crate) fn is_cloned(&mut self, machines: [usize; 2], common: BTreeSet<RecordHash>) {
        self.twins = Some((machines, common));
    }

    /// True if a machine is one of two with the same keys.
    pub(crate) fn is_twin(&self, at: usize) -> bool {
        self.twins.as_ref().is_some_and(|(machines, _)| machines.contains(&at))
    }

    /// True if one of two machines with the same keys has signed a record, and the other one has
    /// not.
    pub(crate) fn is_of_twin(&self, at: usize, hash: &RecordHash) -> bool {
        let own = |(_, common): &(_, BTreeSet<RecordHash>)| !common.contains(hash);
        let by = self.records.get(hash).map(|known| known.by);
        by == Some(at) && self.twins.as_ref().is_some_and(own)
    }

    /// A counter that both of two machines with the same keys use has numbers that mean two things.
    fn part_twins(&mut self, by: usize, writer: Writer) {
        let Some((machines, common)) = self.twins.as_ref().filter(|(both, _)| both.contains(&by))
        else {
            return;
        };
        let other = if machines[0] == by { machines[1] } else { machines[0] };
        let same = |(hash, known): (&RecordHash, &Known)| {
            known.record.clear().dot.writer == writer && self.is_of_twin(other, hash)
        };
        if self.records.iter().any(same) {
            self.parted.entry(writer).or_insert_with(|| common.clone());
        }
    }

    /// A machine writes no more: of each of its counters, this is the last record that counts. What
    /// counts is what comes before these in the machine's own chain.
    pub(crate) fn ends(&mut self, at: usize, last: &[RecordHash], founder: BTreeSet<RecordHash>) {
        let ending = self.founder_held.len();
        self.founder_held.push(founder);
        self.ended.insert(at, ending);
        for hash in last {
            let mut next = *hash;
            while let Some(known) = self.records.get_mut(&next) {
                known.fate = Fate::Counts;
                next = known.record.clear().previous;
            }
        }
        for known in self.records.values_mut().filter(|known| known.by == at) {
            self.ended_writers.entry(known.record.clear().dot.writer).or_insert(ending);
            if known.fate == Fate::Open {
                known.fate = Fate::Past(ending);
            }
        }
    }

    /// A machine may write, under a new counter.
    pub(crate) fn begins(&mut self, at: usize) {
        self.ended.remove(&at);
    }

    pub(crate) fn writes(&self, at: usize) -> bool {
        !self.ended.contains_key(&at)
    }

    /// Records that a machine that holds these has written until now. What it has signed in vain,
    /// it may sign again, in one life or in two.
    pub(crate) fn written_by(
        &self,
        at: usize,
        held: &BTreeSet<RecordHash>,
    ) -> BTreeSet<RecordHash> {
        let by = self.records.iter().filter(|(_, known)| known.by == at);
        let written = by.filter(|(hash, known)| known.acknowledged || held.contains(hash));
        written.map(|(hash, _)| *hash).collect()
    }

    /// A machine is back where it had signed these: what it signed since and signs from now on,
    /// under the same counters, may have the same numbers.
    pub(crate) fn parts(&mut self, at: usize, common: &BTreeSet<RecordHash>) {
        for known in self.records.values().filter(|known| known.by == at) {
            let of = self.parted.entry(known.record.clear().dot.writer);
            of.and_modify(|both| both.retain(|hash| common.contains(hash)))
                .or_insert_with(|| common.clone());
        }
    }

    /// The counter of a record, if its number may mean another record as well.
    pub(crate) fn doubtful(&self, hash: &RecordHash) -> Option<Writer> {
        let writer = self.records.get(hash)?.record.clear().dot.writer;
        let common = self.parted.get(&writer)?;
        (!common.contains(hash)).then_some(writer)
    }

    /// True if a vector names this record, and certainly no other one by its number.
    pub(crate) fn is_named(&self, hash: &RecordHash, vector: &Vector) -> bool {
        let dot = |known: &Known| known.record.clear().dot;
        let Some(named) = self.records.get(hash).map(dot) else { return false };
        let same = self.records.values().filter(|known| dot(known) == named).count();
        vector.covers(&named) && same == 1
    }

    /// Counters of which a forget names numbers that may mean two records.
    fn named_twice(&self, forget: &Known) -> BTreeSet<Writer> {
        forget.past.iter().filter_map(|hash| self.doubtful(hash)).collect()
    }

    /// True if a forget may have taken a record for another one of the same number.
    pub(crate) fn may_mistake(&self, forget: &Known, hash: &RecordHash, known: &Known) -> bool {
        let named = self.named_twice(forget);
        if known.kind().is_version() {
            return self.doubtful(hash).is_some_and(|writer| named.contains(&writer));
        }
        !named.is_disjoint(&self.named_twice(known))
    }

    /// True if a record is one that was written again.
    pub(crate) fn is_again(&self, hash: &RecordHash) -> bool {
        self.again.values().any(|again| again.contains(hash))
    }

    /// True if a version under a number that means two things was written again, or cannot be.
    pub(crate) fn shows_again(&self, hash: &RecordHash) -> bool {
        let acknowledged =
            |again: &RecordHash| self.records.get(again).is_some_and(|known| known.acknowledged);
        let again = self.again.get(hash).is_some_and(|again| again.iter().any(acknowledged));
        let excused = self.excused_chunks();
        let refs = self.records[hash].record.clear().manifest.refs();
        let gone = refs.iter().any(|chunk| excused.contains(&chunk.address));
        // Whoever may not write any more cannot write it again.
        let mute = !self.writes(self.records[hash].by);
        self.doubtful(hash).is_some() && (again || gone || mute)
    }

    /// Everything that the author of a record had seen.
    pub(crate) fn past(&self, hash: &RecordHash) -> BTreeSet<RecordHash> {
        self.records.get(hash).map(|known| known.past.clone()).unwrap_or_default()
    }

    /// True if a record that lies past an ending may have taken this one away: it may, if the
    /// founder had not got it when it cut.
    pub(crate) fn may_have_taken(&self, past: &Known, gone: &RecordHash) -> bool {
        matches!(past.fate, Fate::Past(ending) if !self.founder_held[ending].contains(gone))
    }

    /// Chunks that need not be anywhere: their last copies went with a disk, or with the record
    /// that named them while a forget counted that does no more.
    pub(crate) fn excused_chunks(&self) -> BTreeSet<Address> {
        let past = self.records.values().filter(|known| known.is_past());
        let hidden = past.flat_map(|known| &known.past).filter_map(|hash| self.records.get(hash));
        let refs = hidden.flat_map(|known| known.record.clear().manifest.refs());
        refs.map(|chunk| chunk.address).chain(self.lost_chunks.iter().copied()).collect()
    }

    pub(crate) fn acknowledge(&mut self, hash: &RecordHash) {
        if let Some(known) = self.records.get_mut(hash) {
            known.acknowledged = true;
        }
    }

    /// The records of a name that should be somewhere, or are.
    pub(crate) fn existing<'a>(
        &'a self,
        name: &'a NameId,
        held: &'a BTreeSet<RecordHash>,
    ) -> impl Iterator<Item = (&'a RecordHash, &'a Known)> {
        self.records.iter().filter(move |(hash, known)| {
            known.record.clear().name == *name
                && (held.contains(*hash) || known.acknowledged && !known.lost && !known.is_past())
        })
    }
}

/// The records of one name in a store, decoded.
pub(crate) fn held(store: &Store, name: &NameId) -> Result<Vec<Record>, String> {
    let stored = store.records_of(name.as_bytes()).map_err(|error| error.to_string())?;
    let decode = |one: &stash_server::store::StoredRecord| Record::decode(&one.bytes);
    stored.iter().map(|one| decode(one).map_err(|error| error.to_string())).collect()
}

/// Which of these chunks a store has.
pub(crate) fn here(store: &Store, chunks: &[Address]) -> Vec<bool> {
    let at = |chunk: &Address| stash_server::store::Address::from_bytes(*chunk.as_bytes());
    let addresses: Vec<_> = chunks.iter().map(at).collect();
    store.has(&addresses).unwrap_or_else(|_| vec![false; chunks.len()])
}
