//! Counting the copies of every record, and making good what is missing: here at once, elsewhere by
//! telling those who lack something.
//!
//! Every member should hold everything, so each repairs itself: it wants the chunks of every record
//! that it holds (`replication/wants.rs`), keepers as well as owners. What this pass adds: it finds
//! what is missing here and not yet wanted; it counts copies; and where bytes were given up here and too few others
//! have them, it brings them back. It asks nobody about any record: what others have is followed as it
//! changes (`replication/believing.rs`).
//!
//! Nobody's word is taken for long. A member that was away for longer than the grace, or that did
//! not show what it says it has, counts as nobody.

pub(crate) mod page;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};
use stash_crypto::{NodeId, RecordHash};
use stash_store::{Batch, Store};
use tokio::time::{Instant, sleep, sleep_until};

use crate::founder::tickets;
use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::membership::{confirmation, learn};
use crate::message::HOLDING_PAGE;
use crate::replication::believing;
use crate::transfer::counting::Counting;
use crate::upkeep::counts::{Copies, Manner};
use crate::upkeep::on_demand::HouseError;
use crate::upkeep::repair::page::Page;
use crate::upkeep::repairs::Moment;
use crate::upkeep::{Upkeep, lapse};

/// Time between two looks whether a pass is due.
const LOOK: Duration = Duration::from_secs(60);

/// A node that has just started has better things to do.
const SETTLE: Duration = Duration::from_secs(60);

/// Share of the time that a pass takes for itself, one part in so many.
const SHARE: u32 = 10;

/// Looks after the copies until the engine stops. While they are counted, which may take hours, the
/// members are looked at as ever.
pub(crate) async fn run(upkeep: Arc<Upkeep>) {
    let mut next = Instant::now() + SETTLE;
    let (looks, counts) = (upkeep.core.tasks.list("members"), upkeep.core.tasks.list("copies"));
    let began = lock(&upkeep.repairs.notes).began;
    if began > 0 {
        counts.worked(Duration::from_secs(upkeep.core.environment.seconds().saturating_sub(began)));
    }
    counts.ends(Some(due_in(&upkeep)));
    let mut counting = pin!(Fuse::terminated());
    loop {
        looks.ends(Some(next.saturating_duration_since(Instant::now())));
        let is_counting = !counting.is_terminated();
        let woken = tokio::select! {
            biased;
            () = upkeep.core.tasks.stopped() => return,
            () = counting.as_mut(), if is_counting => {
                counts.ends(Some(due_in(&upkeep)));
                continue;
            }
            () = upkeep.repairs.wake.notified(), if !is_counting => true,
            () = sleep_until(next) => false,
        };
        next = Instant::now() + LOOK;
        looks.begins();
        let due = match meet(&upkeep).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the repair could not be looked after");
                continue;
            }
        };
        if !is_counting {
            match woken || due {
                true => {
                    counts.begins();
                    counting.set(count(&upkeep).fuse());
                }
                false => counts.ends(Some(due_in(&upkeep))),
            }
        }
    }
}

async fn count(upkeep: &Arc<Upkeep>) {
    let ended = pass(upkeep, Manner::Quiet, |_| !upkeep.core.tasks.is_stopping()).await;
    match ended {
        // It goes on from where it was once whoever asked is done.
        Err(HouseError::Cancelled) | Ok(_) => {}
        Err(error) => tracing::warn!(%error, "copies could not be counted"),
    }
}

/// Notes the members that are connected, and those that have lapsed or are back. True if a pass is
/// due.
pub(crate) async fn meet(upkeep: &Arc<Upkeep>) -> Result<bool, LedgerError> {
    let uptime = upkeep.core.disk.store().stats().uptime;
    let now = upkeep.core.environment.seconds();
    for (node, _) in upkeep.core.connected() {
        upkeep.membership.last_met.met(node, uptime, now);
    }
    if let Some(batch) = upkeep.membership.last_met.unwritten() {
        upkeep.core.disk.run(move |store| store.commit(batch.even_if_full())).await?;
    }
    lapse::look(upkeep).await;
    tickets::look(&upkeep.founder).await;
    confirmation::look(&upkeep.membership).await;
    learn::follow_again(&upkeep.membership).await;
    let lost = lost(upkeep);
    let quarantined = upkeep.core.disk.store().stats().quarantined;
    let (seconds, interval) = (upkeep.core.environment.seconds(), interval(upkeep));
    let moment = Moment { seconds, uptime, quarantined, lost: &lost, interval };
    Ok(lock(&upkeep.repairs.notes).is_due(moment))
}

fn interval(upkeep: &Upkeep) -> u64 {
    upkeep.house.options.repair_interval.as_secs()
}

/// Time until copies are counted, if nothing happens before.
fn due_in(upkeep: &Upkeep) -> Duration {
    let (seconds, uptime) =
        (upkeep.core.environment.seconds(), upkeep.core.disk.store().stats().uptime);
    let due = lock(&upkeep.repairs.notes).due_in(seconds, uptime, interval(upkeep));
    Duration::from_secs(due).max(LOOK)
}

