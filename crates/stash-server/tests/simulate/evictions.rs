//! Evictions whose chunk is named a second time, or forgotten, at the worst moment; and the room
//! that must be back at the end.
//!
//! Every fifth seed has some of these between its other events, drawn by a generator of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stash_crypto::Address;
use stash_server::Wait;
use tokio::time::sleep;

use crate::model::{held, here};
use crate::network::lock;
use crate::operation::Content;
use crate::profile::Profile;
use crate::world::World;

/// Chance that one of them follows an event.
const OFTEN: f64 = 0.1;

/// Until those who are not cut off have learned of a forget.
const SPREAD: Duration = Duration::from_secs(20);

/// Contents of these schedules, beside those that all draw.
const CONTENTS: std::ops::Range<u8> = 100..250;

/// The draws of a schedule that has such evictions.
pub(crate) fn draws(seed: u64, profile: &Profile) -> Option<StdRng> {
    let has = seed % 5 == 2 && !profile.year;
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
    /// Just before the eviction: others have not heard of it when they are asked.
    Before,
    /// While others are asked.
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

/// A writer gives a chunk up that a second file of its own names, of which others have not heard;
/// they hear no more of it, but of the end of the first file, and collect.
async fn name_it_again(world: &mut World, random: &mut StdRng, again: Again) {
    let keys: Vec<String> = world.profile.keys().collect();
    let writers = world.writers.clone();
    if keys.len() < 2 || writers.len() < 2 {
        return;
    }
    let at = random.random_range(0..keys.len());
    let (first, second) = (keys[at].clone(), keys[(at + 1) % keys.len()].clone());
    let by = random.random_range(0..writers.len());
    let (writer, other) = (writers[by], writers[(by + 1) % writers.len()]);
    let content = Content::Chunk(random.random_range(CONTENTS));
    let way = world.profile.weather.delay * 3;
    let (pause, cut) = (random.random_range(0..=way), random.random_range(0..=2 * way));
    let (Some(putting), Some(evicting)) = (world.hand(writer), world.hand(writer)) else { return };
    let Some(naming) = world.hand(writer) else { return };
    world.trace.line(&format!("{second} is to be {first} {again:?} it is evicted on {writer}"));
    putting.put(first.clone(), content, Wait::All).await;
    let name = naming.put(second.clone(), content, Wait::Local);
    let to_evict = first.clone();
    world.run(async move {
        match again {
            Again::Before => {
                name.await;
                evicting.clone().evict(to_evict).await;
                evicting.evict(second).await;
            }
            Again::Meanwhile => {
                let later = async {
                    sleep(Duration::from_millis(pause)).await;
                    name.await;
                };
                tokio::join!(evicting.evict(to_evict), later);
            }
        }
    });
    sleep(Duration::from_millis(cut)).await;
    world.cut_off(writer);
    if let Some(hand) = world.hand(other) {
        hand.purge(first, Wait::Local).await;
    }
    sleep(SPREAD).await;
    for at in world.present().into_iter().filter(|at| *at != writer) {
        if let Some(hand) = world.hand(at) {
            hand.collect().await;
        }
    }
    world.trace.line("all ways are open");
    world.common.switch.heal();
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
