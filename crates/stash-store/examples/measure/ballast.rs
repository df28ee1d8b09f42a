//! Gives every side of a bench the same memory to start with.
//!
//! In a virtual machine, the first write to memory that the host has not handed out yet can cost
//! ten times as much as the same write to memory that was used a moment ago. Without this, whoever
//! runs first pays for the others.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::{MIB, Outcome};

/// Writes and removes a file as large as what the next side will write, at most three quarters of
/// the memory there is. What was written before is on disk when this returns.
pub fn ballast(dir: &Path, bytes: u64) -> Outcome<()> {
    rustix::fs::sync();
    let path = dir.join("ballast");
    let mut file = File::create(&path)?;
    let block = vec![1; usize::try_from(MIB)?];
    for _ in 0..bytes.min(available()? / 4 * 3).div_ceil(MIB) {
        file.write_all(&block)?;
    }
    drop(file);
    Ok(fs::remove_file(&path)?)
}

fn available() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).ok_or("no MemAvailable")?;
    Ok(kib.parse::<u64>()? * 1024)
}
