//! What the schedule knows and no node does: every record that was written, what its author had
//! seen, what was acknowledged, and what no disk has any more.
//!
//! "Had seen" is kept as sets of records, without vectors, numbers and writers: a twin of the
//! product's rules that shares none of their shortcuts.

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::{Address, ChunkRef, ForgetKind, NameId, Record, RecordHash, RecordKind};
use stash_server::store::Store;

/// A record that somebody signed.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) record: Record,
    /// Who signed it, and a number for people.
    pub(crate) title: String,
    /// Everything of the name that the author had seen; of a forget, all that it names.
    pub(crate) past: BTreeSet<RecordHash>,
    /// A node said that it is durable.
    pub(crate) acknowledged: bool,
    /// The last disk that had it is gone.
    pub(crate) lost: bool,
}

impl Known {
    pub(crate) fn kind(&self) -> RecordKind {
        self.record.clear().kind
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
    /// What must never be, and was.
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
        let known = Known { record, title, past, acknowledged: false, lost: false };
        self.records.entry(hash).or_insert(known);
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
                && (held.contains(*hash) || known.acknowledged && !known.lost)
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
