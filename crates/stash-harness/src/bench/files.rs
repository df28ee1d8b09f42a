//! `cargo xtask bench files`: a tree of many files through one put on one node: the rate of each part of them, and what
//! is asked of the node with all of them in it.
//!
//! The tree lies in memory where the machine has a file system for that, so that the disk is the node's alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::Rng;
use serde_json::{Value, json};
use stash_api::files::Listing;
use stash_api::node::Status;

use crate::bench::client::Client;
use crate::bench::figures::mib;
use crate::bench::median::rounded;
use crate::bench::times::Times;
use crate::cluster::{self, Cluster, Node, Plan, Role};
use crate::report::{Report, seconds};
use crate::{build, interrupt, machine, tree};

/// Files in one directory.
const EACH: u32 = 1_000;

/// Parts of the tree of which each has its own rate.
const PARTS: u32 = 10;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Bytes of the disk that a file takes beside its content, at most: record, log, index and names, of all its versions.
const ROOM: u64 = 6 * 1024;

/// The longest that the whole tree may be put, removed or brought back.
const PATIENCE: Duration = Duration::from_secs(4 * 3_600);

/// Between two looks at a put under way. Each is a status, which is not free.
const LOOK: Duration = Duration::from_millis(200);

/// Questions of each kind.
const QUESTIONS: usize = 20;

/// Names of one page, as `stash ls` asks for them.
const PAGE: u64 = 1_000;

/// Targets of the report.
const ASKED_LAST: f64 = 0.7;
const ASKED_PAGE_MS: u32 = 50;
const ASKED_STATUS_MS: u32 = 100;
const ASKED_START_S: u32 = 1;
const ASKED_MEMORY_MIB: u32 = 96;

pub(super) fn run(count: u32, size: usize, json: bool) -> Result<()> {
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(vec![Role::Owner], &binary) };
    let mut cluster = Cluster::found(&plan, &report)?;
    let source = Source::generate(&cluster.run.path, count, size, &report)?;
    let node = &mut cluster.nodes[0];

    let ends = put(node, &source.root, count, &report)?;
    let rates = rates(&ends, count);
    let ratio = rates.last().unwrap_or(&0.0) / rates.first().unwrap_or(&f64::NAN);
    for (part, rate) in (1u64..).zip(&rates) {
        let until = u64::from(count) * part / u64::from(PARTS);
        report.line(format_args!("{:<28} {rate:.0} files/s", format!("up to {until}")));
    }
    report.line(format_args!(
        "{:<28} {ratio:.2} of the rate of the first; asked: {ASKED_LAST}",
        "the last part"
    ));
    drop(source);
    let after_put = look(node, &report, "after the put")?;

    node.stop()?;
    let start = node.start()?;
    report.step("serves after a clean stop", &format!("asked: {ASKED_START_S} s"), start);
    let after_start = look(node, &report, "after a start")?;
    node.kill()?;
    let start_killed = node.start()?;
    report.step("serves after a SIGKILL", &format!("asked: {ASKED_START_S} s"), start_killed);

    let key = Source::KEY;
    let removed = command(node, &["rm", "-r", "-y", key, "--wait", "local"], &report)?;
    let after_rm = look(node, &report, "after rm -r")?;
    let back = command(node, &["undelete", "-r", key, "--wait", "local"], &report)?;
    report.line(format_args!(
        "{:<28} {:.2} times as long as rm -r; asked: 2",
        "undelete -r",
        back.as_secs_f64() / removed.as_secs_f64()
    ));
    let files = status(&mut client(node)?)?.files;
    ensure!(
        files == Some(count.into()),
        "{files:?} files after undelete -r of {count}: some are lost"
    );
    let purged = command(node, &["rm", "-r", "--purge", "-y", key, "--wait", "local"], &report)?;
    let after_purge = look(node, &report, "after rm -r --purge")?;
    let peak = node.peak_kib();
    report.line(format_args!(
        "{:<28} {} at the peak; asked: {ASKED_MEMORY_MIB} MiB",
        "resident",
        machine::mib(peak)
    ));
    report.document(&json!({
        "files": count, "file_bytes": size,
        "files_s": rates.iter().map(|rate| rounded(*rate)).collect::<Vec<f64>>(),
        "last_of_first": rounded(ratio), "peak_rss_kib": peak,
        "start_s": rounded(start.as_secs_f64()), "start_killed_s": rounded(start_killed.as_secs_f64()),
        "rm_s": rounded(removed.as_secs_f64()), "undelete_s": rounded(back.as_secs_f64()),
        "purge_s": rounded(purged.as_secs_f64()),
        "after_put": after_put, "after_start": after_start, "after_rm": after_rm, "after_purge": after_purge,
    }))?;
    cluster.finish(&report)
}

