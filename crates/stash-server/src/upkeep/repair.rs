//! Counting the copies of every record, and making good what is missing: here at once, elsewhere by
//! telling those who lack something.
//!
//! Every member should hold everything, so each repairs itself: it wants the chunks of every record
//! that it holds (`wants.rs`), keepers as well as owners. What this pass adds: it finds what is
//! missing here and not yet wanted; it tells others what they miss and do not know of; it counts
//! copies; and where bytes were given up here and too few others have them, it brings them back.
//!
//! Nobody's word is taken for long. A member that was away for longer than the grace, or that did not
//! show what it says it has, counts as nobody.

pub(crate) mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_crypto::{NodeId, RecordHash};
use stash_store::{Batch, ReadError, Store};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::founder::tickets;
use crate::ledger::{LedgerError, rows};
use crate::lock::lock;
use crate::membership::{confirmation, learn};
use crate::message::{HOLDING_PAGE, Refusal};
use crate::rpc::AskError;
use crate::upkeep::counts::{Copies, Manner};
use crate::upkeep::lapse;
use crate::upkeep::on_demand::HouseError;
use crate::upkeep::repair::page::Page;

/// How often it is looked whether a pass is due.
const LOOK: Duration = Duration::from_secs(60);

/// A node that has just started has better things to do.
const SETTLE: Duration = Duration::from_secs(60);

/// Share of the time that a pass takes for itself, one part in so many.
const SHARE: u32 = 10;

/// How the repair stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// When the last pass that has ended did so, in seconds since 1970.
    pub ended_at: Option<u64>,
    /// What that pass found, if this process made it.
    pub last: Option<Copies>,
    /// Whether a pass is under way.
    pub running: bool,
}

/// What passes of one engine share.
#[derive(Debug)]
pub(crate) struct Repairs {
    alone: tokio::sync::Mutex<()>,
    wake: Notify,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    began: u64,
    ended: u64,
    after: u64,
    last: Option<Copies>,
    /// Uptime at which each member was last connected.
    met: BTreeMap<NodeId, u64>,
    /// Members of whom that is not written down yet.
    unwritten: BTreeSet<NodeId>,
    /// Members whose chunk files are away, as they said when they were asked last: they are as good as
    /// not connected.
    away: BTreeSet<NodeId>,
    /// The members that did not count in the last pass.
    lost: BTreeSet<NodeId>,
    /// The uptime at which the first of what waits for its grace is to be brought back.
    due: Option<u64>,
    /// Damaged chunks that the last pass of this process has taken into account.
    quarantined: u64,
}

impl Notes {
    /// Whether there are damaged chunks that no pass has taken into account.
    fn is_new_damage(&mut self, quarantined: u64) -> bool {
        let new = quarantined > self.quarantined;
        // What is healed since leaves room for new damage to be noticed.
        self.quarantined = self.quarantined.min(quarantined);
        new
    }
}

