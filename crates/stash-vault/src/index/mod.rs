//! The index of names: every listed name in order, with what a listing shows of it.
//!
//! It is derived from the records and holds no truth: deleted, damaged or swapped with another
//! node's, it is built again from the engine's record log.

mod check;
mod entry;
mod guard;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Durability, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use stash_crypto::{Key, NameId, RecordHash, StashId};
use thiserror::Error;
use tokio::sync::watch;

pub(crate) use check::{Table, seal, unseal};
pub(crate) use entry::IndexEntry;
pub(crate) use guard::{Guarded, IndexFault, with_table};
pub(crate) use tail::{Tail, run};

use crate::scope::Scope;

/// Page cache of the database in bytes: the index serves listings, not every read.
const CACHE: usize = 4 << 20;
/// Files of at most this many bytes are checked through when they are opened (about 0.1 s);
/// larger ones rely on the checksum of every value.
const CHECK_BELOW: u64 = 64 << 20;

const NAMES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("names");
const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
const ALARMS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("alarms");
const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
const CURSOR: &[u8] = b"cursor";
const BINDING: &[u8] = b"binding";

/// The store and stash that an index was made from: with any other, it is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) store: [u8; 16],
    pub(crate) stash: StashId,
}

impl Binding {
    fn bytes(&self) -> Vec<u8> {
        [&self.store[..], self.stash.as_bytes()].concat()
    }
}

/// Why the index gave no answer.
#[derive(Debug, Error)]
pub(crate) enum IndexError {
    /// It was damaged and is being built again: ask again once it has caught up.
    #[error("the index of names was damaged and is being built again")]
    Rebuilding,
    /// Neither it nor a new one can be used: the disk is at fault.
    #[error("the index of names cannot be used: {0}")]
    Unusable(IndexFault),
}

/// What the tail learned about one name.
#[derive(Debug)]
pub(crate) struct NameUpdate {
    pub(crate) name: NameId,
    pub(crate) key: Option<Key>,
    pub(crate) entry: Option<IndexEntry>,
    pub(crate) alarmed: bool,
}

struct Slot {
    db: Guarded,
    generation: u64,
}

/// The index. All methods block; all but [`NameIndex::caught_up`] are for blocking threads.
pub(crate) struct NameIndex {
    path: PathBuf,
    binding: Binding,
    slot: RwLock<Arc<Slot>>,
    cursor: watch::Sender<u64>,
}

impl NameIndex {
    /// Opens the index, or starts a new one if there is none, it is damaged, belongs to another
    /// store, or knows more than the store's `last` sequence number.
    pub(crate) fn open(path: &Path, binding: Binding, last: u64) -> Result<NameIndex, IndexError> {
        let opened = open_bound(path, &binding).and_then(|db| Ok((db.read(cursor_of)?, db)));
        let (cursor, db) = match opened {
            Ok((cursor, db)) if cursor <= last => (cursor, db),
            Ok((cursor, db)) => {
                tracing::warn!(cursor, last, "the index of names is ahead of its store");
                let _ = db.close();
                (0, start_anew(path, &binding)?)
            }
            Err(fault) => {
                tracing::warn!(%fault, "building the index of names again");
                (0, start_anew(path, &binding)?)
            }
        };
        let slot = RwLock::new(Arc::new(Slot { db, generation: 0 }));
        Ok(NameIndex { path: path.to_owned(), binding, slot, cursor: watch::Sender::new(cursor) })
    }

    /// The generation, which changes when the index is started anew, and the last sequence number
    /// that it contains.
    pub(crate) fn position(&self) -> (u64, u64) {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        (slot.generation, *self.cursor.borrow())
    }

    /// Resolves once the index contains the records up to `sequence`.
    pub(crate) async fn caught_up(&self, sequence: u64) {
        let mut cursor = self.cursor.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = cursor.wait_for(|at| *at >= sequence).await;
    }

