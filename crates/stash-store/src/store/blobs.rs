//! Blobs of a store: handing them over, and reading them back.

use std::collections::BTreeSet;

use super::Store;
use crate::open::blobs::{Memory, Wanted};
use crate::sync::Arc;
use crate::{Address, Blob, ChunkState, Lease, ReadError, StageError, Staged};

impl Store {
    /// Hands a blob over. It is durable and visible once a commit, or [`Store::flush`], that
    /// began later has succeeded. A large blob is in a file, unsynced, when this returns; a small
    /// one is kept in memory. Waits while more than
    /// [`Options::queue_bytes`](crate::Options::queue_bytes) are on their way.
    ///
    /// If the disk fails or fills after this returned, the blob may be lost. That is told, once,
    /// to the next batch that names it (by [`Batch::require`](crate::Batch::require), or in a
    /// record or manifest), and to the next flush, which is an empty batch: they fail. Commits of
    /// others do not. A batch that must not be committed without the blob requires it.
    ///
    /// A blob that is not here takes room, within [`Options::quota`](crate::Options::quota):
    /// without room, see [`StageError::is_full`], it is refused and leaves nothing behind.
    pub fn stage(&self, blob: Blob) -> Result<Staged, StageError> {
        self.open.stage_in(blob, &mut None)
    }

    /// The state of a blob: here, or why not.
    pub fn chunk_state(&self, address: &Address) -> Result<ChunkState, ReadError> {
        Ok(self.open.states(&[*address])?[0])
    }

    /// For each blob, whether it is durable and here.
    pub fn has(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        self.open.here(addresses)
    }

    /// The number of times that blobs have left the store (evicted, collected, found damaged) since it was opened;
    /// see [`Batch::none_lost_since`](crate::Batch::none_lost_since).
    pub fn losses(&self) -> u64 {
        self.open.health.losses()
    }

    /// An empty lease: see [`Lease::add`].
    pub fn lease(&self) -> Lease {
        Lease::new(Arc::clone(&self.open))
    }

    /// True if somebody has leased a blob, or it is on its way in: a record is about to name it.
    #[must_use]
    pub fn is_leased(&self, address: &Address) -> bool {
        self.open.stage.is_leased(address)
    }

    /// Reads a blob into `out`, replacing what is in it; `false` if it is not here. The bytes are
    /// checked against the address. After an error, `out` is empty.
    pub fn read_into(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.open.read_into(address, out, Wanted::Again)
    }

    /// The same, for the only time that the blob is wanted soon: what is in the page cache of it
    /// stays there, and nothing more is left there.
    pub fn read_once_into(&self, address: &Address, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.open.read_into(address, out, Wanted::Once)
    }

    /// Reads a blob into the front of `out`, and says how long it is; `None` if it is not here. The
    /// bytes are checked against the address. Of a blob that is longer than `out`, nothing is read.
    /// After an error, or without a blob, the content of `out` is unspecified.
    pub fn read_to(&self, address: &Address, out: &mut [u8]) -> Result<Option<usize>, ReadError> {
        self.open.read_chunk(address, Memory::Fixed(out), Wanted::Again)
    }

    /// The same, for the only time that the blob is wanted soon, as [`Store::read_once_into`].
    pub fn read_once_to(
        &self,
        address: &Address,
        out: &mut [u8],
    ) -> Result<Option<usize>, ReadError> {
        self.open.read_chunk(address, Memory::Fixed(out), Wanted::Once)
    }

    /// The hashes of all records that name a blob, directly or through manifests.
    pub fn referrers(&self, address: &Address) -> Result<Vec<[u8; 32]>, ReadError> {
        self.open.ask(|index| index.referrers(address))
    }

    /// For each of these blobs the hashes of all records that name it, directly or through manifests,
    /// in order. Blobs of one file are looked up together in little more time than one of them.
    pub fn referrers_of_all(
        &self,
        addresses: &[Address],
    ) -> Result<Vec<BTreeSet<[u8; 32]>>, ReadError> {
        self.open.ask(|index| index.referrers_of_all(addresses))
    }
}
