//! Rot on one node: no reader ever gets a wrong byte.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::RngExt;
use rand::rngs::StdRng;
use stash_api::node::Status;

use crate::tour::apart::until;
use crate::tour::ground::{Tour, plural};

/// Chunk files to damage: more than one, so that a get from several sources meets some of them.
const FLIPS: usize = 8;

pub(super) fn flipped(tour: &mut Tour<'_>) -> Result<String> {
    let mut chunks = vec![];
    files_below(&tour.keeper().data().join("store/chunks"), &mut chunks)?;
    chunks.retain(|path| !path.ends_with("store-id"));
    chunks.sort();
    if chunks.is_empty() {
        return Ok("skipped: this tree has no chunk that is a file of its own".into());
    }
    let flips = FLIPS.min(chunks.len());
    let before: Status = tour.keeper().json(&["status"])?;
    for _ in 0..flips {
        let path = chunks.swap_remove(tour.rng.random_range(0..chunks.len()));
        flip_a_bit(&path, &mut tour.rng)?;
    }
    let evict = ["evict", "-r", &tour.tree.key, "--copies", "1"];
    // Enough good copies may be proven or not: a refusal is as right as a success, a wrong byte is not.
    let mut evictions = vec![tour.founder().run(&evict)?.expect(&[0, 5, 9])?.code];
    tour.whole_tree_back(0).context("after a flip, evicted and fetched")?;
    if let Some(other) = tour.other {
        tour.whole_tree_back(other).context("after a flip")?;
        evictions.push(tour.cluster.nodes[other].run(&evict)?.expect(&[0, 5, 9])?.code);
        tour.whole_tree_back(other).context("after a flip, evicted and fetched")?;
    }
    until("the damaged chunks are not whole again", || {
        let now: Status = tour.keeper().json(&["status"])?;
        Ok((now.quarantined, now.chunks) == (0, before.chunks))
    })?;
    Ok(format!(
        "a bit flipped in {} of {}; evictions exit {evictions:?}, every byte right, and every chunk whole again",
        plural(flips, "chunk"),
        tour.keeper().name(),
    ))
}

/// Flips one bit of a file in place, as rot does.
pub(crate) fn flip_a_bit(path: &Path, rng: &mut StdRng) -> Result<()> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    let at = rng.random_range(0..file.metadata()?.len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << rng.random_range(0..8_u32);
    file.write_all_at(&byte, at)?;
    Ok(())
}

fn files_below(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bit_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chunk");
        for seed in 0..50 {
            fs::write(&path, [0_u8; 100]).unwrap();
            flip_a_bit(&path, &mut crate::tree::rng(seed)).unwrap();
            let after = fs::read(&path).unwrap();
            assert_eq!(after.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1, "seed {seed}");
        }
    }
}
