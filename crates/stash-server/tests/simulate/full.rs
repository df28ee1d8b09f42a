//! Members that run out of room, at any time and for as long as it pleases the seed, and what must
//! hold of them: they bring no more than they keep, and they learn whatever has ended.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::{RecordHash, RecordKind};
use stash_server::Wait;
use stash_server::store::Quota;
use stash_server::transfers::Replicated;
use tokio::time::sleep;

use crate::machine::{FOUNDER, Machine};
use crate::model::held;
use crate::network::lock;
use crate::operation::Content;
use crate::profile::Profile;
use crate::schedule::simulated;
use crate::settle::{LOOK, SETTLED};
use crate::world::World;

/// Every so many seeds have full members: none of those that showed a defect once.
const EVERY: (u64, u64) = (7, 2);

/// Bytes beyond what a store has that it may still take, at most: a few records, or some chunks.
const ROOM: u64 = 24 << 10;

/// Bytes that a life of a node may bring in vain: what was on its way when there was room for it,
/// one look at each record, and what a disk that fails does not take.
const IN_VAIN: u64 = 40 << 10;

/// Bytes that come in vain each time that chunk files go away, before the node sees it: a chunk or
/// two.
const IN_VAIN_AWAY: u64 = 8 << 10;

/// So long are members full at the end: whoever brings the same again and again is noticed.
const FULL: Duration = Duration::from_secs(900);

/// The quotas of one schedule.
pub(crate) struct Full {
    random: Option<StdRng>,
}

impl Full {
    /// Of a seed; the draws of everything else are what they were.
    pub(crate) fn of(seed: u64, year: bool) -> Full {
        let some = seed % EVERY.0 == EVERY.1 && !year;
        Full { random: some.then(|| StdRng::seed_from_u64(seed ^ 0x6675_6c6c)) }
    }
}

impl World {
    /// Now and then a member gets less room, or more.
    pub(crate) fn squeeze(&mut self) {
        self.check_in_vain();
        let Some(random) = &mut self.full.random else { return };
        if !random.random_bool(0.12) {
            return;
        }
        let at = random.random_range(0..self.machines.len());
        // None at all as often as some.
        let most = if random.random_bool(0.5) { 1 } else { ROOM };
        let (more, lifts) = (random.random_range(0..most), random.random_bool(0.3));
        let Some(running) = self.machines[at].up() else { return };
        let hard = running.store.stats().used_bytes + more;
        let quota = Quota { hard: (!lifts).then_some(hard), ..Quota::default() };
        running.store.set_quota(quota);
        self.machines[at].quota = quota;
        self.trace.line(&format!("node {at} has room for {:?}", (!lifts).then_some(more)));
    }

    /// No member has received more by replication than it keeps, and a tenth.
    fn check_in_vain(&self) {
        for machine in self.honest() {
            let Some(running) = machine.up() else { continue };
            let Replicated { came, kept } = running.engine.replicated();
            let away = self.taken.get(&machine.index).copied().unwrap_or_default() * IN_VAIN_AWAY;
            if came > kept + kept / 10 + IN_VAIN + away {
                let text = format!(
                    "node {} received {came} bytes to keep, and kept {kept}",
                    machine.index
                );
                lock(&self.model).violation(text);
            }
        }
    }

    /// At the end, before anybody has more room: whoever is full learns every forget. Then all have
    /// room again.
    pub(crate) async fn full_members_learn(&mut self) {
        if self.full.random.is_none() {
            return;
        }
        sleep(FULL).await;
        let mut waited = Duration::ZERO;
        loop {
            let all = self.run_all().await;
            let text = self.not_learned();
            if all && text.is_empty() {
                break;
            }
            if waited >= SETTLED {
                let text = format!("full members have not learned after {waited:?}: {text}");
                lock(&self.model).violation(text);
                break;
            }
            sleep(LOOK).await;
            waited += LOOK;
            self.watch();
        }
        self.check_in_vain();
        self.trace.line(&format!("full members know what has ended after {} s", waited.as_secs()));
        for machine in &mut self.machines {
            machine.quota = Quota::default();
            if let Some(running) = machine.up() {
                running.store.set_quota(Quota::default());
            }
        }
    }

    /// Forgets that some honest members hold and others do not, nor one that includes them.
    fn not_learned(&self) -> String {
        let mut text = String::new();
        let forgets = |machine: &Machine, name| -> Option<BTreeSet<RecordHash>> {
            let held = held(&machine.up()?.store, name).unwrap_or_default().into_iter();
            let forgets =
                held.filter(|record| matches!(record.clear().kind, RecordKind::Forget(_)));
            Some(forgets.map(|record| record.hash()).collect())
        };
        for name in &self.names() {
            let sets: Vec<_> = self
                .honest()
                .filter_map(|machine| Some((machine.index, forgets(machine, name)?)))
                .collect();
            // What includes another one takes its place everywhere: so the sets are equal in the end.
            let all: BTreeSet<_> = sets.iter().flat_map(|(_, set)| set.iter().copied()).collect();
            for (at, set) in sets.iter().filter(|(_, set)| *set != all) {
                let model = lock(&self.model);
                text += &format!("node {at} lacks {}; ", model.titles(all.difference(set)));
            }
        }
        text
    }
}

/// Files of an hour: the greater half of what they have finds no room.
const FILES: u8 = 200;

/// Bytes that the keeper may take of it.
const QUOTA: u64 = 256 << 10;

/// Bytes that a keeper received from the only other member in an hour in which it was full, and
/// what its store grew by.
pub(crate) fn bytes_of_a_full_hour() -> (u64, u64) {
    simulated(async {
        let mut world = World::new(1, Profile::of(1, 2..=2));
        world.common.switch.calm();
        world.start(FOUNDER).await.expect("a disk without faults");
        let put = async |world: &mut World, n: u8| {
            let hand = world.hand(FOUNDER).expect("the founder runs");
            hand.put(format!("file {n}"), Content::Chunk(n), Wait::Local).await;
        };
        for n in 0..FILES {
            put(&mut world, n).await;
        }
        world.machines[1].quota = Quota { hard: Some(QUOTA), ..Quota::default() };
        world.start(1).await.expect("a disk without faults");
        let used = |world: &World| {
            let running = world.machines[1].up().expect("the keeper runs");
            running.store.stats().used_bytes
        };
        let before = used(&world);
        for n in 0..60 {
            sleep(Duration::from_secs(60)).await;
            // News, each minute; an hour's worth of reasons to look again.
            put(&mut world, FILES.wrapping_add(n % 50)).await;
        }
        (world.common.switch.sent(FOUNDER, 1), used(&world) - before)
    })
}
