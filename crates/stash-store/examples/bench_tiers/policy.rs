//! New files made durable by one way or another, without a store: a floor for its flusher.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use stash_store::{Nest, nest};

use crate::measure::footprint::Footprint;
use crate::measure::object::Random;
use crate::measure::{Outcome, process};
use crate::tiers::on_threads;
use crate::{Arguments, Trial};

/// Ways to make files and their names durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// `fdatasync` of each file, renames, `fsync` of each directory.
    Each,
    /// One `syncfs`, renames, `fsync` of each directory.
    Syncfs,
    /// One `syncfs`, renames, one `syncfs`.
    SyncfsTwice,
}

/// Syncs in flight at once: what the store's flusher does.
const AT_ONCE: usize = 8;

pub(crate) fn run(policy: Policy, dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    fs::create_dir(dir)?;
    fs::create_dir(dir.join("tmp"))?;
    let before = Footprint::of(dir)?;
    let objects = arguments.blobs();
    let per_sync = arguments.batch * arguments.threads;
    let mut content = vec![0; arguments.bytes];
    Random::of(arguments.seed, 0).fill(&mut content);
    let start = Instant::now();
    let mut left = usize::try_from(objects)?;
    let mut names = Random::of(arguments.seed, 1);
    while left > 0 {
        let moves = names_of(dir, &mut names, left.min(per_sync));
        left -= moves.len();
        settle(policy, dir, &moves, &content)?;
    }
    let trial = Trial {
        seconds: start.elapsed().as_secs_f64(),
        objects,
        bytes: objects * arguments.bytes as u64,
        grown: Footprint::of(dir)?.since(before),
        written: process::written()?,
        peak_rss: process::peak_rss()?,
    };
    Ok(trial)
}

/// A name in `tmp` and a final one for each file.
fn names_of(dir: &Path, random: &mut Random, count: usize) -> Vec<(PathBuf, PathBuf)> {
    let path = |i: usize| {
        let mut sha1 = [0; 20];
        random.fill(&mut sha1);
        (dir.join("tmp").join(i.to_string()), dir.join(nest(&sha1, Nest::default())))
    };
    (0..count).map(path).collect()
}

fn settle(policy: Policy, dir: &Path, moves: &[(PathBuf, PathBuf)], content: &[u8]) -> Outcome<()> {
    let files = Mutex::new(Vec::new());
    at_once(moves, |(tmp, _)| {
        let mut file = File::create_new(tmp)?;
        file.write_all(content)?;
        files.lock().map_err(|_| "a thread panicked")?.push(file);
        Ok(())
    })?;
    let files = files.into_inner().map_err(|_| "a thread panicked")?;
    let root = File::open(dir)?;
    match policy {
        Policy::Each => at_once(&files, |file| Ok(file.sync_data()?))?,
        Policy::Syncfs | Policy::SyncfsTwice => rustix::fs::syncfs(&root)?,
    }
    let mut changed = BTreeSet::new();
    for (tmp, path) in moves {
        let parent = path.parent().ok_or("no directory")?;
        make_dirs(parent, &mut changed)?;
        fs::rename(tmp, path)?;
        changed.insert(parent.to_owned());
    }
    if policy == Policy::SyncfsTwice {
        return Ok(rustix::fs::syncfs(&root)?);
    }
    let changed: Vec<PathBuf> = changed.into_iter().collect();
    at_once(&changed, |dir| Ok(File::open(dir)?.sync_all()?))
}

/// Makes a directory and those above it; whichever got a new name in it has changed.
fn make_dirs(dir: &Path, changed: &mut BTreeSet<PathBuf>) -> Outcome<()> {
    let parent = dir.parent().ok_or("no directory")?;
    let made = match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_dirs(parent, changed)?;
            fs::create_dir(dir)
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => {
            made?;
            changed.insert(parent.to_owned());
        }
    }
    Ok(())
}

fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Outcome<()> + Sync) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    on_threads((0..AT_ONCE).collect(), |_| {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item)?;
        }
        Ok(())
    })
}
