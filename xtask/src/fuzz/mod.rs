//! `cargo xtask fuzz`: every fuzz target for a while, from its committed inputs on.

mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stash_harness::build::cargo;
use stash_harness::process::{Reply, Running, build_in_view};
use stash_harness::report::Report;
use stash_harness::{interrupt, scratch};

use crate::cli::FuzzArguments;
use targets::Target;

/// What a target may take beyond its time: reading its inputs, the last one, writing a finding.
const SLACK: Duration = Duration::from_secs(120);

/// Resident memory of a target at most, in MiB: what the sanitizer itself takes is most of it.
const MEMORY_MIB: u32 = 512;

/// One allocation at most, in MiB: no input is longer than a message or a chunk, and no decoder
/// needs much more than its input.
const ALLOCATION_MIB: u32 = 64;

/// One input at most, in seconds.
const INPUT_SECONDS: u32 = 10;

/// What became of one target.
enum Outcome {
    /// The last line of the fuzzer: how many inputs, in how many seconds.
    Held(String),
    /// Where the input lies and what it broke, or why there was no run.
    Found(String),
}

pub(crate) fn run(arguments: &FuzzArguments) -> Result<()> {
    let report = Report::text();
    let root = scratch::workspace();
    let targets = targets::choose(targets::all(&root)?, &arguments.targets)?;
    installed()?;
    let (mut findings, mut built) = (vec![], None);
    for target in &targets {
        if built != Some(&target.package) {
            build(&report, &root, target)?;
            built = Some(&target.package);
        }
        let started = Instant::now();
        let outcome = fuzz(&root, target, arguments.seconds);
        interrupt::check()?;
        // A target that does not run, or does not end, must not keep the others from running.
        match outcome.unwrap_or_else(|error| Outcome::Found(format!("{error:#}"))) {
            Outcome::Held(done) => report.step(&target.name, &done, started.elapsed()),
            Outcome::Found(what) => {
                report.step(&target.name, &format!("FOUND {what}"), started.elapsed());
                findings.push(format!("{}: {what}", target.name));
            }
        }
    }
    if findings.is_empty() {
        report.line(format_args!("fuzz: {} targets, nothing found", targets.len()));
        return Ok(());
    }
    bail!(
        "{} of {} targets found something:\n{}",
        findings.len(),
        targets.len(),
        findings.join("\n")
    )
}

/// Stable Rust will do: the sanitizer's flags are let through by `RUSTC_BOOTSTRAP`.
fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").arg("fuzz").args(arguments);
    command
}

fn installed() -> Result<()> {
    let quiet = cargo_fuzz(&["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if quiet.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    bail!(
        "NOTHING WAS FUZZED: cargo-fuzz is not installed. Install it with\n\
         \n    cargo install cargo-fuzz --locked\n\n\
         (it also needs a C++ compiler, such as g++)"
    )
}

/// Builds all targets of a package, with the versions of dependencies that the workspace has.
fn build(report: &Report, root: &Path, target: &Target) -> Result<()> {
    let started = Instant::now();
    let (ours, theirs) = (root.join("Cargo.lock"), target.package.join("Cargo.lock"));
    if !is_newer(&theirs, &ours) {
        fs::copy(&ours, &theirs).with_context(|| theirs.display().to_string())?;
    }
    let mut command = cargo_fuzz(&["build"]);
    build_in_view(command.args(places(root, target)))?;
    report.step("built", &target.package.display().to_string(), started.elapsed());
    Ok(())
}

fn is_newer(a: &Path, than: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    time(a).is_ok_and(|a| time(than).is_ok_and(|than| a > than))
}

/// One build directory for all packages, so that what they share is built once.
fn places(root: &Path, target: &Target) -> [PathBuf; 4] {
    ["--fuzz-dir".into(), target.package.clone(), "--target-dir".into(), root.join("target/fuzz")]
}

fn fuzz(root: &Path, target: &Target, seconds: u32) -> Result<Outcome> {
    let found = root.join("target/fuzz-corpus").join(&target.name);
    fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    let mut command = cargo_fuzz(&["run"]);
    command.args(places(root, target)).arg(&target.name);
    // The fuzzer adds what it finds to the first directory, and only reads the second.
    command.arg(&found).arg(target.package.join("corpus").join(&target.name)).arg("--");
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-malloc_limit_mb={ALLOCATION_MIB}"),
        format!("-timeout={INPUT_SECONDS}"),
    ]);
    let running = Running::spawn(&mut command, format!("cargo fuzz run {}", target.name))?;
    let reply = running.finish(Duration::from_secs(seconds.into()) + SLACK)?;
    outcome(&reply)
}

fn outcome(reply: &Reply) -> Result<Outcome> {
    let line = |mark: &str| reply.stderr.lines().find_map(|line| line.split_once(mark));
    if reply.code == 0 {
        let done = line("Done ").map(|(_, done)| done.to_owned());
        return Ok(Outcome::Held(done.context("the fuzzer did not say that it was done")?));
    }
    let why = line("panicked at ").or_else(|| line("ERROR: ")).map_or("", |(_, why)| why);
    match line("Test unit written to ") {
        Some((_, path)) => Ok(Outcome::Found(format!("{} ({why})", path.trim()))),
        None => bail!("{} failed without a finding:\n{}", reply.what, reply.stderr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: i32, stderr: &str) -> Reply {
        let (what, stderr) = ("cargo fuzz run x".to_owned(), stderr.to_owned());
        Reply { what, code, stdout: vec![], stderr, took: Duration::ZERO }
    }

    #[test]
    fn a_finding_is_told_with_its_input_and_its_reason() {
        let said = "thread '<unnamed>' panicked at src/a.rs:1:2:\nartifact_prefix='/a/'; \
                    Test unit written to /a/crash-1\n";
        match outcome(&reply(1, said)).unwrap() {
            Outcome::Found(what) => assert_eq!(what, "/a/crash-1 (src/a.rs:1:2:)"),
            Outcome::Held(done) => panic!("{done}"),
        }
        assert!(outcome(&reply(1, "error: could not compile")).is_err());
    }

    #[test]
    fn a_run_that_held_is_told_with_its_numbers() {
        match outcome(&reply(0, "#9\tDONE\nDone 99 runs in 3 second(s)\n")).unwrap() {
            Outcome::Held(done) => assert_eq!(done, "99 runs in 3 second(s)"),
            Outcome::Found(what) => panic!("{what}"),
        }
        assert!(outcome(&reply(0, "")).is_err(), "a run that says nothing has shown nothing");
    }
}
