//! Storing the tree, and what every node then has of it.

use anyhow::{Context, Result, bail};
use stash_api::files::{PutDone, PutRoot, Where};

use crate::cluster::{self, Node};
use crate::tour::ground::{Tour, plural};

/// At most this many keys are asked for one by one.
const ASKED: usize = 100;

/// The files up to this size have no chunk: they live in their record.
pub(super) const INLINE: u64 = 4096;

pub(super) fn stored(tour: &mut Tour<'_>) -> Result<String> {
    let (tree, count) = (tour.tree, tour.count());
    let arguments = ["put", cluster::text(&tree.root)?, "--wait", "all", "--json"];
    let reply = tour.founder().run(&arguments)?.expect(&[0])?;
    let root = only_root(reply.json()?)?;
    if root.key != tree.key || root.files != tree.files.len() as u64 || root.bytes != tree.bytes() {
        bail!("the answer does not describe the tree: {root:?}");
    }
    all_copies(&root, count)?;
    let again: PutDone = tour.founder().run(&arguments)?.expect(&[0])?.json()?;
    let again = only_root(again)?;
    if again.new != 0 || again.unchanged != root.files {
        bail!("storing the same tree again wrote records: {again:?}");
    }
    Ok(format!(
        "{}, {} MiB, {} of {count} copies; again: nothing new",
        plural(tree.files.len(), "file"),
        tree.bytes() >> 20,
        root.copies
    ))
}

pub(super) fn only_root(put: PutDone) -> Result<PutRoot> {
    let mut roots = put.roots.into_iter();
    roots.next().context("put answered with no root")
}

pub(super) fn all_copies(root: &PutRoot, count: usize) -> Result<()> {
    let count = count as u64;
    if root.copies != count || root.wanted != count || root.short {
        bail!(
            "{} of {} copies of {} where all {count} were waited for",
            root.copies,
            root.wanted,
            root.key
        );
    }
    Ok(())
}

pub(super) fn listed(tour: &mut Tour<'_>) -> Result<String> {
    let readers: Vec<&Node> = tour.cluster.nodes.iter().filter(|node| node.role.reads()).collect();
    for node in &readers {
        cluster::wait_listed(node, &tour.tree.key, tour.tree.files.len())?;
        let mut entries = cluster::list(node, &tour.tree.key)?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        for (entry, file) in entries.iter().zip(&tour.tree.files) {
            if entry.key != file.key || entry.size != file.size {
                bail!("{} lists {entry:?} where {file:?} was stored", node.name());
            }
        }
    }
    let files = plural(tour.tree.files.len(), "key");
    Ok(format!("{files} with their sizes on {}", plural(readers.len(), "reading node")))
}

pub(super) fn held(tour: &mut Tour<'_>) -> Result<String> {
    let step = tour.tree.files.len().div_ceil(ASKED);
    let (mut asked, mut chunks) = (0, 0);
    for file in tour.tree.files.iter().step_by(step) {
        let place: Where = tour.founder().json(&["where", &file.key])?;
        if place.inline != (file.size <= INLINE) {
            bail!("{} of {} bytes: inline is {}", file.key, file.size, place.inline);
        }
        complete_everywhere(tour, &file.key, &place)?;
        chunks += place.chunks;
        asked += 1;
    }
    Ok(format!(
        "{} and their {chunks} chunks complete on {} nodes",
        plural(asked, "file"),
        tour.count()
    ))
}

pub(super) fn complete_everywhere(tour: &Tour<'_>, key: &str, place: &Where) -> Result<()> {
    for node in &tour.cluster.nodes {
        let state = place.nodes.iter().find(|place| place.node_id == node.id);
        let state = state.map_or("not mentioned", |place| place.state.as_str());
        if state != "complete" {
            bail!("{key} is {state} on {}", node.name());
        }
    }
    Ok(())
}
