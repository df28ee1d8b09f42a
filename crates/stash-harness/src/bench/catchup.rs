//! `cargo xtask bench catchup`: a keeper that missed many records, how soon it hears of a removal once it is connected,
//! and what both nodes need of memory when nothing happens.
//!
//! A founder that counts copies as missing is not idle, since it asks the keeper for them: nodes are restarted once it
//! counts none.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use stash_api::node::Status;

use crate::bench::client::Client;
use crate::bench::figures::mib;
use crate::bench::median::{median, rounded};
use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::report::{Report, seconds};
use crate::{build, interrupt, machine};

/// Bytes of a file: it lies inside its record.
const SIZE: usize = 64;

/// Files in one directory.
const EACH: u32 = 1000;

/// Bytes of the disk that a file takes at most: itself, and its record, log and index on two nodes.
const ROOM: u64 = 12 * 1024;

/// Removals whose way to the keeper is measured.
const REMOVALS: u32 = 10;

/// The longest that the put of all files may take, and that the keeper may take to catch up.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The longest that news of a removal may take before the run fails.
const NEWS: Duration = Duration::from_secs(30);

/// Between two looks at a keeper that catches up, at one that waits for news, and at memory.
const LOOK: Duration = Duration::from_millis(50);
const CLOSE_LOOK: Duration = Duration::from_millis(1);
const SLOW_LOOK: Duration = Duration::from_millis(500);

/// Memory is that of an idle node once so many looks in a row differ by less than one part in 64, at the latest after
/// a minute.
const STEADY: usize = 8;
const LOOKS: usize = 120;

/// Targets of the report: at 100,000 records, and at a million.
const ASKED_SECONDS: u32 = 15;
const ASKED_NEWS_MS: u32 = 1000;
const ASKED_MEMORY_MIB: u32 = 64;

pub(super) fn run(records: u32, json: bool) -> Result<()> {
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(vec![Role::Owner, Role::Keeper], &binary) };
    let mut cluster = Cluster::found(&plan, &report)?;
    let files = generate(&cluster.run.path, records)?;
    cluster.nodes[1].stop()?;
    put(&cluster.nodes[0], &files, records, &report)?;

    let begun = Instant::now();
    let (took, received) = caught_up(&mut cluster)?;
    let what = format!("{records} records, {:.1} MiB received, start included", mib(received));
    report.step("caught up", &format!("{what}; asked: {ASKED_SECONDS} s for 100,000"), took);

    cluster.settle()?;
    let news = news(&cluster)?;
    let most = news.iter().copied().fold(0.0, f64::max);
    report.line(format_args!(
        "{:<28} {REMOVALS} removals: median {:.0} ms, most {most:.0} ms from the command's begin; asked: {ASKED_NEWS_MS} ms",
        "known to the keeper", median(&news)
    ));

    wait_counted(&cluster.nodes[0], begun)?;
    let counted = begun.elapsed();
    report.step("the founder counts no copy missing", "from the keeper's start", counted);
    let peaks = cluster.peaks();
    let idle = idle(&mut cluster)?;
    for ((name, peak), now) in peaks.iter().zip(&idle) {
        report.line(format_args!(
            "{name:<28} {} resident when idle after a restart, {} at the peak before; asked: {ASKED_MEMORY_MIB} MiB at a million records",
            machine::mib(*now), machine::mib(*peak)
        ));
    }
    report.document(&json!({
        "records": records, "file_bytes": SIZE,
        "catch_up_s": rounded(took.as_secs_f64()), "received_mib": rounded(mib(received)),
        "counted_s": rounded(counted.as_secs_f64()), "removals": REMOVALS, "news_median_ms": rounded(median(&news)), "news_most_ms": rounded(most),
        "idle_founder_kib": idle[0], "idle_keeper_kib": idle[1],
        "peak_founder_kib": peaks[0].1, "peak_keeper_kib": peaks[1].1,
    }))?;
    cluster.finish(&report)
}

fn generate(parent: &Path, records: u32) -> Result<PathBuf> {
    let (wanted, disk) = (u64::from(records) * ROOM, rustix::fs::statvfs(parent)?);
    let free = disk.f_bavail * disk.f_frsize;
    ensure!(
        free > wanted,
        "{records} records may take {:.0} MiB, and {:.0} MiB are free below {}",
        mib(wanted),
        mib(free),
        parent.display()
    );
    let root = cluster::fresh(parent, "catchup")?;
    for index in 0..records {
        let dir = root.join((index / EACH).to_string());
        if index % EACH == 0 {
            interrupt::check()?;
            fs::create_dir(&dir)?;
        }
        let mut text = String::with_capacity(SIZE);
        write!(text, "{index:0SIZE$}")?;
        fs::write(dir.join(index.to_string()), text)?;
    }
    Ok(root)
}

