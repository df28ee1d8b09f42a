//! `cargo xtask cluster`: a cluster, the tour, and then yours until Ctrl-C.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use stash_harness::report::{Report, seconds};
use stash_harness::tour::{Took, Tour};
use stash_harness::tree::{self, Tree};
use stash_harness::{Cluster, Plan, Role};
use stash_harness::{build, interrupt, machine};

use crate::cli::ClusterArguments;

pub(crate) fn run(arguments: &ClusterArguments) -> Result<()> {
    let report = Report::new(arguments.json);
    let binary = build::stash(&report)?;
    let begun = Instant::now();
    let seed = tree::seed(arguments.seed);
    let plan = Plan::new(Role::of_cluster(usize::from(arguments.nodes)), &binary);
    let mut cluster = Cluster::found(&plan, &report)?;
    let made = Instant::now();
    let tree = match &arguments.files {
        Some(dir) => Tree::adopt(dir)?,
        None => Tree::generate(&cluster.run.path, seed)?,
    };
    let what = format!("{} files, {} MiB, seed {seed}", tree.files.len(), tree.bytes() >> 20);
    report.step("tree", &what, made.elapsed());
    let steps = match Tour::new(&mut cluster, &tree, seed)?.take(&report) {
        Ok(steps) => steps,
        Err(error) => {
            let failed = json!({"ok": false, "seed": seed, "error": format!("{error:#}")});
            report.document(&failed)?;
            report.line(format_args!(
                "directories and logs are kept: {}",
                cluster.run.path.display()
            ));
            report.line(format_args!("replay with --seed {seed}"));
            return Err(error);
        }
    };
    let took = begun.elapsed();
    report.line(format_args!("the tour held: {} steps in {}", steps.len(), seconds(took)));
    let peaks = cluster.peaks();
    for (name, kib) in &peaks {
        report.line(format_args!("{name:<28} peak resident set {}", machine::mib(*kib)));
    }
    report.document(&document(&cluster, seed, &steps, &peaks, took.as_secs_f64()))?;
    if !arguments.tour {
        by_hand(&cluster, &binary.display().to_string(), &report);
        interrupt::wait();
    }
    let path = cluster.run.path.clone();
    cluster.run.keep(true);
    if arguments.keep {
        for node in &mut cluster.nodes {
            node.stop()?;
        }
        report.line(format_args!("kept {}", path.display()));
        return Ok(());
    }
    cluster.finish(&report)
}

fn document(
    cluster: &Cluster,
    seed: u64,
    steps: &[Took],
    peaks: &[(String, u64)],
    seconds: f64,
) -> Value {
    let nodes: Vec<Value> = cluster
        .nodes
        .iter()
        .zip(peaks)
        .map(|(node, (name, kib))| {
            json!({
                "name": name, "node_id": node.id, "role": node.role.to_string(),
                "listen": node.listen(), "data_dir": node.data(), "log": node.log(),
                "socket": node.variables()[1].1, "peak_rss_kib": kib,
            })
        })
        .collect();
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| json!({"name": step.name, "checked": step.checked, "seconds": step.took.as_secs_f64()}))
        .collect();
    json!({"ok": true, "seed": seed, "seconds": seconds, "nodes": nodes, "steps": steps})
}

/// The commands to go on with, for a shell.
fn by_hand(cluster: &Cluster, binary: &str, report: &Report) {
    report.line("\nThe nodes stay up until Ctrl-C. In another shell:\n");
    report.line(format_args!("  alias stash='{binary}'"));
    for node in &cluster.nodes {
        let variables: Vec<String> = node
            .variables()
            .iter()
            .map(|(name, value)| format!("{name}='{}'", value.display()))
            .collect();
        report.line(format_args!("  # {} ({})", node.name(), node.role));
        report.line(format_args!("  export {}", variables.join(" ")));
    }
    report.line("\n  stash status        stash peers         stash ls -l");
    report.line(
        "  stash put FILE      stash where KEY     stash evict KEY     stash get KEY -o FILE",
    );
    report.line("  stash invite --role reader              stash key recovery\n");
}
