//! Whole nodes, 3 to 30 of them, in one thread and in simulated time: each seed is one schedule of
//! writes, crashes, cuts, faulty disks, lost disks and lies, and every run of it is the same.
//!
//! `cargo xtask simulate` runs many; `docs/testing.md` says what is checked and how to replay.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests stand outside of them"
)]

mod check;
mod machine;
mod model;
mod network;
mod operation;
mod profile;
mod schedule;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod world;

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Instant;

use schedule::{Report, run};

fn number<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn nodes() -> RangeInclusive<usize> {
    number("STASH_NODES").map_or(3..=5, |nodes| nodes..=nodes)
}

/// Prints what happened in a schedule that went wrong.
fn tell(seed: u64, report: &Report) {
    report.lines.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}, {} records, violations:", report.records);
    report.violations.iter().for_each(|violation| println!("  {violation}"));
}

#[test]
fn one_seed_is_one_schedule() {
    let seed = number("STASH_SEED").unwrap_or(7);
    println!("replay with STASH_SEED={seed}");
    let (first, second) = (run(seed, nodes()), run(seed, nodes()));
    for (at, (one, other)) in first.lines.iter().zip(&second.lines).enumerate() {
        assert_eq!(one, other, "line {at}");
    }
    assert_eq!(first.hash, second.hash, "every byte on the network, and when it left");
}

// Fault cases 95, 96, 103, 104, 107, 114.
#[test]
fn schedules_lose_nothing_and_bring_nothing_back() {
    let first = number("STASH_SEED").unwrap_or(1);
    let count = number("STASH_SEEDS").unwrap_or(20_u64);
    let begun = Instant::now();
    let (mut wrong, mut records) = (Vec::new(), 0);
    for seed in first..first + count {
        let report = run(seed, nodes());
        records += report.records;
        if !report.violations.is_empty() || std::env::var_os("STASH_TRACE").is_some() {
            tell(seed, &report);
        }
        if !report.violations.is_empty() {
            wrong.push(seed);
        }
        if !wrong.is_empty() && std::env::var_os("STASH_FIRST").is_some() {
            break;
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{count} schedules, {records} records, {rate:.1} schedules/s");
    assert!(wrong.is_empty(), "replay with STASH_SEED: {wrong:?}");
}