fn put(founder: &Node, files: &Path, records: u32, report: &Report) -> Result<()> {
    let words = ["put", cluster::text(files)?, "--wait", "local"];
    let reply = founder.begin(&words)?.finish(PATIENCE)?.expect(&[0])?;
    let rate = f64::from(records) / reply.took.as_secs_f64();
    report.step("put, the keeper away", &format!("{records} files, {rate:.0}/s"), reply.took);
    Ok(())
}

/// From the keeper's start until it holds what the founder holds, and what it received for that.
fn caught_up(cluster: &mut Cluster) -> Result<(Duration, u64)> {
    let wanted = status(&mut client(&cluster.nodes[0])?)?.records;
    let begun = Instant::now();
    cluster.nodes[1].start()?;
    let mut keeper = client(&cluster.nodes[1])?;
    loop {
        let now = status(&mut keeper)?;
        if now.records >= wanted && now.incomplete == 0 {
            return Ok((begun.elapsed(), now.traffic.received));
        }
        if begun.elapsed() > PATIENCE {
            bail!("after {} the keeper has {} of {wanted} records", seconds(PATIENCE), now.records);
        }
        interrupt::check()?;
        thread::sleep(LOOK);
    }
}

/// Waits until the founder, which asks the keeper what it has, counts no missing copy any more.
fn wait_counted(founder: &Node, begun: Instant) -> Result<()> {
    let mut founder = client(founder)?;
    loop {
        let missing = status(&mut founder)?.missing_copies;
        if missing == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("after {} the founder counts {missing} missing copies", seconds(PATIENCE));
        }
        interrupt::check()?;
        thread::sleep(LOOK);
    }
}

/// Milliseconds from the begin of each removal on the founder until the connected keeper holds it.
fn news(cluster: &Cluster) -> Result<Vec<f64>> {
    let mut keeper = client(&cluster.nodes[1])?;
    let mut took = vec![];
    for index in 0..REMOVALS {
        let before = status(&mut keeper)?.records;
        let key = format!("catchup/0/{index}");
        let begun = Instant::now();
        let running = cluster.nodes[0].begin(&["rm", &key, "-y", "--wait", "local"])?;
        while status(&mut keeper)?.records == before {
            ensure!(begun.elapsed() < NEWS, "the keeper does not hear of the removal of {key}");
            interrupt::check()?;
            thread::sleep(CLOSE_LOOK);
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        running.finish(cluster::COMMAND)?.expect(&[0])?;
    }
    Ok(took)
}

/// The resident sets of all nodes, in KiB, once they have been restarted and nothing happens any more.
fn idle(cluster: &mut Cluster) -> Result<Vec<u64>> {
    for node in &mut cluster.nodes {
        node.stop()?;
    }
    for node in &mut cluster.nodes {
        node.start()?;
    }
    cluster.settle()?;
    cluster.nodes.iter().map(steady).collect()
}

fn steady(node: &Node) -> Result<u64> {
    let mut looks: Vec<u64> = vec![];
    while looks.len() < LOOKS && !is_steady(&looks) {
        interrupt::check()?;
        thread::sleep(SLOW_LOOK);
        looks.push(node.memory()?.now_kib);
    }
    Ok(looks.last().copied().unwrap_or_default())
}

fn is_steady(looks: &[u64]) -> bool {
    let last = looks.get(looks.len().saturating_sub(STEADY)..).unwrap_or_default();
    let (least, most) = (last.iter().min(), last.iter().max());
    last.len() == STEADY && least.zip(most).is_some_and(|(least, most)| most - least < most / 64)
}

fn client(node: &Node) -> Result<Client> {
    let [_, (_, socket)] = node.variables();
    Client::connect(&socket)
}

fn status(client: &mut Client) -> Result<Status> {
    client.get(&Status::route())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_steady_after_eight_looks_that_hardly_differ() {
        let flat = [6400; STEADY];
        assert!(is_steady(&flat) && is_steady(&[&[9000; 3][..], &flat].concat()));
        assert!(!is_steady(&flat[1..]) && !is_steady(&[]));
        assert!(!is_steady(&[&flat[1..], &[6600]].concat()));
    }

    #[test]
    fn files_are_all_different_and_of_the_size_that_lies_in_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let root = generate(dir.path(), EACH + 1).unwrap();
        let (first, last) = (root.join("0/0"), root.join("1/1000"));
        let (first, last) = (fs::read(first).unwrap(), fs::read(last).unwrap());
        assert_eq!((first.len(), last.len()), (SIZE, SIZE));
        assert_ne!(first, last);
    }
}
