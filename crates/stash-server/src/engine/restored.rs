//! Another life of this node, or of its store: what is to be written again, and what was derived from it.

use std::sync::Arc;

use stash_crypto::RecordHash;
use stash_store::{Batch, ReadError};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::ledger::divergence::Reissue;
use crate::ledger::{LedgerError, rows};
use crate::transfer::reissues::reissues;

impl Engine {
    /// Changes whenever [`Engine::reissues`] may have something new.
    #[must_use]
    pub fn restored(&self) -> watch::Receiver<u64> {
        self.layers.transfer.restored.told.subscribe()
    }

    /// Versions that have to be written again because their numbers were used twice: each with its
    /// own content, with this `seen` and the height it had. Only owners write.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn reissues(&self) -> Result<Vec<Reissue>, LedgerError> {
        let transfer = Arc::clone(&self.layers.transfer);
        self.layers.core.disk.run(move |store| reissues(&transfer, store)).await
    }

    /// Notes that a version was written again.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be written: it may be written a second time.
    pub async fn reissued(&self, record: RecordHash) -> Result<(), LedgerError> {
        let row = [rows::REISSUED, record.as_bytes()].concat();
        let batch = Batch::new().row(&row, Some(&[])).even_if_full();
        self.layers.core.disk.run(move |store| store.commit(batch)).await?;
        Ok(())
    }

    /// True if this record stands under this number in the order of records, as [`Engine::record_log`]
    /// gave it. If not, what was derived from the records up to there was derived from a store that has
    /// been restored from a copy since, or the record has gone. Blocks for a moment.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub fn is_record_at(&self, sequence: u64, record: &RecordHash) -> Result<bool, ReadError> {
        let Some(before) = sequence.checked_sub(1) else { return Ok(false) };
        let found = self.layers.core.disk.store().record_hashes_after(before, 1)?;
        Ok(found == [(sequence, *record.as_bytes())])
    }
}
