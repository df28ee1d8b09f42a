//! Reading chunks of this node's own store.

use std::sync::Arc;

use stash_crypto::{Address, ChunkRef};
use stash_store::{ReadError, Store};

use crate::buffers::buffer::Buffer;
use crate::ledger::at;
use crate::transfer::Transfer;
use crate::transfer::damage::Damage;

/// Reads the sealed bytes of a chunk as every part of the engine does: damage that it meets is
/// noted, so that it is healed. False if the chunk is not here whole. Blocking.
pub(crate) fn read(
    transfer: &Transfer,
    store: &Store,
    address: &Address,
    into: &mut Vec<u8>,
) -> Result<bool, ReadError> {
    let read = store.read_into(&at(address), into);
    if let Err(error @ ReadError::Damaged { .. }) = &read
        && transfer.damage.met(Damage::Chunk(*address), error.to_string())
    {
        tracing::error!(chunk = %address.short(), %error, "a chunk is damaged here");
    }
    read
}

/// Reads a chunk from the own store. When it is not here whole, gives the buffer back, and what is
/// wrong with the store if something is.
pub(crate) async fn read_local(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    mut buffer: Buffer,
) -> Result<Buffer, (Buffer, Option<ReadError>)> {
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| match buffer
        .fill(|bytes| read(&shared, store, &chunk.address, bytes))
    {
        Ok(true) => Ok(buffer),
        Ok(false) | Err(ReadError::Damaged { .. }) => Err((buffer, None)),
        Err(error) => {
            tracing::warn!(chunk = %chunk.address.short(), %error, "a local read failed");
            Err((buffer, Some(error)))
        }
    };
    transfer.core.disk.run(work).await
}
