//! One schedule, from its first event to the checks at its end.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::{Address, RecordHash, leaves};
use stash_server::Wait;
use tokio::time::{sleep, timeout};

use crate::check::check_name;
use crate::machine::Stop;
use crate::model::{held, here};
use crate::network::lock;
use crate::operation::Content;
use crate::profile::{Event, Profile};
use crate::world::World;

/// After everything is healed, all nodes are equal within so long: several comparisons of all that
/// is held, and all pauses after failures.
const SETTLED: Duration = Duration::from_secs(2 * 3_600);

/// Between two looks whether they are.
const LOOK: Duration = Duration::from_secs(10);

/// Chunks come after records: so long after the last one at most, with all of them tried again twice.
const CHUNKS: Duration = Duration::from_secs(150);

/// The longest that anything may take that a user began.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// What came of a schedule.
pub(crate) struct Report {
    pub(crate) hash: blake3::Hash,
    pub(crate) lines: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) records: usize,
}

/// Runs the schedule of a seed, on this thread, in simulated time.
pub(crate) fn run(seed: u64, nodes: RangeInclusive<usize>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads");
    let report = runtime.block_on(Box::pin(schedule(seed, nodes)));
    runtime.shutdown_background();
    report
}

async fn schedule(seed: u64, nodes: RangeInclusive<usize>) -> Report {
    let profile = Profile::of(seed, nodes);
    let mut world = World::new(seed, profile.clone());
    world.trace.line(&format!("seed {seed}: {profile:?}"));
    for at in 0..profile.nodes {
        // A disk without faults: what fails here is seen at the end.
        let _ = world.start(at).await;
    }
    sleep(Duration::from_millis(profile.calm)).await;
    for _ in 0..profile.length {
        let pause = world.random.random_range(0..=profile.pause);
        sleep(Duration::from_millis(pause)).await;
        world.notice();
        let event = draw(&mut world);
        Box::pin(happen(&mut world, event)).await;
        world.watch();
    }
    Box::pin(settle(&mut world)).await;
    let model = lock(&world.model);
    let mut violations = model.violations.clone();
    violations.dedup();
    Report {
        hash: world.trace.hash(),
        lines: world.trace.lines(),
        violations,
        records: model.records.len(),
    }
}

fn draw(world: &mut World) -> Event {
    let total = world.profile.events.iter().map(|(_, weight)| weight).sum();
    let mut at = world.random.random_range(0..total);
    for (event, weight) in &world.profile.events {
        if at < *weight {
            return *event;
        }
        at -= weight;
    }
    Event::Heal
}

async fn happen(world: &mut World, event: Event) {
    let at = world.below(world.machines.len());
    let other = world.below(world.machines.len());
    match event {
        Event::Put | Event::Remove | Event::Purge | Event::Retain => {
            let at = world.profile.owner(&mut world.random);
            user(world, at, event);
        }
        Event::Get | Event::Evict | Event::Collect => user(world, at, event),
        Event::EvictRace => {
            let owner = world.profile.owner(&mut world.random);
            evict_race(world, owner);
        }
        Event::Kill if world.machines[at].up().is_some() => world.stop(at, Stop::Kill),
        Event::Power if world.machines[at].up().is_some() => world.stop(at, Stop::Power),
        Event::PowerLater => world.cut_power(at),
        Event::Start => {
            if let Some(at) = world.machines.iter().position(|one| one.running.is_none()) {
                // It is tried again at the end.
                let _ = world.start(at).await;
            }
        }
        Event::CutWay => {
            world.trace.line(&format!("way {at} to {other} is cut"));
            world.common.switch.cut(at, other);
        }
        Event::CutNode => {
            world.trace.line(&format!("node {at} is cut off"));
            for other in (0..world.machines.len()).filter(|other| *other != at) {
                world.common.switch.cut(at, other);
                world.common.switch.cut(other, at);
            }
        }
        Event::Heal => {
            world.trace.line("all ways are open");
            world.common.switch.heal();
        }
        Event::Break => world.common.switch.break_between(at, other),
        Event::Fault => world.fault(at),
        Event::Jump => world.jump(at),
        Event::Wipe => world.wipe(at).await,
        Event::BackUp => world.back_up(at),
        Event::Restore => world.restore(at).await,
        Event::Lie => world.lie(world.machines.len() - 1).await,
        Event::Kill | Event::Power => {}
    }
}

