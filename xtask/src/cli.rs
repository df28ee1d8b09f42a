//! The arguments of `cargo xtask`.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// The part of powercut that has a namespace of its own
    #[command(hide = true)]
    PowercutInside {
        directory: PathBuf,
        program: PathBuf,
        #[command(flatten)]
        arguments: PowercutArguments,
    },
    /// The part of `chaos netns` that has a namespace of its own
    #[command(hide = true)]
    NetnsInside {
        binary: PathBuf,
        #[command(flatten)]
        arguments: NetnsArguments,
    },
    /// Become PROGRAM, and die with the process that asked for it
    #[command(hide = true)]
    Guard {
        /// Process id of the process to die with
        parent: u32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
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

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Put and get one big file on three nodes, beside straight-line code doing the same work
    Transfer {
        /// Size of the file: bytes, or with a suffix (KiB, MiB, GiB)
        #[arg(long, default_value = "1GiB", value_parser = parse_size)]
        size: u64,
        /// Rounds; the medians are reported
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        #[arg(long)]
        json: bool,
    },
    /// Files between a limited node and another, while both ask each other questions
    Bwlimit {
        /// Bytes a second that the node may send, and receive
        #[arg(long, default_value = "2MiB", value_parser = parse_size)]
        limit: u64,
        /// Size of each file
        #[arg(long, default_value = "32MiB", value_parser = parse_size)]
        size: u64,
        #[arg(long)]
        json: bool,
    },
    /// Many clients put and get objects of 1 KiB over the local API of one node
    Objects {
        /// Clients, each with a connection of its own: the local API takes 64
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=64))]
        clients: u32,
        /// Objects in all
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=999_999))]
        objects: u32,
        #[arg(long)]
        json: bool,
    },
    /// A keeper that missed many records: until it has them, until it hears of a removal, and memory
    Catchup {
        /// Records that it missed; a million take about 10 GB of disk
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
        records: u32,
        #[arg(long)]
        json: bool,
    },
    /// Put a directory of 4 KiB files on three nodes and get it back on another
    Small {
        /// Number of files
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        files: u32,
        /// Rounds; the medians are reported
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Chaos {
    /// SIGKILL a random node at random moments of many puts
    Kill {
        #[arg(long, default_value_t = 200)]
        puts: u32,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Two nodes evict the same key at once
    Evict {
        #[arg(long, default_value_t = 1000)]
        rounds: u32,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Random bytes, HTTP, TLS and port scans against a node's port
    Strangers {
        #[arg(long, default_value_t = 2000)]
        connections: u32,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Record all traffic between nodes and look for planted names and contents
    Relay {
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Flip one bit in every file of a node, one at a time
    Rot {
        /// Random places in each file, beside the first, a middle and the last byte
        #[arg(long, default_value_t = 2)]
        flips: u32,
        /// Only the site of this number
        #[arg(long, value_name = "SITE")]
        at: Option<usize>,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Take files, directories and all of `chunks/` away from under nodes, and bring them back
    Away {
        /// Rounds at rest; under load, each way once
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        rounds: u32,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Cut and mend links between namespaces and kill nodes, while owners on all sides write (root, Linux)
    Netns(NetnsArguments),
    /// Many members of one node, some of them slow, silent or hostile: all are served
    Members {
        /// How many are connected at once: an owner and keepers
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(8..=200))]
        members: u8,
        /// How long each case is measured, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Ask only that all are served and what memory that takes, not how long: on a machine that does other work
        #[arg(long)]
        untimed: bool,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Destroy every owner; recovery text and one keeper give every byte back
    Recover {
        #[arg(long)]
        seed: Option<u64>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NetnsArguments {
    /// Number of nodes: of four, two are owners and two keepers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=9))]
    pub(crate) nodes: u8,
    /// How long links are cut and nodes killed, in minutes
    #[arg(long, default_value_t = 5.0, value_parser = parse_minutes)]
    pub(crate) minutes: f64,
    /// Replay the plan of this seed; what processes do meanwhile differs
    #[arg(long)]
    pub(crate) seed: Option<u64>,
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

#[derive(Debug, Clone, Args)]
pub(crate) struct PowercutArguments {
    /// File systems to cut
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = FileSystem::ALL)]
    pub(crate) fs: Vec<FileSystem>,
    /// What becomes of the file system's journal at the cut, where it has one
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Journal::ALL)]
    pub(crate) journal: Vec<Journal>,
    /// Cuts for each file system and each fate of its journal
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) cuts: u32,
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only this cut, after those that were on the same image before it
    #[arg(long, value_name = "CUT", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) at: Option<u32>,
    /// Names of what may be missing here, as the complaint about it says them; `xfs` leaves that one out
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) allow_missing: Vec<String>,
}

/// A file system whose power can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    /// ext4 without a journal, repaired after each cut: shows that no sync of a directory is missing
    Bare,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Bare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Bare => "bare",
        }
    }
}

impl Display for FileSystem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What becomes of the file system's own journal at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Journal {
    /// It reaches the disk before the cut; contents of files that were not synced do not
    Flushed,
    /// What was not synced is gone, names and sizes as well
    Dropped,
}

impl Journal {
    pub(crate) const ALL: [Self; 2] = [Self::Flushed, Self::Dropped];
}

impl Display for Journal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flushed => "flushed",
            Self::Dropped => "dropped",
        })
    }
}

/// Parses `4096`, `64KiB`, `512MiB`, `1GiB` (and the short forms `64K`, `512M`, `1G`).
fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.trim_end_matches("iB") {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("unit {unit:?} is not one of KiB, MiB, GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size"))?;
    match number.checked_mul(1 << shift) {
        Some(0) | None => Err(format!("{text:?} is out of range")),
        Some(size) => Ok(size),
    }
}

/// Parses `5` or `0.5`: at most an hour, since every version is read on every node afterwards.
fn parse_minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 60.0 => Ok(minutes),
        _ => Err(format!("{text:?} is not above 0 and at most 60")),
    }
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
    fn sizes_take_binary_units_only() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "GiB", "1GB", "-1", "0", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn minutes_are_above_none_and_at_most_sixty() {
        assert_eq!(parse_minutes("0.5"), Ok(0.5));
        for bad in ["0", "-1", "61", "NaN", "inf", "five"] {
            assert!(parse_minutes(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_cluster_of_one_or_ten_is_refused() {
        for bad in ["1", "10"] {
            assert!(Arguments::try_parse_from(["xtask", "cluster", bad]).is_err());
        }
        assert!(Arguments::try_parse_from(["xtask", "cluster", "9", "--tour"]).is_ok());
    }
}