impl Repairs {
    pub(crate) fn load(store: &Store) -> Result<Repairs, ReadError> {
        let row = store.row(rows::REPAIR)?.unwrap_or_default();
        let number = |at: usize| {
            row.get(at * 8..at * 8 + 8)
                .map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        let met = |(key, value): (Vec<u8>, Vec<u8>)| {
            let node = NodeId::from_bytes(key.strip_prefix(rows::MET)?.try_into().ok()?);
            Some((node, u64::from_le_bytes(value.try_into().ok()?)))
        };
        let met = store.rows(rows::MET)?.into_iter().filter_map(met).collect();
        let due = store.rows(rows::DUE)?.iter().filter_map(|(_, value)| page::uptime(value)).min();
        let (began, ended, after) = (number(0), number(1), number(2));
        let notes = Notes { began, ended, after, met, due, ..Notes::default() };
        Ok(Repairs {
            alone: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            notes: Mutex::new(notes),
        })
    }

    /// There may be fewer copies than it seemed.
    pub(crate) fn look_again(&self) {
        self.wake.notify_one();
    }

    /// A member has just come, is there, or has just gone.
    pub(crate) fn met(&self, node: NodeId, uptime: u64) {
        let mut notes = lock(&self.notes);
        if notes.away.contains(&node) {
            return;
        }
        if notes.met.insert(node, uptime) != Some(uptime) {
            notes.unwritten.insert(node);
        }
    }

    /// A member has answered what it has, or that its chunk files are away. Another error says nothing.
    pub(crate) fn heard<T>(&self, node: NodeId, answer: &Result<T, AskError>) {
        let away = &mut lock(&self.notes).away;
        match answer {
            Ok(_) => drop(away.remove(&node)),
            Err(AskError::Refused { code: Refusal::Unavailable, .. }) => drop(away.insert(node)),
            Err(_) => {}
        }
    }

    /// The uptime at which a member was last connected.
    pub(crate) fn last_met(&self, node: &NodeId) -> Option<u64> {
        lock(&self.notes).met.get(node).copied()
    }

    /// A member was removed.
    pub(crate) fn forget(&self, node: &NodeId) {
        let mut notes = lock(&self.notes);
        notes.met.remove(node);
        notes.unwritten.remove(node);
        notes.away.remove(node);
    }

    pub(crate) fn status(&self) -> RepairStatus {
        let notes = lock(&self.notes);
        RepairStatus {
            ended_at: (notes.ended > 0).then_some(notes.ended),
            last: notes.last.clone(),
            running: self.alone.try_lock().is_err(),
        }
    }
}

/// Looks after the copies until the engine stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut pause = SETTLE;
    loop {
        let woken = tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = core.repairs.wake.notified() => true,
            () = sleep(pause) => false,
        };
        pause = LOOK;
        let due = match meet(&core).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the repair could not be looked after");
                continue;
            }
        };
        if woken || due {
            let ended = pass(&core, Manner::Quiet, |_| !core.stop.is_cancelled()).await;
            if let Err(error) = ended {
                tracing::warn!(%error, "copies could not be counted");
            }
        }
    }
}

/// Notes who is connected, and who has lapsed or is back. Whether a pass is due.
pub(crate) async fn meet(core: &Arc<Core>) -> Result<bool, LedgerError> {
    let uptime = core.disk.store().stats().uptime;
    for (node, _) in core.connected() {
        core.repairs.met(node, uptime);
    }
    let met: Vec<(NodeId, u64)> = {
        let mut notes = lock(&core.repairs.notes);
        let unwritten = std::mem::take(&mut notes.unwritten);
        unwritten.into_iter().filter_map(|node| Some((node, *notes.met.get(&node)?))).collect()
    };
    if !met.is_empty() {
        let batch = met.iter().fold(Batch::new(), |batch, (node, uptime)| {
            batch.row(&[rows::MET, node.as_bytes()].concat(), Some(&uptime.to_le_bytes()))
        });
        core.disk.run(move |store| store.commit(batch.even_if_full())).await?;
    }
    lapse::look(core).await;
    tickets::look(core).await;
    confirmation::look(core).await;
    learn::follow_again(core).await;
    let lost = lost(core);
    let quarantined = core.disk.store().stats().quarantined;
    let mut notes = lock(&core.repairs.notes);
    // Whoever met the damage may have been killed before it was healed, or have had no way to say so.
    let damaged = notes.is_new_damage(quarantined);
    let interval = core.house.options.repair_interval.as_secs();
    let since = core.environment.seconds().saturating_sub(notes.began);
    // A clock that was turned back is no reason to wait for years.
    let again = notes.ended == 0 || since >= interval || notes.began > core.environment.seconds();
    let due = notes.due.is_some_and(|due| due <= uptime);
    Ok(due || again || damaged || lost != notes.lost)
}

/// The members whose copies do not count.
fn lost(core: &Core) -> BTreeSet<NodeId> {
    let mut lost = core.suspects.doubted();
    let uptime = core.disk.store().stats().uptime;
    let grace = core.house.options.repair_grace.as_secs();
    let connected: BTreeSet<NodeId> = core.connected().into_iter().map(|(node, _)| node).collect();
    let notes = lock(&core.repairs.notes);
    for member in core.roster.members() {
        let says = connected.contains(&member.node) && !notes.away.contains(&member.node);
        let here = member.node == core.me || says;
        let met = notes.met.get(&member.node);
        if !here && met.is_none_or(|met| uptime.saturating_sub(*met) > grace) {
            lost.insert(member.node);
        }
    }
    lost
}

