//! `cargo xtask bench cache`: the page cache that a put leaves to others.
//!
//! Another program's file is read until it is warm, then a file is put on three nodes. Afterwards the first one is
//! still warm, and the nodes' own files hold next to nothing. A machine with plenty of memory shows little: so
//! some can be taken before, by pages that no file has, which are given back at once if others need them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use stash_api::files::PutDone;

use crate::bench::cold;
use crate::bench::figures::mib;
use crate::bench::median::rounded;
use crate::bench::random;
use crate::build;
use crate::cluster::{self, Cluster, Plan, Role};
use crate::process::Running;
use crate::report::Report;
use crate::tools;

/// The longest that the put may take.
const PUT: Duration = Duration::from_secs(30 * 60);
/// The longest that a look into the page cache may take.
const LOOK: Duration = Duration::from_secs(60);
/// Files of one look: their paths are arguments.
const FILES: usize = 200;

/// Bytes of all nodes' own files that may be in the page cache after the put.
const OWN: u64 = 64 << 20;
/// Part of the other file that stays in it, in percent.
const STAYS: f64 = 95.0;
/// Part of the other file that may be read from the disk afterwards, in percent.
const FROM_DISK: f64 = 1.0;

/// Memory is taken in pieces of so many bytes.
const PIECE: usize = 64 << 20;
/// What is taken goes back when less than this is left, in bytes.
const NEEDED: u64 = 1 << 30;
/// Pause between two looks at what is left.
const WATCH: Duration = Duration::from_millis(50);

pub(super) fn run(size: u64, warm: u64, leave: Option<u64>, json: bool) -> Result<()> {
    if let Some(why) = tools::absent("fincore", "util-linux-extra") {
        bail!("{why}");
    }
    let report = Report::new(json);
    let binary = build::stash(&report)?;
    let plan = Plan { log: "warn", ..Plan::new(Role::of_cluster(3), &binary) };
    let cluster = Cluster::found(&plan, &report)?;
    let work = cluster::fresh(&cluster.run.path, "bench")?;
    let (source, other) = (work.join("source"), work.join("other"));
    random::file(&source, size)?;
    random::file(&other, warm)?;
    cold::drop_below(&work)?;
    // Twice: what is in use was read more than once.
    read(&other)?;
    read(&other)?;
    let ballast = leave.map(Ballast::take).transpose()?;
    let before = percent(resident(slice::from_ref(&other))?, warm);
    report.line(format_args!("{:<28} {before:.1} % of it is warm", "another program's file"));

    let words = ["put", cluster::text(&source)?, "--wait", "all", "--json"];
    let reply = cluster.nodes[0].begin(&words)?.finish(PUT)?.expect(&[0])?;
    let put: PutDone = reply.json()?;
    ensure!(put.roots.iter().all(|root| root.copies == 3), "not three copies: {put:?}");
    let rate = format!("{:.0} MiB/s", mib(size) / reply.took.as_secs_f64());
    report.step("put", &rate, reply.took);

    let after = percent(resident(slice::from_ref(&other))?, warm);
    let of_source = resident(&[source])?;
    let mut own = 0;
    for node in &cluster.nodes {
        let mut files = Vec::new();
        below(&node.data(), &mut files)?;
        own += resident(&files)?;
    }
    let read_before = from_disk()?;
    read(&other)?;
    let asked = percent(from_disk()?.saturating_sub(read_before), warm);
    if ballast.is_some_and(Ballast::was_needed) {
        bail!("others needed the memory that was taken for the bench: run it when they do not");
    }
    report.line(format_args!(
        "{:<28} {after:.1} % of it is warm; {asked:.2} % is read from the disk",
        "the same file after the put"
    ));
    report.line(format_args!("{:<28} {:.1} MiB", "cached of the nodes' files", mib(own)));
    report.line(format_args!("{:<28} {:.1} MiB", "cached of what was put", mib(of_source)));
    report.document(&json!({
        "size": size, "warm": warm, "leave": leave,
        "warm_before_percent": rounded(before), "warm_after_percent": rounded(after),
        "from_disk_percent": rounded(asked),
        "own_mib": rounded(mib(own)), "source_mib": rounded(mib(of_source)),
    }))?;
    ensure!(before >= STAYS, "the file was not warm before: there is too little memory for it");
    ensure!(after >= STAYS, "{after:.1} % of another program's file stayed, below {STAYS} %");
    ensure!(asked < FROM_DISK, "{asked:.2} % of it had to be read from the disk again");
    ensure!(own <= OWN, "the nodes' files hold {:.1} MiB of the page cache", mib(own));
    cluster.finish(&report)
}

#[expect(clippy::cast_precision_loss, reason = "a part for a report")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

fn read(path: &Path) -> Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn below(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Bytes of these files that are in the page cache. Asking brings none of them there.
fn resident(files: &[PathBuf]) -> Result<u64> {
    let mut sum = 0;
    for files in files.chunks(FILES) {
        let mut command: Command = tools::command("fincore");
        command.args(["--bytes", "--noheadings", "--raw", "--output", "RES"]).args(files);
        let running = Running::spawn(&mut command, "fincore".to_owned())?;
        for line in running.finish(LOOK)?.expect(&[0])?.text().lines() {
            sum += line.trim().parse::<u64>().with_context(|| format!("fincore says {line:?}"))?;
        }
    }
    Ok(sum)
}

/// Bytes that this process had read from a disk so far.
fn from_disk() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    field(&text, "read_bytes").context("/proc/self/io has no read_bytes")
}

/// Bytes of memory that programs can have before others have to give some up.
fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = field(&text, "MemAvailable").context("/proc/meminfo has no MemAvailable")?;
    Ok(kib << 10)
}

/// The number in a line `name: number` or `name: number kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory that nobody else has, given back as soon as too little is left.
struct Ballast {
    stop: mpsc::Sender<()>,
    /// Ends with true if others needed it.
    watcher: JoinHandle<bool>,
}

impl Ballast {
    /// Takes memory until no more than `leave` bytes are available.
    fn take(leave: u64) -> Result<Ballast> {
        ensure!(leave >= 2 * NEEDED, "at least 2 GiB have to be left");
        let mut taken = Vec::new();
        while available()? > leave + PIECE as u64 {
            taken.push(vec![1_u8; PIECE]);
        }
        let (stop, stopped) = mpsc::channel();
        let watcher = thread::spawn(move || {
            let mut needed = false;
            while !needed && stopped.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
                needed = available().is_ok_and(|left| left < NEEDED);
            }
            drop(taken);
            needed
        });
        Ok(Ballast { stop, watcher })
    }

    /// Gives it back; true if it had to be given back before.
    fn was_needed(self) -> bool {
        drop(self.stop);
        self.watcher.join().unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_kernel_are_read_by_their_names() {
        let text = "MemTotal:  24000000 kB\nMemAvailable:    1234 kB\nread_bytes: 77\n";
        assert_eq!(field(text, "MemAvailable"), Some(1234));
        assert_eq!(field(text, "read_bytes"), Some(77));
        assert_eq!(field(text, "Mem"), None);
        assert!(available().unwrap() > 0);
    }

    #[test]
    fn what_was_read_is_resident_and_what_was_dropped_is_not() {
        if tools::find("fincore").is_none() {
            return;
        }
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        read(&path).unwrap();
        assert_eq!(resident(slice::from_ref(&path)).unwrap(), 1 << 20);
        let mut files = Vec::new();
        below(dir.path(), &mut files).unwrap();
        assert_eq!(files, [path]);
    }
}
