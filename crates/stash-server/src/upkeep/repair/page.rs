//! A page of a pass: the copies of some records, and what is to be done about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use stash_crypto::{NodeId, RecordHash};
use stash_store::{Batch, Store};

use crate::ledger::{self, LedgerError, rows};
use crate::message::Holding;
use crate::replication::beliefs;
use crate::transfer::counting::Counting;
use crate::transfer::under_replicated::Lacking;
use crate::transfer::{holders, under_replicated};
use crate::upkeep::Upkeep;
use crate::upkeep::counts::{Copies, Manner};
use crate::upkeep::schedule::Housekeeping;

/// With fewer copies than this elsewhere, bytes that were given up here are brought back at once.
const AT_ONCE: u64 = 2;

/// Records that are looked at together.
pub(crate) struct Page<'a> {
    pub(super) upkeep: &'a Arc<Upkeep>,
    /// Members whose copies do not count.
    pub(super) lost: &'a BTreeSet<NodeId>,
    /// Connected members that said what they have when this pass began.
    pub(super) asked: &'a BTreeSet<NodeId>,
    pub(super) manner: Manner,
    /// With their sequence numbers.
    pub(super) records: Vec<(u64, RecordHash)>,
}

/// What is known of a record at a member; `None` if nothing.
type Known = Option<Holding>;

impl Page<'_> {
    /// Looks, adds to what was found, and does what is to be done. Returns the uptime at which
    /// something is to be brought back, if it waits.
    pub(super) async fn look(&self, found: &mut Copies) -> Result<Option<u64>, LedgerError> {
        let hashes: Vec<RecordHash> = self.records.iter().map(|(_, hash)| *hash).collect();
        let here = move |store: &Store| match holders::known(store, &hashes)? {
            Some(states) => Ok(states),
            None => hashes.iter().map(|hash| holders::here(store, hash)).collect(),
        };
        let here: Vec<Holding> =
            self.upkeep.core.disk.run(here).await.map_err(|error: LedgerError| error)?;
        let is_cache = self.upkeep.core.keeps.is_cache();
        let is_copy = |here: &Holding| !is_cache && *here == Holding::Whole;
        let mut copies: Vec<u64> = here.iter().map(|here| u64::from(is_copy(here))).collect();
        let mut missing = vec![false; here.len()];
        let others = self.others().await?;
        for (node, states) in others {
            let counts = !self.lost.contains(&node);
            let member = found.members.entry(node).or_default();
            (member.asked, member.counts) = (self.asked.contains(&node), counts);
            for (at, state) in states.iter().enumerate() {
                let count = match state {
                    Some(Holding::Absent) => &mut member.absent,
                    Some(Holding::Incomplete) => &mut member.incomplete,
                    Some(Holding::Whole) => &mut member.whole,
                    Some(Holding::GivenUp) => &mut member.given_up,
                    None => &mut member.unknown,
                };
                *count += 1;
                copies[at] += u64::from(counts && *state == Some(Holding::Whole));
                missing[at] |= !counts || state.is_none_or(Holding::is_lacking);
            }
        }
        let mut work = Vec::new();
        for (at, here) in here.iter().enumerate() {
            // One that a forget has taken since the page was read is nobody's concern.
            if *here == Holding::Absent {
                continue;
            }
            found.records += 1;
            found.copies[usize::try_from(copies[at].min(3)).expect("at most 3")] += 1;
            let lacks = !is_cache && *here == Holding::Incomplete;
            found.below += u64::from(missing[at] || lacks);
            match here {
                _ if is_cache => {}
                Holding::Incomplete => work.push(Work::Want(self.records[at].1)),
                Holding::GivenUp => work.push(Work::GivenUp(self.records[at].1, copies[at])),
                Holding::Absent | Holding::Whole => {}
            }
        }
        let done = self.act(work).await?;
        found.incomplete += done.incomplete;
        found.brought_back += done.brought_back;
        found.waiting += done.waiting;
        Ok(done.due)
    }

    async fn act(&self, work: Vec<Work>) -> Result<Done, LedgerError> {
        let (manner, policy) = (self.manner, self.upkeep.house.options.clone());
        let act = move |store: &Store| {
            let mut done = Done::default();
            for one in work {
                done.take(store, manner, &policy, one)?;
            }
            if manner != Manner::Dry && !done.batch.is_empty() {
                store.commit(std::mem::take(&mut done.batch).even_if_full())?;
            }
            Ok(done)
        };
        self.upkeep.core.disk.run(act).await
    }

    /// States of these records at every other member that should have them, as they are known here.
    async fn others(&self) -> Result<Vec<(NodeId, Vec<Known>)>, LedgerError> {
        let core = &self.upkeep.core;
        let connected: BTreeSet<NodeId> =
            core.connected().into_iter().map(|(node, _)| node).collect();
        // A member that is here and did not say in time what it has may have lost it.
        let is_silent = |node: &NodeId| connected.contains(node) && !self.asked.contains(node);
        let counting = Counting::now(&self.upkeep.transfer);
        let others = counting.expected().filter(|node| *node != core.me);
        let others: Vec<(NodeId, bool)> = others.map(|node| (node, is_silent(&node))).collect();
        let (records, replication) = (self.records.clone(), Arc::clone(&self.upkeep.replication));
        let look = move |store: &Store| {
            let rows = records.iter().map(|(_, hash)| under_replicated::without(store, hash));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let one = |(node, is_silent)| {
                let known_to = match is_silent {
                    true => None,
                    false => beliefs::known_to(store, &replication.stretches, &node)?,
                };
                let state = |((sequence, _), lacking): (&(u64, RecordHash), &Lacking)| {
                    let is_known = known_to.is_some_and(|known_to| *sequence <= known_to);
                    lacking.get(&node).copied().or(is_known.then_some(Holding::Whole))
                };
                Ok((node, records.iter().zip(&rows).map(state).collect()))
            };
            others.into_iter().map(one).collect::<Result<Vec<(NodeId, Vec<Known>)>, LedgerError>>()
        };
        core.disk.run(look).await
    }
}