/// The tree that is put; removed when dropped.
struct Source {
    root: PathBuf,
}

impl Source {
    /// Name of the tree, and so its key.
    const KEY: &str = "files";

    fn generate(run: &Path, count: u32, size: usize, report: &Report) -> Result<Self> {
        let bytes = u64::from(count) * size as u64;
        let memory = Path::new(MEMORY);
        let parent = match room(memory) {
            Ok(free) if free > bytes + bytes / 4 + (1 << 30) => {
                memory.join(format!("stash-bench-{}", std::process::id()))
            }
            _ => run.join("source"),
        };
        let wanted = u64::from(count) * ROOM + 2 * bytes;
        let free = room(run)?;
        ensure!(
            free > wanted,
            "{count} files may take {:.0} MiB, and {:.0} MiB are free below {}",
            mib(wanted),
            mib(free),
            run.display()
        );
        fs::create_dir_all(&parent)?;
        let source = Self { root: parent.join(Self::KEY) };
        let begun = Instant::now();
        fs::create_dir(&source.root)?;
        let mut rng = tree::rng(u64::from(count));
        let mut content = vec![0; size];
        for index in 0..count {
            let dir = source.root.join(format!("{:05}", index / EACH));
            if index % EACH == 0 {
                interrupt::check()?;
                fs::create_dir(&dir)?;
            }
            rng.fill_bytes(&mut content);
            fs::write(dir.join(format!("{index:08}.bin")), &content)?;
        }
        let what = format!("{count} files of {size} bytes in {}", parent.display());
        report.step("generated", &what, begun.elapsed());
        Ok(source)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(parent) = self.root.parent()
            && let Err(error) = fs::remove_dir_all(parent)
        {
            crate::report::complain(&format!("xtask: {}: {error}", parent.display()));
        }
    }
}

