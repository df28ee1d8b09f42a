//! The engine's side of the clock.

use stash_store::{Batch, Store};

use crate::engine::Engine;
use crate::ledger::clock::ClockTrust;
use crate::ledger::{LedgerError, rows};

impl Engine {
    /// Seconds that the store of this node has been open in all its life, to within ten minutes.
    #[must_use]
    pub fn uptime(&self) -> u64 {
        self.layers.core.disk.store().stats().uptime
    }

    /// Looks at the wall clock and writes down what it saw.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read or written: then nothing is to be believed.
    pub async fn look_at_clock(&self, wall: i64, uptime: u64) -> Result<ClockTrust, LedgerError> {
        let look = move |store: &Store| {
            let last = store.row(rows::CLOCK)?.and_then(|row| ClockTrust::decode(&row));
            let trust = ClockTrust::look(last, wall, uptime, store.opens());
            store.commit(Batch::new().row(rows::CLOCK, Some(&trust.encode())).even_if_full())?;
            Ok(trust)
        };
        self.layers.core.disk.run(look).await
    }

    /// Writes down that work that relied on the clock has ended.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be written: it will be done again.
    pub async fn clock_was_used(&self, trust: ClockTrust) -> Result<(), LedgerError> {
        let used = trust.after_use().encode();
        let batch = Batch::new().row(rows::CLOCK, Some(&used)).even_if_full();
        self.layers.core.disk.run(move |store| store.commit(batch).map(drop)).await?;
        Ok(())
    }
}
