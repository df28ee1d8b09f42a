//! The end of a schedule: everything is healed, and what must hold then is looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use stash_crypto::record::leaves;
use stash_crypto::{Address, RecordHash};
use stash_server::Wait;
use stash_server::records::Reissue;
use stash_server::store::Store;
use tokio::time::{sleep, timeout};

use crate::check::{check_name, check_wholeness};
use crate::evictions::check_room;
use crate::machine::{Machine, Running, Stop};
use crate::model::{held, here};
use crate::network::lock;
use crate::operation::Content;
use crate::world::World;

/// After everything is healed, all nodes are equal within so long: several comparisons of all that
/// is held, and all pauses after failures.
pub(crate) const SETTLED: Duration = Duration::from_secs(2 * 3_600);

/// Between two looks whether they are.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// Chunks come after records: so long after the last one at most, with all of them tried again
/// twice.
const CHUNKS: Duration = Duration::from_secs(150);

/// The longest that anything may take that a user began.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// So long does a node that was removed listen in vain.
const SILENCE: Duration = Duration::from_secs(300);

/// Heals everything, waits until nothing changes any more, and checks.
pub(crate) async fn settle(world: &mut World) {
    world.notice();
    world.trace.line("everything is healed");
    world.common.switch.heal();
    world.common.switch.calm();
    for task in std::mem::take(&mut world.tasks) {
        if timeout(PATIENCE, task).await.is_err() {
            lock(&world.model).violation("what a user began has not ended".to_owned());
        }
    }
    Box::pin(world.all_is_back()).await;
    Box::pin(world.all_recover()).await;
    if world.loss.forked_at.is_some() {
        return Box::pin(world.check_fork()).await;
    }
    Box::pin(world.all_join()).await;
    Box::pin(world.clear_up_after()).await;
    Box::pin(world.stop_a_twin()).await;
    Box::pin(world.full_members_learn()).await;
    let mut waited = Duration::ZERO;
    while !Box::pin(is_settled(world)).await {
        sleep(LOOK).await;
        waited += LOOK;
        world.watch();
        if waited >= SETTLED {
            let text = unequal(world);
            let again = to_write_again(world).await;
            let text = format!("not equal after {waited:?}: {text} writes again: {again:?}");
            lock(&world.model).violation(text);
            break;
        }
    }
    sleep(CHUNKS).await;
    world.watch();
    world.trace.line(&format!("settled after {} s", waited.as_secs()));
    check(world);
    Box::pin(world.check_alarms()).await;
    Box::pin(read_all(world)).await;
    Box::pin(check_beliefs(world)).await;
    Box::pin(check_room(world)).await;
    Box::pin(hear_nothing(world)).await;
}

/// Machines that were removed get not a byte any more, and nothing of what is written from now on.
async fn hear_nothing(world: &mut World) {
    let removed = |machine: &&Machine| machine.up().is_some() && !world.is_member(machine.index);
    let removed: Vec<usize> = world.machines.iter().filter(removed).map(|one| one.index).collect();
    if removed.is_empty() {
        return;
    }
    let heard = |world: &World, at| -> u64 {
        world.members().map(|one| world.common.switch.sent(one.index, at)).sum()
    };
    let before: Vec<u64> = removed.iter().map(|at| heard(world, *at)).collect();
    let key = world.profile.keys().next().expect("a schedule has a name");
    if let Some(hand) = world.hand(world.founder) {
        hand.put(key.clone(), Content::Inline, Wait::All).await;
    }
    sleep(SILENCE).await;
    let text = unequal(world);
    let mut model = lock(&world.model);
    if !text.is_empty() {
        model.violation(format!("not equal {SILENCE:?} after a last put: {text}"));
    }
    for (at, before) in removed.into_iter().zip(before) {
        let bytes = heard(world, at) - before;
        if bytes > 0 {
            model.violation(format!("node {at} was removed, and heard {bytes} bytes"));
        }
    }
}

/// True if all ran, and all members hold the same records and know the same members.
async fn is_settled(world: &mut World) -> bool {
    let all = world.run_all().await;
    all && unequal(world).is_empty() && Box::pin(to_write_again(world)).await.is_none()
}

impl World {
    /// Runs what does not, or not as it should, on disks that are whole. True if all ran before.
    pub(crate) async fn run_all(&mut self) -> bool {
        let mut all = true;
        for at in self.present() {
            self.machines[at].disk.heal();
            let sick = |one: &Running| one.store.stats().read_only.is_some();
            if self.machines[at].up().is_none_or(sick) {
                self.stop(at, Stop::Kill);
                if let Err(error) = self.start(at).await {
                    let mut model = lock(&self.model);
                    if model.removed.contains(&at) {
                        // It was told so, in the root's name.
                        self.machines[at].is_present = false;
                    } else {
                        model.violation(format!("node {at} does not start: {error}"));
                    }
                }
                all = false;
            }
        }
        all
    }
}

