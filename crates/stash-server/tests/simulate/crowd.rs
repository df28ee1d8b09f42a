//! The cost of a stash of many members when nothing is wrong.

use std::time::Duration;

use tokio::time::sleep;

use crate::machine::Stop;
use crate::profile::Profile;
use crate::schedule::simulated;
use crate::world::World;

/// Until all members are connected, and nobody has anything to tell any more.
const QUIET: Duration = Duration::from_secs(60);

/// Bytes that a restart of one of so many members makes all of them send.
pub(crate) fn bytes_of_a_restart(members: usize) -> u64 {
    simulated(async {
        let mut world = World::new(1, Profile::of(1, members..=members));
        world.common.switch.calm();
        for at in 0..members {
            world.start(at).await.expect("a disk without faults");
        }
        sleep(QUIET).await;
        let before = sent(&world);
        world.stop(members / 2, Stop::Kill);
        world.start(members / 2).await.expect("a disk without faults");
        sleep(QUIET).await;
        sent(&world) - before
    })
}

fn sent(world: &World) -> u64 {
    let all = 0..world.machines.len();
    let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
    pairs.map(|(from, to)| world.common.switch.sent(from, to)).sum()
}
