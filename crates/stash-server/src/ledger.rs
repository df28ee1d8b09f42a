//! The step in which records become part of a node's store.
//!
//! A record is acknowledged only with every chunk that it names durable here: the commit re-checks
//! them under the store's own lock, because a chunk may have been evicted since it was looked up.

use std::collections::BTreeMap;

use stash_crypto::{
    Address, ChunkRef, Manifest, NameId, Record, RecordHash, decode_manifest_chunk,
};
use stash_store::{Batch, CommitError, ReadError, RecordEntry, Ref, Store};

use crate::message::{RecordResult, pack};

/// How often a batch is tried again when a chunk vanishes between look-up and commit.
const ATTEMPTS: usize = 3;

/// Addresses that one `need` names, at most; the rest is asked for when these have come.
const NEED: usize = 1_024;

/// Rows under this prefix are alarms that `status` shows until somebody looks into them.
pub(crate) const ALARM: &[u8] = b"alarm/";

/// Whether records may be kept without their chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// Every chunk must be here, durably: what *stored* means.
    Required,
    /// The record alone is taken; it is shown as incomplete. For a node that learns what others
    /// hold.
    Later,
}

/// Looking into the store failed. Our disk's fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record in the store does not decode.
    #[error("record at sequence {sequence} does not decode: {reason}")]
    Damaged {
        /// Its sequence number in this store.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Converts between the address types of the crates below.
pub(crate) fn at(address: &Address) -> stash_store::Address {
    stash_store::Address::from_bytes(*address.as_bytes())
}

fn from_store(address: &stash_store::Address) -> Address {
    Address::from_bytes(*address.as_bytes())
}

/// The records held of one name.
pub(crate) fn records_of(store: &Store, name: &NameId) -> Result<Vec<Record>, LedgerError> {
    let stored = store.records_of(name.as_bytes())?;
    stored
        .iter()
        .map(|held| decode(held.sequence, &held.bytes))
        .collect()
}

pub(crate) fn decode(sequence: u64, bytes: &[u8]) -> Result<Record, LedgerError> {
    let damaged = |reason: String| LedgerError::Damaged { sequence, reason };
    Record::decode(bytes).map_err(|error| damaged(error.to_string()))
}

/// Makes accepted records durable, all that can be in one commit. One result a record.
pub(crate) fn admit(store: &Store, records: &[Record], chunks: Chunks) -> Vec<RecordResult> {
    let mut results = vec![None; records.len()];
    for _ in 0..ATTEMPTS {
        match attempt(store, records, chunks, &mut results) {
            Ok(()) => break,
            Err(LedgerError::Commit(CommitError::MissingChunk { .. })) => {}
            Err(error) => return failed(&results, &error.to_string()),
        }
    }
    failed(&results, "chunks keep vanishing while the record is stored")
}

/// Fills the results that are still open with a failure.
fn failed(results: &[Option<RecordResult>], reason: &str) -> Vec<RecordResult> {
    let failed = RecordResult::Failed {
        reason: reason.to_owned(),
    };
    results
        .iter()
        .map(|result| result.clone().unwrap_or_else(|| failed.clone()))
        .collect()
}

fn attempt(
    store: &Store,
    records: &[Record],
    chunks: Chunks,
    results: &mut [Option<RecordResult>],
) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    let mut taken = Vec::new();
    let mut flushed = false;
    for (i, record) in records.iter().enumerate() {
        if results[i].is_some() {
            continue;
        }
        let mut named = Named::of(store, &record.clear().manifest)?;
        if chunks == Chunks::Required && !named.missing.is_empty() && !flushed {
            // What was handed over just now counts once it is durable.
            store.flush()?;
            flushed = true;
            named = Named::of(store, &record.clear().manifest)?;
        }
        if chunks == Chunks::Required && !named.missing.is_empty() {
            let chunks = pack(named.missing.iter().take(NEED));
            results[i] = Some(RecordResult::Need { chunks });
            continue;
        }
        batch = add(store, batch, record, named, chunks)?;
        taken.push(i);
    }
    if !taken.is_empty() {
        store.commit(batch)?;
    }
    taken
        .into_iter()
        .for_each(|i| results[i] = Some(RecordResult::Stored {}));
    Ok(())
}

