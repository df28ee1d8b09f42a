//! Secrecy: what a keeper has, and what it answers.

use anyhow::{Context, Result, bail};

use crate::cluster;
use crate::needles::Search;
use crate::tour::ground::{Tour, plural};

/// Exit code of a refusal.
const REFUSED: i32 = 9;

/// No planted name or byte is anywhere in a keeper's directory or log.
pub(super) fn keeper_disk(tour: &mut Tour<'_>) -> Result<String> {
    let mut control = Search::default();
    control.path(&tour.tree.root, &tour.tree.needles)?;
    if control.found.is_empty() && !tour.tree.needles.is_empty() {
        bail!("the search does not even find what was planted in the tree itself");
    }
    let mut search = Search::default();
    let keepers = tour.cluster.nodes.iter().filter(|node| !node.role.reads());
    for node in keepers.clone() {
        search.path(&node.home, &tour.tree.needles)?;
        for index in ["names", "tags"] {
            if node.data().join(index).exists() {
                bail!("{} is a keeper and has {index}", node.name());
            }
        }
    }
    if let Some(found) = search.found.first() {
        bail!("{} at byte {} of {}", found.what, found.offset, found.path.display());
    }
    if search.bytes < tour.tree.bytes() / 2 {
        bail!("a keeper's disk of {} bytes cannot hold this tree", search.bytes);
    }
    Ok(format!(
        "no planted name or byte in {} MiB of {} on {}",
        search.bytes >> 20,
        plural(usize::try_from(search.files)?, "file"),
        plural(keepers.count(), "keeper"),
    ))
}

/// The keeper lists and reads nothing, and says why.
pub(super) fn keeper_refuses(tour: &mut Tour<'_>) -> Result<String> {
    let key = &tour.tree.files.first().context("empty tree")?.key.clone();
    let output = tour.output();
    let target = cluster::text(&output)?.to_owned();
    let attempts: [&[&str]; 3] = [&["ls"], &["cat", key], &["get", key, "-o", &target]];
    let mut said = String::new();
    for arguments in attempts {
        let (code, message) = tour.keeper().fails(arguments, REFUSED)?;
        if code != "refused" || !message.contains("keeper") || message.contains(key.as_str()) {
            bail!("`{}` answers {code}: {message}", arguments.join(" "));
        }
        said = message;
    }
    if output.exists() {
        bail!("the keeper wrote {target}");
    }
    Ok(format!("ls, cat and get exit {REFUSED}: \"{said}\""))
}
