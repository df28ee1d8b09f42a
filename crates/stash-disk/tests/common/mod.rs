//! What the tests and the fuzz target share.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests; each program uses a part of them"
)]

pub mod power;

/// The seed of a random test: from the environment to replay, or else the given one.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("STASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
    println!("replay with STASH_SEED={seed}");
    seed
}