    /// Tells when the index was started anew or has moved on.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.cursor.subscribe()
    }

    /// The entry of one key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<IndexEntry>, IndexError> {
        self.read(|txn| {
            with_table(txn.open_table(NAMES)?, |names| {
                match names.get(key.as_str().as_bytes())? {
                    None => Ok(None),
                    Some(value) => Ok(Some(decode(key.as_str(), value.value())?)),
                }
            })
        })
    }

    /// Up to `limit` entries of a scope in order of their keys, after the key `after`.
    pub(crate) fn page(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Key, IndexEntry)>, IndexError> {
        self.read(|txn| {
            with_table(txn.open_table(NAMES)?, |names| page(names, scope, after, limit))
        })
    }

    /// Whether a record of this name was applied before.
    pub(crate) fn knows(&self, names: &[NameId]) -> Result<Vec<bool>, IndexError> {
        self.read(|txn| {
            with_table(txn.open_table(KEYS)?, |keys| {
                names.iter().map(|name| Ok(keys.get(&name.as_bytes()[..])?.is_some())).collect()
            })
        })
    }

    /// The keys whose listed versions are these records. Reads everything.
    pub(crate) fn listed_by(
        &self,
        records: &BTreeSet<RecordHash>,
    ) -> Result<BTreeMap<RecordHash, Key>, IndexError> {
        self.read(|txn| {
            with_table(txn.open_table(NAMES)?, |names| {
                let mut found = BTreeMap::new();
                for row in names.iter()? {
                    let (key, value) = row?;
                    let text = std::str::from_utf8(key.value()).map_err(|_| bad("a key"))?;
                    let entry = decode(text, value.value())?;
                    if records.contains(&entry.head) {
                        found.insert(entry.head, Key::new(text).map_err(|_| bad("a key"))?);
                    }
                }
                Ok(found)
            })
        })
    }

    /// How many names are listed.
    pub(crate) fn len(&self) -> Result<u64, IndexError> {
        self.read(|txn| with_table(txn.open_table(NAMES)?, |names| Ok(names.len()?)))
    }

    /// Names of which some record was set aside.
    pub(crate) fn alarmed(&self, limit: usize) -> Result<Vec<NameId>, IndexError> {
        self.read(|txn| {
            with_table(txn.open_table(ALARMS)?, |alarms| {
                let mut found = Vec::new();
                for row in alarms.iter()?.take(limit) {
                    let name: [u8; 32] = row?.0.value().try_into().map_err(|_| bad("a name"))?;
                    found.push(NameId::from_bytes(name));
                }
                Ok(found)
            })
        })
    }

    /// Applies what the tail learned and moves the cursor, in one transaction. Does nothing if the
    /// index was started anew since `generation`.
    pub(crate) fn apply(
        &self,
        generation: u64,
        updates: &[NameUpdate],
        cursor: u64,
        durability: Durability,
    ) -> Result<(), IndexError> {
        let slot = self.current();
        if slot.generation != generation {
            return Ok(());
        }
        let written = slot.db.write(durability, |txn| {
            with_table(txn.open_table(NAMES)?, |names| {
                with_table(txn.open_table(KEYS)?, |keys| {
                    with_table(txn.open_table(ALARMS)?, |alarms| {
                        updates.iter().try_for_each(|update| put(names, keys, alarms, update))
                    })
                })
            })?;
            let cursor = checked(Table::State, CURSOR, &cursor.to_le_bytes());
            with_table(txn.open_table(STATE)?, |state| {
                state.insert(CURSOR, &cursor[..])?;
                Ok(())
            })
        });
        written.map_err(|fault| self.replace(&slot, fault))?;
        self.cursor.send_replace(cursor);
        Ok(())
    }

    /// Starts anew: records that were passed over are to be found.
    pub(crate) fn start_over(&self) -> IndexError {
        self.replace(&self.current(), IndexFault::damaged("records were passed over"))
    }

    fn current(&self) -> Arc<Slot> {
        Arc::clone(&self.slot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(
        &self,
        f: impl FnOnce(&ReadTransaction) -> Result<T, IndexFault>,
    ) -> Result<T, IndexError> {
        let slot = self.current();
        slot.db.read(f).map_err(|fault| self.replace(&slot, fault))
    }

    /// Starts anew after a fault, unless somebody else already did.
    fn replace(&self, faulty: &Slot, fault: IndexFault) -> IndexError {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.generation == faulty.generation {
            tracing::warn!(%fault, "building the index of names again");
            let db = match start_anew(&self.path, &self.binding) {
                Ok(db) => db,
                Err(error) => return error,
            };
            *slot = Arc::new(Slot { db, generation: faulty.generation + 1 });
            self.cursor.send_replace(0);
        }
        IndexError::Rebuilding
    }

    /// Makes what was applied durable and closes the file, if nobody else uses the index.
    pub(crate) fn close(self) {
        let slot = self.slot.into_inner().unwrap_or_else(PoisonError::into_inner);
        let closed = Arc::into_inner(slot).map(|slot| {
            slot.db.write(Durability::Immediate, |_| Ok(()))?;
            slot.db.close()
        });
        if let Some(Err(fault)) = closed {
            tracing::warn!(%fault, "the index of names was not closed cleanly");
        }
    }
}

fn bad(what: &str) -> IndexFault {
    IndexFault::Damaged(format!("{what} is not what was stored"))
}

fn decode(key: &str, value: &[u8]) -> Result<IndexEntry, IndexFault> {
    IndexEntry::decode(key, value).ok_or_else(|| bad("an entry"))
}

fn checked(table: Table, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = body.to_vec();
    seal(table, key, &mut value);
    value
}

/// Opens the database and checks that it belongs here; a new one is bound.
fn open_bound(path: &Path, binding: &Binding) -> Result<Guarded, IndexFault> {
    let db = Guarded::open(path, CACHE, CHECK_BELOW)?;
    let stored = db.write(Durability::Immediate, |txn| {
        for table in [NAMES, KEYS, ALARMS] {
            drop(txn.open_table(table)?);
        }
        with_table(txn.open_table(STATE)?, |state| {
            if let Some(stored) = state.get(BINDING)? {
                let body = unseal(Table::State, BINDING, stored.value());
                return Ok(body.ok_or_else(|| bad("the binding"))?.to_vec());
            }
            let fresh = checked(Table::State, BINDING, &binding.bytes());
            state.insert(BINDING, &fresh[..])?;
            let zero = checked(Table::State, CURSOR, &0u64.to_le_bytes());
            state.insert(CURSOR, &zero[..])?;
            Ok(binding.bytes())
        })
    })?;
    if stored != binding.bytes() {
        let _ = db.close();
        return Err(IndexFault::damaged("it belongs to another store"));
    }
    Ok(db)
}

fn start_anew(path: &Path, binding: &Binding) -> Result<Guarded, IndexError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(IndexError::Unusable(IndexFault::Io(error)));
        }
        _ => {}
    }
    open_bound(path, binding).map_err(IndexError::Unusable)
}

