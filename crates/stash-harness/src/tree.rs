//! Trees of files: a generated one whose sizes sit on every size class and whose names and contents carry markers, or
//! the user's own.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::needles::Needle;

const MIB: u64 = 1 << 20;

/// Sizes that sit just below, at and above each limit of the design, each with its reason.
pub const SIZES: &[(&str, u64)] = &[
    ("empty", 0),
    ("one-byte", 1),
    // Up to 4,096 bytes live inside their record.
    ("inline-below", 4095),
    ("inline-at", 4096),
    ("inline-above", 4097),
    // 129,024 is padded to itself and sealed to 129,072 bytes; one more is padded to 131,072 and sealed above 128 KiB,
    // where chunks become files of their own.
    ("small-chunk-below", 129_023),
    ("small-chunk-at", 129_024),
    ("small-chunk-above", 129_025),
    // The same threshold as a reader without Padmé would place it: 128 KiB sealed, 128 KiB plain.
    ("sealed-128k-at", 131_024),
    ("plain-128k-below", 131_071),
    ("plain-128k-at", 131_072),
    ("plain-128k-above", 131_073),
    ("chunk-below", MIB - 1),
    ("chunk-at", MIB),
    ("chunk-above", MIB + 1),
];

/// 64 chunks are the most that a record names itself; one byte more needs a manifest chunk. The second file starts with
/// the bytes of the first, so it costs one chunk.
const DIRECT: u64 = 64 * MIB;

const PICTURES: u64 = 20;

/// Generates bytes from a seed: the same seed, the same bytes.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// The seed to use, and to print, so that a run can be replayed.
pub fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()))
}

/// A file of a tree.
#[derive(Debug, Clone)]
pub struct Planted {
    /// Its key, once the tree is stored.
    pub key: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
}

impl Planted {
    /// The key without the root's name.
    pub fn below_root(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, rest)| rest)
    }
}

/// A tree that `stash put ROOT` stores, and what must not be found of it elsewhere.
#[derive(Debug)]
pub struct Tree {
    /// Its directory.
    pub root: PathBuf,
    /// The key of the root: its base name.
    pub key: String,
    /// Sorted by key.
    pub files: Vec<Planted>,
    /// Names and contents that must not be found elsewhere.
    pub needles: Vec<Needle>,
}

impl Tree {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Generates the tour's tree below `parent`.
    pub fn generate(parent: &Path, seed: u64) -> Result<Self> {
        let mut rng = rng(seed);
        let name_marker = format!("PLANTED-NAME-{:016x}", rng.next_u64());
        let byte_marker = format!("PLANTED-BYTE-{:016x}", rng.next_u64());
        let root = parent.join("Photos");
        let album = root.join(&name_marker);
        fs::create_dir_all(&album)?;
        fs::create_dir_all(root.join("sizes"))?;
        for index in 1..=PICTURES {
            let size = rng.random_range(20_000..1_500_000);
            let path = album.join(format!("picture-{index:02}.jpg"));
            fs::write(&path, marked(&mut rng, size, byte_marker.as_bytes())?)?;
        }
        for (name, size) in SIZES {
            let path = root.join("sizes").join(format!("{name}.bin"));
            fs::write(&path, marked(&mut rng, *size, byte_marker.as_bytes())?)?;
        }
        let mut big = marked(&mut rng, DIRECT, byte_marker.as_bytes())?;
        fs::write(root.join("sizes/chunks-64.bin"), &big)?;
        big.push(1);
        fs::write(root.join("sizes/chunks-65.bin"), &big)?;
        let mut tree = Self::adopt(&root)?;
        tree.needles = Needle::with_hex("a planted name", name_marker.as_bytes())
            .into_iter()
            .chain(Needle::with_hex("planted bytes", byte_marker.as_bytes()))
            .collect();
        Ok(tree)
    }

    /// Takes a tree as it is; the needles are its longer names and samples of its contents. It has regular files
    /// with names in UTF-8, and no empty directory: what is stored is counted and compared by files.
    pub fn adopt(root: &Path) -> Result<Self> {
        let root = fs::canonicalize(root).with_context(|| root.display().to_string())?;
        let key = root.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let key = key.with_context(|| format!("{} has no name in UTF-8", root.display()))?;
        let mut tree =
            Self { root: root.clone(), key: key.clone(), files: vec![], needles: vec![] };
        tree.walk(&root, &key)?;
        tree.files.sort_by(|a, b| a.key.cmp(&b.key));
        if tree.files.is_empty() {
            bail!("{} holds no file", root.display());
        }
        tree.sample()?;
        Ok(tree)
    }

    fn walk(&mut self, dir: &Path, key: &str) -> Result<()> {
        let mut entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?.peekable();
        if entries.peek().is_none() {
            bail!("{} is empty: name a tree without empty directories", dir.display());
        }
        for entry in entries {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            match name.to_str() {
                Some(name) if kind.is_dir() => {
                    self.walk(&entry.path(), &format!("{key}/{name}"))?
                }
                Some(name) if kind.is_file() => self.files.push(Planted {
                    key: format!("{key}/{name}"),
                    path: entry.path(),
                    size: entry.metadata()?.len(),
                }),
                _ => bail!(
                    "{} is no regular file with a name in UTF-8: name a tree of such files alone",
                    entry.path().display()
                ),
            }
        }
        Ok(())
    }

    /// At most 24 names and 24 samples of contents: enough to catch a leak, few enough to search for.
    fn sample(&mut self) -> Result<()> {
        const EACH: usize = 24;
        let step = self.files.len().div_ceil(EACH);
        for file in self.files.iter().step_by(step) {
            let name =
                file.path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
            // Shorter names turn up in random bytes and in ordinary words.
            if name.len() >= 10 {
                self.needles.push(Needle::new(format!("the name of {}", file.key), name));
            }
            let mut bytes = [0; 32];
            let mut from = File::open(&file.path)?;
            if from.read_exact(&mut bytes).is_ok() && varied(&bytes) {
                self.needles.push(Needle::new(format!("bytes of {}", file.key), &bytes));
            }
        }
        Ok(())
    }
}

/// Random bytes with the marker at a random place and, in longer ones, once in every MiB.
fn marked(rng: &mut StdRng, size: u64, marker: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size)?];
    rng.fill_bytes(&mut bytes);
    for piece in bytes.chunks_mut(1 << 20) {
        if piece.len() > marker.len() {
            let at = rng.random_range(0..piece.len() - marker.len());
            piece[at..at + marker.len()].copy_from_slice(marker);
        }
    }
    Ok(bytes)
}

/// True if bytes are varied enough that finding them elsewhere means something.
fn varied(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count() >= 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::same_tree;
    use crate::needles::Search;

    #[test]
    fn the_same_seed_makes_the_same_tree_and_its_markers_are_in_it() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = Tree::generate(one.path(), 7).unwrap();
        let again = Tree::generate(two.path(), 7).unwrap();
        same_tree(&tree, &again.root).unwrap();
        assert_eq!(tree.files.len(), usize::try_from(PICTURES).unwrap() + SIZES.len() + 2);
        assert!(tree.files.iter().any(|file| file.size == DIRECT + 1));
        let mut search = Search::default();
        search.path(&tree.root, &tree.needles).unwrap();
        assert!(search.found.iter().any(|found| found.what == "a planted name"));
        assert!(search.found.iter().filter(|found| found.what == "planted bytes").count() > 20);
    }

    #[test]
    fn a_tree_of_zeros_gives_no_content_needles() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("zeros"), [0; 100]).unwrap();
        assert!(Tree::adopt(dir.path()).unwrap().needles.is_empty());
    }
}
