//! `cargo xtask bench transfer`: one big file put on three nodes and got back, beside the floor, round by round.
//!
//! In a virtual machine, the first write to memory that the host has not handed out yet can cost ten
//! times as much as the same write to memory that was used a moment ago; whoever runs first after a
//! large file was removed would win. So right before each side is timed, a ballast file as large as
//! what it will write is written and removed: both then find the same amount of used memory free.
//!
//! Each round has a cluster of its own. An ext4 without a journal passes slowly over inodes that were
//! removed in the last minutes (`recently_deleted` in Linux's `fs/ext4/ialloc.c`), and every round evicts
//! a thousand files, which would be counted to the put of the next.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use serde::Deserialize;
use stash_api::files::PutDone;

use crate::bench::figures::{Rates, document, mib, summary};
use crate::build;
use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::compare;
use crate::process::Running;
use crate::report::Report;
use crate::tree;

/// The longest that one transfer may take.
const TRANSFER: Duration = Duration::from_secs(30 * 60);

/// Ballast for one timed step, in sizes of the file: three copies and the socket buffers' share.
const BALLAST_COPIES: u64 = 4;

/// Bytes of ballast at most: a share of memory that small machines have, too.
const BALLAST: u64 = 5 << 30;

#[derive(Debug, Deserialize)]
struct FloorTook {
    seconds: f64,
}

struct Bench<'a> {
    cluster: &'a Cluster,
    floor: &'a Path,
    report: &'a Report,
    work: PathBuf,
    size: u64,
}

pub(super) fn run(size: u64, rounds: u32, json: bool) -> Result<()> {
    let report = Report::new(json);
    let (binary, floor) = (build::stash(&report)?, build::floor(&report)?);
    let plan = Plan { log: "warn", ..Plan::new(Role::of_cluster(3), &binary) };
    let (mut rates, mut peak) = (Rates::default(), 0);
    for round in 1..=rounds {
        report.line(format_args!("round {round} of {rounds}"));
        let mut cluster = Cluster::found(&plan, &report)?;
        let work = cluster::fresh(&cluster.run.path, "bench")?;
        let bench = Bench { cluster: &cluster, floor: &floor, report: &report, work, size };
        bench.round(round, &mut rates)?;
        peak = peak.max(cluster.peak_mib());
        cluster.finish(&report)?;
    }
    summary(&report, size, &rates, peak);
    report.document(&document(size, rounds, &rates, peak))
}

