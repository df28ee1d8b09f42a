//! The index of names: every listed name in order, with what a listing shows of it; beside them the
//! names that are removed, and those with siblings.
//!
//! It is derived from the records and holds no truth: deleted, damaged or swapped with another
//! node's, it is built again from the engine's record log. The files below it are those of `stash-runs`, which
//! notices rot.

mod entry;
mod fault;
pub(crate) mod level;
mod map;
mod merges;
mod migrate;
mod rows;
pub(crate) mod tail;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::{Key, NameId, RecordHash};
use stash_runs::{Changes, Tree};
use tokio::sync::watch;

pub(crate) use entry::IndexEntry;
pub(crate) use fault::{IndexError, IndexFault};
pub(crate) use map::{Kind, Map, Merged, Root};
pub(crate) use merges::Merges;
pub(crate) use migrate::{NAMES as OLD_NAMES, OldTags, TAGS as OLD_TAGS, remove_old};
#[cfg(any(test, fuzzing))]
pub(crate) use migrate::{leaf, tag_row};
pub(crate) use words::{Binding, Mark, TAGS as TAG_WORDS};

use map::Slot;
use rows::Table;
use words::At;

use crate::model::scope::Scope;

const NAMES: Kind = Kind {
    version: words::NAMES,
    directory: "names",
    anew: "building the index of names again",
    context: "stash-vault 2026-11 index of names tag key",
    // It serves listings, not every read.
    cache: 2 << 20,
    // Some 10,000 names, which are read from the records again after a power cut.
    waiting: 4 << 20,
};

/// The facts that the tail learned about one name.
#[derive(Debug)]
pub(crate) struct NameUpdate {
    pub(crate) name: NameId,
    pub(crate) key: Option<Key>,
    pub(crate) shown: Shown,
    pub(crate) alarmed: bool,
}

/// The state that a name shows.
#[derive(Debug)]
pub(crate) enum Shown {
    /// No version of it is held.
    Nothing,
    /// A file, a link or a directory.
    File(IndexEntry),
    /// It is removed.
    Removed {
        /// True if what was there before is held.
        restorable: bool,
    },
}

/// The index. All methods block; all but [`NameIndex::caught_up`] are for blocking threads.
pub(crate) struct NameIndex(Map);

impl NameIndex {
    /// Opens the index, or starts a new one if there is none, it is damaged, belongs to another
    /// store, knows more than the store's `last` sequence number, or was made from a record that does not
    /// stand in the store's order as `stands` says. Removes what older versions had in its place.
    pub(crate) fn open(
        root: &Root,
        binding: Binding,
        last: u64,
        stands: &dyn Fn(&Mark) -> bool,
    ) -> Result<NameIndex, IndexError> {
        NameIndex::open_as(NAMES, root, binding, last, stands)
    }

    fn open_as(
        kind: Kind,
        root: &Root,
        binding: Binding,
        last: u64,
        stands: &dyn Fn(&Mark) -> bool,
    ) -> Result<NameIndex, IndexError> {
        // First, since a full disk needs its room, and nothing of it is read.
        if let Err(fault) = remove_old(root, OLD_NAMES) {
            tracing::warn!(%fault, "the old index of names could not be removed");
        }
        let map = Map::open(kind, root, binding, |At { cursor, mark, .. }| {
            let fits = cursor <= last && mark.as_ref().is_none_or(stands);
            if !fits {
                tracing::warn!(cursor, last, "the index of names is of a store as it was before");
            }
            fits
        })?;
        Ok(NameIndex(map))
    }

    /// The generation, which changes when the index is started anew, and the last sequence number
    /// that it contains.
    pub(crate) fn position(&self) -> (u64, u64) {
        let slot = self.0.current();
        let cursor = slot.at().cursor;
        (slot.generation, cursor)
    }

    /// Resolves once the index contains the records up to `sequence`.
    pub(crate) async fn caught_up(&self, sequence: u64) {
        let mut cursor = self.0.moves();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = cursor.wait_for(|at| *at >= sequence).await;
    }

