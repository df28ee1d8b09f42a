//! `cargo xtask bench transfer`: one big file put on three nodes and got back, beside the floor, round by round.
//!
//! In a virtual machine, the first write to memory that the host has not handed out yet can cost ten
//! times as much as the same write to memory that was used a moment ago; whoever runs first after a
//! large file was removed would win. So right before each side is timed, a ballast file as large as
//! what it will write is written and removed: both then find the same amount of used memory free.
//!
//! The floor's put is written in two ways, through the page cache and past it: the first is what a program does
//! that asks for nothing, the second what the disk can do. Gets are timed twice, cold and warm: before the cold one,
//! what it reads is dropped from the page cache, of the nodes and of the floor.
//!
//! Each round has a cluster of its own. An ext4 without a journal passes slowly over inodes that were
//! removed in the last minutes (`recently_deleted` in Linux's `fs/ext4/ialloc.c`), and every round evicts
//! a thousand files, which would be counted to the put of the next.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use stash_api::files::PutDone;

use crate::bench::cold;
use crate::bench::figures::{Phase, Rates, document, mib, summary};
use crate::bench::random;
use crate::build;
use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::compare;
use crate::process::{Reply, Running};
use crate::report::Report;

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

/// What of a get is in the page cache before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    Cold,
    Warm,
}