/// The members whose copies do not count.
fn lost(upkeep: &Upkeep) -> BTreeSet<NodeId> {
    let counting = Counting::now(&upkeep.transfer);
    let mut lost: BTreeSet<NodeId> = counting.uncounted().map(|(node, _)| node).collect();
    let uptime = upkeep.core.disk.store().stats().uptime;
    let grace = upkeep.house.options.repair_grace.as_secs();
    let connected: BTreeSet<NodeId> =
        upkeep.core.connected().into_iter().map(|(node, _)| node).collect();
    for member in upkeep.core.roster.members() {
        let says =
            connected.contains(&member.node) && !upkeep.membership.last_met.is_away(&member.node);
        let here = member.node == upkeep.core.me || says;
        if is_lost(here, upkeep.membership.last_met.of(&member.node), uptime, grace) {
            lost.insert(member.node);
        }
    }
    lost
}

/// True if the copies of a member do not count: it is away, and was last met more than the grace
/// ago, in seconds for which this node has run.
fn is_lost(is_here: bool, met: Option<u64>, uptime: u64, grace: u64) -> bool {
    !is_here && met.is_none_or(|met| uptime.saturating_sub(met) > grace)
}

/// Looks at every record. `progress` hears what was found so far after every page, and ends the
/// pass with `false`.
pub(crate) async fn pass(
    upkeep: &Arc<Upkeep>,
    manner: Manner,
    mut progress: impl FnMut(&Copies) -> bool,
) -> Result<Copies, HouseError> {
    let _alone = match manner {
        Manner::Quiet => upkeep.repairs.alone.lock().await,
        Manner::Dry | Manner::Now => upkeep.repairs.alone_soon().await,
    };
    let asked = believing::refresh(&upkeep.replication, manner != Manner::Quiet).await;
    let lost = lost(upkeep);
    let mut found = Copies::default();
    let stats = upkeep.core.disk.store().stats();
    let (uptime, quarantined) = (stats.uptime, stats.quarantined);
    let (mut began, mut after, mut due) = (upkeep.core.environment.seconds(), 0, None::<u64>);
    if manner == Manner::Quiet {
        let notes = lock(&upkeep.repairs.notes);
        // One that a stop interrupted goes on; what it had counted before is counted again the next
        // time.
        if notes.ended == 0 && notes.after > 0 {
            (after, began) = (notes.after, notes.began);
        }
    }
    loop {
        let begun = Instant::now();
        let page = upkeep
            .core
            .disk
            .run(move |store| store.record_hashes_after(after, HOLDING_PAGE as u64))
            .await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let record = |(sequence, hash)| (sequence, RecordHash::from_bytes(hash));
        let records = page.into_iter().map(record).collect();
        let page = Page { upkeep, lost: &lost, asked: &asked, manner, records };
        let next = page.look(&mut found).await?;
        due = due.into_iter().chain(next).min();
        if !progress(&found) {
            return Err(HouseError::Cancelled);
        }
        if manner == Manner::Quiet {
            let asked = upkeep.repairs.asked.notified();
            note(upkeep, began, 0, after).await;
            if upkeep.repairs.is_waited_for() {
                return Err(HouseError::Cancelled);
            }
            tokio::select! {
                biased;
                () = asked => return Err(HouseError::Cancelled),
                () = upkeep.core.tasks.stopped() => return Err(HouseError::Cancelled),
                () = sleep(begun.elapsed() * (SHARE - 1)) => {}
            }
        }
    }
    if manner != Manner::Dry {
        strike_old(upkeep, uptime).await?;
        {
            let mut notes = lock(&upkeep.repairs.notes);
            (notes.last, notes.lost, notes.due) = (Some(found.clone()), lost, due);
            notes.quarantined = quarantined;
        }
        note(upkeep, began, upkeep.core.environment.seconds(), 0).await;
        if found.incomplete + found.brought_back > 0 {
            upkeep.transfer.wanted.notify_one();
        }
    }
    Ok(found)
}

/// Strikes out what was to be brought back before this pass began, and was not met: it is here
/// again, or was brought back by somebody else.
async fn strike_old(upkeep: &Arc<Upkeep>, began: u64) -> Result<(), LedgerError> {
    let strike = move |store: &Store| {
        let rows = store.rows(rows::DUE)?;
        let old = rows.iter().filter(|(_, due)| rows::due_at(due).is_none_or(|due| due <= began));
        let batch = old.fold(Batch::new(), |batch, (row, _)| batch.row(row, None));
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
        Ok(())
    };
    upkeep.core.disk.run(strike).await
}

async fn note(upkeep: &Arc<Upkeep>, began: u64, ended: u64, after: u64) {
    {
        let mut notes = lock(&upkeep.repairs.notes);
        (notes.began, notes.ended, notes.after) = (began, ended, after);
    }
    let value = [began, ended, after].map(u64::to_le_bytes).concat();
    let batch = Batch::new().row(rows::REPAIR, Some(&value)).even_if_full();
    if let Err(error) = upkeep.core.disk.run(move |store| store.commit(batch)).await {
        tracing::debug!(%error, "how far the copies are counted is not written down");
    }
}

/// Outcome of a repair that somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Copies that were found.
    pub found: Copies,
    /// Records that lacked chunks here, and are whole now.
    pub completed: u64,
    /// Records that still lack chunks: no connected member gave them.
    pub left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_while_it_is_here_and_for_its_grace() {
        assert!(!is_lost(true, None, 500, 100));
        assert!(is_lost(false, None, 500, 100), "it was never met");
        assert!(!is_lost(false, Some(400), 500, 100));
        assert!(is_lost(false, Some(399), 500, 100));
        assert!(!is_lost(false, Some(600), 500, 100), "met by a process whose uptime was lost");
    }
}
