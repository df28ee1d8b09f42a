//! `cargo xtask bench small`: a directory of 4 KiB files through one put, and back on another node.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rand::Rng;
use serde_json::json;
use stash_api::files::PutDone;

use crate::bench::median::{median, rounded};
use crate::build;
use crate::cluster::{self, Cluster, Plan, Role};
use crate::compare;
use crate::report::Report;
use crate::tree::{self, Tree};

/// Bytes of a file.
const SIZE: usize = 4096;

/// Files in one directory.
const EACH: u32 = 1000;

pub(super) fn run(files: u32, rounds: u32, json: bool) -> Result<()> {
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(Role::of_cluster(3), &binary) };
    let mut cluster = Cluster::found(&plan, &report)?;
    let (mut puts, mut gets) = (vec![], vec![]);
    let (mut put_cpu, mut get_cpu) = (vec![], vec![]);
    for round in 1..=rounds {
        let root = generate(&cluster.run.path, round, files)?;
        let tree = Tree::adopt(&root)?;
        rustix::fs::sync();
        let before = cluster.processor_time()?;
        let reply =
            cluster.nodes[0].ok(&["put", cluster::text(&root)?, "--wait", "all", "--json"])?;
        let put: PutDone = reply.json()?;
        if put.roots.iter().any(|root| root.files != u64::from(files) || root.copies != 3) {
            bail!("not every file has three copies: {put:?}");
        }
        let count = f64::from(files);
        let each = |took: Duration| took.as_secs_f64() * 1e6 / count;
        let nodes = cluster.nodes.len() as f64;
        put_cpu.push(each(cluster.processor_time()?.since(before).all()) / nodes);
        puts.push(count / reply.took.as_secs_f64());
        report.step("put", &format!("{:.0} files/s", puts.last().unwrap_or(&0.0)), reply.took);
        cluster::wait_listed(&cluster.nodes[2], &tree.key, tree.files.len())?;
        let output = cluster.run.path.join(format!("back-{round}"));
        let before = cluster.processor_time()?;
        let reply = cluster.nodes[2].ok(&["get", &tree.key, "-o", cluster::text(&output)?])?;
        get_cpu.push(each(cluster.processor_time()?.since(before).all()));
        gets.push(count / reply.took.as_secs_f64());
        report.step("get", &format!("{:.0} files/s", gets.last().unwrap_or(&0.0)), reply.took);
        // Nothing is removed before the end: an ext4 without a journal would pass slowly over the inodes.
        compare::same_tree(&tree, &output)?;
    }
    let document = json!({
        "files": files, "file_bytes": SIZE, "rounds": rounds, "nodes": 3,
        "put_files_s": rounded(median(&puts)), "get_files_s": rounded(median(&gets)),
        "put_cpu_us": rounded(median(&put_cpu)), "get_cpu_us": rounded(median(&get_cpu)),
        "peak_rss_mib": cluster.peak_mib(),
    });
    report.line(format_args!(
        "{files} files of {SIZE} bytes: put {:.0} files/s (three nodes, --wait all), get {:.0} files/s",
        median(&puts),
        median(&gets)
    ));
    report.line(format_args!(
        "processor time for each file, without the client: put {:.0} us a node, get {:.0} us",
        median(&put_cpu),
        median(&get_cpu)
    ));
    report.document(&document)?;
    cluster.finish(&report)
}

fn generate(parent: &Path, round: u32, files: u32) -> Result<PathBuf> {
    let root = cluster::fresh(parent, &format!("small-{round}"))?;
    let mut rng = tree::rng(u64::from(round));
    let mut bytes = vec![0; SIZE];
    for index in 0..files {
        let dir = root.join(format!("{:03}", index / EACH));
        if index % EACH == 0 {
            fs::create_dir(&dir)?;
        }
        rng.fill_bytes(&mut bytes);
        fs::write(dir.join(format!("{index:06}.bin")), &bytes)?;
    }
    Ok(root)
}
