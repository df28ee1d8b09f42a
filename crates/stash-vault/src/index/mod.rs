//! The index of names: every listed name in order, with what a listing shows of it; beside them the
//! names that are removed, and those with siblings.
//!
//! It is derived from the records and holds no truth: deleted, damaged or swapped with another
//! node's, it is built again from the engine's record log.

mod check;
mod entry;
mod guard;
pub(crate) mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Durability, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use stash_crypto::{Key, NameId, RecordHash, StashId};
use thiserror::Error;
use tokio::sync::watch;

pub(crate) use check::{Table, seal, unseal};
pub(crate) use entry::IndexEntry;
pub(crate) use guard::{Guarded, IndexFault, with_table};

use crate::model::scope::Scope;

/// Page cache of the database in bytes: the index serves listings, not every read.
const CACHE: usize = 4 << 20;
/// Files of at most this many bytes are checked through when they are opened (about 0.1 s);
/// larger ones rely on the checksum of every value.
const CHECK_BELOW: u64 = 64 << 20;

const NAMES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("names");
const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
const ALARMS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("alarms");
const REMOVED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("removed");
const CONFLICTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("conflicts");
const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
/// What the index holds. Version 1, without this byte, had neither removed names nor conflicts.
const VERSION: u8 = 2;
const CURSOR: &[u8] = b"cursor";
const BINDING: &[u8] = b"binding";

/// The store and stash that an index was made from: with any other, it is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) store: [u8; 16],
    pub(crate) stash: StashId,
    /// How many records were ever set aside in that store: they left without a trace in its order.
    pub(crate) aside: u64,
}

impl Binding {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&[VERSION], &self.store[..], self.stash.as_bytes()].concat();
        if self.aside > 0 {
            bytes.extend_from_slice(&self.aside.to_le_bytes());
        }
        bytes
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
    pub(crate) shown: Shown,
    pub(crate) alarmed: bool,
}

