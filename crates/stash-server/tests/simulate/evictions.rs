//! Evictions whose chunk is named a second time, or forgotten, at the worst moment; and the room
//! that must be back at the end.
//!
//! Every fifth seed has some of these between its other events, drawn by a generator of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::record::leaves;
use stash_crypto::{Address, NameId};
use stash_server::Wait;
use tokio::time::sleep;

use crate::model::{Known, held, here};
use crate::network::lock;
use crate::operation::{Content, Hand};
use crate::profile::Profile;
use crate::world::World;

/// Chance that one of them follows an event.
const OFTEN: f64 = 0.1;

/// Until those who are not cut off have learned of a forget.
const SPREAD: Duration = Duration::from_secs(20);

/// How often, and after what pauses, a node is looked at until it is connected.
const LOOKS: usize = 20_000;
const LOOK: Duration = Duration::from_millis(1);

/// Contents of these schedules, beside those that all draw.
const CONTENTS: std::ops::Range<u8> = 100..250;

/// The draws of a schedule that has such evictions.
pub(crate) fn draws(seed: u64, profile: &Profile) -> Option<StdRng> {
    let has = seed % 5 == 4 && !profile.year;
    has.then(|| StdRng::seed_from_u64(seed ^ 0x0065_7669_6374))
}

/// Some of them, if the schedule draws any now.
pub(crate) async fn perhaps(world: &mut World) {
    let Some(mut random) = world.evictions.take() else { return };
    if random.random_bool(OFTEN) {
        match random.random_range(0..3) {
            0 => evict_and_purge(world, &mut random).await,
            1 => name_it_again(world, &mut random, Again::Before).await,
            _ => name_it_again(world, &mut random, Again::Meanwhile).await,
        }
    }
    world.evictions = Some(random);
}

/// When a second file with the same bytes is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Again {
    /// Before the eviction, and the member that is asked has not heard of it.
    Before,
    /// While that member is asked.
    Meanwhile,
}

fn pick<T: Clone>(random: &mut StdRng, among: &[T]) -> T {
    among[random.random_range(0..among.len())].clone()
}

/// A file is stored by all, given up by some of them one after the other, and purged.
async fn evict_and_purge(world: &mut World, random: &mut StdRng) {
    let key = pick(random, &world.profile.keys().collect::<Vec<_>>());
    let writer = pick(random, &world.writers);
    let content = Content::Chunk(random.random_range(CONTENTS));
    let Some(hand) = world.hand(writer) else { return };
    hand.put(key.clone(), content, Wait::All).await;
    for at in world.present() {
        let hand = world.hand(at).filter(|_| random.random_bool(0.7));
        if let Some(hand) = hand {
            hand.evict(key.clone()).await;
        }
    }
    if let Some(hand) = world.hand(writer) {
        hand.purge(key, Wait::One).await;
    }
}