/// A member that still has to write versions again.
async fn to_write_again(world: &World) -> Option<usize> {
    let excused = lock(&world.model).excused_chunks();
    for machine in world.members().filter(|_| world.profile.parts()) {
        let Some(running) = machine.up() else { continue };
        let reissues = running.engine.reissues().await.unwrap_or_default();
        let whole = |reissue: &Reissue| {
            let refs = reissue.record.clear().manifest.refs();
            !refs.iter().any(|chunk| excused.contains(&chunk.address))
        };
        if running.engine.role().writes() && reissues.iter().any(whole) {
            return Some(machine.index);
        }
    }
    None
}

/// Records and members that some members hold or know and others do not.
pub(crate) fn unequal(world: &World) -> String {
    let mut text = String::new();
    for machine in world.honest().filter(|one| one.up().is_some() && !world.is_current(one.index)) {
        text += &format!("node {} does not know who is a member; ", machine.index);
    }
    for name in world.names() {
        let sets: Vec<(usize, BTreeSet<RecordHash>)> = world
            .honest()
            .filter_map(|machine| {
                let held = held(&machine.up()?.store, &name).unwrap_or_default();
                Some((machine.index, held.iter().map(|record| record.hash()).collect()))
            })
            .collect();
        let union: BTreeSet<RecordHash> =
            sets.iter().flat_map(|(_, set)| set.iter().copied()).collect();
        for (at, set) in sets {
            if set != union {
                let model = lock(&world.model);
                text += &format!("node {at} lacks {}; ", model.titles(union.difference(&set)));
            }
        }
    }
    text
}

pub(crate) fn check(world: &World) {
    let mut model = lock(&world.model);
    let excused = model.excused_chunks();
    let mut named: BTreeSet<Address> = BTreeSet::new();
    for name in world.names() {
        for machine in world.honest() {
            let Some(running) = machine.up() else { continue };
            let held = match held(&running.store, &name) {
                Ok(held) => held,
                Err(error) => {
                    model.violation(format!("node {} cannot read: {error}", machine.index));
                    continue;
                }
            };
            check_name(&mut model, machine.index, &name, &held);
            check_wholeness(&mut model, machine.index, &running.store, &held);
            for record in &held {
                named.extend(record.clear().manifest.refs().iter().map(|chunk| chunk.address));
            }
        }
    }
    for chunk in named {
        let has = |store| here(store, &[chunk]) == [true];
        let mut stores = world.honest().filter_map(|machine| Some(&machine.up()?.store));
        if !stores.any(has) && !excused.contains(&chunk) {
            model.violation(format!("chunk {} is on no node", chunk.short()));
        }
    }
}

/// Every member knows of every other one which records are whole there.
async fn check_beliefs(world: &World) {
    let whole_at = |store: &Store, hashes: &[[u8; 32]]| {
        let (held, lacking) = (store.has_records(hashes).ok()?, store.are_lacking(hashes).ok()??);
        Some(held.iter().zip(lacking).filter(|(held, lacks)| **held && !lacks).count() as u64)
    };
    for machine in world.honest() {
        let Some(running) = machine.up() else { continue };
        let found = match running.engine.repair(true, |_| true).await {
            Ok(repaired) => repaired.found,
            Err(error) => {
                let text = format!("node {} does not count copies: {error}", machine.index);
                lock(&world.model).violation(text);
                continue;
            }
        };
        let Ok(hashes) = running.store.record_hashes_after(0, u64::MAX) else { continue };
        let hashes: Vec<[u8; 32]> = hashes.into_iter().map(|(_, hash)| hash).collect();
        for other in world.honest().filter(|other| other.index != machine.index) {
            let Some(theirs) = other.up() else { continue };
            let Some(said) = found.members.get(&theirs.engine.node_id()) else { continue };
            let Some(whole) = whole_at(&theirs.store, &hashes) else { continue };
            if said.asked && (said.whole, said.unknown) != (whole, 0) {
                let (at, of) = (machine.index, other.index);
                lock(&world.model).violation(format!(
                    "node {at} takes {} records for whole on node {of}, and {} may be: {whole} are",
                    said.whole, said.unknown
                ));
            }
        }
    }
}

/// Every node can read every version that is shown.
async fn read_all(world: &World) {
    let excused = lock(&world.model).excused_chunks();
    for name in world.names() {
        for machine in world.honest() {
            let Some(running) = machine.up() else { continue };
            let held = held(&running.store, &name).unwrap_or_default();
            for leaf in leaves(&held) {
                let refs = leaf.clear().manifest.refs().to_vec();
                if refs.iter().any(|chunk| excused.contains(&chunk.address)) {
                    continue;
                }
                let mut fetch = running.engine.fetch(refs, false);
                while let Some(chunk) = fetch.next().await {
                    if let Err(error) = chunk {
                        let mut model = lock(&world.model);
                        let title = model.title(&leaf.hash());
                        let at = machine.index;
                        model.violation(format!("node {at} cannot read {title}: {error}"));
                    }
                }
            }
        }
    }
}
