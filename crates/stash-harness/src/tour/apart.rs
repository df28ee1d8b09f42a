//! Nodes that did not see each other: what each of them wrote meets, and nothing is lost.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stash_api::files::{Listing, Where};
use stash_api::node::Status;
use stash_api::versions::History;

use crate::cluster::{self, Node, POLL};
use crate::tour::ground::Tour;
use crate::tour::outage::random_file;
use crate::tour::store::complete_everywhere;
use crate::{compare, interrupt};

/// The longest that nodes which see each other take to agree: news wait for a second.
const AGREED: Duration = Duration::from_secs(30);

pub(super) fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + AGREED;
    while !done()? {
        if Instant::now() > deadline {
            bail!("after {} s, {what}", AGREED.as_secs());
        }
        interrupt::check()?;
        thread::sleep(POLL);
    }
    Ok(())
}

/// The keeper has everything that was stored while it was dead, and nobody put it again.
pub(super) fn caught_up(tour: &mut Tour<'_>) -> Result<String> {
    let begun = Instant::now();
    for key in ["outage-1", "outage-2"] {
        until("the keeper lacks what was stored while it was dead", || {
            let place: Where = tour.founder().json(&["where", key])?;
            Ok(complete_everywhere(tour, key, &place).is_ok())
        })?;
    }
    until("the founder still counts missing copies", || {
        Ok(tour.founder().json::<Status>(&["status"])?.missing_copies == 0)
    })?;
    let took = crate::report::seconds(begun.elapsed());
    Ok(format!(
        "two files stored while {} was dead are whole there, {took} later",
        tour.keeper().name()
    ))
}

/// Two owners write one name apart, and one removes a file meanwhile.
pub(super) fn reconciled(tour: &mut Tour<'_>) -> Result<String> {
    let Some(other) = tour.other else {
        return Ok("skipped: no other owner".into());
    };
    let (first, gone) = (random_file(tour, "apart-0")?, random_file(tour, "apart-gone")?);
    let put = |node: &Node, path: &Path, key: &str, wait: &str| -> Result<()> {
        node.ok(&["put", cluster::text(path)?, "--as", key, "--wait", wait]).map(drop)
    };
    put(tour.founder(), &first, "apart", "all")?;
    put(tour.founder(), &gone, "apart-gone", "all")?;

    let (mine, theirs) = (random_file(tour, "apart-1")?, random_file(tour, "apart-2")?);
    tour.cluster.nodes[other].stop()?;
    put(tour.founder(), &mine, "apart", "local")?;
    tour.founder().ok(&["rm", "apart-gone", "-y", "--wait", "local"])?;
    for index in (0..tour.count()).filter(|index| *index != other) {
        tour.cluster.nodes[index].stop()?;
    }
    tour.cluster.nodes[other].start()?;
    put(&tour.cluster.nodes[other], &theirs, "apart", "local")?;
    for index in (0..tour.count()).filter(|index| *index != other) {
        tour.cluster.nodes[index].start()?;
    }
    tour.cluster.settle()?;

    for index in [0, other] {
        cluster::wait_listed(&tour.cluster.nodes[index], "apart-gone", 0)?;
        conflicts(&tour.cluster.nodes[index], 1)?;
    }
    let versions = leaves(tour.founder())?;
    if versions != leaves(&tour.cluster.nodes[other])? {
        bail!("the two owners do not agree which version is the head");
    }
    let mut contents: Vec<PathBuf> = Vec::new();
    for version in &versions {
        let output = tour.output();
        let get = ["get", "apart", "--version", version, "-o", cluster::text(&output)?];
        tour.founder().ok(&get)?;
        let source = [&mine, &theirs].into_iter().find(|path| compare::same(path, &output).is_ok());
        contents.push(source.context("a version is neither of the two that were written")?.clone());
    }
    if contents[0] == contents[1] {
        bail!("one of the two versions is lost");
    }
    tour.founder().ok(&["resolve", "apart", "--take", &versions[1]])?;
    for index in [0, other] {
        conflicts(&tour.cluster.nodes[index], 0)?;
        tour.one_back(index, "apart", &contents[1])?;
    }
    Ok("both versions shown and read on both sides, one taken; what was removed stays removed"
        .into())
}

/// Waits until the file has so many versions beside its head.
fn conflicts(node: &Node, count: u64) -> Result<()> {
    until(&format!("{} does not show {count} conflicts", node.name()), || {
        let listing: Listing = node.json(&["ls", "apart"])?;
        Ok(listing.entries.iter().any(|one| one.key == "apart" && one.conflicts == count))
    })
}

/// The head and what is concurrent to it.
fn leaves(node: &Node) -> Result<Vec<String>> {
    let history: History = node.json(&["history", "apart"])?;
    let leaves = history.versions.into_iter().filter(|one| one.place != "covered");
    let leaves: Vec<String> = leaves.map(|one| one.version).collect();
    if leaves.len() != 2 {
        bail!("{} shows {} versions that nothing covers", node.name(), leaves.len());
    }
    Ok(leaves)
}
