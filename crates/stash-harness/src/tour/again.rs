//! Bytes that come back: after an eviction, at another node, and in the seed's own loop.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rand::Rng;
use stash_api::files::{EvictDone, GetDone, Here};

use crate::cluster;
use crate::report::seconds;
use crate::tour::ground::{Tour, plural};
use crate::tour::store::INLINE;

/// The seed's loop: this many files, each stored, evicted and fetched.
const LOOP: u32 = 20;

/// Size of a file of the loop, in bytes: above what lives in a record, as a small picture is.
const LOOP_SIZE: usize = 200_000;

/// Exit code for "no such key".
const NOT_FOUND: i32 = 4;

pub(super) fn evicted_and_back(tour: &mut Tour<'_>) -> Result<String> {
    let tree = tour.tree;
    let evicted: EvictDone = tour.founder().json(&["evict", "-r", &tree.key])?;
    let expect = |tour: &Tour<'_>, here: Here| -> Result<()> {
        let entries = cluster::list(tour.founder(), &tree.key)?;
        if entries.len() != tree.files.len() {
            bail!("{} of {} files are still listed", entries.len(), tree.files.len());
        }
        match entries.iter().find(|entry| entry.size > INLINE && entry.here != here) {
            Some(entry) => {
                bail!("{} is {} where {} was expected", entry.key, entry.here.word(), here.word())
            }
            None => Ok(()),
        }
    };
    expect(tour, Here::Evicted)?;
    let took = tour.whole_tree_back(0)?;
    expect(tour, Here::Local)?;
    Ok(format!(
        "{} chunks, {} MiB given up and listed; every byte back in {}",
        evicted.chunks,
        evicted.bytes >> 20,
        seconds(took)
    ))
}

pub(super) fn by_name(tour: &mut Tour<'_>) -> Result<String> {
    let readers: Vec<usize> =
        (1..tour.count()).filter(|index| tour.cluster.nodes[*index].role.reads()).collect();
    let tree = tour.tree;
    for index in &readers {
        let output = tour.output();
        let node = &tour.cluster.nodes[*index];
        let got: GetDone = node.json(&["get", &tree.key, "-o", cluster::text(&output)?])?;
        if got.files != tree.files.len() as u64 || got.bytes != tree.bytes() {
            bail!("{} got {got:?}", node.name());
        }
        crate::compare::same_tree(tree, &output)?;
        fs::remove_dir_all(&output)?;
        let file = tree.files.first().context("empty tree")?;
        if node.ok(&["cat", &file.key])?.stdout != fs::read(&file.path)? {
            bail!("`cat {}` at {} differs", file.key, node.name());
        }
    }
    match readers.len() {
        0 => Ok("skipped: no other reading node".into()),
        count => {
            Ok(format!("get of the tree and cat of a file, on {}", plural(count, "other node")))
        }
    }
}

/// A removed file is gone by name everywhere.
pub(super) fn removed(tour: &mut Tour<'_>) -> Result<String> {
    let source = tour.scratch.join("removed.bin");
    fs::write(&source, vec![7; LOOP_SIZE])?;
    let key = "tour-removed";
    tour.founder().ok(&["put", cluster::text(&source)?, "--as", key, "--wait", "all"])?;
    tour.founder().ok(&["rm", key, "-y", "--wait", "all"])?;
    let readers = tour.cluster.nodes.iter().filter(|node| node.role.reads());
    for node in readers.clone() {
        cluster::wait_listed(node, key, 0)?;
        let (code, _) = node.fails(&["cat", key], NOT_FOUND)?;
        if code != "not_found" {
            bail!("{} says {code}", node.name());
        }
    }
    Ok(format!(
        "listed nowhere, cat exits {NOT_FOUND} on {}",
        plural(readers.count(), "reading node")
    ))
}

pub(super) fn seed_loop(tour: &mut Tour<'_>) -> Result<String> {
    let mut sources = vec![];
    for index in 1..=LOOP {
        let mut bytes = vec![0; LOOP_SIZE];
        tour.rng.fill_bytes(&mut bytes);
        let source = tour.scratch.join(format!("picture_{index}.png"));
        fs::write(&source, &bytes)?;
        sources.push(source);
    }
    let begun = Instant::now();
    for (index, source) in sources.iter().enumerate() {
        let key = format!("seed/picture_{index}.png");
        tour.founder().ok(&["put", cluster::text(source)?, "--as", &key])?;
        tour.founder().ok(&["evict", &key])?;
        tour.one_back(0, &key, source)?;
    }
    Ok(format!("stored, evicted, got back, equal, in {}", seconds(begun.elapsed())))
}
