//! Changing the index inside one transaction.

use redb::{ReadableTable, Table, WriteTransaction};

use crate::Address;
use crate::entry::{Op, Place};

use super::IndexError;
use super::tables::{
    BY_MANIFEST, BY_RECORD, CHUNKS, ChunkRow, DOTS, HOLDS, META, NAMES, ORDER, RECORDS, REFS, ROWS,
    Spec, State, put_place, seal, unseal,
};

type Raw<'t> = Table<'t, &'static [u8], &'static [u8]>;

struct Checked<'t> {
    table: Raw<'t>,
    spec: Spec,
}

impl<'t> Checked<'t> {
    fn open(transaction: &'t WriteTransaction, spec: Spec) -> Result<Checked<'t>, IndexError> {
        Ok(Checked { table: transaction.open_table(spec.definition)?, spec })
    }

    fn insert(&mut self, key: &[u8], mut value: Vec<u8>) -> Result<(), IndexError> {
        seal(self.spec.id, key, &mut value);
        self.table.insert(key, value.as_slice())?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let Some(stored) = self.table.get(key)? else {
            return Ok(None);
        };
        let value = unseal(self.spec.id, key, stored.value());
        Ok(Some(value.ok_or_else(|| bad_value(self.spec.id))?.to_vec()))
    }
}

pub(super) fn bad_value(table: u8) -> IndexError {
    IndexError(format!("a value in table {table} of index.redb does not match its checksum"))
}

/// The tables of the index, open for writing.
pub(crate) struct Tables<'t> {
    chunks: Checked<'t>,
    records: Checked<'t>,
    order: Checked<'t>,
    names: Checked<'t>,
    dots: Checked<'t>,
    refs: Checked<'t>,
    holds: Checked<'t>,
    rows: Checked<'t>,
    meta: Checked<'t>,
    store_id: [u8; 16],
    pub(crate) state: State,
}

