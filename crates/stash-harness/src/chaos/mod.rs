//! `cargo xtask chaos`: hurt a running cluster and check what must hold. Random ones print a seed that replays them.

mod arguments;
mod away;
mod evict;
mod kill;
mod lan;
mod members;
mod netns;
mod recover;
mod relay;
mod rot;
mod strangers;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::tree;

pub use arguments::{Chaos, LanArguments, NetnsArguments};
pub(crate) use lan::run_inside as run_lan_inside;
pub(crate) use netns::run_inside as run_netns_inside;

/// Runs a scenario, and tells what it showed.
///
/// # Errors
///
/// If what must hold does not, or the cluster cannot be made. The error says which seed replays it.
pub fn run(chaos: &Chaos) -> Result<()> {
    let report = Report::text();
    let (name, seed) = match chaos {
        Chaos::Kill { seed, .. } => ("kill", seed),
        Chaos::Evict { seed, .. } => ("evict", seed),
        Chaos::Strangers { seed, .. } => ("strangers", seed),
        Chaos::Relay { seed } => ("relay", seed),
        Chaos::Recover { seed } => ("recover", seed),
        Chaos::Members { seed, .. } => ("members", seed),
        Chaos::Rot { seed, .. } => ("rot", seed),
        Chaos::Away { seed, .. } => ("away", seed),
        Chaos::Netns(arguments) => ("netns", &arguments.seed),
        Chaos::Lan(arguments) => ("lan", &arguments.seed),
    };
    let seed = tree::seed(*seed);
    report.line(format_args!("chaos {name}, seed {seed}"));
    let outcome = match chaos {
        Chaos::Kill { puts, .. } => kill::run(*puts, seed, &report),
        Chaos::Evict { rounds, .. } => evict::run(*rounds, seed, &report),
        Chaos::Strangers { connections, .. } => strangers::run(*connections, seed, &report),
        Chaos::Relay { .. } => relay::run(seed, &report),
        Chaos::Recover { .. } => recover::run(seed, &report),
        Chaos::Away { rounds, .. } => away::run(*rounds, seed, &report),
        Chaos::Members { members, seconds, untimed, .. } => {
            members::run(usize::from(*members), *seconds, !*untimed, seed, &report)
        }
        Chaos::Netns(arguments) => netns::run(arguments, seed, &report),
        Chaos::Lan(arguments) => lan::run(arguments, seed, &report),
        Chaos::Rot { flips, at, .. } => {
            rot::run(rot::Choice { flips: *flips, at: *at }, seed, &report)
        }
    };
    outcome.with_context(|| format!("chaos {name} does not hold; replay with --seed {seed}"))?;
    report.line(format_args!("chaos {name} held"));
    Ok(())
}