impl Bench<'_> {
    /// Every measurement of stash has the floor's next to it; which comes first alternates.
    fn round(&self, round: u32, rates: &mut Rates) -> Result<()> {
        let source = self.work.join(format!("file-{round}"));
        self.random_file(&source, round)?;
        let floor_dir = cluster::fresh(&self.work, "floor")?;
        let floor_first = round % 2 == 1;

        self.both(
            floor_first,
            || {
                self.floor(
                    &mut rates.floor_put,
                    &["put", cluster::text(&source)?, cluster::text(&floor_dir)?],
                )
            },
            || self.put("put", &source, &mut rates.put),
        )?;
        self.put("put, unchanged", &source, &mut rates.reput_unchanged)?;
        change_a_byte(&source)?;
        self.put("put, one byte changed", &source, &mut rates.reput_changed)?;

        let key = format!("file-{round}");
        self.evict(&key)?;
        self.both(
            floor_first,
            || self.floor_get(&floor_dir, false, &mut rates.floor_get_no_keep),
            || self.get(&key, &source, false, &mut rates.get_no_keep),
        )?;
        self.both(
            !floor_first,
            || self.floor_get(&floor_dir, true, &mut rates.floor_get),
            || self.get(&key, &source, true, &mut rates.get),
        )?;
        let elsewhere = &self.cluster.nodes[2];
        cluster::wait_listed(elsewhere, &key, 1)?;
        self.get_at(elsewhere, "get on node 3, local", &key, &source, true, &mut rates.get_local)?;
        fs::remove_dir_all(&floor_dir)?;
        fs::remove_file(&source)?;
        Ok(())
    }

    fn both(
        &self,
        floor_first: bool,
        floor: impl FnOnce() -> Result<()>,
        stash: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.use_memory()?;
        if floor_first {
            floor()?;
            self.use_memory()?;
            stash()
        } else {
            stash()?;
            self.use_memory()?;
            floor()
        }
    }

    /// Has the same amount of memory used and freed before either side is timed. Write-back of what
    /// came before is over by then, too.
    fn use_memory(&self) -> Result<()> {
        rustix::fs::sync();
        let path = self.work.join("ballast");
        let mut file = File::create(&path)?;
        let block = vec![1; 1 << 20];
        for _ in 0..(BALLAST_COPIES * self.size).min(BALLAST) >> 20 {
            file.write_all(&block)?;
        }
        drop(file);
        Ok(fs::remove_file(&path)?)
    }

    fn put(&self, name: &str, source: &Path, into: &mut Vec<f64>) -> Result<()> {
        let node = &self.cluster.nodes[0];
        let running = node.begin(&["put", cluster::text(source)?, "--wait", "all", "--json"])?;
        let reply = running.finish(TRANSFER)?.expect(&[0])?;
        let put: PutDone = reply.json()?;
        if put.roots.iter().any(|root| root.copies != 3 || root.bytes != self.size) {
            bail!("not three copies of every byte: {put:?}");
        }
        self.note(name, reply.took.as_secs_f64(), into);
        Ok(())
    }

    fn evict(&self, key: &str) -> Result<()> {
        let running = self.cluster.nodes[0].begin(&["evict", key])?;
        let reply = running.finish(TRANSFER)?.expect(&[0])?;
        self.report.step("evict", "proven by peers", reply.took);
        Ok(())
    }

    fn get(&self, key: &str, source: &Path, keep: bool, into: &mut Vec<f64>) -> Result<()> {
        let name = if keep { "get, kept" } else { "get, --no-keep" };
        self.get_at(&self.cluster.nodes[0], name, key, source, keep, into)
    }

    fn get_at(
        &self,
        node: &Node,
        name: &str,
        key: &str,
        source: &Path,
        keep: bool,
        into: &mut Vec<f64>,
    ) -> Result<()> {
        let output = self.work.join("output");
        let mut arguments = vec!["get", key, "-o", cluster::text(&output)?];
        if !keep {
            arguments.push("--no-keep");
        }
        let reply = node.begin(&arguments)?.finish(TRANSFER)?.expect(&[0])?;
        self.note(name, reply.took.as_secs_f64(), into);
        compare::same(source, &output)?;
        fs::remove_file(&output)?;
        Ok(())
    }

    fn floor_get(&self, dir: &Path, keep: bool, into: &mut Vec<f64>) -> Result<()> {
        let output = self.work.join("floor-output");
        let mut arguments = vec!["get", cluster::text(dir)?, cluster::text(&output)?];
        if keep {
            arguments.push("--keep");
        }
        self.floor(into, &arguments)?;
        fs::remove_file(&output)?;
        Ok(())
    }

    fn floor(&self, into: &mut Vec<f64>, arguments: &[&str]) -> Result<()> {
        let what = format!("floor {}", arguments.join(" "));
        let running = Running::spawn(Command::new(self.floor).args(arguments), what)?;
        let took: FloorTook = running.finish(TRANSFER)?.expect(&[0])?.json()?;
        let keep = if arguments.contains(&"--keep") { ", kept" } else { "" };
        self.note(&format!("floor {}{keep}", arguments[0]), took.seconds, into);
        Ok(())
    }

    fn note(&self, name: &str, seconds: f64, into: &mut Vec<f64>) {
        let rate = mib(self.size) / seconds;
        self.report.step(name, &format!("{rate:.0} MiB/s"), Duration::from_secs_f64(seconds));
        into.push(rate);
    }

    /// Random bytes, other ones in every round: what a node holds already would cost nothing to put.
    fn random_file(&self, path: &Path, round: u32) -> Result<()> {
        let mut rng = tree::rng(u64::from(rand::rng().next_u32()) << 32 | u64::from(round));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut buffer = vec![0; 1 << 20];
        let mut left = self.size;
        while left > 0 {
            let count = usize::try_from(left.min(1 << 20))?;
            rng.fill_bytes(&mut buffer[..count]);
            file.write_all(&buffer[..count])?;
            left -= count as u64;
        }
        file.into_inner().context("cannot write the file")?.sync_all()?;
        Ok(())
    }
}

fn change_a_byte(path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0xff], at)?;
    Ok(())
}
