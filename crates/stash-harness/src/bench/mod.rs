//! `cargo xtask bench`: figures of running nodes, each beside what bounds it.

mod arguments;
mod bwlimit;
mod cache;
mod catchup;
mod client;
mod cold;
mod figures;
mod files;
mod median;
mod objects;
mod random;
mod small;
mod times;
mod transfer;

use anyhow::Result;

pub use arguments::Bench;

/// Runs a bench, and tells its figures.
///
/// # Errors
///
/// If a node does not do what is measured, or nothing can be measured here.
pub fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Transfer { size, rounds, json } => transfer::run(*size, *rounds, *json),
        Bench::Cache { size, warm, leave, json } => cache::run(*size, *warm, *leave, *json),
        Bench::Bwlimit { limit, size, json } => bwlimit::run(*limit, *size, *json),
        Bench::Objects { clients, objects, json } => objects::run(*clients, *objects, *json),
        Bench::Catchup { records, json } => catchup::run(*records, *json),
        Bench::Files { count, size, json } => files::run(*count, usize::from(*size), *json),
        Bench::Small { files, rounds, json } => small::run(*files, *rounds, *json),
    }
}
