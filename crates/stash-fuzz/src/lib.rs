#![doc = include_str!("../README.md")]
#![allow(
    clippy::print_stderr,
    reason = "it is part of tests, whose output says how to replay them"
)]

mod corpus;
mod mutation;

pub use corpus::{Corpus, Seed, Target, seed};
