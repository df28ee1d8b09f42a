//! The tests of the crate from outside, in one program: it is built once, and not once for each of them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panic")]

mod common;
mod fuzz;
