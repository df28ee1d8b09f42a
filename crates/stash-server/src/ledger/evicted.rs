//! Versions whose local bytes were given up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use stash_crypto::record::leaves;
use stash_crypto::{Address, NameId, Record, RecordHash};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::error::{LedgerError, at};
use crate::ledger::read::{decode, records_of, whole};
use crate::ledger::rows;

/// A version whose local bytes are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) version: RecordHash,
    /// Copies that others were to have, if whoever gave it up has said so: with as many, the bytes are not
    /// brought back.
    pub(crate) copies: Option<u8>,
}

impl GivenUp {
    fn encode(self) -> Vec<u8> {
        let mut value = self.version.as_bytes().to_vec();
        value.extend(self.copies);
        value
    }

    fn decode(value: &[u8]) -> Option<GivenUp> {
        let (version, copies) = value.split_first_chunk()?;
        let copies = match copies {
            [] => None,
            [copies] => Some(*copies),
            _ => return None,
        };
        Some(GivenUp { version: RecordHash::from_bytes(*version), copies })
    }
}

fn row(name: &NameId) -> Vec<u8> {
    [rows::EVICTED, name.as_bytes()].concat()
}

/// Notes that the local bytes of a name's version are given up, or (`None`) wanted again.
pub(crate) fn give_up(
    store: &Store,
    name: &NameId,
    given_up: Option<GivenUp>,
) -> Result<(), LedgerError> {
    let (key, value) = (row(name), given_up.map(GivenUp::encode));
    if store.row(&key)? != value {
        // An eviction begins with it, and gives room back.
        let batch = Batch::new().row(&key, value.as_deref());
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// The row that says that the local bytes of this record are given up, and what it says, if they are.
pub(crate) fn given_up(
    store: &Store,
    hash: &RecordHash,
) -> Result<Option<(Vec<u8>, GivenUp)>, LedgerError> {
    let Some(record) = whole(store, hash)? else {
        return Ok(None);
    };
    let row = row(&record.clear().name);
    let given_up = store.row(&row)?.as_deref().and_then(GivenUp::decode);
    Ok(given_up.filter(|given_up| given_up.version == *hash).map(|given_up| (row, given_up)))
}

/// True if the local bytes of this version are given up.
pub(crate) fn is_given_up(store: &Store, record: &Record) -> Result<bool, ReadError> {
    let given_up = store.row(&row(&record.clear().name))?.as_deref().and_then(GivenUp::decode);
    Ok(given_up.is_some_and(|given_up| given_up.version == record.hash()))
}

/// The chunks among some that no current version uses whose local bytes are not given up.
pub(crate) fn unused(store: &Store, chunks: &[Address]) -> Result<Vec<Address>, LedgerError> {
    let mut uses = Uses { store, records: HashMap::new(), names: HashMap::new() };
    let mut free = Vec::with_capacity(chunks.len());
    for page in chunks.chunks(TOGETHER) {
        let addresses: Vec<_> = page.iter().map(at).collect();
        for (chunk, named_by) in page.iter().zip(store.referrers_of_all(&addresses)?) {
            if !uses.any(&named_by)? {
                free.push(*chunk);
            }
        }
    }
    Ok(free)
}

/// Chunks whose records are looked up together: versions of a file share most of them.
const TOGETHER: usize = 64;

/// Records and names that are remembered, 100 bytes each.
const REMEMBERED: usize = 1 << 16;

/// Records that use local bytes. What was found of a record or a name is remembered: the chunks of a file
/// have the same ones.
struct Uses<'a> {
    store: &'a Store,
    /// True for records that are a current version with local bytes.
    records: HashMap<[u8; 32], bool>,
    /// The current versions of a name that have local bytes.
    names: HashMap<NameId, BTreeSet<RecordHash>>,
}

impl Uses<'_> {
    fn any(&mut self, records: &BTreeSet<[u8; 32]>) -> Result<bool, LedgerError> {
        for hash in records {
            if self.uses(hash)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn uses(&mut self, hash: &[u8; 32]) -> Result<bool, LedgerError> {
        if let Some(uses) = self.records.get(hash) {
            return Ok(*uses);
        }
        let uses = match self.store.record(hash)? {
            Some(stored) => {
                let name = decode(&stored)?.clear().name;
                self.with_bytes(name)?.contains(&RecordHash::from_bytes(*hash))
            }
            None => false,
        };
        if self.records.len() >= REMEMBERED {
            self.records.clear();
        }
        self.records.insert(*hash, uses);
        Ok(uses)
    }

    fn with_bytes(&mut self, name: NameId) -> Result<&BTreeSet<RecordHash>, LedgerError> {
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        match self.names.entry(name) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let mut with_bytes = BTreeSet::new();
                for leaf in leaves(&records_of(self.store, &name)?) {
                    if !is_given_up(self.store, leaf)? {
                        with_bytes.insert(leaf.hash());
                    }
                }
                Ok(unknown.insert(with_bytes))
            }
        }
    }
}