    /// Tells when the index was started anew or has moved on.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.0.moves()
    }

    /// The entry of one key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<IndexEntry>, IndexError> {
        self.0.read(|slot| match slot.tree.get(&Table::Names.row(key.as_str().as_bytes()))? {
            None => Ok(None),
            Some(value) => decode(&value).map(Some),
        })
    }

    /// Up to `limit` entries of a scope in order of their keys, after the key `after`.
    pub(crate) fn page(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Key, IndexEntry)>, IndexError> {
        self.0.read(|slot| {
            rows(slot, Table::Names, scope, after, limit, |value| decode(value).map(Some))
        })
    }

    /// Up to `limit` keys of a scope whose files have siblings, likewise.
    pub(crate) fn conflicts(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        self.0.read(|slot| keys(slot, Table::Conflicts, scope, after, limit, |_| Ok(Some(()))))
    }

    /// Up to `limit` keys of a scope that are removed and can be brought back, likewise.
    pub(crate) fn removed(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        let restorable = |value: &[u8]| Ok(flag(value)?.then_some(()));
        self.0.read(|slot| keys(slot, Table::Removed, scope, after, limit, restorable))
    }

    /// Up to `limit` keys of a scope of which any version is held, likewise.
    pub(crate) fn every(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Key>, IndexError> {
        self.0.read(|slot| {
            // A name that is removed, or comes back, between the two looks is in one of them.
            let _as_of_one_moment = slot.at();
            let mut both = keys(slot, Table::Names, scope, after, limit, |_| Ok(Some(())))?;
            both.extend(keys(slot, Table::Removed, scope, after, limit, |_| Ok(Some(())))?);
            both.sort_unstable();
            both.truncate(limit);
            Ok(both)
        })
    }

    /// True if a record of this name was applied before.
    pub(crate) fn knows(&self, names: &[NameId]) -> Result<Vec<bool>, IndexError> {
        self.0.read(|slot| {
            let known = |name: &NameId| slot.tree.get(&Table::Keys.row(name.as_bytes()));
            names.iter().map(|name| Ok(known(name)?.is_some())).collect()
        })
    }

    /// The keys whose listed versions are these records. Reads everything.
    pub(crate) fn listed_by(
        &self,
        records: &BTreeSet<RecordHash>,
    ) -> Result<BTreeMap<RecordHash, Key>, IndexError> {
        let mut found = BTreeMap::new();
        self.0.read(|slot| {
            scan(slot, Table::Names, b"", b"", &mut |key, value| {
                let entry = decode(value)?;
                if records.contains(&entry.head) {
                    found.insert(entry.head, text(key)?);
                }
                Ok(true)
            })
        })?;
        Ok(found)
    }

    /// How many files and links are listed: directories are not counted.
    pub(crate) fn len(&self) -> u64 {
        self.0.current().at().rows
    }

    /// Names of which some record was set aside.
    pub(crate) fn alarmed(&self, limit: usize) -> Result<Vec<NameId>, IndexError> {
        let mut found = Vec::new();
        self.0.read(|slot| {
            scan(slot, Table::Alarms, b"", b"", &mut |name, _| {
                if found.len() < limit {
                    found.push(NameId::from_bytes(name.try_into().map_err(|_| bad("a name"))?));
                }
                Ok(found.len() < limit)
            })
        })?;
        Ok(found)
    }

    /// Applies what the tail learned and moves the cursor, all at once; `read` is the last record that was
    /// read for it, if any was. Does nothing if the index was started anew since `generation`. Durable after [`NameIndex::sync`], or when enough was
    /// applied since.
    pub(crate) fn apply(
        &self,
        generation: u64,
        updates: &[NameUpdate],
        cursor: u64,
        read: Option<Mark>,
    ) -> Result<(), IndexError> {
        self.0.change(Some(generation), |tree, at| {
            let mut put = Put { tree, changes: Changes::default(), listed: at.rows };
            updates.iter().try_for_each(|update| put.update(update))?;
            *at = At { cursor, rows: put.listed, mark: read.or(at.mark) };
            Ok(put.changes)
        })
    }

    /// Makes what was applied durable.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        self.0.sync()
    }

    /// True if [`NameIndex::merge`] has something to do.
    pub(crate) fn merge_is_due(&self) -> bool {
        self.0.merge_is_due()
    }

    /// Merges files as far as there is room: takes seconds for a million names, while others read and apply.
    pub(crate) fn merge(&self) -> Result<Merged, IndexError> {
        self.0.merge()
    }

    /// Ends a merge, and every later one: the index is about to be closed.
    pub(crate) fn stop_merging(&self) {
        self.0.stop_merging();
    }

    /// Starts anew: records that were passed over are to be found.
    pub(crate) fn start_over(&self) -> IndexError {
        self.0.start_over("records were passed over")
    }

    /// Makes what was applied durable.
    pub(crate) fn close(&self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the index of names was not closed cleanly");
        }
    }
}

fn bad(what: &str) -> IndexFault {
    IndexFault::Damaged(format!("{what} is not what was stored"))
}