fn room(dir: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Puts the tree, and says when each part of it was stored.
fn put(node: &Node, root: &Path, count: u32, report: &Report) -> Result<Vec<Duration>> {
    let mut client = client(node)?;
    let before = status(&mut client)?.records;
    let begun = Instant::now();
    let words = ["put", cluster::text(root)?, "--wait", "local"];
    let mut running = node.begin(&words)?;
    let (mut looks, mut stored, mut slowest) = (vec![(Duration::ZERO, 0)], 0, Duration::ZERO);
    while stored < u64::from(count) {
        interrupt::check()?;
        thread::sleep(LOOK);
        let asked = Instant::now();
        stored = status(&mut client)?.records.saturating_sub(before);
        slowest = slowest.max(asked.elapsed());
        looks.push((begun.elapsed(), stored));
        if running.has_ended()? {
            break;
        }
        if begun.elapsed() > PATIENCE {
            bail!("after {} {stored} of {count} files are stored", seconds(PATIENCE));
        }
    }
    let reply = running.finish(PATIENCE)?.expect(&[0])?;
    looks.push((reply.took, u64::from(count)));
    let rate = f64::from(count) / reply.took.as_secs_f64();
    report.step("put", &format!("{count} files, {rate:.0}/s"), reply.took);
    report.step("slowest status meanwhile", "", slowest);
    let part = |part: u32| u64::from(count) * u64::from(part) / u64::from(PARTS);
    Ok((1..=PARTS).map(|at| time_of(&looks, part(at))).collect())
}

/// The time at which so many files were stored, between two looks by their rate.
#[expect(clippy::cast_precision_loss, reason = "a rate for a report")]
fn time_of(looks: &[(Duration, u64)], count: u64) -> Duration {
    let at = looks.iter().position(|(_, stored)| *stored >= count).unwrap_or(looks.len() - 1);
    let (end, stored) = looks[at];
    let Some(&(begin, before)) = at.checked_sub(1).and_then(|at| looks.get(at)) else {
        return end;
    };
    let share = (count - before.min(count)) as f64 / (stored - before).max(1) as f64;
    begin + (end - begin).mul_f64(share.min(1.0))
}

/// Files a second in each part.
fn rates(ends: &[Duration], count: u32) -> Vec<f64> {
    let begins = std::iter::once(Duration::ZERO).chain(ends.iter().copied());
    let each = f64::from(count) / f64::from(PARTS);
    begins.zip(ends).map(|(begin, end)| each / (*end - begin).as_secs_f64()).collect()
}

/// Asks for what people look at.
fn look(node: &Node, report: &Report, when: &str) -> Result<Value> {
    let mut client = client(node)?;
    let begun = Instant::now();
    let first = status(&mut client)?;
    let first_status = begun.elapsed();
    report.step("first status", when, first_status);
    let statuses = times(|| status(&mut client).map(drop))?;
    statuses.tell("status", &format!("{when}; asked: {ASKED_STATUS_MS} ms"), report);
    let route = Listing::route(Source::KEY, None, PAGE);
    let mut names = 0;
    let pages = times(|| {
        names = client.get(&route)?.entries.len();
        Ok(())
    })?;
    pages.tell(
        &format!("ls, {names} names"),
        &format!("{when}; asked: {ASKED_PAGE_MS} ms"),
        report,
    );
    let memory = node.memory()?;
    report.line(format_args!("{:<28} {} {when}", "resident", machine::mib(memory.now_kib)));
    Ok(json!({
        "records": first.records, "first_status_ms": rounded(first_status.as_secs_f64() * 1e3),
        "status": statuses.document("status_s"), "page": pages.document("page_s"),
        "rss_kib": memory.now_kib,
    }))
}

fn times(mut ask: impl FnMut() -> Result<()>) -> Result<Times> {
    let begun = Instant::now();
    let mut took = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        ask()?;
        took.push(asked.elapsed());
    }
    Ok(Times::new(took, begun.elapsed()))
}

fn command(node: &Node, words: &[&str], report: &Report) -> Result<Duration> {
    let reply = node.begin(words)?.finish(PATIENCE)?.expect(&[0])?;
    report.step(&words[..words.len() - 2].join(" "), "", reply.took);
    Ok(reply.took)
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

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_part_ends_between_two_looks_by_the_rate_between_them() {
        let looks = [(s(0), 0), (s(10), 100), (s(20), 300)];
        assert_eq!(time_of(&looks, 100), s(10));
        assert_eq!(time_of(&looks, 200), s(15));
        assert_eq!(time_of(&looks, 300), s(20));
        assert_eq!(time_of(&looks, 400), s(30).min(time_of(&looks, 400)), "never beyond the looks");
    }

    #[test]
    fn each_part_has_its_own_rate() {
        let ends: Vec<Duration> =
            (1..=10).map(|part| s(if part < 10 { part } else { 14 })).collect();
        let rates = rates(&ends, 1_000);
        assert!((rates[0] - 100.0).abs() < 1e-9 && (rates[9] - 20.0).abs() < 1e-9, "{rates:?}");
    }

    #[test]
    fn the_source_is_gone_when_it_is_dropped() {
        let run = tempfile::tempdir().unwrap();
        let source = Source::generate(run.path(), EACH + 1, 100, &Report::new(true)).unwrap();
        let last = source.root.join("00001/00001000.bin");
        assert_eq!(fs::read(last).unwrap().len(), 100);
        let parent = source.root.parent().unwrap().to_path_buf();
        drop(source);
        assert!(!parent.exists());
    }
}