/// Work to be done about one record.
enum Work {
    /// It lacks chunks here.
    Want(RecordHash),
    /// Its bytes were given up here; the number is of others that have them.
    GivenUp(RecordHash, u64),
}

#[derive(Default)]
struct Done {
    batch: Batch,
    incomplete: u64,
    brought_back: u64,
    waiting: u64,
    /// The uptime at which the first of those that wait is to be brought back.
    due: Option<u64>,
}

impl Done {
    fn take(
        &mut self,
        store: &Store,
        manner: Manner,
        policy: &Housekeeping,
        work: Work,
    ) -> Result<(), LedgerError> {
        let (hash, copies) = match work {
            Work::Want(hash) => {
                self.incomplete += 1;
                return self.want(store, &hash);
            }
            Work::GivenUp(hash, copies) => (hash, copies),
        };
        let row = rows::due(&hash);
        let noted = store.row(&row)?;
        let now = store.stats().uptime;
        let given_up = ledger::given_up(store, &hash)?;
        // Whoever gave it up may have said that fewer copies are enough.
        let enough = given_up.as_ref().and_then(|(_, given_up)| given_up.copies);
        let enough =
            enough.map_or(policy.repair_copies, |copies| policy.repair_copies.min(copies.into()));
        let policy = &Housekeeping { repair_copies: enough, ..policy.clone() };
        match decide(policy, manner, copies, noted.as_deref().and_then(rows::due_at), now) {
            Decision::Enough => {
                if noted.is_some() {
                    self.put(&row, None);
                }
            }
            Decision::Wait(due) => {
                self.waiting += 1;
                self.due = self.due.into_iter().chain([due]).min();
                if noted.is_none() {
                    self.put(&row, Some(&due.to_le_bytes()));
                }
            }
            Decision::Bring => {
                self.brought_back += 1;
                self.put(&row, None);
                if let Some((given_up, _)) = given_up {
                    self.put(&given_up, None);
                }
                self.want(store, &hash)?;
            }
        }
        Ok(())
    }

    fn want(&mut self, store: &Store, hash: &RecordHash) -> Result<(), LedgerError> {
        let row = rows::want(hash);
        if store.row(&row)?.is_none() {
            self.put(&row, Some(&[]));
        }
        Ok(())
    }

    fn put(&mut self, row: &[u8], value: Option<&[u8]>) {
        self.batch = std::mem::take(&mut self.batch).row(row, value);
    }
}

/// Decision on bytes that were given up here.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Others have them.
    Enough,
    /// They are brought back at this uptime, if there are not more copies by then.
    Wait(u64),
    /// They are brought back now.
    Bring,
}

/// `copies` is how many others have them, `noted` when they were to be brought back.
fn decide(
    policy: &Housekeeping,
    manner: Manner,
    copies: u64,
    noted: Option<u64>,
    now: u64,
) -> Decision {
    if copies >= policy.repair_copies {
        return Decision::Enough;
    }
    let due = noted.unwrap_or_else(|| now.saturating_add(policy.repair_grace.as_secs()));
    if copies >= AT_ONCE && due > now && manner == Manner::Quiet {
        return Decision::Wait(due);
    }
    Decision::Bring
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn bytes_come_back_after_the_grace_and_at_once_with_fewer_than_two_copies() {
        let policy = Housekeeping {
            repair_copies: 3,
            repair_grace: Duration::from_secs(100),
            ..Housekeeping::default()
        };
        let decide = |copies, noted, now| decide(&policy, Manner::Quiet, copies, noted, now);
        assert_eq!(decide(3, Some(10), 20), Decision::Enough);
        assert_eq!(decide(2, None, 20), Decision::Wait(120));
        assert_eq!(decide(2, Some(120), 119), Decision::Wait(120), "the grace has begun already");
        assert_eq!(decide(2, Some(120), 120), Decision::Bring);
        assert_eq!(decide(1, None, 20), Decision::Bring);
        assert_eq!(decide(0, None, 20), Decision::Bring, "should one come that has them");
        let asked = super::decide(&policy, Manner::Now, 2, None, 20);
        assert_eq!(asked, Decision::Bring, "who asks does not wait");
    }
}
