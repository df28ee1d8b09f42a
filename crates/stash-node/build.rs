//! Tells the program which commit it was built from, so that a report of a fault says what it is about.
//!
//! The same sources give the same program: nothing of the machine or of the time of building goes in. Only builds with
//! optimisations are told, since others are made again and again between two commits.

#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let told = std::env::var("BUILD_COMMIT").ok().filter(|told| !told.is_empty());
    let is_debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let commit = match told {
        Some(told) => Some(told),
        None if is_debug => None,
        None => packed().or_else(checked_out),
    };
    let is_plain = |commit: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || " -+.:".contains(c);
        (1..=64).contains(&commit.len()) && commit.chars().all(plain)
    };
    if let Some(commit) = commit.filter(is_plain) {
        println!("cargo::rustc-env=STASH_BUILT_FROM={commit}");
    }
}

/// Digits of a commit that are shown: enough for any repository, and as many on every machine.
const DIGITS: usize = 10;

/// The commit that `cargo package` has noted in the package.
fn packed() -> Option<String> {
    let note = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_hexdigit()).collect();
    digits.get(..DIGITS).map(str::to_owned)
}

/// The commit that is checked out, with its date, and a plus if files differ from it. `None` in a repository of somebody
/// else's, which these sources were copied into.
fn checked_out() -> Option<String> {
    if git(&["rev-parse", "--show-prefix"])? != "crates/stash-node/" {
        return None;
    }
    for name in ["HEAD", "packed-refs"] {
        watch(&git(&["rev-parse", "--git-path", name])?);
    }
    if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        watch(&git(&["rev-parse", "--git-path", &branch])?);
    }
    watch("..");
    let head = git(&["log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%d"])?;
    let (hash, date) = head.split_once(' ')?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let plus = if changed.is_empty() { "" } else { "+" };
    Some(format!("{}{plus} {date}", hash.get(..DIGITS)?))
}

/// Builds anew when this changes. What is not there yet would be taken for changed at every build.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
