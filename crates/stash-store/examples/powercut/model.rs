//! The contents of a store, in plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use stash_store::{ChunkState, Store};

use crate::contents::{self, BLOBS, NAMES};
use crate::user::Failure;

/// Everything that a store can show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// Rows and their values.
    pub(crate) rows: BTreeMap<u64, u64>,
    /// Records and the blobs that they name.
    pub(crate) records: BTreeMap<u64, u64>,
    pub(crate) blobs: BTreeSet<u64>,
}

impl Model {
    /// Reads all that there is in a store, each thing in every way in which it can be asked for.
    pub(crate) fn observe(store: &Store) -> Result<Model, Failure> {
        let mut seen = Model::default();
        for (key, value) in store.rows(b"")? {
            let (row, value) = contents::row_of(&key, &value)
                .ok_or_else(|| format!("a row of {} bytes is torn", value.len()))?;
            seen.rows.insert(row, value);
        }
        let mut named = BTreeSet::new();
        for name in 0..NAMES {
            named.extend(store.records_of(&contents::name(name))?.into_iter().map(|r| r.hash));
        }
        for stored in store.records_after(0, u64::MAX)? {
            let (n, b) = contents::record_of(&stored.bytes)
                .ok_or_else(|| format!("a record of {} bytes is torn", stored.bytes.len()))?;
            seen.records.insert(n, b);
            found_by_every_index(store, n, b, &named)?;
        }
        let mut bytes = Vec::new();
        for b in 0..BLOBS {
            let (address, right) = contents::blob(b);
            let here = store.read_into(address, &mut bytes)?;
            if here && bytes != *right {
                return Err(format!("blob {b} is torn: it reads as {} bytes", bytes.len()).into());
            }
            let announced = matches!(store.chunk_state(address)?, ChunkState::Here { .. });
            if here != announced || store.has(&[*address])? != [here] {
                return Err(format!("blob {b} is said to be there, and is not").into());
            }
            if here {
                seen.blobs.insert(b);
            }
        }
        Ok(seen)
    }

    /// The difference between this and `seen`, if there is one: one thing is enough. Blobs in `maybe` may be
    /// there or not.
    pub(crate) fn difference(&self, seen: &Model, maybe: &BTreeSet<u64>) -> Option<String> {
        let back = seen.blobs.difference(&self.blobs).find(|b| !maybe.contains(b));
        let lost = self.blobs.difference(&seen.blobs).next().map(|b| format!("blob {b} is lost"));
        lost.or_else(|| back.map(|b| format!("blob {b} is there")))
            .or_else(|| in_maps("record", &self.records, &seen.records))
            .or_else(|| in_maps("row", &self.rows, &seen.rows))
    }
}

/// A record that is there is found in every way in which one can ask for it.
fn found_by_every_index(
    store: &Store,
    n: u64,
    b: u64,
    named: &BTreeSet<[u8; 32]>,
) -> Result<(), Failure> {
    let entry = contents::record(n, b);
    let by_hash = store.record(&entry.hash)?.is_some_and(|r| r.bytes == entry.bytes);
    let by_name = named.contains(&entry.hash);
    let by_dot = store.dots(&entry.writer, n)?.contains(&entry.hash);
    let by_blob = store.referrers(&contents::blob(b).0)?.contains(&entry.hash);
    if by_hash && by_name && by_dot && by_blob {
        return Ok(());
    }
    let found = format!("hash {by_hash}, name {by_name}, writer {by_dot}, blob {by_blob}");
    Err(format!("record {n} is there, but is found by {found}").into())
}

fn in_maps<V: PartialEq + Debug>(
    what: &str,
    wanted: &BTreeMap<u64, V>,
    seen: &BTreeMap<u64, V>,
) -> Option<String> {
    let lost = wanted.iter().find(|(key, value)| seen.get(key) != Some(value));
    let more = seen.keys().find(|key| !wanted.contains_key(key));
    lost.map(|(key, value)| match seen.get(key) {
        Some(other) => format!("{what} {key} is {other:?} and not {value:?}"),
        None => format!("{what} {key} is lost"),
    })
    .or_else(|| more.map(|key| format!("{what} {key} is there")))
}
