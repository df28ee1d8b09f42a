//! Millions of small objects in one store: rate, space, and what a crash and a lost index cost.
//!
//! ```text
//! cargo run --release -p stash-store --example bench_scale -- [DIR] [--objects N] [--kind record|blob] [--json]
//! ```
//!
//! A process fills a store, goes on writing, tells every number that was acknowledged, and is killed
//! with SIGKILL in the middle of it. Another process opens the store, which is timed, and looks for
//! everything that was acknowledged. That is done several times; then the directory is measured,
//! the index is removed, the open that builds it again is timed, and objects are read at random.
//!
//! A killed process loses nothing that the kernel has: this measures what opening costs, it does
//! not show that a power cut loses nothing. The files are in the memory of the system when they
//! are opened, unless `--cold` has them dropped from it before each open.

mod fill;
mod kill;
mod open;
mod reads;
mod table;

#[path = "../measure/mod.rs"]
mod measure;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use stash_store::{Batch, Options, Store};

use fill::Filled;
use measure::Outcome;
use measure::ballast::ballast;
use measure::footprint::{Footprint, clear, forget};
use measure::object::Object;
use measure::report::Report;
use open::Opened;
use reads::Reads;

/// Ballast for the fill, in sizes of the objects: the log, and an index that is written more than
/// once.
const BALLAST_COPIES: u64 = 2;

/// Ballast for building the index again, in bytes an object.
const INDEX_BALLAST: u64 = 512;

#[derive(Debug, Parser)]
#[command(about = "Millions of small objects in one store", args_override_self = true)]
struct Arguments {
    /// A directory on the disk to measure; made if it is missing
    #[arg(default_value = "target/bench_scale")]
    dir: PathBuf,
    /// Objects to fill the store with
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Kind of the objects
    #[arg(long, value_enum, default_value_t = Kind::Record)]
    kind: Kind,
    /// Threads that put
    #[arg(long, default_value_t = 64)]
    threads: u64,
    /// Bytes of an object
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Number of times that the writer is killed
    #[arg(long, default_value_t = 3)]
    kills: u64,
    /// Random reads of each sort
    #[arg(long, default_value_t = 100_000)]
    reads: u64,
    /// Where the random bytes come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Drop the files from the memory of the system before each open
    #[arg(long)]
    cold: bool,
    /// Leave the store behind
    #[arg(long)]
    keep: bool,
    /// Print one JSON document; the table goes to stderr
    #[arg(long)]
    json: bool,
    /// Work of this process for the one that measures
    #[arg(long, hide = true)]
    step: Option<Step>,
    /// Number of the first object that `--step fill` stores
    #[arg(long, hide = true, default_value_t = 0)]
    first: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Record,
    Blob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Fill,
    Open,
    Read,
}

impl Kind {
    /// Stores one object; it is durable when this returns.
    fn put(self, store: &Store, object: Object) -> Outcome<()> {
        let batch = match self {
            Kind::Record => Batch::new().record(object.record()),
            Kind::Blob => {
                let blob = object.blob();
                let address = blob.address();
                store.stage(blob)?;
                Batch::new().require(address)
            }
        };
        store.commit(batch)?;
        Ok(())
    }

    /// Counts the objects.
    fn count(self, store: &Store) -> u64 {
        let stats = store.stats();
        match self {
            Kind::Record => stats.records,
            Kind::Blob => stats.chunks,
        }
    }
}

impl Arguments {
    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }
}

/// Everything that was measured.
struct Figures {
    filled: Filled,
    opens: Vec<Opened>,
    footprint: Footprint,
    rebuilt: Opened,
    reads: Reads,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    match arguments.step {
        Some(Step::Fill) => fill::run(&arguments),
        Some(Step::Open) => open::run(&arguments),
        Some(Step::Read) => reads::run(&arguments),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    if arguments.objects < 10 || arguments.threads == 0 || arguments.kills == 0 {
        return Err("at least 10 objects, 1 thread and 1 kill".into());
    }
    let store = arguments.store();
    std::fs::create_dir_all(&arguments.dir)?;
    clear(&store)?;
    let report = Report { json: arguments.json };
    ballast(&arguments.dir, BALLAST_COPIES * arguments.objects * arguments.size as u64)?;
    let (filled, opens) = fill_and_kill(arguments, report)?;
    let footprint = Footprint::of(&store)?;
    report.line("building the index again");
    ballast(&arguments.dir, INDEX_BALLAST * arguments.objects)?;
    remove_index(&store)?;
    let rebuilt = open::ask(arguments, &[])?;
    if rebuilt.index_rebuilt.is_none() {
        return Err("the index was removed, and the store did not build it again".into());
    }
    report.line("reading at random");
    settle(arguments)?;
    let reads = measure::process::ask(&["--step".into(), "read".into()])?;
    let figures = Figures { filled, opens, footprint, rebuilt, reads };
    table::print(report, arguments, &figures);
    report.document(&table::document(arguments, &figures))?;
    if !arguments.keep {
        clear(&store)?;
    }
    Ok(())
}

/// Each writer after the first stores only what it is killed over.
fn fill_and_kill(arguments: &Arguments, report: Report) -> Outcome<(Filled, Vec<Opened>)> {
    let mut first = None;
    let mut opens = Vec::new();
    let mut expected = 0;
    for round in 0..arguments.kills {
        let killed = kill::run(arguments, round)?;
        expected += killed.filled.objects + killed.acknowledged.len() as u64;
        settle(arguments)?;
        let opened = open::ask(arguments, &killed.acknowledged)?;
        report.line(format_args!(
            "killed after {} more, opened in {:.3} s, {} entries read again",
            killed.acknowledged.len(),
            opened.seconds,
            opened.replayed
        ));
        if opened.objects < expected {
            return Err(format!("{expected} acknowledged, {} there", opened.objects).into());
        }
        opens.push(opened);
        first.get_or_insert(killed.filled);
    }
    Ok((first.ok_or("no round")?, opens))
}

/// Makes what the writer left behind durable, so that an open does not wait for it.
fn settle(arguments: &Arguments) -> Outcome<()> {
    rustix::fs::sync();
    if arguments.cold { forget(&arguments.store()) } else { Ok(()) }
}

/// The index is a file or a directory, whichever the store has.
fn remove_index(store: &Path) -> Outcome<()> {
    let (file, dir) = (store.join("index.redb"), store.join("index"));
    if file.exists() {
        Ok(std::fs::remove_file(file)?)
    } else if dir.exists() {
        Ok(std::fs::remove_dir_all(dir)?)
    } else {
        Err(format!("{} has no index", store.display()).into())
    }
}

fn open_store(dir: &Path) -> Outcome<Store> {
    Ok(Store::open(dir, &Options::default())?)
}
