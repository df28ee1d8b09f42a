//! The tests of the crate from outside, in one program: it is built once, and not once for each of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panic"
)]

mod bad_input;
mod common;
mod control;
mod files;
mod hints;
mod homes;
mod lifecycle;
mod listing;
mod local_api;
mod log;
mod look;
mod members;
mod offload;
mod recovery;
mod repair;
mod restore;
mod rot;
mod slips;
mod upkeep;
mod versions;
mod words;