fn decode(value: &[u8]) -> Result<IndexEntry, IndexFault> {
    IndexEntry::decode(value).ok_or_else(|| bad("an entry"))
}

fn text(key: &[u8]) -> Result<Key, IndexFault> {
    let text = std::str::from_utf8(key).map_err(|_| bad("a key"))?;
    Key::new(text).map_err(|_| bad("a key"))
}

/// A value that is one bit.
fn flag(value: &[u8]) -> Result<bool, IndexFault> {
    match value {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(bad("a flag")),
    }
}

/// Changes that are being put together.
struct Put<'t> {
    tree: &'t Tree,
    changes: Changes,
    listed: u64,
}

impl Put<'_> {
    fn update(&mut self, update: &NameUpdate) -> Result<(), IndexFault> {
        let name = &update.name.as_bytes()[..];
        self.set(Table::Alarms, name, update.alarmed.then(Vec::new))?;
        let known = match &update.key {
            Some(key) => Some(key.as_str().as_bytes().to_vec()),
            None => self.tree.get_over(&self.changes, &Table::Keys.row(name))?,
        };
        let Some(key) = known else { return Ok(()) };
        let (entry, removed, conflict) = match &update.shown {
            Shown::Nothing => (None, None, None),
            Shown::File(entry) => (Some(entry.encode()), None, (entry.siblings > 0).then(Vec::new)),
            Shown::Removed { restorable } => (None, Some(vec![u8::from(*restorable)]), None),
        };
        let files = |value: &Option<Vec<u8>>| {
            u64::from(value.as_ref().is_some_and(|value| !IndexEntry::is_directory(value)))
        };
        self.listed += files(&entry);
        self.listed -= files(&self.set(Table::Names, &key, entry)?);
        self.set(Table::Removed, &key, removed)?;
        self.set(Table::Conflicts, &key, conflict)?;
        self.set(Table::Keys, name, Some(key))?;
        Ok(())
    }

    /// Stores a row, or takes it away if it is there. What was there before.
    fn set(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, IndexFault> {
        let row = table.row(key);
        let before = self.tree.get_over(&self.changes, &row)?;
        match value {
            Some(value) if before.as_ref() == Some(&value) => {}
            Some(value) => self.changes.insert(&row, value),
            None if before.is_some() => self.changes.remove(&row),
            None => {}
        }
        Ok(before)
    }
}

/// The keys of what [`rows`] finds in a table.
fn keys(
    slot: &Slot,
    table: Table,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
    read: impl Fn(&[u8]) -> Result<Option<()>, IndexFault>,
) -> Result<Vec<Key>, IndexFault> {
    let found = rows(slot, table, scope, after, limit, read)?;
    Ok(found.into_iter().map(|(key, ())| key).collect())
}

/// Up to `limit` rows of a scope in order, after the key `after`; those that `read` gives nothing for
/// are passed over.
fn rows<T>(
    slot: &Slot,
    table: Table,
    scope: &Scope,
    after: Option<&str>,
    limit: usize,
    read: impl Fn(&[u8]) -> Result<Option<T>, IndexFault>,
) -> Result<Vec<(Key, T)>, IndexFault> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let passed = |key: &[u8]| after.is_some_and(|after| key <= after.as_bytes());
    if let Some(key) = scope.exact().filter(|key| !passed(key.as_str().as_bytes()))
        && let Some(value) = slot.tree.get(&table.row(key.as_str().as_bytes()))?
        && let Some(read) = read(&value)?
    {
        found.push((key.clone(), read));
    }
    if found.len() == limit {
        return Ok(found);
    }
    let (under, from) = (scope.under().as_bytes(), after.unwrap_or_default().as_bytes());
    scan(slot, table, under, from, &mut |key, value| {
        if !passed(key)
            && let Some(read) = read(value)?
        {
            found.push((text(key)?, read));
        }
        // Not with the next row: many that were removed may lie before it.
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// Takes keys and values of rows, until it says false.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, IndexFault> + 'a;

/// Goes through the rows of a table whose keys begin with `under`, from a key on, until `visit` says false.
fn scan(
    slot: &Slot,
    table: Table,
    under: &[u8],
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), IndexFault> {
    let mut result = Ok(());
    slot.tree.scan_within(&table.row(under), &table.row(from), &mut |row, value| {
        let Some((_, key)) = row.split_first() else { return true };
        visit(key, value).unwrap_or_else(|fault| {
            result = Err(fault);
            false
        })
    })?;
    result
}

#[cfg(test)]
mod tests;
