//! Comparison of what came back with what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tree::{Planted, Tree};

/// Fails with the first difference between two files.
pub fn same(expected: &Path, got: &Path) -> Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (mut left, mut right) = (open(expected)?, open(got)?);
    let (sizes, mut at) = ((left.metadata()?.len(), right.metadata()?.len()), 0_u64);
    if sizes.0 != sizes.1 {
        bail!("{} has {} bytes where {} were stored", got.display(), sizes.1, sizes.0);
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = left.read(&mut a)?;
        if count == 0 {
            return Ok(());
        }
        right.read_exact(&mut b[..count])?;
        if a[..count] != b[..count] {
            let index = (0..count).find(|index| a[*index] != b[*index]).unwrap_or(0);
            bail!("{} differs from what was stored at byte {}", got.display(), at + index as u64);
        }
        at += count as u64;
    }
}

/// Fails unless `got` holds every file of the tree, byte for byte, and nothing else.
pub fn same_tree(tree: &Tree, got: &Path) -> Result<()> {
    let returned = part_of_tree(tree, got)?;
    match tree.files.iter().find(|file| !returned.contains(file.below_root())) {
        Some(file) => bail!("{} did not come back", file.key),
        None => Ok(()),
    }
}

/// Fails if `got` holds a file that the tree has not, or has with other bytes. Returns what it holds, below its root.
pub fn part_of_tree(tree: &Tree, got: &Path) -> Result<BTreeSet<String>> {
    let copy = Tree::adopt(got)?;
    let stored: BTreeMap<&str, &Planted> =
        tree.files.iter().map(|file| (file.below_root(), file)).collect();
    for file in &copy.files {
        match stored.get(file.below_root()) {
            Some(stored) => same(&stored.path, &file.path)?,
            None => bail!("{} came back and was never stored", file.key),
        }
    }
    Ok(copy.files.iter().map(|file| file.below_root().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_wrong_byte_a_missing_file_and_a_stray_file_are_each_named() {
        let dir = tempfile::tempdir().unwrap();
        for root in ["a", "b"] {
            fs::create_dir_all(dir.path().join(root).join("sub")).unwrap();
            fs::write(dir.path().join(root).join("sub/file"), b"0123456789").unwrap();
            fs::write(dir.path().join(root).join("other"), b"x").unwrap();
        }
        let tree = Tree::adopt(&dir.path().join("a")).unwrap();
        let copy = dir.path().join("b");
        same_tree(&tree, &copy).unwrap();
        fs::write(copy.join("sub/file"), b"0123x56789").unwrap();
        assert!(same_tree(&tree, &copy).unwrap_err().to_string().contains("at byte 4"));
        fs::write(copy.join("sub/file"), b"0123456789").unwrap();
        fs::write(copy.join("stray"), b"").unwrap();
        assert!(same_tree(&tree, &copy).unwrap_err().to_string().contains("stray"));
        fs::remove_file(copy.join("stray")).unwrap();
        fs::remove_file(copy.join("other")).unwrap();
        assert!(same_tree(&tree, &copy).unwrap_err().to_string().contains("other"));
    }
}
