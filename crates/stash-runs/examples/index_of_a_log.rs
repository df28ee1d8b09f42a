//! An index over a log of sales, which goes on after a power cut from where its last checkpoint was: with a cut
//! at every operation of the disk, it always ends with the right sums.
//!
//! `cargo run -p stash-runs --example index_of_a_log`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;

use stash_runs::disk::{Fault, MemDisk};
use stash_runs::{Changes, Directory, Tree, TreeError, TreeLimits};

/// Lines between two checkpoints.
const EVERY: usize = 8;

/// The log: what was sold, and for how much. It is the truth, and durable elsewhere.
const LOG: [(&str, u64); 40] = {
    let mut log = [("bread", 3); 40];
    let mut line = 0;
    while line < log.len() {
        log[line] = [("bread", 3), ("cheese", 12), ("apples", 5), ("milk", 2)][line % 3 + line % 2];
        line += 1;
    }
    log
};

fn number(bytes: Option<Vec<u8>>) -> u64 {
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Reads the log on from where the index has come to.
fn catch_up(directory: &Directory) -> Result<Tree, TreeError> {
    let limits = TreeLimits { cache_bytes: 1 << 20, salt: 1 };
    let tree = Tree::open(directory, [7; 32], limits)?;
    let done = usize::try_from(number(tree.head())).unwrap_or(LOG.len());
    for (line, (what, price)) in LOG.iter().enumerate().skip(done) {
        let sum = number(tree.get(what.as_bytes())?) + price;
        let mut changes = Changes::default();
        changes.insert(what.as_bytes(), sum.to_le_bytes().to_vec());
        tree.publish(changes);
        if (line + 1) % EVERY == 0 {
            tree.freeze((line as u64 + 1).to_le_bytes().to_vec());
            tree.checkpoint()?;
            tree.merge(&|| Ok(()))?;
        }
    }
    Ok(tree)
}

/// Catches up with a power cut at an operation: how many lines were not read again. `None` if it took
/// fewer operations.
fn with_a_cut(at: u64) -> Result<Option<usize>, TreeError> {
    let disk = MemDisk::new(at);
    let directory = Directory::new(Arc::new(disk.clone()), Path::new("/").join("sales"));
    disk.inject(at, Fault::PowerCut);
    if catch_up(&directory).is_ok() {
        return Ok(None);
    }
    disk.restart();
    let limits = TreeLimits { cache_bytes: 1 << 20, salt: 2 };
    let kept = number(Tree::open(&directory, [7; 32], limits)?.head());
    let tree = catch_up(&directory)?;
    for what in ["bread", "cheese", "apples", "milk"] {
        let sum: u64 = LOG.iter().filter(|line| line.0 == what).map(|line| line.1).sum();
        assert_eq!(number(tree.get(what.as_bytes())?), sum, "{what}, cut at {at}");
    }
    Ok(Some(usize::try_from(kept).unwrap_or(LOG.len())))
}

fn main() -> Result<(), TreeError> {
    let mut kept = Vec::new();
    while let Some(lines) = with_a_cut(1 + kept.len() as u64)? {
        kept.push(lines);
    }
    assert!(kept.len() > 20 && kept.iter().any(|lines| *lines > LOG.len() / 2));
    println!("{} power cuts; the sums are right after each", kept.len());
    println!("lines of {} that were not read again: {kept:?}", LOG.len());
    Ok(())
}
