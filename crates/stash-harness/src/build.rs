//! Building what the tasks drive: the `stash` program, the floor, and the user whose power is cut.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use crate::report::{Report, seconds};
use crate::scratch;

/// A clean release build on two slow cores.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// A program to drive instead of building one, such as an installed release.
const BINARY: &str = "XTASK_STASH_BINARY";

/// The release build of `stash`.
pub fn stash(report: &Report) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY) {
        let path = PathBuf::from(given).canonicalize().context(BINARY)?;
        report.line(format_args!("{:<28} {}", "not built, given", path.display()));
        return Ok(path);
    }
    executable(report, &["--package", "stash-node", "--bin", "stash"], "stash")
}

/// The release build of the floor: the same work as a transfer, in straight-line code.
pub fn floor(report: &Report) -> Result<PathBuf> {
    executable(report, &["--package", "stash-harness", "--example", "floor"], "floor")
}

/// The release build of the store's user whose power is cut.
pub fn powercut(report: &Report) -> Result<PathBuf> {
    executable(report, &["--package", "stash-store", "--example", "powercut"], "powercut")
}

/// The release build of the many members of one node.
pub fn members(report: &Report) -> Result<PathBuf> {
    executable(report, &["--package", "stash-server", "--example", "members"], "members")
}

/// Cargo in the workspace, the one that started this program.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(scratch::workspace());
    cargo
}

fn executable(report: &Report, target: &[&str], name: &str) -> Result<PathBuf> {
    let started = Instant::now();
    let mut build = cargo();
    build.args(["build", "--release", "--message-format=json-render-diagnostics"]).args(target);
    // Progress and errors of cargo are on stderr, which stays the terminal's.
    let mut child = build.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo has no output")?;
    let found = Message::parse_stream(std::io::BufReader::new(output))
        .filter_map(Result::ok)
        .filter_map(|message| match message {
            Message::CompilerArtifact(artifact) if artifact.target.name == name => {
                artifact.executable
            }
            _ => None,
        })
        .last();
    let status = child.wait()?;
    if !status.success() {
        bail!("building {name} failed ({status})");
    }
    if started.elapsed() > BUILD {
        report.line(format_args!("note: building {name} took {}", seconds(started.elapsed())));
    }
    let path = found.with_context(|| format!("cargo names no executable for {name}"))?;
    report.line(format_args!("{:<28} {path} ({})", "built", seconds(started.elapsed())));
    Ok(path.into_std_path_buf())
}
