//! Collection, scrub and repair when somebody asks for them.

use stash_store::collect::{Collectable, Collected};
use stash_store::scrub::Scrubbed;

use crate::engine::Engine;
use crate::ledger::{LedgerError, progress, sums};
use crate::replication::wants;
use crate::transfer::cache::CacheView;
use crate::transfer::counting::Counting;
use crate::transfer::damage::Damaged;
use crate::upkeep::counts::{Copies, Manner};
use crate::upkeep::housekeeping::{Housekeeper, damaged};
use crate::upkeep::on_demand::{Checked, HouseError, ScrubReport, check, collect, scrub};
use crate::upkeep::repair::{Repaired, meet, pass};
use crate::upkeep::repairs::RepairStatus;
use crate::upkeep::safety::{self, Safety};

impl Engine {
    /// Counts the copies of every record at once, brings what is missing here, without waiting for
    /// any grace, and tells others what they lack; if `dry`, only counts. `progress` hears what was
    /// found so far, and ends it by `false`.
    ///
    /// # Errors
    ///
    /// [`HouseError`]; what was repaired until then stays so.
    pub async fn repair(
        &self,
        dry: bool,
        progress: impl FnMut(&Copies) -> bool,
    ) -> Result<Repaired, HouseError> {
        let layers = &self.layers;
        let manner = if dry { Manner::Dry } else { Manner::Now };
        if !dry {
            meet(&layers.upkeep).await?;
        }
        let found = pass(&layers.upkeep, manner, progress).await?;
        let left = found.incomplete + found.brought_back;
        if dry || left == 0 {
            return Ok(Repaired { left, found, completed: 0 });
        }
        let completed = wants::pass(&layers.replication).await?;
        let left = layers.core.disk.run(progress::count_wanted).await?;
        Ok(Repaired { found, completed, left })
    }

    /// Whether every version has copies enough on other members, by what these said of themselves within a day. Nobody is
    /// asked.
    #[must_use]
    pub fn safety(&self) -> Safety {
        let layers = &self.layers;
        let core = &layers.core;
        let now = core.environment.seconds();
        let counting = Counting::now(&layers.transfer);
        let shown = counting.expected().chain(counting.caches());
        let others = shown.filter(|node| *node != core.me).map(|node| {
            (node, layers.replication.statements.of(&node, now), counting.counts(&node))
        });
        let copies = layers.upkeep.house.options.repair_copies;
        safety::judge(&sums::held(core.disk.store()), copies, others.collect())
    }

    /// The bytes here, if this node keeps less than everything.
    #[must_use]
    pub fn cache(&self) -> Option<CacheView> {
        let layers = &self.layers;
        layers.transfer.cache.view(layers.core.disk.store())
    }

    /// State of the repair.
    #[must_use]
    pub fn repair_status(&self) -> RepairStatus {
        self.layers.upkeep.repairs.status()
    }

    /// The room that [`Engine::collect`] would give back now; with `now`, without waiting for any
    /// grace.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn collectable(&self, now: bool) -> Result<Collectable, LedgerError> {
        let options = self.layers.upkeep.house.asked_options(now);
        Ok(self.layers.core.disk.run(move |store| store.collectable(&options)).await?)
    }

    /// Collects what no record needs, at once and without pauses; with `now`, without waiting for
    /// any grace. Segments of the log are written again from a fifth of dead entries on, and not
    /// from a half as the node does by itself. `progress` hears after every step what was done so
    /// far, and ends it by `false`.
    ///
    /// # Errors
    ///
    /// [`HouseError`]; what was collected until then is gone.
    pub async fn collect(
        &self,
        now: bool,
        progress: impl FnMut(&Collected) -> bool,
    ) -> Result<Collected, HouseError> {
        collect(&self.layers.upkeep, now, progress).await
    }

    /// Reads everything that is stored, at once and without pauses, and heals from other members
    /// what is damaged. `progress` hears of every step, and ends it by `false`.
    ///
    /// # Errors
    ///
    /// [`HouseError`]; the pass goes on by itself.
    pub async fn scrub(
        &self,
        progress: impl FnMut(&Scrubbed) -> bool,
    ) -> Result<ScrubReport, HouseError> {
        scrub(&self.layers.upkeep, progress).await
    }

    /// Compares everything that the store says with what it holds, and with `read_data` reads
    /// all of it; heals from other members what is damaged.
    ///
    /// # Errors
    ///
    /// [`HouseError`] when the store cannot be read.
    pub async fn check(&self, read_data: bool) -> Result<Checked, HouseError> {
        check(&self.layers.upkeep, read_data).await
    }

    /// Damage that was found and is not healed, the first `limit`.
    pub async fn damaged(&self, limit: usize) -> Vec<Damaged> {
        damaged(&self.layers.upkeep, limit).await
    }

    /// The housekeeping of an engine in [`crate::Mode::Inline`], for the caller that drives it.
    #[must_use]
    pub fn housekeeper(&self) -> Housekeeper {
        Housekeeper::new(&self.layers.upkeep)
    }
}
