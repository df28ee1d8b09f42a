//! Running a race under many schedules.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use stash_store::Committer;

use crate::common::Random;
use crate::world::World;

/// Schedules of one seed: one that failed is found again in as many.
const ROUND: u64 = 50;
/// Schedules for each committer and scheduler, unless `STASH_RACES` says how many.
const SCHEDULES: u64 = 200;
/// Moments at which the second scheduler takes the processor from who has it.
const PREEMPTIONS: usize = 3;
/// Bytes of stack for each thread.
const STACK: usize = 512 * 1024;
/// Steps after which threads are waiting for one another and nothing moves: twenty times as many
/// as the longest of these races takes.
const STEPS: usize = 400_000;

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `race` with each committer: under schedules drawn at random, and under schedules that
/// let one thread run on, but for a few moments. `STASH_SEED` replays.
pub(crate) fn explore(race: fn(World)) {
    let schedules = variable("STASH_RACES").unwrap_or(SCHEDULES);
    let base = variable("STASH_SEED");
    let rounds = if base.is_some() { 1 } else { schedules.div_ceil(ROUND) };
    for committer in [Committer::Thread, Committer::Inline] {
        let mut seeds = Random(base.unwrap_or(7));
        for _ in 0..rounds {
            let seed = base.unwrap_or_else(|| seeds.next() >> 32);
            let random = RandomScheduler::new_from_seed(seed, size(schedules));
            round(race, committer, seed, "random", random);
            let few = PctScheduler::new_from_seed(seed, PREEMPTIONS, size(schedules));
            round(race, committer, seed, "few preemptions", few);
        }
    }
}

fn size(schedules: u64) -> usize {
    usize::try_from(schedules.min(ROUND)).unwrap()
}

fn round(
    race: fn(World),
    committer: Committer,
    seed: u64,
    name: &str,
    scheduler: impl Scheduler + 'static,
) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    // The seed says the same in fewer words.
    config.failure_persistence = FailurePersistence::None;
    // Atomics stand for sequential consistency; those of the store count, and order nothing.
    config.silence_warnings = true;
    let begun = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&begun);
    let run = move || {
        Runner::new(scheduler, config).run(move || {
            count.fetch_add(1, Ordering::Relaxed);
            race(World::new(committer));
        });
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let nth = begun.load(Ordering::Relaxed);
        println!("schedule {nth} of seed {seed} ({name}, {committer:?}) fails");
        println!("replay with STASH_SEED={seed}");
        resume_unwind(panic);
    }
}