/// A writer gives a chunk up that a second file of its own names. The one member that it reaches is asked,
/// has not heard of that file, and hears no more of it until it has learned of the end of the first file, and
/// collected.
async fn name_it_again(world: &mut World, random: &mut StdRng, again: Again) {
    let keys: Vec<String> = world.profile.keys().collect();
    let writes = |at: &usize| world.role(*at).is_some_and(|role| role.writes());
    let writers: Vec<usize> = world.writers.iter().copied().filter(writes).collect();
    if keys.len() < 2 || writers.len() < 2 {
        return;
    }
    let at = random.random_range(0..keys.len());
    let (first, second) = (keys[at].clone(), keys[(at + 1) % keys.len()].clone());
    let by = random.random_range(0..writers.len());
    let (writer, other) = (writers[by], writers[(by + 1) % writers.len()]);
    let content = Content::Chunk(random.random_range(CONTENTS));
    let pause = random.random_range(0..=world.profile.weather.delay * 3);
    let (Some(putting), Some(evicting)) = (world.hand(writer), world.hand(writer)) else { return };
    let Some(naming) = world.hand(writer) else { return };
    let switch = world.common.switch.clone();
    world.trace.line(&format!("{second} is to be {first} {again:?} it is evicted on {writer}"));
    putting.put(first.clone(), content, Wait::All).await;
    let second_name = naming.name(&second);
    let name = naming.put(second.clone(), content, Wait::Local);
    world.cut_off(writer);
    switch.open(writer, other);
    // Nobody else is asked, and nothing of the second file is under way when these two meet again.
    let is_kept = |at: &usize| again == Again::Meanwhile && *at == other;
    let broken = world.present().into_iter().filter(|at| *at != writer && !is_kept(at));
    broken.for_each(|at| switch.break_between(writer, at));
    match again {
        Again::Before => {
            name.await;
            evicting.reaches(other).await;
            evicting.clone().evict(first.clone()).await;
            evicting.evict(second).await;
            world.cut_off(writer);
        }
        Again::Meanwhile => {
            let later = async {
                sleep(Duration::from_millis(pause)).await;
                name.await;
            };
            let evict = async {
                evicting.evict(first.clone()).await;
                world.cut_off(writer);
            };
            tokio::join!(evict, later);
        }
    }
    if let Some(hand) = world.hand(other) {
        hand.purge(first, Wait::Local).await;
    }
    sleep(SPREAD).await;
    for at in world.present().into_iter().filter(|at| *at != writer) {
        if let Some(hand) = world.hand(at) {
            hand.collect().await;
        }
    }
    check_second(world, writer, &second_name);
    world.trace.line("all ways are open");
    world.common.switch.heal();
}

impl Hand {
    /// Waits until this node is connected with another, or gives up.
    async fn reaches(&self, other: usize) {
        let node = self.common.nodes[other];
        for _ in 0..LOOKS {
            let members = self.engine.members();
            if members.iter().any(|member| member.node == node && member.connected) {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// The bytes of a version that a writer has just put are somewhere: at the end of the schedule, others may
/// have replaced it.
fn check_second(world: &World, writer: usize, name: &NameId) {
    if !world.honest().all(|machine| machine.up().is_some()) {
        return;
    }
    let Some(running) = world.machines[writer].up() else { return };
    let held = held(&running.store, name).unwrap_or_default();
    let Some(last) = leaves(&held).first().map(|last| (*last).clone()) else { return };
    let mut model = lock(&world.model);
    let ends = |other: &&Known| !other.kind().is_version() && other.past.contains(&last.hash());
    if last.clear().dot.writer.node != world.common.nodes[writer]
        || model.records.values().any(|other| ends(&other))
    {
        return;
    }
    let excused = model.excused_chunks();
    let chunks: Vec<Address> =
        last.clear().manifest.refs().iter().map(|chunk| chunk.address).collect();
    for chunk in chunks.into_iter().filter(|chunk| !excused.contains(chunk)) {
        let mut stores = world.honest().filter_map(|one| Some(&one.up()?.store));
        if !stores.any(|store| here(store, &[chunk]) == [true]) {
            let title = model.title(&last.hash());
            model.violation(format!("chunk {} of {title} is on no node", chunk.short()));
        }
    }
}

/// After a collection, nothing is left on a member that none of its records names.
pub(crate) async fn check_room(world: &World) {
    let chunks: Vec<Address> = lock(&world.model).chunks.keys().copied().collect();
    for machine in world.honest() {
        let Some(running) = machine.up() else { continue };
        let collected = running.engine.collect(true, |_| true).await;
        let mut named = BTreeSet::new();
        for name in world.names() {
            let held = held(&running.store, &name).unwrap_or_default();
            let refs = held.iter().flat_map(|record| record.clear().manifest.refs().to_vec());
            named.extend(refs.map(|chunk| chunk.address));
        }
        for (chunk, here) in chunks.iter().zip(here(&running.store, &chunks)) {
            if here && !named.contains(chunk) {
                let at = machine.index;
                let text = format!("node {at} keeps chunk {}, which nothing names", chunk.short());
                lock(&world.model).violation(text);
            }
        }
        if let Err(error) = collected {
            lock(&world.model).violation(format!("node {} cannot collect: {error}", machine.index));
        }
    }
}
