//! Records of a store: by hash, by name, by writer and number, and in the order in which they came.

use std::collections::BTreeSet;

use super::Store;
use crate::{
    Address, ChunkState, DamagedRecord, ReadError, RecordTotals, StoredRecord, Turned, TurnedAt,
    Wholeness, WriterEnd,
};

impl Store {
    /// The record with this hash.
    pub fn record(&self, hash: &[u8; 32]) -> Result<Option<StoredRecord>, ReadError> {
        self.open.record(hash)
    }

    /// For each hash, whether a record was stored under it. Reads no record: one that is damaged
    /// counts.
    pub fn has_records(&self, hashes: &[[u8; 32]]) -> Result<Vec<bool>, ReadError> {
        self.open.ask(|index| hashes.iter().map(|hash| Ok(index.record(hash)?.is_some())).collect())
    }

    /// Calls `visit` with the hash of every record whose hash begins with `prefix`, in the order of
    /// the hashes. Reads the index alone. What is stored or dropped meanwhile may be in it or not.
    pub fn record_hashes_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), ReadError> {
        // Not asked twice, as others are: what was visited cannot be taken back.
        Ok(self.open.ground.index().hashes_under(prefix, visit)?)
    }

    /// As [`Store::record_hashes_under`], of those records alone that lack blobs here. While [`Wholeness::settled`] is
    /// false, some may be among them that do not, and others may not be among them.
    pub fn lacking_hashes_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), ReadError> {
        Ok(self.open.ground.index().lacking_under(prefix, visit)?)
    }

    /// The number of records, and the sum of their hashes, as of the last commit. Two stores
    /// in which they are equal have the same records, unless somebody chose hashes to that end.
    pub fn record_totals(&self) -> RecordTotals {
        let state = self.open.commits.figures().state;
        RecordTotals { count: state.records, sum: state.record_sum.to_bytes() }
    }

    /// The records that lack blobs here, and whether that is known by now; see [`Wholeness`].
    pub fn wholeness(&self) -> Wholeness {
        let state = self.open.commits.figures().state;
        let held = RecordTotals { count: state.records, sum: state.record_sum.to_bytes() };
        let lacking = RecordTotals { count: state.lacking, sum: state.lacking_sum.to_bytes() };
        Wholeness { held, lacking, settled: state.unsettled == 0 }
    }

    /// For each record, whether it lacks blobs here: a blob that it names, directly or through a manifest, is not here.
    /// `None` while that is not known of all records, and while the directory of the files of blobs is away.
    pub fn are_lacking(&self, records: &[[u8; 32]]) -> Result<Option<Vec<bool>>, ReadError> {
        if self.open.ground.look().is_err() {
            return Ok(None);
        }
        // What is found while changes are being followed is no answer, though they have been followed by the end.
        let known = || self.wholeness().settled.then(|| self.open.ground.index().turned_at());
        let Some(before) = known() else {
            return Ok(None);
        };
        // Asked first: what the index has been told meanwhile is in its answer.
        let condemned = self.open.stage.condemned();
        let mut answer = self.open.ask(|index| index.are_lacking(records))?;
        let damaged = self.named_by_damaged(condemned)?;
        for (record, lacks) in records.iter().zip(&mut answer) {
            *lacks |= damaged.contains(record);
        }
        Ok((known() == Some(before)).then_some(answer))
    }

    /// The records that name blobs of these that are damaged.
    fn named_by_damaged(&self, condemned: Vec<Address>) -> Result<BTreeSet<[u8; 32]>, ReadError> {
        if condemned.is_empty() {
            return Ok(BTreeSet::new());
        }
        let states = self.open.states(&condemned)?;
        let damaged = condemned.into_iter().zip(states);
        let damaged = damaged.filter(|(_, state)| *state == ChunkState::Quarantined);
        let damaged: Vec<Address> = damaged.map(|(address, _)| address).collect();
        Ok(self.referrers_of_all(&damaged)?.into_iter().flatten().collect())
    }

    /// At most `limit` records that lack blobs here, behind `after`, in the order of their hashes.
    pub fn lacking_after(
        &self,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<Vec<[u8; 32]>, ReadError> {
        self.open.ask(|index| index.lacking_after(after, limit))
    }

    /// At most `limit` records that turned whole or stopped being so, after a position that an earlier call gave. One that
    /// comes whole turns whole. One that goes does not turn. A position means nothing after the store was opened again,
    /// and some 16,000 changes later.
    pub fn turned_since(&self, position: TurnedAt, limit: usize) -> Turned {
        let turned = self.open.ground.index().turned_since((position.run, position.number), limit);
        let (run, number) = turned.position;
        let position = TurnedAt { run, number };
        Turned { known: turned.known, records: turned.records, position }
    }

    /// All records about a name, in the order in which they were stored.
    pub fn records_of(&self, name: &[u8; 32]) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.open.ask(|index| index.records_of(name))?;
        found.into_iter().filter_map(|found| self.open.load_listed(found).transpose()).collect()
    }

    /// As [`Store::records_of`], but for records whose entries are damaged: these are told apart,
    /// with what the index knows of them. Reads much of the index for each.
    pub fn records_of_and_damaged(
        &self,
        name: &[u8; 32],
    ) -> Result<(Vec<StoredRecord>, Vec<DamagedRecord>), ReadError> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for found in self.open.ask(|index| index.records_of(name))? {
            match self.open.load_listed(found) {
                Ok(record) => whole.extend(record),
                Err(ReadError::RecordDamaged { hash, what }) => {
                    // Without a dot, it was dropped meanwhile.
                    let dot = self.open.ask(|index| index.dot_of(found.sequence))?;
                    damaged.extend(dot.map(|(writer, n)| DamagedRecord { hash, writer, n, what }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((whole, damaged))
    }

    /// At most `limit` records in the order in which they were stored, after that sequence number.
    pub fn records_after(&self, sequence: u64, limit: u64) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.open.ask(|index| index.records_after(sequence, limit))?;
        found.into_iter().filter_map(|found| self.open.load_listed(found).transpose()).collect()
    }

    /// Sequence numbers and hashes of what [`Store::records_after`] gives: for going past a record
    /// that is damaged.
    pub fn record_hashes_after(
        &self,
        sequence: u64,
        limit: u64,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        let found = self.open.ground.index().records_after(sequence, limit)?;
        Ok(found.into_iter().map(|found| (found.sequence, found.hash)).collect())
    }

    /// The hash of the record under this dot; the one stored first, if there are several.
    pub fn dot(&self, writer: &[u8; 40], n: u64) -> Result<Option<[u8; 32]>, ReadError> {
        Ok(self.dots(writer, n)?.first().copied())
    }

    /// The hashes of all records under this dot, in the order in which they were stored. More
    /// than one is for the layer above to worry about.
    pub fn dots(&self, writer: &[u8; 40], n: u64) -> Result<Vec<[u8; 32]>, ReadError> {
        self.open.ask(|index| index.dots(writer, n))
    }

    /// The highest `n` of a writer, with the hash of its record.
    pub fn last_of(&self, writer: &[u8; 40]) -> Result<Option<(u64, [u8; 32])>, ReadError> {
        self.open.ask(|index| index.last_of(writer))
    }

    /// At most `limit` records of a writer from number `n` on, by number. Several under one number
    /// may be cut apart by the limit.
    pub fn dots_from(
        &self,
        writer: &[u8; 40],
        n: u64,
        limit: usize,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        self.open.ask(|index| index.dots_from(writer, n, limit))
    }

    /// The writers whose ids begin with `prefix`, in order, each with what
    /// [`last_of`](Self::last_of) says of it. Costs two look-ups a writer.
    pub fn writers(&self, prefix: &[u8]) -> Result<Vec<WriterEnd>, ReadError> {
        self.open.ask(|index| index.writers(prefix))
    }

    /// The sequence number of the newest record, 0 if there is none.
    pub fn last_sequence(&self) -> u64 {
        self.open.commits.figures().state.last_record
    }
}
