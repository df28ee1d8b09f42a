//! A user of a store who writes down, on another disk, what it was told, so that a fresh process
//! can say after a power cut whether the store kept its word. `cargo xtask powercut` cuts.
//!
//! `cargo run -p stash-store --example powercut` shows it, uncut, in a directory of its own.
//! `cargo run -p stash-store --example powercut -- run DIR SEED ACKS [only-add]`
//! `cargo run -p stash-store --example powercut -- check DIR ACKS`
//!
//! DIR is the store's directory, made if it is missing. ACKS is the file that is written to; it
//! must be kept through the cut. With `only-add`, nothing is removed from the store. A promise that was broken ends it with exit code 1 and a sentence.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to use")]

mod acks;
mod contents;
mod model;
mod operation;
mod user;

use std::path::Path;
use std::process::ExitCode;

use user::{Failure, User};

/// Rounds of a run that nobody cuts; the last cut point of `cargo xtask powercut` lies before.
const ROUNDS: u64 = 60;
/// Rounds after which a running user closes the store and opens it again.
const ROUNDS_OPEN: u64 = 25;
/// Rounds of a check, once everything was found right.
const ROUNDS_CHECK: u64 = 4;

fn run(mut user: User, rounds: u64) -> Result<(), Failure> {
    for round in 1..=rounds {
        user.round()?;
        if round % ROUNDS_OPEN == 0 {
            user.reopen()?;
        }
    }
    println!("{} steps acknowledged, nobody cut", user.steps());
    Ok(())
}

fn open(dir: &str, seed: &str, acks: &str) -> Result<User, Failure> {
    User::open(Path::new(dir), seed.parse()?, Path::new(acks))
}

/// Opens what a cut left, and uses it.
fn check(dir: &Path, acks: &Path) -> Result<(), Failure> {
    let mut user = User::open(dir, 0, acks)?;
    // The seed differs from check to check, and still follows from what was acknowledged.
    user.reseed(user.steps());
    for _ in 0..ROUNDS_CHECK {
        user.round()?;
    }
    user.reopen()?;
    println!("{}", user.findings());
    Ok(())
}

fn demo() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let (store, acks) = (dir.path().join("store"), dir.path().join("acks"));
    run(User::open(&store, 1, &acks)?, 2 * ROUNDS_OPEN)?;
    check(&store, &acks)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => demo(),
        ["run", dir, seed, acks] => open(dir, seed, acks).and_then(|user| run(user, ROUNDS)),
        ["run", dir, seed, acks, "only-add"] => {
            open(dir, seed, acks).and_then(|user| run(user.who_only_adds(), ROUNDS))
        }
        ["check", dir, acks] => check(Path::new(dir), Path::new(acks)),
        _ => Err("usage: powercut [run DIR SEED ACKS [only-add] | check DIR ACKS]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
