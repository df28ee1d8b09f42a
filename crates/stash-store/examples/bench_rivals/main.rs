//! Small objects, each durable before its writer goes on: the store beside `SQLite` and a bare log.
//!
//! ```text
//! cargo run --release -p stash-store --example bench_rivals -- [DIR] [--objects N] [--rounds N] [--json]
//! ```
//!
//! Many threads put objects of random bytes under random keys, one at a time, and each waits until
//! its object is durable. Whoever waits shares the next sync, at every side:
//!
//! * `record`: a record of the store, `blob`: a blob of the store, hashed;
//! * `sqlite`: a table in WAL mode with `synchronous=FULL`, one thread that takes all that wait into
//!   one transaction; `sqlite-clustered`: the same, the rows in the order of their keys;
//! * `log`: the same loop, but all that wait are appended to a file and synced. It cannot find
//!   anything again: a floor, no rival.
//!
//! Every side of every round has a process of its own; all figures are medians of the rounds.

mod clients;
mod log;
mod sqlite;
mod stash;
mod table;

#[path = "../measure/mod.rs"]
mod measure;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use measure::Outcome;
use measure::ballast::ballast;
use measure::footprint::{Footprint, clear};
use measure::histogram::Latency;
use measure::report::{Report, hand_back};

/// Ballast for one side, in sizes of the objects: the side that writes most, what it merges and
/// writes again included, rarely has more in files at once.
const BALLAST_COPIES: u64 = 3;

#[derive(Debug, Parser)]
#[command(about = "The store beside SQLite and a bare log", args_override_self = true)]
struct Arguments {
    /// A directory on the disk to measure; made if it is missing
    #[arg(default_value = "target/bench_rivals")]
    dir: PathBuf,
    /// Objects that each side stores
    #[arg(long, default_value_t = 200_000)]
    objects: u64,
    /// Rounds; the sides take turns in each, and another one begins
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads that put
    #[arg(long, default_value_t = 64)]
    threads: u64,
    /// Bytes of an object
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Where the random bytes come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document; the table goes to stderr
    #[arg(long)]
    json: bool,
    /// Run one side only, in this process, without ballast
    #[arg(long)]
    side: Option<Side>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    Record,
    Blob,
    Sqlite,
    SqliteClustered,
    Log,
}

impl Side {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A round of one side.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    seconds: f64,
    /// Until everything was closed; not part of the rate.
    close_seconds: f64,
    latency: Latency,
    syncs: u64,
    footprint: Footprint,
    written: u64,
    peak_rss: u64,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if arguments.objects == 0 || arguments.rounds == 0 || arguments.threads == 0 {
        return Err("objects, rounds and threads are at least 1".into());
    }
    std::fs::create_dir_all(&arguments.dir)?;
    if let Some(side) = arguments.side {
        return hand_back(&run(side, &arguments)?);
    }
    let report = Report { json: arguments.json };
    let mut trials: Vec<(Side, Vec<Trial>)> =
        Side::value_variants().iter().map(|side| (*side, Vec::new())).collect();
    for round in 0..arguments.rounds {
        let sides = trials.len();
        for turn in 0..sides {
            let (side, trials) = &mut trials[(round + turn) % sides];
            let trial = one(*side, &arguments)?;
            report.line(format_args!(
                "round {} of {}, {:<16} {:>8.0} objects/s",
                round + 1,
                arguments.rounds,
                side.name(),
                arguments.objects as f64 / trial.seconds
            ));
            trials.push(trial);
        }
    }
    table::print(report, &arguments, &trials);
    report.document(&table::document(&arguments, &trials))
}

/// Runs one side in a process of its own.
fn one(side: Side, arguments: &Arguments) -> Outcome<Trial> {
    ballast(&arguments.dir, BALLAST_COPIES * arguments.objects * arguments.size as u64)?;
    measure::process::ask(&["--side".into(), side.name().into()])
}

fn run(side: Side, arguments: &Arguments) -> Outcome<Trial> {
    let dir = arguments.dir.join(side.name());
    clear(&dir)?;
    std::fs::create_dir(&dir)?;
    let trial = run_in(&dir, side, arguments)?;
    clear(&dir)?;
    Ok(trial)
}

fn run_in(dir: &Path, side: Side, arguments: &Arguments) -> Outcome<Trial> {
    match side {
        Side::Record => stash::records(dir, arguments),
        Side::Blob => stash::blobs(dir, arguments),
        Side::Sqlite => sqlite::run(dir, sqlite::Layout::Indexed, arguments),
        Side::SqliteClustered => sqlite::run(dir, sqlite::Layout::Clustered, arguments),
        Side::Log => log::run(dir, arguments),
    }
}
