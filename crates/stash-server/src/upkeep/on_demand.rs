//! Housekeeping that somebody asked for: at once, and without pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stash_store::check::CheckReport;
use stash_store::collect::{CollectError, Collected};
use stash_store::error::ScrubError;
use stash_store::scrub::Scrubbed;
use stash_store::{Finding, ReadError, Store};

use crate::ledger::LedgerError;
use crate::transfer::damage::{Damage, Damaged};
use crate::upkeep::house::House;
use crate::upkeep::housekeeping::{DAMAGE_LISTED, STEP, damaged, found, note_collected, note_pass};
use crate::upkeep::{Upkeep, heal};

/// Report of a pass over everything.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Bytes read.
    pub bytes: u64,
    /// Everything that was found, the first [`DAMAGE_LISTED`].
    pub findings: Vec<Finding>,
    /// Number of findings.
    pub found: u64,
    /// Number of those found now or before that are whole again.
    pub healed: u64,
    /// Damage that is not healed, the first [`DAMAGE_LISTED`].
    pub damaged: Vec<Damaged>,
    /// Number of chunks and records that are not healed.
    pub unhealed: u64,
}

/// Report of a check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Findings of the store.
    pub report: CheckReport,
    /// Number of those found now or before that are whole again.
    pub healed: u64,
    /// Damage that is not healed, the first [`DAMAGE_LISTED`].
    pub damaged: Vec<Damaged>,
    /// Number of chunks and records that are not healed.
    pub unhealed: u64,
}

/// Reason why housekeeping that was asked for ended early. What was done until then stays done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HouseError {
    /// The store could not be collected.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The store could not be scrubbed.
    #[error(transparent)]
    Scrub(#[from] ScrubError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store takes no writes; restart the node, and see why.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// The reason why it turned read-only.
        reason: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Collects at once, and without pauses. `progress` hears what was done so far after every step,
/// and ends it with `false`.
pub(crate) async fn collect(
    upkeep: &Arc<Upkeep>,
    now: bool,
    mut progress: impl FnMut(&Collected) -> bool,
) -> Result<Collected, HouseError> {
    writable(upkeep)?;
    let house = &upkeep.house;
    let waiting = Waiting::new(house);
    let _only_one = Arc::clone(&house.collecting).lock_owned().await;
    drop(waiting);
    let mut collector = upkeep.core.disk.store().collector(house.asked_options(now));
    loop {
        let work = move |_: &Store| {
            let step = collector.step();
            (collector, step)
        };
        let (stepped, step) = upkeep.core.disk.run(work).await;
        collector = stepped;
        let ended = step?.is_none();
        let done = collector.done();
        let goes_on = progress(&done);
        if ended {
            note_collected(upkeep, collector.options(), &done).await;
            return Ok(done);
        }
        if !goes_on {
            return Err(HouseError::Cancelled);
        }
    }
}

/// Counts somebody who waits to collect.
struct Waiting<'a>(&'a House);

impl Waiting<'_> {
    fn new(house: &House) -> Waiting<'_> {
        house.waiting.fetch_add(1, Ordering::Relaxed);
        house.wake.notify_one();
        Waiting(house)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads everything at once, and without pauses, and heals what is damaged. `progress` hears of
/// every step, and ends it with `false`: it goes on from there by itself.
pub(crate) async fn scrub(
    upkeep: &Arc<Upkeep>,
    mut progress: impl FnMut(&Scrubbed) -> bool,
) -> Result<ScrubReport, HouseError> {
    writable(upkeep)?;
    let _only_one = Arc::clone(&upkeep.house.scrubbing).lock_owned().await;
    let (_, healed_before, _) = upkeep.transfer.damage.counts();
    let began = upkeep.core.environment.seconds();
    let mut scrubber = upkeep.core.disk.store().scrubber();
    scrubber.restart();
    let mut report = ScrubReport::default();
    loop {
        let work = move |_: &Store| {
            let step = scrubber.step(STEP);
            (scrubber, step)
        };
        let (stepped, step) = upkeep.core.disk.run(work).await;
        scrubber = stepped;
        let Some(scrubbed) = step? else {
            break;
        };
        found(upkeep, &scrubbed.findings);
        report.bytes += scrubbed.bytes;
        report.found += scrubbed.findings.len() as u64;
        if !progress(&scrubbed) {
            return Err(HouseError::Cancelled);
        }
        let room = DAMAGE_LISTED.saturating_sub(report.findings.len());
        report.findings.extend(scrubbed.findings.into_iter().take(room));
    }
    note_pass(upkeep, began, upkeep.core.environment.seconds()).await;
    heal::heal(upkeep).await;
    report.damaged = damaged(upkeep, DAMAGE_LISTED).await;
    let (_, healed, unhealed) = upkeep.transfer.damage.counts();
    (report.healed, report.unhealed) = (healed - healed_before, unhealed);
    Ok(report)
}

/// Compares what the store says with what it holds, and heals what is damaged.
pub(crate) async fn check(upkeep: &Arc<Upkeep>, read_data: bool) -> Result<Checked, HouseError> {
    let (_, healed_before, _) = upkeep.transfer.damage.counts();
    let look = move |store: &Store| {
        let report = store.check(read_data)?;
        let found = report.chunks_damaged.first.iter().chain(&report.records_damaged.first);
        let damage: Vec<_> = found
            .filter_map(Damage::of_finding)
            .filter(|(damage, _)| damage.confirm(store))
            .map(|(damage, what)| (damage, what.to_owned()))
            .collect();
        Ok::<_, ReadError>((report, damage))
    };
    let (report, damage) = upkeep.core.disk.run(look).await?;
    if report.strays.total > 0 {
        // The next collection removes them.
        upkeep.house.strays.store(true, Ordering::Relaxed);
    }
    for (damage, what) in damage {
        upkeep.transfer.damage.met(damage, what);
    }
    heal::heal(upkeep).await;
    let damaged = damaged(upkeep, DAMAGE_LISTED).await;
    let (_, healed, unhealed) = upkeep.transfer.damage.counts();
    Ok(Checked { report, healed: healed - healed_before, damaged, unhealed })
}

fn writable(upkeep: &Upkeep) -> Result<(), HouseError> {
    match upkeep.core.disk.store().stats().read_only {
        Some(reason) => Err(HouseError::ReadOnly { reason }),
        None => Ok(()),
    }
}
