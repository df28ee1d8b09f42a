//! How fast the store is, beside a plain file in the same run.
//!
//! `cargo run --release -p stash-store --example bench_store [DIR] [MIB] [RECORDS]`
//!
//! Every figure is the median of five rounds; store and floor take turns in each round.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people to read")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use stash_store::{Address, Batch, Blob, Options, RecordEntry, Store};

const ROUNDS: usize = 5;
const MIB: usize = 1024 * 1024;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The work of `dd conv=fdatasync`: the same bytes into one file, one sync.
fn floor(dir: &Path, block: &[u8], mib: usize) -> f64 {
    let path = dir.join("floor");
    let start = Instant::now();
    let mut file = std::fs::File::create(&path).unwrap();
    for _ in 0..mib {
        file.write_all(block).unwrap();
    }
    file.sync_data().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    seconds
}

/// Hashing left out: the addresses are made up, so nothing reads these blobs back.
fn put(dir: &Path, block: &Arc<Vec<u8>>, mib: usize) -> f64 {
    let store = Store::create(dir, &Options::default()).unwrap();
    let start = Instant::now();
    for i in 0..mib as u64 {
        let address = Address::of(&i.to_le_bytes());
        store.stage(Blob::assume(address, Shared(Arc::clone(block)))).unwrap();
    }
    store.commit(Batch::new()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    std::fs::remove_dir_all(dir).unwrap();
    seconds
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn entry(i: u64, bytes: &Arc<[u8]>) -> RecordEntry {
    let hash = *Address::of(&i.to_le_bytes()).as_bytes();
    let name = *Address::of(&hash).as_bytes();
    RecordEntry { hash, name, writer: [1; 40], n: i, refs: Vec::new(), bytes: Arc::clone(bytes) }
}

/// Records in batches of 256, one thread.
fn records(dir: &Path, bytes: &Arc<[u8]>, count: u64) -> f64 {
    let store = Store::create(dir, &Options::default()).unwrap();
    let start = Instant::now();
    for first in (0..count).step_by(256) {
        let entries = (first..count.min(first + 256)).map(|i| entry(i, bytes));
        store.commit(entries.fold(Batch::new(), Batch::record)).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    std::fs::remove_dir_all(dir).unwrap();
    seconds
}

/// Small blobs with a record each, 64 threads that each wait for their own commit.
fn threads(dir: &Path, bytes: &Arc<[u8]>, count: u64) -> f64 {
    let store = Store::create(dir, &Options::default()).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let store = &store;
            scope.spawn(move || {
                for i in (thread..count).step_by(64) {
                    store.commit(Batch::new().record(entry(i, bytes))).unwrap();
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    std::fs::remove_dir_all(dir).unwrap();
    seconds
}

fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "target/bench_store".to_owned()));
    let mib: usize = args.next().map_or(1024, |n| n.parse().unwrap());
    let count: u64 = args.next().map_or(50_000, |n| n.parse().unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    let store = dir.join("store");
    let mut block = vec![0_u8; MIB];
    let mut state = 1_u64;
    for byte in &mut block {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = state.to_be_bytes()[0];
    }
    let block = Arc::new(block);
    let (five, one): (Arc<[u8]>, Arc<[u8]>) = (block[..5120].into(), block[..1024].into());
    let (mut floors, mut puts, mut batches, mut many) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        floors.push(floor(&dir, &block, mib));
        puts.push(put(&store, &block, mib));
        batches.push(records(&store, &five, count));
        many.push(threads(&store, &one, count));
    }
    let rate = |seconds: f64, n: f64| n / seconds;
    let (floor, put) = (median(floors), median(puts));
    println!("plain file, one sync      {:8.0} MiB/s", rate(floor, mib as f64));
    println!(
        "1 MiB chunks, one commit  {:8.0} MiB/s, {:.2} of it",
        rate(put, mib as f64),
        floor / put
    );
    println!("5 KiB records, 256 each   {:8.0} records/s", rate(median(batches), count as f64));
    println!("1 KiB records, 64 threads {:8.0} records/s", rate(median(many), count as f64));
    println!("peak resident memory      {:8} MiB", peak_rss_mib());
}
