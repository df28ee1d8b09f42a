//! Two owners evict the same key at the same moment, again and again: never zero copies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::RngExt;

use crate::cluster::Role;
use crate::report::Report;
use crate::scenario::Scenario;

/// Bytes of the file: three chunks, one of them padded.
const SIZE: usize = 2_300_000;

/// The time by which one evictor starts later than the other, at most.
const SKEW: Duration = Duration::from_millis(4);

pub(super) fn run(rounds: u32, seed: u64, report: &Report) -> Result<()> {
    let mut scenario = Scenario::begin(&[Role::Owner, Role::Owner], seed, report)?;
    let file = scenario.store("wanted-by-both", SIZE)?;
    // How often: neither went, the earlier went, the later went.
    let mut outcomes = [0_u32; 3];
    scenario.rounds(rounds, "none lost", |scenario| {
        let skew = SKEW.mul_f64(scenario.rng.random_range(0.0..1.0));
        let order = if scenario.rng.random_bool(0.5) { [0, 1] } else { [1, 0] };
        let codes =
            scenario.at_once(order, skew, &["evict", &file.key, "--copies", "1"], &[0, 5, 9])?;
        ensure!(codes != [0, 0], "both gave up their copy");
        outcomes[codes.iter().position(|code| *code == 0).map_or(0, |at| at + 1)] += 1;
        [0, 1].into_iter().try_for_each(|node| scenario.gives_back(node, &file)).with_context(
            || {
                let [early, late] = codes;
                format!("evictions exited {early} and {late}")
            },
        )
    })?;
    let [neither, early, late] = outcomes;
    let checked = format!(
        "{rounds} rounds: the earlier went {early} times, the later {late}, neither {neither}; both always read"
    );
    scenario.held("evict", &checked);
    ensure!(
        early + late > 0 || rounds <= 20,
        "no eviction ever went through, so nothing was tested"
    );
    scenario.finish()
}
