//! Walks of the index that keep no more than they give back: one level of names with what lies below each,
//! sums, and names that a filter lets through.

use stash_crypto::Key;
use stash_crypto::record::FileType;

use super::entry::IndexEntry;
use super::fault::{IndexError, IndexFault};
use super::rows::Table;
use super::{NameIndex, decode, scan, text};
use crate::model::scope::Scope;

/// The files and links below a name, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many there are; directories are not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The latest of their times, in seconds and nanoseconds since the Unix epoch.
    pub modified: Option<(i64, u32)>,
}

impl Sum {
    pub(crate) fn add(&mut self, entry: &IndexEntry) {
        if entry.file_type != FileType::Directory {
            self.files += 1;
            self.bytes = self.bytes.saturating_add(entry.size);
            self.modified = self.modified.max(entry.modified);
        }
    }
}

/// A name of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// A file or a link, or a directory, in which something may lie.
    Entry(Box<IndexEntry>),
    /// A name below which others lie.
    Folder(Sum),
}

/// One level while it is put together.
struct Level {
    /// Bytes of the keys before the part that differs.
    under: usize,
    limit: usize,
    found: Vec<(Key, Child)>,
}

impl Level {
    /// Takes the next row; false if it begins a name beyond the limit.
    fn visit(&mut self, key: &[u8], value: &[u8]) -> Result<bool, IndexFault> {
        let rest = key.get(self.under..).unwrap_or_default();
        let slash = rest.iter().position(|byte| *byte == b'/');
        let name = slash.map_or(key, |at| &key[..self.under + at]);
        if let (Some(_), Some((last, Child::Folder(sum)))) = (slash, self.found.last_mut())
            && last.as_str().as_bytes() == name
        {
            sum.add(&decode(value)?);
            return Ok(true);
        }
        if self.found.len() == self.limit {
            return Ok(false);
        }
        let entry = decode(value)?;
        let child = match slash {
            None => Child::Entry(Box::new(entry)),
            Some(_) => {
                let mut sum = Sum::default();
                sum.add(&entry);
                Child::Folder(sum)
            }
        };
        self.found.push((text(name)?, child));
        Ok(true)
    }
}

impl NameIndex {
    /// Up to `limit` names right below a scope, each with its entry or what lies below it, in the order of the
    /// index, after `after`: a key, or a folder and a slash for all that lies in it. The name of the scope
    /// itself comes first, if it is a file. Reads all that lies below them.
    pub(crate) fn level(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Key, Child)>, IndexError> {
        self.0.read(|slot| {
            let under = scope.under();
            let mut level = Level { under: under.len(), limit, found: Vec::new() };
            if let Some(exact) = scope.exact().filter(|_| after.is_none())
                && let Some(value) = slot.tree.get(&Table::Names.row(exact.as_str().as_bytes()))?
            {
                level.found.push((exact.clone(), Child::Entry(Box::new(decode(&value)?))));
            }
            let passed = |key: &[u8]| {
                after.is_some_and(|after| {
                    let after = after.as_bytes();
                    key <= after || (after.ends_with(b"/") && key.starts_with(after))
                })
            };
            // Behind a folder, without reading it again.
            let from = match after.and_then(|after| after.strip_suffix('/')) {
                Some(folder) => format!("{folder}0"),
                None => after.unwrap_or_default().to_owned(),
            };
            scan(slot, Table::Names, under.as_bytes(), from.as_bytes(), &mut |key, value| {
                if passed(key) { Ok(true) } else { level.visit(key, value) }
            })?;
            Ok(level.found)
        })
    }

    /// The sum of a scope. Reads all of it.
    pub(crate) fn sum(&self, scope: &Scope) -> Result<Sum, IndexError> {
        self.0.read(|slot| {
            let mut sum = Sum::default();
            if let Some(exact) = scope.exact()
                && let Some(value) = slot.tree.get(&Table::Names.row(exact.as_str().as_bytes()))?
            {
                sum.add(&decode(&value)?);
            }
            let under = scope.under().as_bytes();
            scan(slot, Table::Names, under, under, &mut |_, value| {
                sum.add(&decode(value)?);
                Ok(true)
            })?;
            Ok(sum)
        })
    }

    /// Up to `limit` entries of a scope that `wanted` lets through, in order, after the key `after`. Reads on until
    /// it has so many.
    pub(crate) fn find(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: usize,
        wanted: &dyn Fn(&Key, &IndexEntry) -> bool,
    ) -> Result<Vec<(Key, IndexEntry)>, IndexError> {
        self.0.read(|slot| {
            let mut found = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                if after.is_none_or(|after| key > after.as_bytes()) {
                    let (key, entry) = (text(key)?, decode(value)?);
                    if wanted(&key, &entry) {
                        found.push((key, entry));
                    }
                }
                Ok(found.len() < limit)
            };
            if let Some(exact) = scope.exact().map(|key| key.as_str().as_bytes())
                && let Some(value) = slot.tree.get(&Table::Names.row(exact))?
                && !visit(exact, &value)?
            {
                return Ok(found);
            }
            let (under, from) = (scope.under().as_bytes(), after.unwrap_or_default().as_bytes());
            scan(slot, Table::Names, under, from, &mut visit)?;
            Ok(found)
        })
    }
}
