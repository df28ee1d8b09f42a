//! The arguments of `cargo xtask`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use stash_harness::bench::Bench;
use stash_harness::chaos::Chaos;
use stash_harness::powercut::PowercutArguments;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Checks, clusters, benches and chaos of the stash workspace"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Check the shape of the workspace: edges between crates, manifests, words, documents, links, replay
    Tidy,
    /// Everything that must hold before a commit: fmt, clippy, tests, docs, tidy, crates alone, the tour
    Ci,
    /// Start a stash of N node processes on loopback, take the tour, stay up until Ctrl-C
    Cluster(ClusterArguments),
    /// Measure against a floor in the same run
    #[command(subcommand)]
    Bench(Bench),
    /// Hurt a running cluster and check what must hold
    #[command(subcommand)]
    Chaos(Chaos),
    /// Check what `cargo package` makes: it compiles, and each library runs in a new project (not part of ci)
    Packages,
    /// Run the fuzz targets, each for a while (needs cargo-fuzz; not part of ci)
    Fuzz(FuzzArguments),
    /// Run the races of the store under many schedules
    Races(RacesArguments),
    /// Run whole nodes in simulated time, one schedule of faults for each seed
    Simulate(SimulateArguments),
    /// Cut the power of file systems under a working store and check what it kept (root, Linux)
    Powercut(PowercutArguments),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArguments {
    /// Number of nodes
    #[arg(default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    pub(crate) nodes: u8,
    /// Exit after the tour: 0 when every step held
    #[arg(long)]
    pub(crate) tour: bool,
    /// Keep the node directories and logs at the end
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one JSON document on stdout; the lines for people go to stderr
    #[arg(long)]
    pub(crate) json: bool,
    /// Take this tree on the tour instead of a generated one
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Replay the tour of this seed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FuzzArguments {
    /// Names of targets, or of crates for all of theirs; none for all there are
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// How long to run each target
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RacesArguments {
    /// Only races whose names contain one of these
    #[arg(value_name = "RACE")]
    pub(crate) races: Vec<String>,
    /// Schedules of each race for each scheduler and each way to commit
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) iterations: u32,
    /// Replay the schedules of this seed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimulateArguments {
    /// Schedules
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The first seed; with `--seeds 1` it replays one schedule
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Nodes of every schedule, instead of three to five
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=30))]
    pub(crate) nodes: Option<u8>,
    /// Threads, each with schedules of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) jobs: u8,
    /// Take one rule out of a copy of the sources (a name in xtask/mutations, or `all`): a violation must show
    #[arg(long, value_name = "NAME")]
    pub(crate) mutation: Option<String>,
    /// Print what happens in every schedule
    #[arg(long)]
    pub(crate) trace: bool,
    /// Print the hash of every schedule, beside that of all: what changes nothing leaves them as they are
    #[arg(long)]
    pub(crate) hashes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_cluster_of_one_or_ten_is_refused() {
        for bad in ["1", "10"] {
            assert!(Arguments::try_parse_from(["xtask", "cluster", bad]).is_err());
        }
        assert!(Arguments::try_parse_from(["xtask", "cluster", "9", "--tour"]).is_ok());
    }
}
