//! `cargo xtask bench bwlimit`: a node that is limited, and one that is not. Files go both ways, put and got, while both
//! nodes ask each other where a file is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use stash_api::files::Where;
use stash_api::node::Status;

use crate::bench::client::Client;
use crate::bench::figures::mib;
use crate::bench::median::rounded;
use crate::bench::times::Times;
use crate::cluster::{self, Cluster, Plan, Role};
use crate::report::Report;
use crate::{build, interrupt, tree};

/// The longest that one transfer may take.
const TRANSFER: Duration = Duration::from_secs(30 * 60);
/// Over what the rate is measured.
const WINDOW: f64 = 5.0;
/// Left out at both ends: waiting for the disk and for the last answer.
const EDGE: f64 = 2.0;
/// Between two looks at what went.
const LOOK: Duration = Duration::from_millis(100);
/// Between two questions of one node.
const PAUSE: Duration = Duration::from_millis(5);
/// The share by which the rate may be off.
const SLACK: f64 = 0.1;
/// The time that 99 of 100 questions may take, in milliseconds.
const ANSWER: f64 = 50.0;
/// What one node evicted does not come back by itself while the other has it: it would share the line with a get.
const ONE_COPY: [&str; 2] = ["--repair-copies", "1"];
/// The file that is asked for; it has a chunk, so that the other node is asked, too.
const ASKED: &str = "asked";

/// Which way the bytes go, as the limited node sees it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Sent,
    Received,
}

/// The figures of one transfer.
struct Shown {
    /// The slowest and the fastest window, in MiB/s.
    slowest: f64,
    fastest: f64,
    /// Seconds after the start at which the slowest began.
    slowest_at: f64,
    /// Everything that went this way, in MiB.
    moved: f64,
    questions: Times,
}

pub(super) fn run(limit: u64, size: u64, json: bool) -> Result<()> {
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(vec![Role::Owner; 2], &binary) };
    let mut cluster = Cluster::found(&plan, &report)?;
    let rate = format!("{limit} B");
    cluster.nodes[0].with(&["--bwlimit", &rate, ONE_COPY[0], ONE_COPY[1]]);
    cluster.nodes[1].with(&ONE_COPY);
    for node in &mut cluster.nodes {
        node.stop()?;
        node.start()?;
    }
    cluster.settle()?;
    let bench =
        Bench { cluster: &cluster, work: cluster::fresh(&cluster.run.path, "bench")?, size };
    let shown = bench.all()?;
    let allowed = mib(limit);
    for (name, shown) in &shown {
        shown.tell(name, &report);
    }
    let steps: Vec<Value> = shown.iter().map(|(name, shown)| shown.document(name)).collect();
    report.document(&json!({"limit_mib_s": allowed, "size": size, "steps": steps}))?;
    for (name, shown) in &shown {
        shown.check(allowed).with_context(|| (*name).to_owned())?;
    }
    cluster.finish(&report)
}

struct Bench<'a> {
    cluster: &'a Cluster,
    work: PathBuf,
    size: u64,
}

impl Bench<'_> {
    fn all(&self) -> Result<Vec<(&'static str, Shown)>> {
        let [limited, other] = [0, 1];
        let asked = self.file(ASKED, 64 << 10)?;
        self.cluster.nodes[limited].ok(&["put", &asked, "--wait", "all"])?;
        let (a, b) = (self.file("a", self.size)?, self.file("b", self.size)?);
        let out = self.work.join("out");
        let out = cluster::text(&out)?;
        let get = |key| ["get", key, "-o", out, "--overwrite", "--no-keep"];
        let mut shown = Vec::new();
        let put = self.step(limited, Way::Sent, &["put", &a, "--wait", "all"])?;
        shown.push(("put, sent", put));
        let put = self.step(other, Way::Received, &["put", &b, "--wait", "all"])?;
        shown.push(("put, received", put));
        self.cluster.nodes[limited].ok(&["evict", "b", "--copies", "1"])?;
        shown.push(("get, received", self.step(limited, Way::Received, &get("b"))?));
        self.cluster.nodes[other].ok(&["evict", "a", "--copies", "1"])?;
        shown.push(("get, sent", self.step(other, Way::Sent, &get("a"))?));
        Ok(shown)
    }

    fn file(&self, name: &str, size: u64) -> Result<String> {
        let path = self.work.join(name);
        let mut bytes = vec![0; usize::try_from(size)?];
        rand::Rng::fill_bytes(&mut tree::rng(tree::seed(None)), &mut bytes);
        std::fs::write(&path, bytes)?;
        Ok(cluster::text(&path)?.to_owned())
    }

    /// Runs one command, beside which both nodes are asked, and the limited one is watched.
    fn step(&self, node: usize, way: Way, command: &[&str]) -> Result<Shown> {
        let sockets = self.cluster.nodes.iter().map(|node| {
            let [_, (_, socket)] = node.variables();
            socket
        });
        let sockets: Vec<PathBuf> = sockets.collect();
        let done = AtomicBool::new(false);
        let begun = Instant::now();
        let (looks, took) = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&sockets[0], way, &done));
            let asking: Vec<_> =
                sockets.iter().map(|socket| scope.spawn(|| ask(socket, &done))).collect();
            let finished = self.cluster.nodes[node].begin(command).and_then(|running| {
                let reply = running.finish(TRANSFER)?;
                reply.expect(&[0])
            });
            done.store(true, Ordering::Relaxed);
            let panicked = |_| anyhow!("a thread panicked");
            let looks = watching.join().map_err(panicked)??;
            let mut took = Vec::new();
            for asking in asking {
                took.extend(asking.join().map_err(panicked)??);
            }
            finished?;
            anyhow::Ok((looks, took))
        })?;
        let [(slowest_at, slowest), (_, fastest)] = windows(&looks)?;
        let moved = |looks: &[(f64, u64)]| Some(mib(looks.last()?.1 - looks.first()?.1));
        let moved = moved(&looks).unwrap_or_default();
        let questions = Times::new(took, begun.elapsed());
        Ok(Shown { slowest, fastest, slowest_at, moved, questions })
    }
}

