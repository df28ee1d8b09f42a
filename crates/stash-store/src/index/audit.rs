//! Rows of the index beside the entries of the log that they go by.

use std::fmt;

use super::Index;
use super::error::{IndexError, bad_value};
use super::tables::{
    BY_RECORD, ChunkRow, Located, ManifestRow, address_of, decode_order, decode_record, key, place,
    table,
};

use crate::Address;
use crate::entry::{Op, Place};

/// Tables whose rows go by an entry, in the order of their numbers.
const TABLES: [u8; 4] = [table::CHUNKS, table::RECORDS, table::ROWS, table::MANIFESTS];

/// Rows read at once: a row has 64 KiB at most.
const PAGE: usize = 256;

/// A row that goes by an entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Witness {
    Chunk(Address, ChunkRow),
    Record(Located),
    Row { key: Vec<u8>, value: Vec<u8>, place: Place },
    Manifest(Address, ManifestRow),
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Witness::Chunk(address, _) => write!(f, "what the index knows of chunk {address}"),
            Witness::Record(found) => write!(f, "record {}", crate::hex::encode(&found.hash)),
            Witness::Row { key, .. } => write!(f, "row {}", crate::hex::encode(key)),
            Witness::Manifest(address, _) => write!(f, "what manifest {address} names"),
        }
    }
}

impl Witness {
    pub(crate) fn place(&self) -> Place {
        match self {
            Witness::Chunk(_, row) => row.place(),
            Witness::Record(found) => found.place,
            Witness::Row { place, .. } => *place,
            Witness::Manifest(_, row) => row.place,
        }
    }

    /// True if an entry with this sequence number says what the row says.
    pub(crate) fn agrees(&self, op: &Op, sequence: u64) -> bool {
        match (self, op) {
            (_, Op::Moved { sequence, op }) => self.agrees(op, *sequence),
            (
                Witness::Chunk(a, ChunkRow::File { len, .. }),
                Op::FileChunk { address, len: said },
            ) => address == a && said == len,
            (Witness::Chunk(a, ChunkRow::Log { .. }), Op::SmallChunk { address })
            | (Witness::Chunk(a, ChunkRow::Evicted { .. }), Op::Evict { address })
            | (Witness::Chunk(a, ChunkRow::Quarantined { .. }), Op::Quarantine { address }) => {
                address == a
            }
            (Witness::Record(found), Op::Record { hash, .. }) => {
                *hash == found.hash && sequence == found.sequence
            }
            (Witness::Row { key, value, .. }, Op::Row { key: k, value: Some(v) }) => {
                k == key && v == value
            }
            (Witness::Manifest(a, row), Op::Manifest { address, refs }) => {
                address == a && refs.len() as u64 == u64::from(row.count)
            }
            _ => false,
        }
    }

    fn key(&self) -> Vec<u8> {
        match self {
            Witness::Chunk(address, _) => key(table::CHUNKS, &[address.as_bytes()]),
            Witness::Record(found) => key(table::RECORDS, &[&found.hash]),
            Witness::Row { key: row, .. } => key(table::ROWS, &[row]),
            Witness::Manifest(address, _) => key(table::MANIFESTS, &[address.as_bytes()]),
        }
    }

    fn decode(key: &[u8], value: &[u8]) -> Option<Witness> {
        let (number, rest) = key.split_first()?;
        Some(match *number {
            table::CHUNKS => Witness::Chunk(address_of(key)?, ChunkRow::decode(value)?),
            table::RECORDS => Witness::Record(decode_record(rest.try_into().ok()?, value)?),
            table::ROWS => {
                let (place, value) = place(value)?;
                Witness::Row { key: rest.to_vec(), value: value.to_vec(), place }
            }
            table::MANIFESTS => Witness::Manifest(address_of(key)?, ManifestRow::decode(value)?),
            _ => return None,
        })
    }
}

/// Where [`Index::witnesses`] goes on; the default is the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AuditCursor {
    table: usize,
    after: Option<Vec<u8>>,
}

