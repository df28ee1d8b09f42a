//! Room that a collection gives back, and its cost for those who commit beside it.
//!
//! ```text
//! cargo run --release -p stash-store --example bench_collect -- [DIR] [--json]
//! ```
//!
//! Each round fills a store of its own with files of 256 KiB and blobs of 4 KiB, each named by a
//! record, and drops half of the records. Then writers commit records of 1 KiB with blobs of 64 KiB,
//! each durable before the next: for some seconds alone, and again for as long as a collection
//! without a grace takes. Figures are medians of the rounds.

mod fill;
#[path = "../measure/mod.rs"]
mod measure;
mod writers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;
use stash_store::collect::Collected;
use stash_store::{CollectOptions, Options, Store};

use fill::Filled;
use measure::footprint::Footprint;
use measure::histogram::Latency;
use measure::place::Place;
use measure::report::Report;
use measure::{MIB, Outcome, median, mib, rounded};
use writers::Writers;

#[derive(Debug, Parser)]
#[command(about = "What a collection gives back, and what it costs", args_override_self = true)]
struct Arguments {
    /// A directory on the disk to measure; made if it is missing
    #[arg(default_value = "target/bench_collect")]
    dir: PathBuf,
    /// Files of 256 KiB
    #[arg(long, default_value_t = 1600)]
    files: u64,
    /// Blobs of 4 KiB
    #[arg(long, default_value_t = 40_000)]
    small: u64,
    /// Threads that write beside
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// Seconds that they write alone
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Segments of the log with as many dead bytes in percent are written again
    #[arg(long, default_value_t = 50)]
    dead_percent: u8,
    /// Bytes of a segment of the log, in MiB
    #[arg(long, default_value_t = 64)]
    segment_mib: u64,
    /// Where the random bytes come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document; the lines for people go to stderr
    #[arg(long)]
    json: bool,
}

/// Figures of one side of a round.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Side {
    commits: u64,
    seconds: f64,
    latency: Latency,
}

#[derive(Debug, Clone, Serialize)]
struct Round {
    alone: Side,
    beside: Side,
    dead_bytes: u64,
    /// By which the directory shrank, without what the writers added.
    du_back: u64,
    collected_bytes: u64,
    moved_bytes: u64,
    segments: u64,
    seconds: f64,
    longest_step_ms: f64,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let report = Report { json: arguments.json };
    let place = Place::new(&arguments.dir)?;
    let mut rounds = Vec::new();
    for (n, seed) in (0..arguments.rounds).zip(arguments.seed..) {
        let round = round(&arguments, &place.side("store", n), seed)?;
        show(report, &round);
        rounds.push(round);
    }
    summary(report, &arguments, rounds)
}

fn round(arguments: &Arguments, dir: &Path, seed: u64) -> Outcome<Round> {
    let options = Options { segment_bytes: arguments.segment_mib * MIB, ..Options::default() };
    let store = Store::create(dir, &options)?;
    let filled = Filled::new(&store, seed, arguments.files, arguments.small)?;
    let before = Footprint::of(dir)?;
    let mut writers = Writers::new(&store, seed, arguments.writers);
    let alone = writers.run(|| {
        std::thread::sleep(Duration::from_secs(arguments.seconds));
        Ok(())
    })?;
    let between = Footprint::of(dir)?;
    let mut cycle = Cycle::default();
    let beside = writers.run(|| {
        cycle = Cycle::run(&store, arguments.dead_percent)?;
        Ok(())
    })?;
    let after = Footprint::of(dir)?;
    let each = between.disk_bytes.saturating_sub(before.disk_bytes) / alone.commits.max(1);
    let du_back = (between.disk_bytes + each * beside.commits).saturating_sub(after.disk_bytes);
    filled.check(&store)?;
    Ok(Round {
        alone,
        beside,
        dead_bytes: filled.dead_bytes,
        du_back,
        collected_bytes: cycle.collected.bytes(),
        moved_bytes: cycle.collected.moved_bytes,
        segments: cycle.collected.segments,
        seconds: cycle.seconds,
        longest_step_ms: cycle.longest_step_ms,
    })
}

/// A collection, with what it gave back.
#[derive(Debug, Default)]
struct Cycle {
    collected: Collected,
    seconds: f64,
    longest_step_ms: f64,
}

impl Cycle {
    fn run(store: &Store, dead_percent: u8) -> Outcome<Cycle> {
        let grace = Duration::ZERO;
        let options = CollectOptions { grace, dead_percent, ..CollectOptions::default() };
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        let mut collector = store.collector(options);
        loop {
            let step = Instant::now();
            let ended = collector.step()?.is_none();
            longest = longest.max(step.elapsed());
            if ended {
                break;
            }
        }
        Ok(Cycle {
            collected: collector.done(),
            seconds: begun.elapsed().as_secs_f64(),
            longest_step_ms: rounded(longest.as_secs_f64() * 1000.0),
        })
    }
}

impl Round {
    fn ratio(&self) -> f64 {
        self.beside.latency.p99_us / self.alone.latency.p99_us
    }

    fn share(&self) -> f64 {
        self.du_back as f64 / self.dead_bytes as f64
    }
}

fn show(report: Report, round: &Round) {
    for (name, side) in [("alone", &round.alone), ("beside a collection", &round.beside)] {
        let Side { commits, seconds, latency } = side;
        report.line(format_args!(
            "{name:<20} {:>7.0} commits/s  p50 {:>8.0} us  p99 {:>8.0} us  max {:>8.0} us",
            *commits as f64 / seconds,
            latency.p50_us,
            latency.p99_us,
            latency.max_us
        ));
    }
    report.line(format_args!(
        "{:.0} MiB dead, {:.0} MiB back in {:.2} s: {:.1} % by du, {:.1} % as told; {:.0} MiB moved, \
         {} segments; longest step {:.0} ms; p99 x {:.2}",
        mib(round.dead_bytes),
        mib(round.du_back),
        round.seconds,
        100.0 * round.share(),
        100.0 * round.collected_bytes as f64 / round.dead_bytes as f64,
        mib(round.moved_bytes),
        round.segments,
        round.longest_step_ms,
        round.ratio()
    ));
}

fn summary(report: Report, arguments: &Arguments, rounds: Vec<Round>) -> Outcome<()> {
    let of = |figure: fn(&Round) -> f64| rounded(median(rounds.iter().map(figure).collect()));
    let document = serde_json::json!({
        "writers": arguments.writers,
        "dead_percent": arguments.dead_percent,
        "p99_ratio": of(Round::ratio),
        "p50_ratio": of(|round| round.beside.latency.p50_us / round.alone.latency.p50_us),
        "share_back": of(Round::share),
        "cycle_seconds": of(|round| round.seconds),
        "rounds": rounds,
    });
    report.line(format_args!(
        "medians of {} rounds: p99 x {}, p50 x {}, {} of the dead bytes back in {} s",
        arguments.rounds,
        document["p99_ratio"],
        document["p50_ratio"],
        document["share_back"],
        document["cycle_seconds"]
    ));
    report.document(&document)
}
