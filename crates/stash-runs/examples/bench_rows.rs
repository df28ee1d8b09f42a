//! Rows as an index of files has them: how fast they are written, listed, and how many bytes they take.
//!
//! `cargo run --release -p stash-runs --example bench_rows -- [ROWS] [DIRECTORY]`: two rows for each name, 106 bytes of
//! value under its path and the path under a hash; in the order of the paths, then in another one. A million names
//! and a temporary directory, unless given.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use stash_runs::disk::{Disk, RealDisk};
use stash_runs::{Changes, Directory, Tree, TreeError, TreeLimits};

/// Names that become visible at once.
const BATCH: u64 = 256;
/// Bytes of changes in memory before they are written.
const WAITING: u64 = 4 << 20;
/// A number without a common factor with the powers of ten: its multiples come in no order.
const STRIDE: u64 = 7_368_787;

const LIMITS: TreeLimits = TreeLimits { cache_bytes: 2 << 20, salt: 1 << 40 };

fn path_of(n: u64) -> String {
    format!("photos/{:04}/{:02}/img-{n:07}.jpg", 1900 + n / 10_000, n / 900 % 12)
}

/// The two rows of a name.
fn insert(changes: &mut Changes, n: u64) {
    let (path, hash) = (path_of(n), blake3::hash(&n.to_le_bytes()));
    let mut value = [hash.as_bytes(), &hash.as_bytes()[..], &n.to_le_bytes()].concat();
    value.resize(106, 0);
    changes.insert(format!("\x01{path}").as_bytes(), value);
    changes.insert(&[&[2], &hash.as_bytes()[..]].concat(), path.into_bytes());
}

fn ended(merging: ScopedJoinHandle<'_, Result<(), TreeError>>) -> Result<(), TreeError> {
    merging.join().expect("a merge does not panic")
}

/// Writes all names, merging beside, until all of it is durable.
fn write(tree: &Tree, names: u64, order: impl Fn(u64) -> u64) -> Result<(), TreeError> {
    let merge = || -> Result<(), TreeError> {
        while tree.merge(&|| Ok(()))? {}
        Ok(())
    };
    thread::scope(|scope| {
        let mut merging: Option<ScopedJoinHandle<'_, Result<(), TreeError>>> = None;
        for from in (0..names.div_ceil(BATCH)).map(|batch| batch * BATCH) {
            if tree.active_bytes() >= WAITING {
                tree.freeze(from.to_le_bytes().to_vec());
                tree.checkpoint()?;
            }
            let mut changes = Changes::default();
            (from..(from + BATCH).min(names)).for_each(|n| insert(&mut changes, order(n)));
            tree.publish(changes);
            let is_free = merging.as_ref().is_none_or(ScopedJoinHandle::is_finished);
            if is_free && tree.merge_bytes().is_some() {
                let done = merging.replace(scope.spawn(merge));
                done.map_or(Ok(()), ended)?;
            }
        }
        merging.map_or(Ok(()), ended)?;
        tree.freeze(names.to_le_bytes().to_vec());
        tree.checkpoint().map(drop)
    })
}

/// Names whose path begins so.
fn list(tree: &Tree, prefix: &str) -> Result<u64, TreeError> {
    let mut found = 0;
    tree.scan_prefix(format!("\x01{prefix}").as_bytes(), &mut |_, _| {
        found += 1;
        true
    })?;
    Ok(found)
}

fn measure(at: &Path, what: &str, names: u64, order: fn(u64) -> u64) -> Result<(), Box<dyn Error>> {
    let directory = Directory::new(Arc::new(RealDisk), at.join("rows"));
    Tree::wipe(&directory)?;
    let tree = Tree::open(&directory, [1; 32], LIMITS)?;
    let begun = Instant::now();
    write(&tree, names, order)?;
    println!("{what}: {names} names durable in {:.2?}", begun.elapsed());
    drop(tree);
    let begun = Instant::now();
    let tree = Tree::open(&directory, [1; 32], LIMITS)?;
    println!("  opened in {:.2?}: {:?}", begun.elapsed(), tree.stats());
    for prefix in ["photos/1950/", "photos/"] {
        let begun = Instant::now();
        let found = list(&tree, prefix)?;
        println!("  {found} names under {prefix} listed in {:.2?}", begun.elapsed());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let names = arguments.next().map_or(Ok(1_000_000), |names| names.parse())?;
    let (_temporary, at) = match arguments.next() {
        Some(at) => (None, PathBuf::from(at)),
        None => {
            let made = tempfile::tempdir()?;
            let at = made.path().to_owned();
            (Some(made), at)
        }
    };
    let at = RealDisk.resolve(&at)?;
    measure(&at, "in the order of paths", names, |n| n)?;
    // Those of a million are all there, once each.
    measure(&at, "in no order", names, |n| n * STRIDE % 1_000_000)
}
