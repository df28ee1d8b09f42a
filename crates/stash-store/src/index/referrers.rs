//! Records and manifests that name a blob.

use std::collections::{BTreeSet, HashMap};

use super::error::{IndexError, bad_value};
use super::tables::{BY_MANIFEST, BY_RECORD, key, table};
use super::write::Tables;
use crate::Address;

/// The referrers of one blob, next to it.
#[derive(Clone, Default)]
struct Next {
    records: Vec<[u8; 32]>,
    manifests: Vec<Address>,
}

/// Finds the records that name blobs. It remembers what it found of manifests: the chunks of a file
/// share them.
pub(crate) struct Referrers<'a, 't> {
    tables: &'a Tables<'t>,
    manifests: HashMap<Address, Next>,
}

/// Looks at the hashes of some records, and ends the walk with what it returns.
type Visit<'v> = &'v mut dyn FnMut(&[[u8; 32]]) -> Option<[u8; 32]>;

impl<'a, 't> Referrers<'a, 't> {
    pub(crate) fn new(tables: &'a Tables<'t>) -> Referrers<'a, 't> {
        Referrers { tables, manifests: HashMap::new() }
    }

    /// The records that name a blob, directly or through manifests of any depth.
    pub(crate) fn of(&mut self, address: &Address) -> Result<BTreeSet<[u8; 32]>, IndexError> {
        let mut records = BTreeSet::new();
        self.walk(address, &mut |next| {
            records.extend(next);
            None
        })?;
        Ok(records)
    }

    /// A record that names a blob, and that is not among `known`.
    pub(crate) fn other_than(
        &mut self,
        address: &Address,
        known: &BTreeSet<[u8; 32]>,
    ) -> Result<Option<[u8; 32]>, IndexError> {
        self.walk(address, &mut |records| {
            records.iter().find(|hash| !known.contains(*hash)).copied()
        })
    }

    /// Visits all records that name a blob, until `visit` has found something among some of them.
    fn walk(
        &mut self,
        address: &Address,
        visit: Visit<'_>,
    ) -> Result<Option<[u8; 32]>, IndexError> {
        let first = self.next_to(address)?;
        if let Some(found) = visit(&first.records) {
            return Ok(Some(found));
        }
        let mut seen = BTreeSet::from([*address]);
        let mut todo = first.manifests;
        while let Some(manifest) = todo.pop() {
            if !seen.insert(manifest) {
                continue;
            }
            if !self.manifests.contains_key(&manifest) {
                let next = self.next_to(&manifest)?;
                self.manifests.insert(manifest, next);
            }
            let next = &self.manifests[&manifest];
            if let Some(found) = visit(&next.records) {
                return Ok(Some(found));
            }
            todo.extend_from_slice(&next.manifests);
        }
        Ok(None)
    }

    fn next_to(&self, address: &Address) -> Result<Next, IndexError> {
        let prefix = key(table::REFS, &[address.as_bytes()]);
        let (mut next, mut bad) = (Next::default(), None);
        self.tables.under(&prefix, &mut |key| {
            let by = key[prefix.len()..].split_first();
            match by.and_then(|(kind, hash)| Some((*kind, <[u8; 32]>::try_from(hash).ok()?))) {
                Some((BY_RECORD, hash)) => next.records.push(hash),
                Some((BY_MANIFEST, hash)) => next.manifests.push(Address::from_bytes(hash)),
                _ => bad = Some(bad_value(key)),
            }
            bad.is_none()
        })?;
        bad.map_or(Ok(next), Err)
    }
}
