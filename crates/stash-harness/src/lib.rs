#![doc = include_str!("../README.md")]

pub mod bench;
pub mod build;
pub mod chaos;
pub mod cluster;
pub mod compare;
mod guard;
pub mod interrupt;
pub mod machine;
pub mod needles;
pub mod powercut;
pub mod process;
pub mod program;
pub mod recorder;
pub mod report;
pub mod scenario;
pub mod scratch;
mod tools;
pub mod tour;
pub mod tree;

pub use cluster::{Cluster, Node, Plan, Role};
pub use report::Report;
pub use scenario::{Scenario, Stored};
pub use tree::Tree;
