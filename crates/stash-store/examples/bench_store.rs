//! The speed of the store, beside a plain file in the same run.
//!
//! ```text
//! cargo run --release -p stash-store --example bench_store -- [DIR] [MIB] [RECORDS] [--rounds N] [--json]
//! ```
//!
//! Every figure is the median of the rounds; store and floor take turns in each round, and find
//! the same memory used and freed before. All stores stay until the end: each round takes about what it
//! puts, 1.5 GiB if nothing else is said.

mod measure;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use serde_json::{Value, json};
use stash_store::{Address, Batch, Blob, Options, RecordEntry, Staged, Store};

use measure::ballast::ballast;
use measure::footprint::Footprint;
use measure::object::Random;
use measure::place::Place;
use measure::report::Report;
use measure::{MIB, Outcome, median, mib, process, rounded};

/// Threads that each wait for their own commit.
const THREADS: u64 = 64;

/// Bytes of ballast for a record: itself, and its share of the index.
const RECORD_BALLAST: u64 = 12 * 1024;

#[derive(Debug, Parser)]
#[command(about = "The store beside a plain file")]
struct Arguments {
    /// A directory on the disk to measure; made if it is missing
    #[arg(default_value = "target/bench_store")]
    dir: PathBuf,
    /// MiB to put in chunks of 1 MiB
    #[arg(default_value_t = 1024)]
    mib: u64,
    /// Records to put
    #[arg(default_value_t = 50_000)]
    records: u64,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the random bytes come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document; the table goes to stderr
    #[arg(long)]
    json: bool,
}

/// The bytes of everything that is put.
struct Content {
    mebibyte: Arc<Vec<u8>>,
    five_kib: Arc<[u8]>,
    one_kib: Arc<[u8]>,
}

impl Content {
    fn new(seed: u64) -> Outcome<Content> {
        let mut block = vec![0; usize::try_from(MIB)?];
        Random::of(seed, 0).fill(&mut block);
        let (five_kib, one_kib) = (block[..5120].into(), block[..1024].into());
        Ok(Content { mebibyte: Arc::new(block), five_kib, one_kib })
    }
}

/// Blobs share their bytes.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Seconds, one a round.
#[derive(Debug, Default)]
struct Seconds {
    floor: Vec<f64>,
    put: Vec<f64>,
    batches: Vec<f64>,
    threads: Vec<f64>,
    /// Bytes that the last put left on disk, and bytes that the same put once more added, at most.
    footprint: Footprint,
    added: u64,
}

/// The work of `dd conv=fdatasync`: the same bytes into one file, one sync.
fn floor(dir: &Path, block: &[u8], mib: u64) -> Outcome<f64> {
    let path = dir.join("floor");
    let start = Instant::now();
    let mut file = std::fs::File::create(&path)?;
    for _ in 0..mib {
        file.write_all(block)?;
    }
    file.sync_data()?;
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(seconds)
}

/// Hashing left out: the addresses are made up, so nothing reads these blobs back.
fn stage_all(store: &Store, block: &Arc<Vec<u8>>, mib: u64) -> Outcome<u64> {
    let mut new = 0;
    for i in 0..mib {
        let address = Address::of(&i.to_le_bytes());
        let staged = store.stage(Blob::assume(address, Shared(Arc::clone(block))))?;
        new += u64::from(staged == Staged::New);
    }
    store.commit(Batch::new())?;
    Ok(new)
}

/// Puts the chunks and then, outside of the clock, the same ones again.
fn put(dir: &Path, block: &Arc<Vec<u8>>, mib: u64, into: &mut Seconds) -> Outcome<()> {
    let store = Store::create(dir, &Options::default())?;
    let start = Instant::now();
    stage_all(&store, block, mib)?;
    into.put.push(start.elapsed().as_secs_f64());
    into.footprint = Footprint::of(dir)?;
    if stage_all(&store, block, mib)? != 0 {
        return Err("a chunk that was there was taken as new".into());
    }
    // What closing writes counts, too.
    drop(store);
    let added = Footprint::of(dir)?.since(into.footprint);
    into.added = into.added.max(added.disk_bytes.max(added.bytes));
    Ok(())
}

fn entry(i: u64, bytes: &Arc<[u8]>) -> RecordEntry {
    let hash = *Address::of(&i.to_le_bytes()).as_bytes();
    let name = *Address::of(&hash).as_bytes();
    RecordEntry { hash, name, writer: [1; 40], n: i, refs: Vec::new(), bytes: Arc::clone(bytes) }
}

