//! Helpers that the tests and the fuzz target share.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "helpers of tests; each program uses a part of them"
)]

pub mod operations;
