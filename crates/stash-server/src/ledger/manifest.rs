//! The chunks that a record names, directly or through manifest chunks.

use stash_crypto::chunk::decode_manifest_chunk;
use stash_crypto::{Address, ChunkRef, Manifest, Record};
use stash_store::room::Allowance;
use stash_store::{Batch, CommitError, ReadError, Ref, StageError, Store};

use crate::ledger::error::{LedgerError, at};

/// Need for the chunks of a record when the record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// Every chunk must be here, durably: what *stored* means.
    Required,
    /// The record alone is taken; it is shown as incomplete. For a node that learns what others
    /// hold.
    Later,
}

pub(crate) fn named(
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<Named>, LedgerError> {
    let one = |record: &Record| match Named::of(store, &record.clear().manifest) {
        // Whether they are here is not known: they are wanted until somebody has looked.
        Err(error) if chunks == Chunks::Later && error.is_away() => {
            Ok(Named::unknown(&record.clear().manifest))
        }
        named => named,
    };
    let look = || records.iter().map(one).collect::<Result<Vec<Named>, LedgerError>>();
    let named = look()?;
    if chunks == Chunks::Later || named.iter().all(|named| named.missing.is_empty()) {
        return Ok(named);
    }
    // What was handed over just now counts once it is durable.
    let missing: Vec<_> = named.iter().flat_map(|named| &named.missing).map(at).collect();
    match named.iter().any(|named| named.missing.len() == NEED) {
        // There may be more of them.
        true => store.flush()?,
        false => store.flush_these(&missing)?,
    }
    look()
}

pub(crate) fn require(batch: Batch, chunks: &[ChunkRef]) -> Batch {
    chunks.iter().fold(batch, |batch, chunk| batch.require(at(&chunk.address)))
}

/// Tells the store which chunks a manifest chunk names, or else a collection would take them for
/// garbage. In a commit of its own: several together may be larger than a batch, and saying it
/// twice or too early does no harm.
pub(crate) fn announce(
    store: &Store,
    manifest: &Address,
    chunks: Chunks,
) -> Result<(), LedgerError> {
    let refs = children(store, manifest)?;
    let batch = Batch::new().manifest(at(manifest), refs.iter().map(reference).collect());
    let batch = batch.with_allowance(Allowance::Records);
    store.commit(match chunks {
        Chunks::Required => require(batch, &refs),
        Chunks::Later => batch,
    })?;
    Ok(())
}

/// Tells the store what a manifest chunk names whose bytes are about to come, if they are one's. Told later,
/// the records that name it would seem whole as soon as it is here.
pub(crate) fn announce_coming(
    store: &Store,
    manifest: &Address,
    bytes: &[u8],
) -> Result<(), StageError> {
    let Ok(refs) = decode_manifest_chunk(bytes) else {
        return Ok(());
    };
    let batch = Batch::new().manifest(at(manifest), refs.iter().map(reference).collect());
    match store.commit(batch.with_allowance(Allowance::Records)) {
        Ok(_) => Ok(()),
        Err(CommitError::Full(error)) => Err(StageError::Full(error)),
        Err(CommitError::NoRoom(shortage)) => Err(StageError::NoRoom(shortage)),
        Err(CommitError::ReadOnly { reason }) => Err(StageError::ReadOnly { reason }),
        Err(CommitError::Away(away)) => Err(StageError::Away(away)),
        Err(CommitError::Read(error)) => Err(StageError::Read(error)),
        Err(CommitError::Io(error)) => Err(StageError::Io(error)),
        Err(error) => {
            tracing::debug!(chunk = %manifest.short(), %error, "a manifest chunk is not announced");
            Ok(())
        }
    }
}

/// Chunks that a manifest chunk names, which was here a moment ago.
pub(crate) fn children(store: &Store, manifest: &Address) -> Result<Vec<ChunkRef>, LedgerError> {
    let gone = || CommitError::MissingChunk { address: at(manifest) };
    Ok(read_manifest(store, manifest)?.ok_or_else(gone)?)
}

pub(crate) fn reference(chunk: &ChunkRef) -> Ref {
    Ref { address: at(&chunk.address), sealed_len: chunk.sealed_len }
}

/// Chunks that a manifest names, as far as this store can tell.
#[derive(Default)]
pub(crate) struct Named {
    /// Chunks that stand in the record: file chunks, or manifest chunks.
    pub(crate) direct: Vec<ChunkRef>,
    /// Manifest chunks that are here. What they name, 1 MiB each, is read again when it is needed.
    pub(crate) manifests: Vec<Address>,
    /// Chunks of either kind that are not here: the first [`NEED`].
    pub(crate) missing: Vec<Address>,
}

impl Named {
    /// Nothing that the manifest names is known to be here.
    fn unknown(manifest: &Manifest) -> Named {
        let missing = manifest.refs().iter().map(|chunk| chunk.address).take(NEED).collect();
        Named { direct: manifest.refs().to_vec(), missing, ..Named::default() }
    }

    pub(crate) fn of(store: &Store, manifest: &Manifest) -> Result<Named, LedgerError> {
        let mut named = Named { direct: manifest.refs().to_vec(), ..Named::default() };
        named.look(store, manifest.refs())?;
        if let Manifest::Indirect { chunks, .. } = manifest {
            for chunk in chunks {
                if let Some(refs) = read_manifest(store, &chunk.address)? {
                    named.look(store, &refs)?;
                    named.manifests.push(chunk.address);
                }
            }
        }
        Ok(named)
    }

    /// Tells the store what the manifest chunks name that are here.
    pub(crate) fn announce(&self, store: &Store) -> Result<(), LedgerError> {
        self.manifests.iter().try_for_each(|manifest| announce(store, manifest, Chunks::Later))
    }

    fn look(&mut self, store: &Store, refs: &[ChunkRef]) -> Result<(), LedgerError> {
        if self.missing.len() < NEED {
            let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
            let here = store.has(&addresses)?;
            let gone = refs.iter().zip(here).filter(|(_, here)| !here);
            self.missing.extend(gone.map(|(chunk, _)| chunk.address));
            self.missing.truncate(NEED);
        }
        Ok(())
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

/// Addresses that one `need` names, at most; the rest is asked for when these have come.
pub(crate) const NEED: usize = 1_024;