fn add(
    store: &Store,
    mut batch: Batch,
    record: &Record,
    named: Named,
    chunks: Chunks,
) -> Result<Batch, LedgerError> {
    let clear = record.clear();
    let writer = clear.dot.writer.to_bytes();
    if chunks == Chunks::Required {
        for chunk in &named.all {
            batch = batch.require(at(&chunk.address));
        }
    }
    if store.record(record.hash().as_bytes())?.is_some() {
        return Ok(batch);
    }
    if let Some(other) = store.dot(&writer, clear.dot.n)?
        && other != *record.hash().as_bytes()
    {
        let (node, n) = (clear.dot.writer.node, clear.dot.n);
        tracing::error!(writer = %node.short(), n, "two records under one number");
        let key = [ALARM, b"equivocation/", &writer[..], &n.to_be_bytes()].concat();
        let text = format!("two different records of node {node} carry number {n}");
        batch = batch.row(&key, Some(text.as_bytes()));
    }
    for (manifest, refs) in named.manifests {
        batch = batch.manifest(at(&manifest), refs.iter().map(reference).collect());
    }
    Ok(batch.record(RecordEntry {
        hash: *record.hash().as_bytes(),
        name: *clear.name.as_bytes(),
        writer,
        n: clear.dot.n,
        refs: clear.manifest.refs().iter().map(reference).collect(),
        bytes: record.shared_bytes(),
    }))
}

fn reference(chunk: &ChunkRef) -> Ref {
    Ref {
        address: at(&chunk.address),
        sealed_len: chunk.sealed_len,
    }
}

/// What a manifest names, as far as this store can tell.
struct Named {
    /// File chunks and manifest chunks.
    all: Vec<ChunkRef>,
    /// Those of `all` that are not here.
    missing: Vec<Address>,
    /// Decoded manifest chunks.
    manifests: BTreeMap<Address, Vec<ChunkRef>>,
}

impl Named {
    fn of(store: &Store, manifest: &Manifest) -> Result<Named, LedgerError> {
        let mut all = manifest.refs().to_vec();
        let mut manifests = BTreeMap::new();
        if let Manifest::Indirect { chunks, .. } = manifest {
            for chunk in chunks {
                if let Some(refs) = read_manifest(store, &chunk.address)? {
                    all.extend_from_slice(&refs);
                    manifests.insert(chunk.address, refs);
                }
            }
        }
        let addresses: Vec<_> = all.iter().map(|chunk| at(&chunk.address)).collect();
        let here = store.has(&addresses)?;
        let gone = addresses.iter().zip(here).filter(|(_, here)| !here);
        Ok(Named {
            missing: gone.map(|(address, _)| from_store(address)).collect(),
            all,
            manifests,
        })
    }
}

/// A manifest chunk's references; `None` when it is not here or is none (its author's fault: the
/// record then stays incomplete).
pub(crate) fn read_manifest(
    store: &Store,
    address: &Address,
) -> Result<Option<Vec<ChunkRef>>, LedgerError> {
    let mut bytes = Vec::new();
    match store.read_into(&at(address), &mut bytes) {
        Ok(true) => Ok(decode_manifest_chunk(&bytes).ok()),
        Ok(false) | Err(ReadError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Store rows of versions whose local bytes were given up, by name id; the value is the record hash.
const EVICTED: &[u8] = b"evicted/";

/// Notes that the local bytes of a name's version are given up, or (`None`) wanted again.
pub(crate) fn give_up(
    store: &Store,
    name: &NameId,
    version: Option<RecordHash>,
) -> Result<(), LedgerError> {
    let key = [EVICTED, name.as_bytes()].concat();
    let value = version.map(|hash| *hash.as_bytes());
    if store.row(&key)?.as_deref() != value.as_ref().map(<[u8; 32]>::as_slice) {
        store.commit(Batch::new().row(&key, value.as_ref().map(<[u8; 32]>::as_slice)))?;
    }
    Ok(())
}

/// Whether a current version whose local bytes are not given up uses this chunk.
pub(crate) fn in_use(store: &Store, address: &Address) -> Result<bool, LedgerError> {
    for hash in store.referrers(&at(address))? {
        let Some(stored) = store.record(&hash)? else {
            continue;
        };
        let record = decode(stored.sequence, &stored.bytes)?;
        let name = record.clear().name;
        let given_up = store.row(&[EVICTED, name.as_bytes()].concat())?;
        if given_up.as_deref() == Some(hash.as_slice()) {
            continue;
        }
        let held = records_of(store, &name)?;
        if stash_crypto::leaves(&held)
            .iter()
            .any(|leaf| leaf.hash() == record.hash())
        {
            return Ok(true);
        }
    }
    Ok(false)
}
