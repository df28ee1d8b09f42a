//! Reading chunks of this node's own store.

use std::sync::Arc;

use stash_crypto::{Address, ChunkRef};
use stash_store::{ReadError, Store};

use crate::buffers::buffer::Buffer;
use crate::ledger::at;
use crate::transfer::Transfer;
use crate::transfer::damage::Damage;

/// Reads the sealed bytes of a chunk, which leaves the page cache as it is, and notes damage that it meets. False
/// if it is not here whole. Blocking.
pub(crate) fn read(
    transfer: &Transfer,
    store: &Store,
    address: &Address,
    into: &mut Vec<u8>,
) -> Result<bool, ReadError> {
    noted(transfer, address, store.read_once_into(&at(address), into))
}

/// The result of a read. Damage that it met is noted, so that it is healed: whoever in the engine
/// reads a chunk does this.
fn noted<T>(
    transfer: &Transfer,
    address: &Address,
    read: Result<T, ReadError>,
) -> Result<T, ReadError> {
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
    buffer: Buffer,
) -> Result<Buffer, (Buffer, Option<ReadError>)> {
    read_with(transfer, chunk, buffer, Store::read_to).await
}

/// The same, for a chunk that nobody else wants soon: it leaves the page cache as it is.
pub(crate) async fn read_back(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    buffer: Buffer,
) -> Result<Buffer, (Buffer, Option<ReadError>)> {
    read_with(transfer, chunk, buffer, Store::read_once_to).await
}

/// A way to read a blob of a store.
type Read = fn(&Store, &stash_store::Address, &mut [u8]) -> Result<Option<usize>, ReadError>;

async fn read_with(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    mut buffer: Buffer,
    read: Read,
) -> Result<Buffer, (Buffer, Option<ReadError>)> {
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| match buffer
        .fill(|bytes| noted(&shared, &chunk.address, read(store, &at(&chunk.address), bytes)))
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
