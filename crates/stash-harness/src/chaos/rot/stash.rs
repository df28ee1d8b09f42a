//! The stash whose files rot, and its pristine copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::cluster::{self, Cluster, Node};

/// Files that both owners hold: (key, bytes). Up to 4,096 bytes live in the record, below 128 KiB in the log, and the
/// largest is two files of chunks.
const SHARED: &[(&str, usize)] = &[
    ("rot/empty", 0),
    ("rot/small", 120),
    ("rot/inline", 4096),
    ("rot/log-1", 5_000),
    ("rot/log-2", 70_000),
    ("rot/file-1", 300_000),
    ("rot/file-2", 310_000),
    ("rot/file-3", 290_000),
    ("rot/two", 1_200_000),
    ("rot/evicted", 300_100),
    ("rot/changed", 300_200),
];

/// Files that the first owner alone holds: nobody can heal them.
const ALONE: &[(&str, usize)] =
    &[("alone/inline", 90), ("alone/log", 6_000), ("alone/file", 280_000)];

const REMOVED: &str = "removed";

const CONFIG: &str = "\
# What this node was set up with.
create = false
log = \"info\"

[quota]
reserve = \"64 MiB\"

[gc]
interval = \"1h\"
grace = \"24h\"

[scrub]
share = \"2 %\"
interval = \"7d\"
";

/// Two stopped owners, what they store, and copies of their directories.
pub(super) struct Stash {
    pub(super) cluster: Cluster,
    /// The content of every key.
    pub(super) contents: BTreeMap<String, Vec<u8>>,
    /// The listing of the first owner, less where the bytes are.
    pub(super) listing: Value,
    copies: PathBuf,
    sources: PathBuf,
}

impl Stash {
    /// Stores everything and stops.
    pub(super) fn make(cluster: Cluster, rng: &mut StdRng) -> Result<Self> {
        let path = &cluster.run.path;
        let (sources, copies) = (path.join("sources"), path.join("pristine"));
        let (contents, listing) = (BTreeMap::new(), Value::Null);
        let mut stash = Self { cluster, contents, listing, copies, sources };
        stash.fill(rng)?;
        Ok(stash)
    }

    fn fill(&mut self, rng: &mut StdRng) -> Result<()> {
        self.cluster.nodes[0].stop()?;
        let config = self.cluster.nodes[0].home.join("home/stash/config.toml");
        fs::create_dir_all(config.parent().context("a directory")?)?;
        fs::write(&config, CONFIG)?;
        self.cluster.nodes[0].start()?;
        self.cluster.settle()?;

        self.put("rot/changed", 123_456, "all", rng)?;
        for (key, size) in SHARED {
            self.put(key, *size, "all", rng)?;
        }
        self.put(REMOVED, 299_000, "all", rng)?;
        self.contents.remove(REMOVED);
        let first = &self.cluster.nodes[0];
        first.ok(&["rm", REMOVED, "-y"])?;
        first.ok(&["evict", "rot/evicted", "--copies", "1"])?;
        cluster::wait_listed(&self.cluster.nodes[1], "", SHARED.len())?;
        // A pass of the scrub, so that there is a SCRUB with something in it.
        first.ok(&["scrub"])?;
        self.cluster.nodes[1].stop()?;
        for (key, size) in ALONE {
            self.put(key, *size, "local", rng)?;
        }
        self.listing = listing(&self.cluster.nodes[0])?;
        // A second opening: rows of the first are behind marks of the second. The other owner sleeps
        // on, or it would catch up.
        self.cluster.nodes[0].stop()?;
        self.cluster.nodes[0].start()?;
        self.stop()?;
        for node in &self.cluster.nodes {
            copy(&node.home.join("data"), &self.copy_of(node).join("data"))?;
            copy(&node.home.join("home"), &self.copy_of(node).join("home"))?;
        }
        Ok(())
    }

    fn put(&mut self, key: &str, size: usize, wait: &str, rng: &mut StdRng) -> Result<()> {
        let mut bytes = vec![0; size];
        rng.fill_bytes(&mut bytes);
        let source = self.source(key);
        fs::create_dir_all(source.parent().context("a directory")?)?;
        fs::write(&source, &bytes)?;
        // One that the other owner does not get is short of copies, and says so.
        let words = ["put", cluster::text(&source)?, "--as", key, "--wait", wait];
        self.cluster.nodes[0].ok(&words)?;
        self.contents.insert(key.to_owned(), bytes);
        Ok(())
    }

    /// The file that was stored under a key.
    pub(super) fn source(&self, key: &str) -> PathBuf {
        self.sources.join(key)
    }

    fn copy_of(&self, node: &Node) -> PathBuf {
        self.copies.join(node.name())
    }

    /// The copy of the first owner's directory.
    pub(super) fn pristine(&self) -> PathBuf {
        self.copy_of(&self.cluster.nodes[0])
    }

    /// Both directories as they were.
    pub(super) fn restore(&self) -> Result<()> {
        for node in &self.cluster.nodes {
            for part in ["data", "home"] {
                let target = node.home.join(part);
                if target.exists() {
                    fs::remove_dir_all(&target)?;
                }
                copy(&self.copy_of(node).join(part), &target)?;
            }
        }
        Ok(())
    }

    /// Stops both.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.cluster.nodes.iter_mut().try_for_each(Node::stop)
    }

    pub(super) fn describe(&self) -> String {
        format!("{} keys, {} of them on one node alone", self.contents.len(), ALONE.len())
    }
}

/// True if only the first owner has it.
pub(super) fn is_alone(key: &str) -> bool {
    ALONE.iter().any(|(alone, _)| *alone == key)
}

/// The listing of a node, less where the bytes are.
pub(super) fn listing(node: &Node) -> Result<Value> {
    let mut listing: Value = node.json(&["ls", "-R"])?;
    let entries = listing["entries"].as_array_mut().context("a listing without entries")?;
    for entry in entries {
        entry.as_object_mut().context("an entry that is no object")?.remove("here");
    }
    ensure!(listing["next"].is_null(), "the listing does not end");
    Ok(listing)
}

/// Every file below a directory, sorted.
pub(super) fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files_below(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a directory with the modes of everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
