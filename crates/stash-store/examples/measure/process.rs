//! Figures of this process, and running the program once more in a process of its own, so that no
//! side's memory counts as another's.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use super::Outcome;

/// The most memory that this process ever had resident, in bytes.
pub fn peak_rss() -> Outcome<u64> {
    Ok(number("/proc/self/status", "VmHWM:")? * 1024)
}

/// Memory that this process has resident now, in bytes.
pub fn rss() -> Outcome<u64> {
    Ok(number("/proc/self/status", "VmRSS:")? * 1024)
}

/// Bytes that this process has had the kernel write to disks, or will have written.
pub fn written() -> Outcome<u64> {
    number("/proc/self/io", "write_bytes:")
}

fn number(path: &str, name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    Ok(word.ok_or_else(|| format!("{path} has no {name}"))?.parse()?)
}

/// This program, with the same arguments and more.
pub fn again(more: &[OsString]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).args(more).stderr(Stdio::inherit());
    Ok(command)
}

/// Runs this program with more arguments and reads the JSON document that it prints.
pub fn ask<T: DeserializeOwned>(more: &[OsString]) -> Outcome<T> {
    let output = again(more)?.stdin(Stdio::null()).stdout(Stdio::piped()).output()?;
    if !output.status.success() {
        return Err(format!("{more:?} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