pub(super) fn chain(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

impl<'t> Tables<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        store_id: &[u8; 16],
    ) -> Result<Tables<'t>, IndexError> {
        let open = |spec| Checked::open(transaction, spec);
        let meta = open(META)?;
        let state = match meta.get(b"state")? {
            Some(bytes) => State::decode(&bytes, store_id)
                .ok_or_else(|| IndexError("it is of another store or version".into()))?,
            None => State::default(),
        };
        Ok(Tables {
            chunks: open(CHUNKS)?,
            records: open(RECORDS)?,
            order: open(ORDER)?,
            names: open(NAMES)?,
            dots: open(DOTS)?,
            refs: open(REFS)?,
            holds: open(HOLDS)?,
            rows: open(ROWS)?,
            meta,
            store_id: *store_id,
            state,
        })
    }

    /// Stores how far the index has come. Once a transaction, at its end.
    pub(crate) fn put_state(&mut self) -> Result<(), IndexError> {
        let value = self.state.encode(&self.store_id);
        self.meta.insert(b"state", value)
    }

    pub(crate) fn chunk(&self, address: &Address) -> Result<Option<ChunkRow>, IndexError> {
        let Some(value) = self.chunks.get(address.as_bytes())? else {
            return Ok(None);
        };
        ChunkRow::decode(&value).map(Some).ok_or_else(|| bad_value(CHUNKS.id))
    }

    pub(crate) fn has_record(&self, hash: &[u8; 32]) -> Result<bool, IndexError> {
        Ok(self.records.table.get(hash.as_slice())?.is_some())
    }

    pub(crate) fn holders(&self, address: &Address) -> Result<Vec<[u8; 32]>, IndexError> {
        let mut holders = Vec::new();
        for row in self.holds.table.range(address.as_bytes().as_slice()..)? {
            let (key, value) = row?;
            let Some(holder) = key.value().strip_prefix(address.as_bytes()) else {
                break;
            };
            unseal(HOLDS.id, key.value(), value.value()).ok_or_else(|| bad_value(HOLDS.id))?;
            holders.push(holder.try_into().map_err(|_| bad_value(HOLDS.id))?);
        }
        Ok(holders)
    }

    fn put_chunk(&mut self, address: &Address, row: ChunkRow) -> Result<(), IndexError> {
        let old = self.chunk(address)?;
        let state = &mut self.state;
        match old {
            Some(old) if old.is_here() => {
                state.chunks = state.chunks.saturating_sub(1);
                state.bytes = state.bytes.saturating_sub(u64::from(old.len()));
            }
            Some(ChunkRow::Evicted { .. }) => state.evicted = state.evicted.saturating_sub(1),
            Some(_) => state.quarantined = state.quarantined.saturating_sub(1),
            None => {}
        }
        match row {
            ChunkRow::File { .. } | ChunkRow::Log { .. } => {
                state.chunks += 1;
                state.bytes += u64::from(row.len());
            }
            ChunkRow::Evicted { .. } => state.evicted += 1,
            ChunkRow::Quarantined { .. } => state.quarantined += 1,
        }
        self.chunks.insert(address.as_bytes(), row.encode())
    }

    /// Applies one entry of the log. Applying it again changes nothing more.
    pub(crate) fn apply(&mut self, op: &Op, sequence: u64, place: Place) -> Result<(), IndexError> {
        match op {
            Op::Record { .. } => self.apply_record(op, sequence, place),
            Op::SmallChunk { address } => self.put_chunk(address, ChunkRow::Log { place }),
            Op::FileChunk { address, len } => self.put_chunk(address, ChunkRow::File { len: *len }),
            Op::Manifest { address, refs } => {
                for r in refs {
                    let key = chain(&[r.address.as_bytes(), &[BY_MANIFEST], address.as_bytes()]);
                    self.refs.insert(&key, r.sealed_len.to_le_bytes().to_vec())?;
                }
                Ok(())
            }
            Op::Row { key, value: Some(value) } => self.rows.insert(key, value.clone()),
            Op::Row { key, value: None } => {
                self.rows.table.remove(key.as_slice())?;
                Ok(())
            }
            Op::Hold { address, holder } => {
                self.holds.insert(&chain(&[address.as_bytes(), holder]), Vec::new())
            }
            Op::Release { address, holder } => {
                self.holds.table.remove(chain(&[address.as_bytes(), holder]).as_slice())?;
                Ok(())
            }
            Op::Evict { address } => match self.chunk(address)? {
                Some(row) => self.put_chunk(address, ChunkRow::Evicted { len: row.len() }),
                None => Ok(()),
            },
            Op::Quarantine { address } => match self.chunk(address)? {
                Some(row) => self.put_chunk(address, ChunkRow::Quarantined { len: row.len() }),
                None => Ok(()),
            },
            Op::Open { opens } => {
                self.state.opens = self.state.opens.max(*opens);
                Ok(())
            }
            Op::Commit(_) => Ok(()),
        }
    }

    fn apply_record(&mut self, op: &Op, sequence: u64, place: Place) -> Result<(), IndexError> {
        let Op::Record { hash, name, writer, n, refs } = op else {
            return Ok(());
        };
        if self.has_record(hash)? {
            return Ok(());
        }
        let order = sequence.to_be_bytes();
        let mut located = sequence.to_le_bytes().to_vec();
        put_place(&mut located, &place);
        self.records.insert(hash, located)?;
        let mut ordered = hash.to_vec();
        put_place(&mut ordered, &place);
        self.order.insert(&order, ordered)?;
        self.names.insert(&chain(&[name, &order]), hash.to_vec())?;
        self.dots.insert(&chain(&[writer, &n.to_be_bytes(), &order]), hash.to_vec())?;
        for r in refs {
            let key = chain(&[r.address.as_bytes(), &[BY_RECORD], hash]);
            self.refs.insert(&key, r.sealed_len.to_le_bytes().to_vec())?;
        }
        self.state.records += 1;
        self.state.last_record = self.state.last_record.max(sequence);
        Ok(())
    }
}
