//! Members that keep less than everything: which, how much, and since when.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::machine::Machine;
use crate::world::World;

/// Every so many seeds have caches: none of those that showed a defect once.
const EVERY: (u64, u64) = (7, 5);

/// Bytes that a cache keeps, at most: some chunks.
const KEPT: u64 = 24 << 10;

/// Everything.
pub(crate) const ALL: u64 = u64::MAX;

/// The sizes of one schedule.
pub(crate) struct Caches {
    random: Option<StdRng>,
}

impl Caches {
    /// Of a seed; the draws of everything else are what they were. Beside a keeper that drops for a year what it shows,
    /// nobody gives up anything.
    pub(crate) fn of(seed: u64, year: bool) -> Caches {
        let some = seed % EVERY.0 == EVERY.1 && !year;
        Caches { random: some.then(|| StdRng::seed_from_u64(seed ^ 0x0063_6163_6865)) }
    }

    /// Some members begin as caches, at times all of them.
    pub(crate) fn begin(&mut self, machines: &mut [Machine]) {
        let Some(random) = &mut self.random else { return };
        let share = [0.3, 0.6, 1.0][random.random_range(0..3)];
        for machine in machines {
            machine.keep = if random.random_bool(share) { size(random) } else { ALL };
        }
    }
}

fn size(random: &mut StdRng) -> u64 {
    if random.random_bool(0.3) { 0 } else { random.random_range(0..KEPT) }
}

impl World {
    /// Now and then a member keeps more from its next start on, or less.
    pub(crate) fn resize(&mut self) {
        let Some(random) = &mut self.caches.random else { return };
        if !random.random_bool(0.08) {
            return;
        }
        let at = random.random_range(0..self.machines.len());
        let keep = if random.random_bool(0.4) { ALL } else { size(random) };
        self.machines[at].keep = keep;
        self.trace.line(&format!("node {at} keeps {keep} from its next start on"));
    }
}
