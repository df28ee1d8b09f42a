//! Every owner is destroyed. The recovery text and one keeper give every byte back.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cluster::{self, Role};
use crate::compare;
use crate::report::{Report, seconds};
use crate::scenario::Scenario;
use crate::tree::Tree;

pub(super) fn run(seed: u64, report: &Report) -> Result<()> {
    let mut scenario = Scenario::begin(&Role::of_cluster(3), seed, report)?;
    let cluster = &mut scenario.cluster;
    let begun = Instant::now();
    let tree = Tree::generate(&cluster.run.path, seed)?;
    cluster.nodes[0].ok(&["put", cluster::text(&tree.root)?, "--wait", "all"])?;
    let text = cluster.nodes[0].ok(&["key", "recovery"])?.text();
    ensure!(!text.trim().is_empty(), "`stash key recovery` prints nothing");
    let paper = cluster.run.path.join("paper.txt");
    fs::write(&paper, text)?;
    report.step(
        "stored, text written down",
        &format!("{} files", tree.files.len()),
        begun.elapsed(),
    );

    let keeper = cluster.first(Role::Keeper).context("no keeper")?;
    for index in (0..cluster.nodes.len()).filter(|index| *index != keeper) {
        cluster.nodes[index].destroy()?;
    }
    report.line("every owner is destroyed");

    let begun = Instant::now();
    let mut heir = cluster.new_node(Role::Owner)?;
    heir.ok(&["init", "--recover", cluster::text(&paper)?, "--alone"])?;
    heir.start()?;
    cluster::wait_listed(&heir, &tree.key, tree.files.len())?;
    let listed = begun.elapsed();
    let output = cluster.run.path.join("back");
    heir.ok(&["get", &tree.key, "-o", cluster::text(&output)?])?;
    compare::same_tree(&tree, &output)?;
    let checked = format!(
        "{} files, {} MiB, listed after {}",
        tree.files.len(),
        tree.bytes() >> 20,
        seconds(listed)
    );
    report.step("recovered", &checked, begun.elapsed());

    // It is an owner again: it can store, and the keeper holds what it stores.
    let extra = cluster.run.path.join("paper-copy.txt");
    fs::copy(&paper, &extra)?;
    let put =
        heir.ok(&["put", cluster::text(&extra)?, "--as", "after-recovery", "--wait", "one"])?;
    report.step("stores again", "put --wait one exits 0", put.took);
    heir.stop()?;
    scenario.finish()
}
