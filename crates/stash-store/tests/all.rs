//! The tests of the crate from outside, in one program: it is built once, and not once for each of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panic"
)]

mod away;
mod check;
mod collect;
mod common;
mod crash;
mod faults;
mod fixtures;
mod fuzz;
mod page_cache;
mod read_only;
mod rebuild;
mod scrub;
mod suite;
mod threads;
mod wholeness;
