//! Records of a store: by hash, by name, by writer and number, and in the order in which they came.

use std::io;

use super::{READS, Store, WriterEnd};
use crate::commit::lock;
use crate::entry::{HEADER, HEADER_U32, Header, record_bytes};
use crate::index::Located;
use crate::{DamagedRecord, ReadError, RecordTotals, StoredRecord};

impl Store {
    /// The record with this hash.
    pub fn record(&self, hash: &[u8; 32]) -> Result<Option<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.record(hash))?;
        Ok(found.map(|found| self.load(found)).transpose()?.flatten())
    }

    /// For each hash, whether a record was stored under it. Reads no record: one that is damaged
    /// counts.
    pub fn has_records(&self, hashes: &[[u8; 32]]) -> Result<Vec<bool>, ReadError> {
        self.shared
            .ask(|index| hashes.iter().map(|hash| Ok(index.record(hash)?.is_some())).collect())
    }

    /// Calls `visit` with the hash of every record whose hash begins with `prefix`, in the order of
    /// the hashes. Reads the index alone. What is stored or dropped meanwhile may be in it or not.
    pub fn record_hashes_under(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8; 32]),
    ) -> Result<(), ReadError> {
        // Not asked twice, as others are: what was visited cannot be taken back.
        Ok(self.shared.index().hashes_under(prefix, visit)?)
    }

    /// How many records there are, and the sum of their hashes, as of the last commit. Two stores
    /// in which they are equal have the same records, unless somebody chose hashes to that end.
    pub fn record_totals(&self) -> RecordTotals {
        let state = lock(&self.shared.figures).state;
        RecordTotals { count: state.records, sum: state.record_sum.to_bytes() }
    }

    /// All records about a name, in the order in which they were stored.
    pub fn records_of(&self, name: &[u8; 32]) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.records_of(name))?;
        found.into_iter().filter_map(|found| self.load_listed(found).transpose()).collect()
    }

    /// As [`Store::records_of`], but for records whose entries are damaged: these are told apart,
    /// with what the index knows of them. Reads much of the index for each.
    pub fn records_of_and_damaged(
        &self,
        name: &[u8; 32],
    ) -> Result<(Vec<StoredRecord>, Vec<DamagedRecord>), ReadError> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for found in self.shared.ask(|index| index.records_of(name))? {
            match self.load_listed(found) {
                Ok(record) => whole.extend(record),
                Err(ReadError::RecordDamaged { hash, what }) => {
                    // Without a dot, it was dropped meanwhile.
                    let dot = self.shared.ask(|index| index.dot_of(found.sequence))?;
                    damaged.extend(dot.map(|(writer, n)| DamagedRecord { hash, writer, n, what }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((whole, damaged))
    }

    /// At most `limit` records in the order in which they were stored, after that sequence number.
    pub fn records_after(&self, sequence: u64, limit: u64) -> Result<Vec<StoredRecord>, ReadError> {
        let found = self.shared.ask(|index| index.records_after(sequence, limit))?;
        found.into_iter().filter_map(|found| self.load_listed(found).transpose()).collect()
    }

    /// A record of a list. One that was dropped and stored again meanwhile has moved to its end.
    fn load_listed(&self, found: Located) -> Result<Option<StoredRecord>, ReadError> {
        Ok(self.load(found)?.filter(|record| record.sequence == found.sequence))
    }

    /// Sequence numbers and hashes of what [`Store::records_after`] gives: for going past a record
    /// that is damaged.
    pub fn record_hashes_after(
        &self,
        sequence: u64,
        limit: u64,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        let found = self.shared.index().records_after(sequence, limit)?;
        Ok(found.into_iter().map(|found| (found.sequence, found.hash)).collect())
    }

    /// Reads a record from the log. An entry that is written again elsewhere while it is read is
    /// looked up again; `None` if the record was dropped meanwhile.
    fn load(&self, mut found: Located) -> Result<Option<StoredRecord>, ReadError> {
        let hash = found.hash;
        for _ in 0..READS {
            match self.load_once(&found) {
                Ok(record) => return Ok(Some(record)),
                Err(ReadError::RecordDamaged { what, .. }) => {
                    match self.shared.ask(|index| index.record(&hash))? {
                        None => return Ok(None),
                        Some(again) if again == found => {
                            self.shared.note_broken(hash);
                            return Err(ReadError::RecordDamaged { hash, what });
                        }
                        Some(again) => found = again,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::RecordDamaged { hash, what: "it changes all the time".to_owned() })
    }

    fn load_once(&self, found: &Located) -> Result<StoredRecord, ReadError> {
        let hash = found.hash;
        let damaged = |what: &str| ReadError::RecordDamaged { hash, what: what.to_owned() };
        let place = found.place;
        let mut entry = Vec::new();
        let len = place.len.saturating_add(HEADER_U32);
        match self.read_log(place.segment, u64::from(place.offset), len, &mut entry) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("its segment of the log is missing"));
            }
            Err(e) if e.source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("its segment of the log is too short"));
            }
            Err(error) if error.is_unreadable() => {
                return Err(damaged("the disk cannot read it"));
            }
            result => result?,
        }
        let offset = u64::from(place.offset);
        let header = Header::decode(&entry, &self.shared.log_key, place.segment, offset)
            .ok_or_else(|| damaged("the header of its log entry does not match its tag"))?;
        let body = &entry[HEADER..];
        if header.len != place.len || crc32fast::hash(body) != header.crc {
            return Err(damaged("the checksum of its log entry does not match"));
        }
        let skip = body.len() - usize::try_from(place.body().1).unwrap_or(0).min(body.len());
        let bytes =
            record_bytes(&body[skip..], &hash).ok_or_else(|| damaged("its entry is another's"))?;
        Ok(StoredRecord { sequence: found.sequence, hash, bytes: bytes.into() })
    }

    /// The hash of the record under this dot; the one stored first, if there are several.
    pub fn dot(&self, writer: &[u8; 40], n: u64) -> Result<Option<[u8; 32]>, ReadError> {
        Ok(self.dots(writer, n)?.first().copied())
    }

    /// The hashes of all records under this dot, in the order in which they were stored. More
    /// than one is for the layer above to worry about.
    pub fn dots(&self, writer: &[u8; 40], n: u64) -> Result<Vec<[u8; 32]>, ReadError> {
        self.shared.ask(|index| index.dots(writer, n))
    }

    /// The highest `n` of a writer, with the hash of its record.
    pub fn last_of(&self, writer: &[u8; 40]) -> Result<Option<(u64, [u8; 32])>, ReadError> {
        self.shared.ask(|index| index.last_of(writer))
    }

    /// At most `limit` records of a writer from number `n` on, by number. Several under one number
    /// may be cut apart by the limit.
    pub fn dots_from(
        &self,
        writer: &[u8; 40],
        n: u64,
        limit: usize,
    ) -> Result<Vec<(u64, [u8; 32])>, ReadError> {
        self.shared.ask(|index| index.dots_from(writer, n, limit))
    }

    /// The writers whose ids begin with `prefix`, in order, each with what
    /// [`last_of`](Self::last_of) says of it. Costs two look-ups a writer.
    pub fn writers(&self, prefix: &[u8]) -> Result<Vec<WriterEnd>, ReadError> {
        self.shared.ask(|index| index.writers(prefix))
    }

    /// The sequence number of the newest record, 0 if there is none.
    pub fn last_sequence(&self) -> u64 {
        lock(&self.shared.figures).state.last_record
    }
}
