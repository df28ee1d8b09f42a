//! A member that is away for more than a year, and a keeper that drops all the time what it says
//! that it has: when the member is back, nothing rises and nothing is lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use stash_crypto::{Address, NameId, Record};
use stash_server::Wait;
use stash_server::store::{Batch, Store};
use tokio::time::sleep;

use crate::machine::Stop;
use crate::model::{held, here};
use crate::network::{Life, lock};
use crate::operation::Content;
use crate::schedule::go_on;
use crate::settle::{LOOK, SETTLED, check, settle, unequal};
use crate::world::World;

/// Time that the member is away: so many steps of so many seconds.
const AWAY: (u32, u64) = (40, 10 * 24 * 3_600);

/// Between two steps: whatever is due by then is done.
const STEP: Duration = Duration::from_secs(70);

/// Until the founder says of a member that it is back: it may be counting copies, with rests.
const SAID: Duration = Duration::from_secs(1_800);

/// Versions of one name, more than retention leaves.
const VERSIONS: usize = 12;

/// Between two looks of the keeper at what it may drop: everybody has been told by then that it has
/// it.
const DROPS: Duration = Duration::from_millis(500);

/// Records that the keeper drops.
#[derive(Clone, Copy, Debug)]
enum Hollow {
    Everything,
    /// Records that say that something is gone: old versions are as good as new to it.
    Endings,
    Versions,
}

/// The events of such a schedule, its end, and the checks.
pub(crate) async fn year(world: &mut World) {
    let (before, after) = (world.profile.length / 3, world.profile.length / 3);
    go_on(world, before).await;
    let away = 1 + world.below(world.profile.nodes - 2);
    leave(world, away).await;
    let keeper = world.profile.nodes - 1;
    let mode = [Hollow::Everything, Hollow::Endings, Hollow::Versions][world.below(3)];
    world.hollow = Some(keeper);
    world.seen.retain(|(node, _), _| *node != keeper);
    world
        .trace
        .line(&format!("from now on node {keeper} drops what it says that it has: {mode:?}"));
    go_on(world, after).await;
    pass(world, mode).await;
    world.follow_log();
    if !lapsed(world, away) {
        let text = format!("node {away} has not lapsed, and was away for more than a year");
        lock(&world.model).violation(text);
    }
    world.machines[away].is_present = true;
    come_back(world, mode).await;
    world.hollow = None;
    settle(world).await;
    counts_again(world, away).await;
}

/// The founder says that a member is back, once it has counted all copies.
async fn counts_again(world: &mut World, at: usize) {
    let mut waited = Duration::ZERO;
    world.follow_log();
    while lapsed(world, at) {
        if waited >= SAID {
            return lock(&world.model).violation(format!("node {at} is back and counts as away"));
        }
        sleep(LOOK).await;
        waited += LOOK;
        world.follow_log();
    }
}

fn lapsed(world: &World, at: usize) -> bool {
    world.log.member(&world.common.nodes[at]).is_some_and(|member| member.lapsed)
}

/// A member goes away, in some schedules with what it has written and told nobody.
async fn leave(world: &mut World, at: usize) {
    if world.random.random_bool(0.5) {
        world.write_alone(at).await;
    }
    world.common.switch.heal();
    world.stop(at, Stop::Kill);
    world.machines[at].is_present = false;
    world.trace.line(&format!("node {at} is away"));
}

/// More than a year goes by. Everything that has a name is written more often than retention
/// leaves, is removed, purged or forgotten.
async fn pass(world: &mut World, mode: Hollow) {
    let (steps, seconds) = AWAY;
    for step in 0..steps {
        world.common.skipped.fetch_add(seconds, Ordering::Relaxed);
        world.common.switch.heal();
        world.run_all().await;
        if world.random.random_bool(0.3) {
            go_on(world, 1).await;
        }
        if step == steps / 2 {
            write_and_forget(world).await;
        }
        let mut waited = Duration::ZERO;
        while waited < STEP {
            sleep(DROPS).await;
            waited += DROPS;
            drop_some(world, mode);
        }
        world.watch();
    }
}

async fn write_and_forget(world: &mut World) {
    let keys: Vec<String> = world.profile.keys().collect();
    for key in keys {
        for _ in 0..VERSIONS {
            let content = Content::Chunk(world.random.random());
            let Some(hand) = world.hand(world.founder) else { return };
            hand.put(key.clone(), content, Wait::Local).await;
        }
        let ending = world.below(3);
        let Some(hand) = world.hand(world.founder) else { return };
        match ending {
            0 => hand.clone().remove(key.clone(), Wait::One).await,
            1 => hand.clone().purge(key.clone(), Wait::One).await,
            _ => {}
        }
        hand.retain(key).await;
    }
}

/// The member is back. The keeper goes on as before until all others are equal.
async fn come_back(world: &mut World, mode: Hollow) {
    world.trace.line("all are there again");
    world.common.switch.heal();
    world.common.switch.calm();
    world.run_all().await;
    let mut waited = Duration::ZERO;
    loop {
        let end = waited + LOOK;
        while waited < end {
            sleep(DROPS).await;
            waited += DROPS;
            drop_some(world, mode);
        }
        world.watch();
        let text = unequal(world);
        if text.is_empty() {
            break;
        }
        if waited >= SETTLED {
            let text = format!("not equal beside a keeper that lies after {waited:?}: {text}");
            return lock(&world.model).violation(text);
        }
    }
    check(world);
}

/// The keeper drops half of what it has and may drop.
fn drop_some(world: &mut World, mode: Hollow) {
    let Some(keeper) = world.hollow.and_then(|at| world.machines[at].up()) else { return };
    let (store, life): (Store, Life) = (keeper.store.clone(), keeper.life.clone());
    let chunks: Vec<Address> = lock(&world.model).chunks.keys().copied().collect();
    let mut batch = Batch::new();
    let mut some = false;
    if !matches!(mode, Hollow::Endings) {
        for (chunk, here) in chunks.iter().zip(here(&store, &chunks)) {
            if here && world.random.random_bool(0.5) {
                let address = stash_server::store::Address::from_bytes(*chunk.as_bytes());
                (batch, some) = (batch.evict(vec![address]), true);
            }
        }
    }
    for record in records(&store, &world.names()) {
        let kind = record.clear().kind;
        let drops = match mode {
            Hollow::Everything => true,
            Hollow::Endings => kind != stash_crypto::RecordKind::Put,
            Hollow::Versions => kind.is_version(),
        };
        if drops && world.random.random_bool(0.5) {
            (batch, some) = (batch.drop_record(*record.hash().as_bytes()), true);
        }
    }
    if some && life.is_on() && store.commit(batch).is_err() {
        world.trace.line("the keeper drops nothing");
    }
}

fn records(store: &Store, names: &[NameId]) -> Vec<Record> {
    names.iter().flat_map(|name| held(store, name).unwrap_or_default()).collect()
}
