//! Asking the index.

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableError};

use crate::Address;
use crate::entry::Place;

use super::tables::{
    BY_MANIFEST, BY_RECORD, CHUNKS, ChunkRow, DOTS, HOLDS, META, NAMES, ORDER, RECORDS, REFS, ROWS,
    Spec, State, place, unseal,
};
use super::write::{bad_value, chain};
use super::{Index, IndexError, guard};

/// A record's place in the order and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) sequence: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) place: Place,
}

type Raw = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Pair = (Vec<u8>, Vec<u8>);

fn table(transaction: &ReadTransaction, spec: Spec) -> Result<Option<Raw>, IndexError> {
    match transaction.open_table(spec.definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn get(
    transaction: &ReadTransaction,
    spec: Spec,
    key: &[u8],
) -> Result<Option<Vec<u8>>, IndexError> {
    let Some(table) = table(transaction, spec)? else {
        return Ok(None);
    };
    let Some(stored) = ReadableTable::get(&table, key)? else {
        return Ok(None);
    };
    let value = unseal(spec.id, key, stored.value()).ok_or_else(|| bad_value(spec.id))?;
    Ok(Some(value.to_vec()))
}

/// Pairs from `from` on, in order, while `take` says so.
fn scan(
    transaction: &ReadTransaction,
    spec: Spec,
    from: &[u8],
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<Pair>, IndexError> {
    let Some(table) = table(transaction, spec)? else {
        return Ok(Vec::new());
    };
    let mut pairs = Vec::new();
    for row in ReadableTable::range(&table, from..)? {
        let (key, stored) = row?;
        let key = key.value();
        if !take(key) {
            break;
        }
        let value = unseal(spec.id, key, stored.value()).ok_or_else(|| bad_value(spec.id))?;
        pairs.push((key.to_vec(), value.to_vec()));
    }
    Ok(pairs)
}

fn under(
    transaction: &ReadTransaction,
    spec: Spec,
    prefix: &[u8],
) -> Result<Vec<Pair>, IndexError> {
    scan(transaction, spec, prefix, |key| key.starts_with(prefix))
}

fn hash_of(spec: Spec, bytes: &[u8]) -> Result<[u8; 32], IndexError> {
    bytes.try_into().map_err(|_| bad_value(spec.id))
}

fn located(transaction: &ReadTransaction, hash: &[u8; 32]) -> Result<Option<Located>, IndexError> {
    let Some(value) = get(transaction, RECORDS, hash)? else {
        return Ok(None);
    };
    let parsed = value.split_first_chunk::<8>().and_then(|(sequence, rest)| {
        Some(Located { sequence: u64::from_le_bytes(*sequence), hash: *hash, place: place(rest)? })
    });
    parsed.map(Some).ok_or_else(|| bad_value(RECORDS.id))
}

impl Index {
    fn read<T>(
        &self,
        f: impl FnOnce(&ReadTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        guard(|| f(&self.database().begin_read()?))
    }

    /// `None` for an index that nothing was ever written to.
    pub(crate) fn state(&self) -> Result<Option<State>, IndexError> {
        let Some(bytes) = self.read(|t| get(t, META, b"state"))? else {
            return Ok(None);
        };
        let state = State::decode(&bytes, &self.store_id);
        state.map(Some).ok_or_else(|| IndexError("it is of another store or version".into()))
    }

    pub(crate) fn chunks(&self, all: &[Address]) -> Result<Vec<Option<ChunkRow>>, IndexError> {
        self.read(|t| {
            let Some(table) = table(t, CHUNKS)? else {
                return Ok(vec![None; all.len()]);
            };
            let row = |address: &Address| {
                let key = address.as_bytes();
                let Some(stored) = ReadableTable::get(&table, key.as_slice())? else {
                    return Ok(None);
                };
                let row = unseal(CHUNKS.id, key, stored.value()).and_then(ChunkRow::decode);
                row.map(Some).ok_or_else(|| bad_value(CHUNKS.id))
            };
            all.iter().map(row).collect()
        })
    }

    pub(crate) fn record(&self, hash: &[u8; 32]) -> Result<Option<Located>, IndexError> {
        self.read(|t| located(t, hash))
    }

    pub(crate) fn records_of(&self, name: &[u8; 32]) -> Result<Vec<Located>, IndexError> {
        self.read(|t| {
            let mut found = Vec::new();
            for (_, hash) in under(t, NAMES, name)? {
                let record = located(t, &hash_of(NAMES, &hash)?)?;
                found.push(record.ok_or_else(|| bad_value(NAMES.id))?);
            }
            Ok(found)
        })
    }

    pub(crate) fn records_after(&self, after: u64, limit: u64) -> Result<Vec<Located>, IndexError> {
        let Some(from) = after.checked_add(1) else {
            return Ok(Vec::new());
        };
        self.read(|t| {
            let mut left = limit;
            let pairs = scan(t, ORDER, &from.to_be_bytes(), |_| {
                left = left.wrapping_sub(1);
                left != u64::MAX
            })?;
            let parse = |(key, value): &Pair| {
                let (hash, rest) = value.split_first_chunk::<32>()?;
                let sequence = u64::from_be_bytes(key.as_slice().try_into().ok()?);
                Some(Located { sequence, hash: *hash, place: place(rest)? })
            };
            pairs.iter().map(|p| parse(p).ok_or_else(|| bad_value(ORDER.id))).collect()
        })
    }

    pub(crate) fn dots(&self, writer: &[u8; 40], n: u64) -> Result<Vec<[u8; 32]>, IndexError> {
        self.read(|t| {
            let pairs = under(t, DOTS, &chain(&[writer, &n.to_be_bytes()]))?;
            pairs.iter().map(|(_, hash)| hash_of(DOTS, hash)).collect()
        })
    }

    pub(crate) fn last_of(&self, writer: &[u8; 40]) -> Result<Option<(u64, [u8; 32])>, IndexError> {
        self.read(|t| {
            let Some(table) = table(t, DOTS)? else {
                return Ok(None);
            };
            let (first, last) = (chain(&[writer, &[0; 16]]), chain(&[writer, &[255; 16]]));
            let mut range = ReadableTable::range(&table, first.as_slice()..=last.as_slice())?;
            let Some(row) = range.next_back() else {
                return Ok(None);
            };
            let (key, stored) = row?;
            let n = key.value().get(40..48).and_then(|n| n.try_into().ok());
            let n = u64::from_be_bytes(n.ok_or_else(|| bad_value(DOTS.id))?);
            // Of several records under one dot, the first that was stored.
            let dot = scan(t, DOTS, &chain(&[writer, &n.to_be_bytes()]), {
                let mut first = true;
                move |_| std::mem::take(&mut first)
            })?;
            unseal(DOTS.id, key.value(), stored.value()).ok_or_else(|| bad_value(DOTS.id))?;
            let (_, hash) = dot.first().ok_or_else(|| bad_value(DOTS.id))?;
            Ok(Some((n, hash_of(DOTS, hash)?)))
        })
    }

    pub(crate) fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.read(|t| get(t, ROWS, key))
    }

    pub(crate) fn rows(&self, prefix: &[u8]) -> Result<Vec<Pair>, IndexError> {
        self.read(|t| under(t, ROWS, prefix))
    }

    pub(crate) fn holders(&self, address: &Address) -> Result<Vec<[u8; 32]>, IndexError> {
        self.read(|t| {
            let pairs = under(t, HOLDS, address.as_bytes())?;
            pairs.iter().map(|(key, _)| hash_of(HOLDS, &key[32..])).collect()
        })
    }

    /// Records that name the blob, directly or through manifests of any depth.
    pub(crate) fn referrers(&self, address: &Address) -> Result<Vec<[u8; 32]>, IndexError> {
        self.read(|t| {
            let mut records = std::collections::BTreeSet::new();
            let mut seen = std::collections::BTreeSet::from([*address.as_bytes()]);
            let mut todo = vec![*address.as_bytes()];
            while let Some(next) = todo.pop() {
                for (key, _) in under(t, REFS, &next)? {
                    let (kind, referrer) =
                        key[32..].split_first().ok_or_else(|| bad_value(REFS.id))?;
                    let referrer = hash_of(REFS, referrer)?;
                    match *kind {
                        BY_RECORD => drop(records.insert(referrer)),
                        BY_MANIFEST if seen.insert(referrer) => todo.push(referrer),
                        BY_MANIFEST => {}
                        _ => return Err(bad_value(REFS.id)),
                    }
                }
            }
            Ok(records.into_iter().collect())
        })
    }
}
