//! Where a blob should lie: in the log, in a file of its own, or inside its record.
//!
//! ```text
//! cargo run --release -p stash-store --example bench_tiers -- [DIR] [--part tiers|sync|inline] [--json]
//! ```
//!
//! * `tiers`: blobs of each size through a store that keeps all of them in its log, and through one
//!   that keeps each in a file. Rates of durable puts, and of reads in random order by a new process
//!   after the files were dropped from the memory of the system; bytes and inodes.
//! * `sync`: outside of the store, the cheapest way to make new files durable: one `fdatasync` for
//!   each file, eight at a time, and their directories, or one `syncfs` for all and their
//!   directories, or a second `syncfs` in place of the directories.
//! * `inline`: small files as part of their record, or as a record and a blob, with the lengths that
//!   the project's formats give them.
//!
//! Every side of every round has a process of its own; all figures are medians of the rounds. What a part
//! made stays until its end: 10 GB at most, if nothing else is said.

mod inline;
mod policy;
mod sweep;
mod table;
mod tiers;

#[path = "../measure/mod.rs"]
mod measure;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use stash_store::MAX_SMALL;

use measure::Outcome;
use measure::footprint::Footprint;
use measure::report::{Report, hand_back};

/// Powers of two, and half-way between them.
const TIERS_KIB: [u64; 17] =
    [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];

/// Around the limit of 4 KiB that the format has; a meta can hold no more than 45 KiB.
const INLINE_KIB: [u64; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

#[derive(Debug, Parser)]
#[command(about = "Where a blob should lie", args_override_self = true)]
struct Arguments {
    /// A directory on the disk to measure; made if it is missing
    #[arg(default_value = "target/bench_tiers")]
    dir: PathBuf,
    /// Parts to measure; all of them if not given
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Sizes in KiB instead of those built in, ascending; `inline` takes those up to 32
    #[arg(long, value_delimiter = ',')]
    kib: Vec<u64>,
    /// MiB of blobs of each size
    #[arg(long, default_value_t = 64)]
    mib: u64,
    /// Blobs of each size at most: files of a few KiB are made durable by the hundred a second
    #[arg(long, default_value_t = 2048)]
    most: u64,
    /// Records of each size
    #[arg(long, default_value_t = 20_000)]
    records: u64,
    /// Rounds; the sides take turns in each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads that put and read
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// Blobs or records that a thread hands over before it waits for them to be durable
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Make all 65,536 directories before, as a store has them that has held many files; takes ten
    /// seconds for each side
    #[arg(long)]
    warm_dirs: bool,
    /// Where the random bytes come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document; the tables go to stderr
    #[arg(long)]
    json: bool,
    /// Work of this process for the one that measures
    #[arg(long, hide = true, requires = "place")]
    step: Option<Step>,
    /// A directory for a step
    #[arg(long, hide = true)]
    place: Option<PathBuf>,
    /// Bytes of a blob, for a step
    #[arg(long, hide = true, default_value_t = 4096)]
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Tiers,
    Sync,
    Inline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    PutLog,
    PutFile,
    ReadLog,
    ReadFile,
    SyncEach,
    Syncfs,
    SyncfsTwice,
    RecordInline,
    RecordBlob,
}

/// A round of one step.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    seconds: f64,
    objects: u64,
    bytes: u64,
    /// Bytes by which the directory grew; zeros for reads.
    grown: Footprint,
    written: u64,
    peak_rss: u64,
}

impl Arguments {
    fn does(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    fn sizes(&self, default: &[u64]) -> Vec<u64> {
        if self.kib.is_empty() { default.to_vec() } else { self.kib.clone() }
    }

    /// Blobs of `bytes` each that come to the MiB asked for, at least one for each thread.
    fn blobs(&self) -> u64 {
        (self.mib * measure::MIB / self.bytes as u64).min(self.most).max(self.threads as u64)
    }
}

/// Bytes of a blob of this size: the log takes blobs below 1 MiB only, so the largest is a byte
/// shorter.
fn bytes_of(kib: u64) -> u64 {
    (kib * 1024).min(u64::from(MAX_SMALL) - 1)
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if let (Some(step), Some(place)) = (arguments.step, &arguments.place) {
        return hand_back(&run(step, place, &arguments)?);
    }
    let counts = [arguments.rounds, arguments.threads, arguments.batch];
    let sizes_wrong = arguments.kib.contains(&0) || !arguments.kib.is_sorted();
    if counts.contains(&0) || arguments.mib == 0 || arguments.records == 0 || sizes_wrong {
        return Err("every count is at least 1, and sizes ascend from 1 KiB".into());
    }
    let report = Report { json: arguments.json };
    let mut document = serde_json::json!({
        "mib": arguments.mib, "most": arguments.most, "records": arguments.records, "rounds": arguments.rounds,
        "threads": arguments.threads, "batch": arguments.batch, "seed": arguments.seed,
        "warm_dirs": arguments.warm_dirs,
    });
    if arguments.does(Part::Tiers) {
        let swept = sweep::tiers(&arguments, report)?;
        document["tiers"] = table::tiers(report, &arguments, &swept);
    }
    if arguments.does(Part::Sync) {
        let swept = sweep::sync(&arguments, report)?;
        document["sync"] = table::sync(report, &arguments, &swept);
    }
    if arguments.does(Part::Inline) {
        let swept = sweep::inline(&arguments, report)?;
        document["inline"] = table::inline(report, &arguments, &swept);
    }
    report.document(&document)
}

fn run(step: Step, dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    use policy::Policy::{Each, Syncfs, SyncfsTwice};
    use tiers::Tier::{File, Log};
    match step {
        Step::PutLog => tiers::put(Log, dir, arguments),
        Step::PutFile => tiers::put(File, dir, arguments),
        Step::ReadLog => tiers::read(Log, dir, arguments),
        Step::ReadFile => tiers::read(File, dir, arguments),
        Step::SyncEach => policy::run(Each, dir, arguments),
        Step::Syncfs => policy::run(Syncfs, dir, arguments),
        Step::SyncfsTwice => policy::run(SyncfsTwice, dir, arguments),
        Step::RecordInline => inline::run(true, dir, arguments),
        Step::RecordBlob => inline::run(false, dir, arguments),
    }
}
