//! Questions that tasks ask of a node again and again, and paths for its arguments.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stash_api::files::{Entry, Listing};

use crate::cluster::node::Node;
use crate::interrupt;

/// The pause between two looks at a condition.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// From an acknowledged write to its name being listed at another node.
const LISTED: Duration = Duration::from_secs(20);

/// Every entry that a node lists below a prefix.
pub fn list(node: &Node, prefix: &str) -> Result<Vec<Entry>> {
    let reply = node.run(&["ls", "-R", prefix, "--json"])?.expect(&[0, 4])?;
    if reply.code != 0 {
        return Ok(Vec::new());
    }
    let listing: Listing = reply.json()?;
    if let Some(next) = listing.next {
        bail!("`ls --json {prefix}` stopped before {next}");
    }
    Ok(listing.entries)
}

/// Waits until `node` lists `count` keys below `prefix`: a node's names follow its records.
pub fn wait_listed(node: &Node, prefix: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + LISTED;
    loop {
        let reply = node.run(&["ls", "-R", prefix, "--json"])?.expect(&[0, 4])?;
        let listed = if reply.code == 0 { reply.json::<Listing>()?.entries.len() } else { 0 };
        if listed == count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} lists {listed} of {count} files below {prefix}", node.name());
        }
        interrupt::check()?;
        thread::sleep(POLL);
    }
}

/// A fresh directory of this name in the run's directory.
pub fn fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    let path = parent.join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A path as an argument.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