/// Seconds and bytes, look by look.
fn watch(socket: &Path, way: Way, done: &AtomicBool) -> Result<Vec<(f64, u64)>> {
    let mut client = Client::connect(socket)?;
    let begun = Instant::now();
    let mut looks = Vec::new();
    while !done.load(Ordering::Relaxed) {
        interrupt::check()?;
        let status = client.get(&Status::route())?;
        let bytes = match way {
            Way::Sent => status.traffic.sent,
            Way::Received => status.traffic.received,
        };
        looks.push((begun.elapsed().as_secs_f64(), bytes));
        thread::sleep(LOOK);
    }
    Ok(looks)
}

/// Asks again and again; the time of each question.
fn ask(socket: &Path, done: &AtomicBool) -> Result<Vec<Duration>> {
    let mut client = Client::connect(socket)?;
    let place = Where::route(ASKED);
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.ask("GET", place.path(), b"")?;
        took.push(begun.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(took)
}

/// The slowest and the fastest window away from both ends: when each began, and its MiB/s.
fn windows(looks: &[(f64, u64)]) -> Result<[(f64, f64); 2]> {
    let end = looks.last().map_or(0.0, |(at, _)| at - EDGE);
    let middle: Vec<_> = looks.iter().filter(|(at, _)| (EDGE..=end).contains(at)).collect();
    let mut rates: Vec<(f64, f64)> = middle
        .iter()
        .filter_map(|(from, before)| {
            let (to, after) = middle.iter().find(|(to, _)| *to >= from + WINDOW)?;
            Some((*from, mib(after - before) / (to - from)))
        })
        .collect();
    rates.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let [slowest, .., fastest] = rates[..] else {
        bail!("{end:.1} s are too short to measure: take a larger --size");
    };
    Ok([slowest, fastest])
}

impl Shown {
    fn tell(&self, name: &str, report: &Report) {
        let Self { slowest, fastest, moved, questions, .. } = self;
        report.line(format_args!(
            "{name:<28} {slowest:.3} to {fastest:.3} MiB/s over 5 s, {moved:.1} MiB in all"
        ));
        questions.tell("  questions beside it", "answers", report);
    }

    fn document(&self, name: &str) -> Value {
        json!({
            "step": name,
            "slowest_mib_s": rounded(self.slowest), "fastest_mib_s": rounded(self.fastest),
            "moved_mib": rounded(self.moved), "questions": self.questions.document("answers_s"),
        })
    }

    fn check(&self, allowed: f64) -> Result<()> {
        let (slowest, fastest) = (self.slowest, self.fastest);
        let range = allowed * (1.0 - SLACK)..=allowed * (1.0 + SLACK);
        ensure!(
            range.contains(&slowest) && range.contains(&fastest),
            "{slowest:.3} to {fastest:.3} MiB/s where {allowed:.3} are allowed; the slowest 5 s began after {:.1} s",
            self.slowest_at
        );
        let p99 = self.questions.percentile(99);
        ensure!(p99 <= ANSWER, "1 of 100 questions took {p99:.1} ms");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_leave_the_ends_out() {
        let steady = |from: u32| (u64::from(from) * 1000) << 20;
        let looks: Vec<_> = (0..200_u32)
            .map(|tenth| (f64::from(tenth) / 10.0, steady(tenth.clamp(20, 180)) / 10_000))
            .collect();
        let [(_, slowest), (_, fastest)] = windows(&looks).unwrap();
        assert!(
            (slowest - 1.0).abs() < 0.02 && (fastest - 1.0).abs() < 0.02,
            "{slowest} {fastest}"
        );
        assert!(windows(&looks[..60]).is_err());
    }
}