/// What a name shows.
#[derive(Debug)]
pub(crate) enum Shown {
    /// No version of it is held.
    Nothing,
    /// A file.
    File(IndexEntry),
    /// That it is removed.
    Removed {
        /// Whether what was there before is held.
        restorable: bool,
    },
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
            with_table(txn.open_table(NAMES)?, |names| {
                rows(names, scope, after, limit, |key, value| decode(key, value).map(Some))
            })
        })
    }

    /// Up to `limit` keys of a scope whose files have siblings, likewise.
    pub(crate) fn conflicts(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        let read = |key: &str, value: &[u8]| flag(Table::Conflicts, key, value).map(|_| Some(()));
        self.read(|txn| keys(txn, CONFLICTS, scope, after, limit, read))
    }

    /// Up to `limit` keys of a scope that are removed and can be brought back, likewise.
    pub(crate) fn removed(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        let read = |key: &str, value: &[u8]| Ok(flag(Table::Removed, key, value)?.then_some(()));
        self.read(|txn| keys(txn, REMOVED, scope, after, limit, read))
    }

    /// Up to `limit` keys of a scope of which any version is held, likewise.
    pub(crate) fn every(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        self.read(|txn| {
            let any = |_: &str, _: &[u8]| Ok(Some(()));
            let mut both = keys(txn, NAMES, scope, after, limit, any)?;
            both.extend(keys(txn, REMOVED, scope, after, limit, any)?);
            both.sort_unstable();
            both.truncate(limit);
            Ok(both)
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
            let mut tables = ManuallyDrop::new(Tables {
                names: txn.open_table(NAMES)?,
                keys: txn.open_table(KEYS)?,
                alarms: txn.open_table(ALARMS)?,
                removed: txn.open_table(REMOVED)?,
                conflicts: txn.open_table(CONFLICTS)?,
            });
            let put = updates.iter().try_for_each(|update| tables.put(update));
            drop(ManuallyDrop::into_inner(tables));
            put?;
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
        for table in [NAMES, KEYS, ALARMS, REMOVED, CONFLICTS] {
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
        return Err(IndexFault::damaged("it belongs to another store, or is of another version"));
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

/// The tables that an update touches. Dropped only if nothing panicked, as [`with_table`] does.
struct Tables<'t> {
    names: Rows<'t>,
    keys: Rows<'t>,
    alarms: Rows<'t>,
    removed: Rows<'t>,
    conflicts: Rows<'t>,
}

impl Tables<'_> {
    fn put(&mut self, update: &NameUpdate) -> Result<(), IndexFault> {
        let name = &update.name.as_bytes()[..];
        set(&mut self.alarms, name, update.alarmed.then(Vec::new))?;
        let known = match &update.key {
            Some(key) => Some(key.as_str().to_owned()),
            None => key_of(&self.keys, name)?,
        };
        let Some(key) = known else { return Ok(()) };
        let row = key.as_bytes();
        let (entry, removed, conflict) = match &update.shown {
            Shown::Nothing => (None, None, None),
            Shown::File(entry) => {
                let conflict = (entry.siblings > 0).then(|| checked(Table::Conflicts, row, &[1]));
                (Some(entry.encode(&key)), None, conflict)
            }
            Shown::Removed { restorable } => {
                (None, Some(checked(Table::Removed, row, &[u8::from(*restorable)])), None)
            }
        };
        set(&mut self.names, row, entry)?;
        set(&mut self.removed, row, removed)?;
        set(&mut self.conflicts, row, conflict)?;
        self.keys.insert(name, &checked(Table::Keys, name, row)[..])?;
        Ok(())
    }
}

/// Stores a row, or takes it away if it is there.
fn set(table: &mut Rows<'_>, key: &[u8], value: Option<Vec<u8>>) -> Result<(), IndexFault> {
    match value {
        Some(value) => drop(table.insert(key, &value[..])?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}

/// A value that is one bit.
fn flag(table: Table, key: &str, value: &[u8]) -> Result<bool, IndexFault> {
    match unseal(table, key.as_bytes(), value) {
        Some([0]) => Ok(false),
        Some([1]) => Ok(true),
        _ => Err(bad("a flag")),
    }
}

fn key_of(keys: &Rows<'_>, name: &[u8]) -> Result<Option<String>, IndexFault> {
    let Some(value) = keys.get(name)? else {
        return Ok(None);
    };
    let body = unseal(Table::Keys, name, value.value()).ok_or_else(|| bad("a key"))?;
    String::from_utf8(body.to_vec()).map(Some).map_err(|_| bad("a key"))
}

/// The keys of what [`rows`] finds in a table.
fn keys(
    txn: &ReadTransaction,
    table: TableDefinition<&'static [u8], &'static [u8]>,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
    read: impl Fn(&str, &[u8]) -> Result<Option<()>, IndexFault>,
) -> Result<Vec<Key>, IndexFault> {
    with_table(txn.open_table(table)?, |table| {
        let found = rows(table, scope, after, limit, read)?;
        Ok(found.into_iter().map(|(key, ())| key).collect())
    })
}

/// Up to `limit` rows of a scope in order, after the key `after`; those that `read` gives nothing for
/// are passed over.
fn rows<T>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
    read: impl Fn(&str, &[u8]) -> Result<Option<T>, IndexFault>,
) -> Result<Vec<(Key, T)>, IndexFault> {
    let mut found = Vec::new();
    let passed = |key: &str| after.is_some_and(|after| key <= after);
    if let Some(key) = scope.exact().filter(|key| !passed(key.as_str()) && limit > 0)
        && let Some(value) = table.get(key.as_str().as_bytes())?
        && let Some(read) = read(key.as_str(), value.value())?
    {
        found.push((key.clone(), read));
    }
    let under = scope.under();
    let start = after.filter(|after| *after > under).unwrap_or(under);
    for row in table.range(start.as_bytes()..)? {
        let (key, value) = row?;
        let text = std::str::from_utf8(key.value()).map_err(|_| bad("a key"))?;
        if found.len() == limit || !text.starts_with(under) {
            break;
        }
        if passed(text) {
            continue;
        }
        let key = Key::new(text).map_err(|_| bad("a key"))?;
        if let Some(read) = read(text, value.value())? {
            found.push((key, read));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