fn cursor_of(txn: &ReadTransaction) -> Result<u64, IndexFault> {
    with_table(txn.open_table(STATE)?, |state| {
        let value = state.get(CURSOR)?.ok_or_else(|| bad("the cursor"))?;
        let body = unseal(Table::State, CURSOR, value.value()).ok_or_else(|| bad("the cursor"))?;
        Ok(u64::from_le_bytes(body.try_into().map_err(|_| bad("the cursor"))?))
    })
}

type Rows<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

fn put(
    names: &mut Rows<'_>,
    keys: &mut Rows<'_>,
    alarms: &mut Rows<'_>,
    update: &NameUpdate,
) -> Result<(), IndexFault> {
    let name = &update.name.as_bytes()[..];
    if update.alarmed {
        alarms.insert(name, &b""[..])?;
    } else {
        alarms.remove(name)?;
    }
    let known = match &update.key {
        Some(key) => Some(key.as_str().to_owned()),
        None => key_of(keys, name)?,
    };
    let Some(key) = known else { return Ok(()) };
    match &update.entry {
        Some(entry) => names.insert(key.as_bytes(), &entry.encode(&key)[..])?,
        None => names.remove(key.as_bytes())?,
    };
    keys.insert(name, &checked(Table::Keys, name, key.as_bytes())[..])?;
    Ok(())
}

fn key_of(keys: &Rows<'_>, name: &[u8]) -> Result<Option<String>, IndexFault> {
    let Some(value) = keys.get(name)? else {
        return Ok(None);
    };
    let body = unseal(Table::Keys, name, value.value()).ok_or_else(|| bad("a key"))?;
    String::from_utf8(body.to_vec()).map(Some).map_err(|_| bad("a key"))
}

fn page(
    names: &impl ReadableTable<&'static [u8], &'static [u8]>,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(Key, IndexEntry)>, IndexFault> {
    let mut found = Vec::new();
    let passed = |key: &str| after.is_some_and(|after| key <= after);
    if let Some(key) = scope.exact().filter(|key| !passed(key.as_str()) && limit > 0)
        && let Some(value) = names.get(key.as_str().as_bytes())?
    {
        found.push((key.clone(), decode(key.as_str(), value.value())?));
    }
    let under = scope.under();
    let start = after.filter(|after| *after > under).unwrap_or(under);
    for row in names.range(start.as_bytes()..)? {
        let (key, value) = row?;
        let text = std::str::from_utf8(key.value()).map_err(|_| bad("a key"))?;
        if found.len() == limit || !text.starts_with(under) {
            break;
        }
        if passed(text) {
            continue;
        }
        let key = Key::new(text).map_err(|_| bad("a key"))?;
        found.push((key, decode(text, value.value())?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
