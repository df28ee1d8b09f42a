//! All traffic between nodes passes a recording relay; logs are at trace level. Planted names and contents are in none of
//! it, nor in a keeper's directory.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::{self, Cluster, Plan, Role};
use crate::needles::Search;
use crate::recorder::Recorder;
use crate::report::Report;
use crate::tree::Tree;
use crate::{build, compare};

pub(super) fn run(seed: u64, report: &Report) -> Result<()> {
    let binary = build::stash(report)?;
    let records = std::env::temp_dir().join(format!("stash-relay-{}-{seed}", std::process::id()));
    std::fs::create_dir(&records)?;
    let outcome = recorded(seed, report, &binary, &records);
    std::fs::remove_dir_all(&records)?;
    outcome
}

fn recorded(
    seed: u64,
    report: &Report,
    binary: &std::path::Path,
    records: &std::path::Path,
) -> Result<()> {
    let relays = (1..=3)
        .map(|number| Recorder::start(records, &format!("relay{number}")))
        .collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        log: "trace",
        advertise: relays.iter().map(|relay| relay.address().to_string()).collect(),
        ..Plan::new(Role::of_cluster(3), binary)
    };
    let cluster = Cluster::found_with(&plan, report, |index, node| {
        if let Ok(target) = node.listen().parse() {
            relays[index].leads_to(target);
        }
    })?;
    let begun = Instant::now();
    let tree = Tree::generate(&cluster.run.path, seed)?;
    traffic(&cluster, &tree)?;
    let (connections, bytes) =
        relays.iter().map(Recorder::seen).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    // Two copies went out and one came back, so less than this much would mean traffic past the relays.
    ensure!(
        bytes > tree.bytes(),
        "only {bytes} bytes in {connections} connections passed the relays"
    );

    let mut search = Search::default();
    search.path(records, &tree.needles)?;
    for node in &cluster.nodes {
        search.path(&node.log(), &tree.needles)?;
        if !node.role.reads() {
            search.path(&node.home, &tree.needles)?;
        }
    }
    if let Some(found) = search.found.first() {
        bail!("{} at byte {} of {}", found.what, found.offset, found.path.display());
    }
    let checked = format!(
        "{} MiB in {connections} connections and {} MiB searched: nothing planted is in it",
        bytes >> 20,
        search.bytes >> 20
    );
    report.step("relay", &checked, begun.elapsed());
    cluster.finish(report)
}

/// Stores, lists, evicts, fetches and removes, so that every kind of message passes.
fn traffic(cluster: &Cluster, tree: &Tree) -> Result<()> {
    let [founder, keeper, other] = cluster.nodes.as_slice() else {
        bail!("three nodes were asked for")
    };
    founder.ok(&["put", cluster::text(&tree.root)?, "--wait", "all"])?;
    cluster::wait_listed(other, &tree.key, tree.files.len())?;
    founder.ok(&["evict", "-r", &tree.key, "--copies", "1"])?;
    let output = cluster.run.path.join("back");
    founder.ok(&["get", &tree.key, "-o", cluster::text(&output)?])?;
    compare::same_tree(tree, &output)?;
    let key = &tree.files.first().context("empty tree")?.key;
    founder.ok(&["where", key])?;
    keeper.fails(&["cat", key], 9)?;
    other.ok(&["rm", key, "-y", "--wait", "all"])?;
    Ok(())
}