impl Index {
    /// At most `limit` rows that go by entries of the log; `cursor` moves behind them. None if
    /// there are no more.
    pub(crate) fn witnesses(
        &self,
        cursor: &mut AuditCursor,
        limit: usize,
    ) -> Result<Vec<Witness>, IndexError> {
        while let Some(&table) = TABLES.get(cursor.table) {
            let mut from = cursor.after.clone().unwrap_or_else(|| vec![table]);
            // The smallest key behind another is the same with a zero byte more.
            from.extend(cursor.after.iter().map(|_| 0));
            let row = |key: &[u8], value: &[u8]| Some((key.to_vec(), Witness::decode(key, value)?));
            let rows = self.page(&from, &[table], limit, row)?;
            match rows.last() {
                Some((last, _)) => {
                    cursor.after = Some(last.clone());
                    return Ok(rows.into_iter().map(|(_, row)| row).collect());
                }
                None => *cursor = AuditCursor { table: cursor.table + 1, after: None },
            }
        }
        Ok(Vec::new())
    }

    /// The same row as it is now.
    pub(crate) fn again(&self, row: &Witness) -> Result<Option<Witness>, IndexError> {
        let key = row.key();
        self.decoded(&key, |value| Witness::decode(&key, value))
    }

    /// Rows that go by entries which begin in these ranges of a segment. Reads the whole index.
    pub(crate) fn witnesses_in(
        &self,
        segment: u64,
        ranges: &[(u64, u64)],
    ) -> Result<Vec<Witness>, IndexError> {
        let (mut found, mut cursor) = (Vec::new(), AuditCursor::default());
        loop {
            let rows = self.witnesses(&mut cursor, PAGE)?;
            if rows.is_empty() {
                return Ok(found);
            }
            found.extend(rows.into_iter().filter(|row| {
                let (place, at) = (row.place(), u64::from(row.place().offset));
                let within = ranges.iter().any(|(from, to)| (*from..*to).contains(&at));
                place.segment == segment && within
            }));
        }
    }

    /// The entry that says a row again, without the one that it goes by. `None`: only that had the bytes.
    /// Reads all references for a manifest.
    pub(crate) fn entry_of(&self, row: &Witness) -> Result<Option<Op>, IndexError> {
        Ok(Some(match row.clone() {
            Witness::Chunk(address, ChunkRow::File { len, .. }) => Op::FileChunk { address, len },
            Witness::Chunk(address, ChunkRow::Evicted { .. }) => Op::Evict { address },
            Witness::Chunk(address, ChunkRow::Quarantined { .. }) => Op::Quarantine { address },
            Witness::Chunk(_, ChunkRow::Log { .. }) | Witness::Record(_) => return Ok(None),
            Witness::Manifest(address, _) => {
                Op::Manifest { address, refs: self.children_of(&address)? }
            }
            Witness::Row { key, value, .. } => Op::Row { key, value: Some(value) },
        }))
    }

    /// True if a record is found by all that its entry says: order, name, writer, and blobs.
    pub(crate) fn finds(&self, op: &Op, found: &Located) -> Result<bool, IndexError> {
        let op = if let Op::Moved { op, .. } = op { op } else { op };
        let Op::Record { hash, name, writer, n, refs } = op else {
            return Ok(false);
        };
        let order = found.sequence.to_be_bytes();
        let order_key = key(table::ORDER, &[&order]);
        let located = self.tree.get(&order_key)?;
        if located.and_then(|value| decode_order(&order_key, &value)) != Some(*found) {
            return Ok(false);
        }
        let mut keys = vec![
            key(table::NAMES, &[name, &order]),
            key(table::DOTS, &[writer, &n.to_be_bytes(), &order]),
        ];
        keys.extend(
            refs.iter().map(|r| key(table::REFS, &[r.address.as_bytes(), &[BY_RECORD], hash])),
        );
        for key in keys {
            if self.tree.get(&key)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// At most `limit` blobs after `after` that a record or a manifest names, in order.
    pub(crate) fn named_after(
        &self,
        after: Option<Address>,
        limit: usize,
    ) -> Result<Vec<Address>, IndexError> {
        let mut named: Vec<Address> = Vec::new();
        let mut bad = None;
        // Behind all who name `after`: their kinds are far below 255.
        let from = match after {
            Some(after) => key(table::REFS, &[after.as_bytes(), &[255]]),
            None => key(table::REFS, &[]),
        };
        self.tree.scan(&from, &mut |key, _| {
            if key.first() != Some(&table::REFS) {
                return false;
            }
            match address_of(key) {
                Some(address) if named.last() == Some(&address) => true,
                Some(_) if named.len() >= limit => false,
                Some(address) => {
                    named.push(address);
                    true
                }
                None => {
                    bad = Some(bad_value(key));
                    false
                }
            }
        })?;
        bad.map_or(Ok(named), Err)
    }
}
