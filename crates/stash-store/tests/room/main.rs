//! Quota, reserve and ballast: a store that refuses before anything breaks.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod ballast;
mod full;
mod quota;
mod real;
mod reserve;

use common::{Random, dir, inline, put};
use stash_store::{Address, Batch, Blob, Disk, MemDisk, Options, Quota, StageError, Store};

/// Bytes that a blob in a file takes in the log: its announcement and the mark after it.
const ANNOUNCED: u64 = 72 + 72;
/// Bytes that the tests leave of a disk.
const RESERVE: u64 = 50_000;

/// Options for one segment of the log, and an index that is written when the store is closed.
fn options(disk: &MemDisk) -> Options {
    let later = 1 << 20;
    Options { segment_bytes: later, checkpoint_bytes: later, memory_bytes: later, ..inline(disk) }
}

fn reserve(bytes: u64, inodes: u64) -> Quota {
    Quota { reserve_bytes: Some(bytes), reserve_inodes: Some(inodes), ..Quota::default() }
}

fn hard(bytes: u64) -> Quota {
    Quota { hard: Some(bytes), ..Quota::default() }
}

/// No room is granted to anybody.
#[track_caller]
fn is_settled(store: &Store) {
    let stats = store.stats();
    assert_eq!(stats.used_bytes, stats.file_bytes + stats.log_bytes + stats.index_bytes);
}

fn free(disk: &MemDisk) -> u64 {
    disk.space(dir()).unwrap().free
}

/// Files and directories that there are.
fn inodes(disk: &MemDisk) -> u64 {
    let many = 1 << 40;
    disk.set_inodes(Some(many));
    let left = disk.space(dir()).unwrap().free_inodes.unwrap();
    disk.set_inodes(None);
    many - left
}

/// Names below the store's directory that begin so.
fn names(disk: &MemDisk, prefix: &str) -> usize {
    let prefix = format!("/store/{prefix}");
    disk.files().iter().filter(|(path, _)| path.to_str().unwrap().starts_with(&prefix)).count()
}

/// Blobs of `len` bytes each, stored.
fn stored(store: &Store, n: u64, len: usize) -> Vec<(Address, Vec<u8>)> {
    let blobs = (0..n).map(|i| Random(i << 32 | len as u64).bytes(len));
    blobs.map(|bytes| (put(store, &bytes), bytes)).collect()
}

/// Puts until the store refuses. What was taken.
fn put_until_refused(store: &Store, len: usize) -> (Vec<(Address, Vec<u8>)>, StageError) {
    let mut kept = Vec::new();
    for i in 0..10_000 {
        let bytes = Random(i).bytes(len);
        match store.stage(Blob::hash(bytes.clone())) {
            Ok(_) => {
                let address = Address::of(&bytes);
                store.commit(Batch::new().require(address)).unwrap();
                kept.push((address, bytes));
            }
            Err(error) => return (kept, error),
        }
    }
    panic!("nothing was refused");
}

fn evict(address: Address) -> Batch {
    Batch::new().evict(vec![address])
}
