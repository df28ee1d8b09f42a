//! The program that runs what is here, and the parts of a run for which it is started once more.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::chaos::{self, LanArguments, NetnsArguments};
use crate::powercut::{self, PowercutArguments};
use crate::{guard, interrupt, report};

/// Parts of a run that are processes of their own.
#[derive(Debug, Parser)]
struct Inside {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The part of power cuts that has a namespace of its own
    PowercutInside {
        directory: PathBuf,
        program: PathBuf,
        #[command(flatten)]
        arguments: PowercutArguments,
    },
    /// The part of [`crate::chaos::Chaos::Netns`] that has a namespace of its own
    NetnsInside {
        binary: PathBuf,
        #[command(flatten)]
        arguments: NetnsArguments,
    },
    /// The part of [`crate::chaos::Chaos::Lan`] that has a namespace of its own
    LanInside {
        binary: PathBuf,
        #[command(flatten)]
        arguments: LanArguments,
    },
    /// Become PROGRAM, and die with the process that asked for it
    Guard {
        /// Process id of the process to die with
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
}

/// First arguments with which this library starts its own program.
const PARTS: [&str; 4] = ["powercut-inside", "netns-inside", "lan-inside", "guard"];

/// Body of the `main` of a program that uses this library: nodes are started through that program, and signals
/// must reach what waits for them. It runs `run`, or the part for which the program was started once more; an error is told on
/// stderr.
///
/// Exit status: 0, 1 after an error, 130 after a signal.
pub fn main(run: impl FnOnce() -> Result<()>) -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    let part = PARTS.contains(&first.as_str()).then(|| Inside::parse().part);
    if let Some(Part::Guard { parent, program }) = &part {
        let failure = guard::become_program(*parent, program);
        report::complain(&format!("xtask guard: {failure:#}"));
        return ExitCode::from(127);
    }
    let work = || match part {
        Some(part) => part.run(),
        None => run(),
    };
    match interrupt::watch().and_then(|()| work()) {
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

impl Part {
    fn run(self) -> Result<()> {
        match self {
            Self::PowercutInside { directory, program, arguments } => {
                powercut::run_inside(&directory, &program, &arguments)
            }
            Self::NetnsInside { binary, arguments } => chaos::run_netns_inside(&binary, &arguments),
            Self::LanInside { binary, arguments } => chaos::run_lan_inside(&binary, &arguments),
            Self::Guard { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_part_is_known_by_its_first_argument() {
        let command = Inside::command();
        command.clone().debug_assert();
        let mut names: Vec<&str> = command.get_subcommands().map(|part| part.get_name()).collect();
        let mut parts = PARTS;
        names.sort_unstable();
        parts.sort_unstable();
        assert_eq!(names, parts);
    }
}
