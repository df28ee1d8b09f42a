//! Puts, drops, questions, reads, holds and evictions of many threads beside collections without a
//! grace: no blob that is needed may be lost. `cargo run --release --example stress_collect -- -n
//! 1000000`
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a program")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use clap::Parser;
use common::stress::{Stress, Tally, check, lively};
use stash_store::{MemDisk, Options, Store};

#[derive(Parser)]
#[command(about = "Threads that use a store beside collections: no live blob may be lost")]
struct Arguments {
    /// Operations of all threads together, on each disk
    #[arg(short = 'n', long, default_value_t = 20_000)]
    operations: u64,
    /// Threads beside the one that collects
    #[arg(long, default_value_t = 8)]
    threads: u64,
    /// Replay: the same steps of each thread, though not the same interleaving
    #[arg(long)]
    seed: Option<u64>,
    /// Work in this directory, and remove what was made; default: one for temporary files
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only on the disk in memory
    #[arg(long, conflicts_with = "dir")]
    memory: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = arguments.seed.unwrap_or(u64::from(clock.subsec_nanos()));
    println!("seed {seed}; replay with --seed {seed}");
    let Arguments { operations, threads, .. } = arguments;
    let stress = Stress { seed, threads, operations };
    let options = lively(Options { disk: Arc::new(MemDisk::new(seed)), ..Options::default() });
    let mut lost = run("memory", common::dir().to_owned(), &options, stress);
    if !arguments.memory {
        let temp = match &arguments.dir {
            Some(dir) => tempfile::tempdir_in(dir).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        lost += run("real", temp.path().join("store"), &lively(Options::default()), stress);
    }
    if lost > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(name: &str, dir: PathBuf, options: &Options, stress: Stress) -> u64 {
    let begun = Instant::now();
    let store = Store::create(&dir, options).unwrap();
    let (mut tally, needed) = stress.run(&store);
    drop(store);
    // What was acknowledged is there after a restart, too.
    let store = Store::open(&dir, options).unwrap();
    tally.lost += check(&store, &needed);
    let seconds = begun.elapsed().as_secs_f64();
    let Tally { operations, lost, .. } = tally;
    println!("{name} disk: {operations} operations in {seconds:.1} s, {lost} live blobs lost");
    println!("  {tally:?}");
    lost
}
