//! `cargo xtask races`: the store under a scheduler that decides who runs next.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use stash_harness::build::cargo;
use stash_harness::{process, scratch};

use crate::cli::RacesArguments;

/// A million schedules on two slow cores.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Schedules in `ci`: ten seconds, and a minute for the first build. Most races that were ever found
/// here show within a hundred.
const SHORT: u32 = 300;

pub(crate) fn run(arguments: &RacesArguments) -> Result<()> {
    process::build_in_view(test().arg("--no-run"))?;
    let mut races = test();
    races.arg("--").args(&arguments.races).env("STASH_RACES", arguments.iterations.to_string());
    if let Some(seed) = arguments.seed {
        races.env("STASH_SEED", seed.to_string());
    }
    process::run_in_view(&mut races, DEADLINE)
}

/// Cargo at the tests of the store under the scheduler.
fn test() -> Command {
    let mut test = cargo();
    // The races run about as fast, and a first build takes two thirds of the time.
    test.args(["--config", "profile.dev.package.'*'.opt-level=1"])
        .args(["test", "--package", "stash-store", "--test", "races"])
        // What it builds is of no use to anybody else, and would push out what is.
        .env("CARGO_TARGET_DIR", scratch::workspace().join("target/shuttle"))
        .env("RUSTFLAGS", "--cfg shuttle");
    test
}

/// The run that is a part of `ci`.
pub(crate) fn run_short() -> Result<()> {
    run(&RacesArguments { races: vec![], iterations: SHORT, seed: None })
}
