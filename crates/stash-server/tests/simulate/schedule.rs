//! A schedule, from its first event to the checks at its end.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use stash_server::Wait;
use tokio::time::sleep;

use crate::evictions;
use crate::machine::Stop;
use crate::network::lock;
use crate::operation::Content;
use crate::profile::{Event, Profile};
use crate::settle::settle;
use crate::world::World;
use crate::year::year;

/// Outcome of a schedule.
pub(crate) struct Report {
    pub(crate) hash: blake3::Hash,
    pub(crate) lines: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) records: usize,
}

/// Runs the schedule of a seed.
pub(crate) fn run(seed: u64, nodes: RangeInclusive<usize>) -> Report {
    simulated(schedule(seed, nodes))
}

/// Runs something to its end on this thread, in simulated time.
pub(crate) fn simulated<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads");
    let done = runtime.block_on(Box::pin(what));
    runtime.shutdown_background();
    done
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
    if profile.year {
        Box::pin(year(&mut world)).await;
    } else {
        Box::pin(go_on(&mut world, profile.length)).await;
        Box::pin(settle(&mut world)).await;
    }
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

/// So many events happen.
pub(crate) async fn go_on(world: &mut World, events: usize) {
    for _ in 0..events {
        let pause = world.random.random_range(0..=world.profile.pause);
        sleep(Duration::from_millis(pause)).await;
        world.notice();
        let event = draw(world);
        Box::pin(happen(world, event)).await;
        Box::pin(evictions::perhaps(world)).await;
        world.squeeze();
        world.resize();
        world.watch();
        world.visit();
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
    let present = world.present();
    let (at, other) = (present[world.below(present.len())], present[world.below(present.len())]);
    match event {
        Event::Put | Event::Remove | Event::Purge | Event::Retain => {
            let at = world.writer();
            user(world, at, event);
        }
        Event::Get | Event::Evict | Event::Collect => user(world, at, event),
        Event::EvictRace => {
            let owner = world.writer();
            evict_race(world, owner);
        }
        Event::Kill if world.machines[at].up().is_some() => world.stop(at, Stop::Kill),
        Event::Power if world.machines[at].up().is_some() => world.stop(at, Stop::Power),
        Event::PowerLater => world.cut_power(at),
        Event::Start => {
            if let Some(at) =
                world.machines.iter().position(|one| one.is_present && one.running.is_none())
            {
                // It is tried again at the end.
                let _ = world.start(at).await;
            }
        }
        Event::CutWay => {
            world.trace.line(&format!("way {at} to {other} is cut"));
            world.common.switch.cut(at, other);
        }
        Event::CutNode => {
            world.cut_off(at);
        }
        Event::Heal => {
            world.trace.line("all ways are open");
            world.common.switch.heal();
        }
        Event::Break => world.common.switch.break_between(at, other),
        Event::Fault => world.fault(at),
        Event::Jump => world.jump(at),
        Event::Wipe => world.wipe(at).await,
        Event::BackUp if world.profile.rewinds() => {
            let at = world.writer();
            world.back_up(at);
        }
        Event::BackUp => world.back_up(at),
        Event::Restore => world.restore(at).await,
        Event::Lie => world.lie(world.profile.nodes - 1).await,
        Event::Rewind => world.rewind().await,
        Event::Member => world.change_member().await,
        Event::Behind => world.put_back_among_the_stale().await,
        Event::Clone => world.clone_node().await,
        Event::Join => world.join().await,
        Event::Recover => world.recover().await,
        Event::Kill | Event::Power => {}
    }
}

/// Something new is put, and given up by all who have it, at nearly the same moment.
fn evict_race(world: &mut World, owner: usize) {
    let key = world.key();
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

/// A user does something on a node, if it runs and may.
fn user(world: &mut World, at: usize, event: Event) {
    let key = world.key();
    let wait = [Wait::Local, Wait::One, Wait::Quorum, Wait::All][world.below(4)];
    let content = world.content();
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
