//! `cargo xtask`: checks, clusters, benches and chaos of the stash workspace.
//!
//! It drives the built `stash` binary as a user would: arguments, exit codes, `--json`, `ready.json`. Of the stash
//! crates it links `stash-api` alone, which has the shapes of what the program prints and answers, so nothing here
//! can reach around the program's surface. `cargo xtask --help` lists the commands.

mod bench;
mod build;
mod chaos;
mod ci;
mod cli;
mod cluster;
mod compare;
mod fuzz;
mod guard;
mod interrupt;
mod machine;
mod needles;
mod packages;
mod powercut;
mod process;
mod races;
mod report;
mod scratch;
mod simulate;
mod tidy;
mod tools;
mod tour;
mod tree;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Arguments, Task};
use report::Report;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Task::Guard { parent, program } = &arguments.task {
        let failure = guard::become_program(*parent, program);
        report::complain(&format!("xtask guard: {failure:#}"));
        return ExitCode::from(127);
    }
    match interrupt::watch().and_then(|()| run(arguments.task)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            report::complain("xtask: interrupted; own children stopped");
            ExitCode::from(130)
        }
        Err(failure) => {
            report::complain(&format!("xtask: {failure:#}"));
            ExitCode::FAILURE
        }
    }
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
        Task::PowercutInside { directory, program, arguments } => {
            powercut::run_inside(&directory, &program, &arguments)
        }
        Task::NetnsInside { binary, arguments } => chaos::run_netns_inside(&binary, &arguments),
        Task::Guard { .. } => Ok(()),
    }
}
