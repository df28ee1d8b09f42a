//! All tests from outside, as one program.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bodies;
mod client;