/// Records in batches of 256, one thread.
fn batches(dir: &Path, bytes: &Arc<[u8]>, count: u64) -> Outcome<f64> {
    let store = Store::create(dir, &Options::default())?;
    let start = Instant::now();
    for first in (0..count).step_by(256) {
        let entries = (first..count.min(first + 256)).map(|i| entry(i, bytes));
        store.commit(entries.fold(Batch::new(), Batch::record))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Records, one a commit, by threads that each wait for their own.
fn threads(dir: &Path, bytes: &Arc<[u8]>, count: u64) -> Outcome<f64> {
    let store = Store::create(dir, &Options::default())?;
    let start = Instant::now();
    let work = |thread| -> Outcome<()> {
        for i in (thread..count).step_by(usize::try_from(THREADS)?) {
            store.commit(Batch::new().record(entry(i, bytes)))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || work(t))).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// Which of floor and put comes first alternates.
fn round(
    n: usize,
    arguments: &Arguments,
    place: &Place,
    content: &Content,
    into: &mut Seconds,
) -> Outcome<()> {
    let Arguments { dir, mib, records, .. } = arguments;
    let block = &content.mebibyte;
    for turn in 0..2 {
        ballast(dir, mib * MIB)?;
        if (n + turn).is_multiple_of(2) {
            into.floor.push(floor(dir, block, *mib)?);
        } else {
            put(&place.side("put", n), block, *mib, into)?;
        }
    }
    ballast(dir, records * RECORD_BALLAST)?;
    into.batches.push(batches(&place.side("batches", n), &content.five_kib, *records)?);
    ballast(dir, records * RECORD_BALLAST)?;
    into.threads.push(threads(&place.side("threads", n), &content.one_kib, *records)?);
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if arguments.mib == 0 || arguments.records == 0 || arguments.rounds == 0 {
        return Err("MiB, records and rounds are at least 1".into());
    }
    let place = Place::new(&arguments.dir)?;
    let content = Content::new(arguments.seed)?;
    let mut seconds = Seconds::default();
    for n in 0..arguments.rounds {
        round(n, &arguments, &place, &content, &mut seconds)?;
    }
    let report = Report { json: arguments.json };
    report.document(&summary(report, &arguments, seconds)?)
}

fn summary(report: Report, arguments: &Arguments, seconds: Seconds) -> Outcome<Value> {
    let Seconds { floor, put, batches, threads, footprint, added } = seconds;
    let Arguments { mib: size, records, rounds, seed, .. } = arguments;
    let rate = |seconds: &[f64], n: u64| n as f64 / median(seconds.to_vec());
    let (floor_rate, put_rate) = (rate(&floor, *size), rate(&put, *size));
    let (batch_rate, thread_rate) = (rate(&batches, *records), rate(&threads, *records));
    let of_floor = put_rate / floor_rate;
    let peak = process::peak_rss()?;
    report.line(format_args!("{size} MiB, {records} records, medians of {rounds} rounds"));
    report.line(format_args!("plain file, one sync      {floor_rate:8.0} MiB/s"));
    report.line(format_args!(
        "1 MiB chunks, one commit  {put_rate:8.0} MiB/s, {of_floor:.2} of it (asked: 0.80)"
    ));
    report.line(format_args!(
        "  on disk                 {:8.2} MiB, {} inodes",
        mib(footprint.disk_bytes),
        footprint.inodes
    ));
    report.line(format_args!(
        "  the same put once more  {:8.2} MiB more (asked: at most 1)",
        mib(added)
    ));
    report.line(format_args!("5 KiB records, 256 each   {batch_rate:8.0} records/s"));
    report.line(format_args!("1 KiB records, 64 threads {thread_rate:8.0} records/s"));
    report.line(format_args!("peak resident memory      {:8.0} MiB", mib(peak)));
    Ok(json!({
        "mib": size, "records": records, "rounds": rounds, "seed": seed,
        "floor_mib_s": rounded(floor_rate), "put_mib_s": rounded(put_rate),
        "put_of_floor": rounded(of_floor), "footprint": footprint,
        "put_again_added_bytes": added,
        "batched_records_s": rounded(batch_rate), "single_records_s": rounded(thread_rate),
        "peak_rss_mib": rounded(mib(peak)),
        "floor_seconds": floor, "put_seconds": put,
        "batched_seconds": batches, "single_seconds": threads,
    }))
}