/// Looks at every record. `progress` hears what was found so far after every page, and ends the pass
/// with `false`.
pub(crate) async fn pass(
    core: &Arc<Core>,
    manner: Manner,
    mut progress: impl FnMut(&Copies) -> bool,
) -> Result<Copies, HouseError> {
    let _alone = core.repairs.alone.lock().await;
    let lost = lost(core);
    let mut found = Copies::default();
    let stats = core.disk.store().stats();
    let (uptime, quarantined) = (stats.uptime, stats.quarantined);
    let (mut began, mut after, mut due) = (core.environment.seconds(), 0, None::<u64>);
    if manner == Manner::Quiet {
        let notes = lock(&core.repairs.notes);
        // One that a stop interrupted goes on; what it had counted before is counted again the next
        // time.
        if notes.ended == 0 && notes.after > 0 {
            (after, began) = (notes.after, notes.began);
        }
    }
    loop {
        let begun = Instant::now();
        let page = core
            .disk
            .run(move |store| store.record_hashes_after(after, HOLDING_PAGE as u64))
            .await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let hashes = page.into_iter().map(|(_, hash)| RecordHash::from_bytes(hash)).collect();
        let next = Page { core, lost: &lost, manner, hashes }.look(&mut found).await?;
        due = due.into_iter().chain(next).min();
        if !progress(&found) {
            return Err(HouseError::Cancelled);
        }
        if manner == Manner::Quiet {
            note(core, began, 0, after).await;
            tokio::select! {
                biased;
                () = core.stop.cancelled() => return Err(HouseError::Cancelled),
                () = sleep(begun.elapsed() * (SHARE - 1)) => {}
            }
        }
    }
    if manner != Manner::Dry {
        strike_old(core, uptime).await?;
        {
            let mut notes = lock(&core.repairs.notes);
            (notes.last, notes.lost, notes.due) = (Some(found.clone()), lost, due);
            notes.quarantined = quarantined;
        }
        note(core, began, core.environment.seconds(), 0).await;
        if found.incomplete + found.brought_back > 0 {
            core.wanted.notify_one();
        }
    }
    Ok(found)
}

/// Strikes out what was to be brought back before this pass began, and was not met: it is here again,
/// or was brought back by somebody else.
async fn strike_old(core: &Arc<Core>, began: u64) -> Result<(), LedgerError> {
    let strike = move |store: &Store| {
        let rows = store.rows(rows::DUE)?;
        let old = rows.iter().filter(|(_, due)| page::uptime(due).is_none_or(|due| due <= began));
        let batch = old.fold(Batch::new(), |batch, (row, _)| batch.row(row, None));
        if !batch.is_empty() {
            store.commit(batch.even_if_full())?;
        }
        Ok(())
    };
    core.disk.run(strike).await
}

async fn note(core: &Arc<Core>, began: u64, ended: u64, after: u64) {
    {
        let mut notes = lock(&core.repairs.notes);
        (notes.began, notes.ended, notes.after) = (began, ended, after);
    }
    let value = [began, ended, after].map(u64::to_le_bytes).concat();
    let batch = Batch::new().row(rows::REPAIR, Some(&value)).even_if_full();
    if let Err(error) = core.disk.run(move |store| store.commit(batch)).await {
        tracing::debug!(%error, "how far the copies are counted is not written down");
    }
}

/// What a repair that somebody asked for came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was found.
    pub found: Copies,
    /// Records that lacked chunks here, and are whole now.
    pub completed: u64,
    /// Records that still do: no connected member gave what they lack.
    pub left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_no_pass_has_seen_makes_one_due() {
        let mut notes = Notes::default();
        assert!(!notes.is_new_damage(0));
        assert!(notes.is_new_damage(2), "an earlier process left it");
        notes.quarantined = 2;
        assert!(!notes.is_new_damage(2), "nobody has it whole: there is no use in looking again");
        assert!(!notes.is_new_damage(1));
        assert!(notes.is_new_damage(2), "one was healed, and another one came");
    }
}