/// Something new is put, and given up by all who have it, at nearly the same moment.
fn evict_race(world: &mut World, owner: usize) {
    let key = key(world);
    let after = world.random.random_range(500..3_000);
    let content = Content::Chunk(world.random.random());
    if let Some(hand) = world.hand(owner) {
        world.run(hand.put(key.clone(), content, Wait::One));
    }
    for at in 0..world.machines.len() {
        let pause = after + world.random.random_range(0..20);
        let Some(hand) = world.hand(at) else { continue };
        let key = key.clone();
        world.run(async move {
            sleep(Duration::from_millis(pause)).await;
            hand.evict(key).await;
        });
    }
}

fn key(world: &mut World) -> String {
    let keys: Vec<String> = world.profile.keys().collect();
    let at = world.below(keys.len());
    keys[at].clone()
}

/// A user does something on a node, if it runs and may.
fn user(world: &mut World, at: usize, event: Event) {
    let key = key(world);
    let wait = [Wait::Local, Wait::One, Wait::Quorum, Wait::All][world.below(4)];
    let content = Content::draw(&mut world.random);
    let Some(hand) = world.hand(at) else { return };
    match event {
        Event::Get => world.run(hand.get(key)),
        Event::Evict => world.run(hand.evict(key)),
        Event::Collect => world.run(hand.collect()),
        Event::Put => world.run(hand.put(key, content, wait)),
        Event::Remove => world.run(hand.remove(key, wait)),
        Event::Purge => world.run(hand.purge(key, wait)),
        Event::Retain => world.run(hand.retain(key)),
        _ => {}
    }
}

/// Heals everything, waits until nothing changes any more, and checks.
async fn settle(world: &mut World) {
    world.notice();
    world.trace.line("everything is healed");
    world.common.switch.heal();
    world.common.switch.calm();
    for task in std::mem::take(&mut world.tasks) {
        if timeout(PATIENCE, task).await.is_err() {
            lock(&world.model).violation("what a user began has not ended".to_owned());
        }
    }
    let mut waited = Duration::ZERO;
    while !Box::pin(is_settled(world)).await {
        sleep(LOOK).await;
        waited += LOOK;
        world.watch();
        if waited >= SETTLED {
            let text = unequal(world);
            lock(&world.model).violation(format!("not equal after {waited:?}: {text}"));
            break;
        }
    }
    sleep(CHUNKS).await;
    world.watch();
    world.trace.line(&format!("settled after {} s", waited.as_secs()));
    check(world);
    Box::pin(read_all(world)).await;
}

/// Runs what does not; whether all nodes hold the same records.
async fn is_settled(world: &mut World) -> bool {
    let mut all = true;
    for at in 0..world.machines.len() {
        world.machines[at].disk.heal();
        let sick = |one: &crate::machine::Running| one.store.stats().read_only.is_some();
        let machine = &world.machines[at];
        if machine.up().is_none_or(sick) {
            world.stop(at, Stop::Kill);
            let started = world.start(at).await;
            if let Err(error) = started {
                lock(&world.model).violation(format!("node {at} does not start: {error}"));
            }
            all = false;
        }
    }
    all && unequal(world).is_empty()
}

/// What some nodes hold and others do not.
fn unequal(world: &World) -> String {
    let mut text = String::new();
    for name in world.names() {
        let sets: Vec<(usize, BTreeSet<RecordHash>)> = world
            .machines
            .iter()
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

fn check(world: &World) {
    let mut model = lock(&world.model);
    let mut named: BTreeSet<Address> = BTreeSet::new();
    for name in world.names() {
        for machine in &world.machines {
            let Some(running) = machine.up() else { continue };
            let held = match held(&running.store, &name) {
                Ok(held) => held,
                Err(error) => {
                    model.violation(format!("node {} cannot read: {error}", machine.index));
                    continue;
                }
            };
            check_name(&mut model, machine.index, &name, &held);
            for record in &held {
                named.extend(record.clear().manifest.refs().iter().map(|chunk| chunk.address));
            }
        }
    }
    for chunk in named {
        let has = |store| here(store, &[chunk]) == [true];
        let mut stores = world.machines.iter().filter_map(|machine| Some(&machine.up()?.store));
        if !stores.any(has) && !model.lost_chunks.contains(&chunk) {
            model.violation(format!("chunk {} is on no node", chunk.short()));
        }
    }
}

/// Every node can read every version that is shown.
async fn read_all(world: &World) {
    for name in world.names() {
        for machine in &world.machines {
            let Some(running) = machine.up() else { continue };
            let held = held(&running.store, &name).unwrap_or_default();
            for leaf in leaves(&held) {
                let refs = leaf.clear().manifest.refs().to_vec();
                let lost = |chunk: &stash_crypto::ChunkRef| {
                    lock(&world.model).lost_chunks.contains(&chunk.address)
                };
                if refs.iter().any(lost) {
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
