//! The races of the store: the store itself, on a disk in memory, under a scheduler that decides
//! at every lock, wait and operation of the disk who goes on. `cargo xtask races` runs them; in an
//! ordinary build there are none.
//!
//! Fault cases 105, 106 and 109: collecting beside puts, reads, evictions and everything else.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod explore;
mod world;

mod closing;
mod collecting;
mod putting;
mod reading;
