//! The scenarios, with their arguments.

#![expect(
    missing_docs,
    reason = "a doc line here is a line of --help, and not every option has one"
)]

use std::time::Duration;

use clap::{Args, Subcommand};

/// A scenario.
#[derive(Debug, Subcommand)]
pub enum Chaos {
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
    /// Nodes that have all moved find each other on a local network, over IPv4 and over IPv6 alone (root, Linux)
    Lan(LanArguments),
    /// Many members of one node, some of them slow, silent or hostile: all are served
    Members {
        /// Members that are connected at once: an owner and keepers
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(8..=200))]
        members: u8,
        /// Length of each case, in seconds
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

/// Arguments of [`Chaos::Netns`].
#[derive(Debug, Clone, Args)]
pub struct NetnsArguments {
    /// Number of nodes: of four, two are owners and two keepers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=9))]
    pub nodes: u8,
    /// Minutes for which links are cut and nodes killed
    #[arg(long, default_value_t = 5.0, value_parser = parse_minutes)]
    pub minutes: f64,
    /// Replay the plan of this seed; what processes do meanwhile differs
    #[arg(long)]
    pub seed: Option<u64>,
}

impl NetnsArguments {
    /// The time for which links are cut and nodes killed.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// The same arguments with this seed, as words.
    pub(crate) fn words(&self, seed: u64) -> Vec<String> {
        let Self { nodes, minutes, .. } = self;
        vec![format!("--nodes={nodes}"), format!("--minutes={minutes}"), format!("--seed={seed}")]
    }
}

/// Arguments of [`Chaos::Lan`].
#[derive(Debug, Clone, Args)]
pub struct LanArguments {
    /// Moves over each family of addresses
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub rounds: u32,
    /// Replay the pauses of this seed
    #[arg(long)]
    pub seed: Option<u64>,
}

impl LanArguments {
    /// The same arguments with this seed, as words.
    pub(crate) fn words(&self, seed: u64) -> Vec<String> {
        vec![format!("--rounds={}", self.rounds), format!("--seed={seed}")]
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
    fn minutes_are_above_none_and_at_most_sixty() {
        assert_eq!(parse_minutes("0.5"), Ok(0.5));
        for bad in ["0", "-1", "61", "NaN", "inf", "five"] {
            assert!(parse_minutes(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
