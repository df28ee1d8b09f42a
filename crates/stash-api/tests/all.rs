//! All tests from outside, as one program.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bodies;
mod client;