impl Bench<'_> {
    /// Every measurement of stash has the floor's next to it; which comes first alternates.
    fn round(&self, round: u32, rates: &mut Rates) -> Result<()> {
        let source = self.work.join(format!("file-{round}"));
        random::file(&source, self.size)?;
        let floor_dir = cluster::fresh(&self.work, "floor")?;
        self.puts(round, &source, &floor_dir, rates)?;
        self.put("put, unchanged", &source, &mut rates.reput_unchanged)?;
        change_a_byte(&source)?;
        self.put("put, one byte changed", &source, &mut rates.reput_changed)?;

        let key = format!("file-{round}");
        let turns = [
            (false, Cache::Cold, &mut rates.get_no_keep_cold),
            (false, Cache::Warm, &mut rates.get_no_keep_warm),
            (true, Cache::Cold, &mut rates.get_cold),
            (true, Cache::Warm, &mut rates.get_warm),
        ];
        for (turn, (keep, cache, phase)) in turns.into_iter().enumerate() {
            // What is kept is given up again.
            if turn == 0 || keep && cache == Cache::Warm {
                self.evict(&key, &mut rates.evict)?;
            }
            let stash_first = (round as usize + turn).is_multiple_of(2);
            for stash in [stash_first, !stash_first] {
                self.use_memory()?;
                if cache == Cache::Cold {
                    self.cool(&floor_dir)?;
                }
                match stash {
                    true => self.get(&key, &source, (keep, cache), phase)?,
                    false => self.floor_get(&floor_dir, (keep, cache), &mut phase.floor)?,
                }
            }
        }
        let elsewhere = &self.cluster.nodes[2];
        cluster::wait_listed(elsewhere, &key, 1)?;
        self.get_at(
            elsewhere,
            "get on node 3, local",
            (&key, &source),
            true,
            &mut rates.get_local,
        )?;
        fs::remove_dir_all(&floor_dir)?;
        fs::remove_file(&source)?;
        Ok(())
    }

    /// The put of stash and both of the floor, in an order that moves on with each round.
    fn puts(&self, round: u32, source: &Path, floor_dir: &Path, rates: &mut Rates) -> Result<()> {
        let direct = cluster::fresh(floor_dir, "direct")?;
        let file = cluster::text(source)?;
        for turn in 0..3 {
            self.use_memory()?;
            match (round + turn) % 3 {
                0 => self.put("put", source, &mut rates.put)?,
                1 => self.floor(
                    ("floor put", &mut rates.put.floor),
                    &["put", file, cluster::text(floor_dir)?],
                )?,
                _ => self.floor(
                    ("floor put, direct", &mut rates.floor_put_direct),
                    &["put", file, cluster::text(&direct)?, "--direct"],
                )?,
            }
        }
        Ok(())
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

    /// Drops what a get reads from the page cache. All of it is on disk: nothing was written since the sync.
    fn cool(&self, floor_dir: &Path) -> Result<()> {
        for node in &self.cluster.nodes {
            cold::drop_below(&node.data().join("store/chunks"))?;
        }
        cold::drop_below(floor_dir)
    }

    fn put(&self, name: &str, source: &Path, into: &mut Phase) -> Result<()> {
        let words = ["put", cluster::text(source)?, "--wait", "all", "--json"];
        let reply = self.timed(&self.cluster.nodes[0], name, &words, into)?;
        let put: PutDone = reply.json()?;
        if put.roots.iter().any(|root| root.copies != 3 || root.bytes != self.size) {
            bail!("not three copies of every byte: {put:?}");
        }
        Ok(())
    }

    fn evict(&self, key: &str, into: &mut Phase) -> Result<()> {
        self.timed(&self.cluster.nodes[0], "evict", &["evict", key, "--copies", "1"], into)
            .map(drop)
    }

    fn get(
        &self,
        key: &str,
        source: &Path,
        (keep, cache): (bool, Cache),
        into: &mut Phase,
    ) -> Result<()> {
        let name = format!("get{}", kind(keep, cache));
        self.get_at(&self.cluster.nodes[0], &name, (key, source), keep, into)
    }

    fn get_at(
        &self,
        node: &Node,
        name: &str,
        (key, source): (&str, &Path),
        keep: bool,
        into: &mut Phase,
    ) -> Result<()> {
        let output = self.work.join("output");
        let mut arguments = vec!["get", key, "-o", cluster::text(&output)?];
        if !keep {
            arguments.push("--no-keep");
        }
        self.timed(node, name, &arguments, into)?;
        compare::same(source, &output)?;
        fs::remove_file(&output)?;
        Ok(())
    }

    /// One command of stash: its time as a rate, and the processor time that it took of the nodes.
    fn timed(
        &self,
        node: &Node,
        name: &str,
        arguments: &[&str],
        into: &mut Phase,
    ) -> Result<Reply> {
        let before = self.cluster.processor_time()?;
        let reply = node.begin(arguments)?.finish(TRANSFER)?.expect(&[0])?;
        let took = self.cluster.processor_time()?.since(before);
        let share = self.cluster.nodes.len() as f64 * mib(self.size) / 1024.0;
        into.cpu.push(took.all().as_secs_f64() / share);
        into.system.push(took.system.as_secs_f64() / share);
        self.note(name, reply.took.as_secs_f64(), &mut into.rates);
        Ok(reply)
    }

    fn floor_get(
        &self,
        dir: &Path,
        (keep, cache): (bool, Cache),
        into: &mut Vec<f64>,
    ) -> Result<()> {
        let output = self.work.join("floor-output");
        let mut arguments = vec!["get", cluster::text(dir)?, cluster::text(&output)?];
        if keep {
            arguments.push("--keep");
        }
        self.floor((&format!("floor get{}", kind(keep, cache)), into), &arguments)?;
        fs::remove_file(&output)?;
        Ok(())
    }

    fn floor(&self, (name, into): (&str, &mut Vec<f64>), arguments: &[&str]) -> Result<()> {
        let what = format!("floor {}", arguments.join(" "));
        let running = Running::spawn(Command::new(self.floor).args(arguments), what)?;
        let took: FloorTook = running.finish(TRANSFER)?.expect(&[0])?.json()?;
        self.note(name, took.seconds, into);
        Ok(())
    }

    fn note(&self, name: &str, seconds: f64, into: &mut Vec<f64>) {
        let rate = mib(self.size) / seconds;
        self.report.step(name, &format!("{rate:.0} MiB/s"), Duration::from_secs_f64(seconds));
        into.push(rate);
    }
}

fn kind(keep: bool, cache: Cache) -> String {
    let keep = if keep { "kept" } else { "--no-keep" };
    let cache = if cache == Cache::Cold { "cold" } else { "warm" };
    format!(", {keep}, {cache}")
}

fn change_a_byte(path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0xff], at)?;
    Ok(())
}
