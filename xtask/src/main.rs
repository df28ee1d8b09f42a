//! `cargo xtask`: checks, clusters, benches and chaos of the stash workspace.
//!
//! What looks at the workspace is here: the checks of `ci` and `tidy`, fuzz targets, packages, races, schedules. What drives the
//! built `stash` binary is in `stash-harness`, which this program hands its arguments to. `cargo xtask --help` lists the
//! commands.

mod ci;
mod cli;
mod cluster;
mod fuzz;
mod packages;
mod races;
mod simulate;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use stash_harness::report::Report;
use stash_harness::{bench, chaos, powercut, program};

use cli::{Arguments, Task};

fn main() -> ExitCode {
    program::main(|| run(Arguments::parse().task))
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Tidy => tidy::run(&Report::text()),
        Task::Ci => ci::run(&Report::text()),
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::Bench(bench) => bench::run(&bench),
        Task::Chaos(chaos) => chaos::run(&chaos),
        Task::Packages => packages::run(&Report::text()),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Races(arguments) => races::run(&arguments),
        Task::Simulate(arguments) => simulate::run(&arguments),
        Task::Powercut(arguments) => powercut::run(&arguments),
    }
}
