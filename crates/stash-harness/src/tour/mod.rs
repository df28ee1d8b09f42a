//! The tour: what a stash promises, shown on running nodes and a real tree, one named step after the other.

mod again;
mod apart;
mod damage;
mod ground;
mod member;
mod outage;
mod secrecy;
mod store;
mod wiped;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::report::Report;

pub use ground::Tour;

/// The work of a step; the text says what it checked.
type Check = fn(&mut Tour<'_>) -> Result<String>;

/// The steps in their order; each leaves every node running and every file of the tree on every node.
const STEPS: &[(&str, Check)] = &[
    ("store", store::stored),
    ("list", store::listed),
    ("every node holds it", store::held),
    ("keeper's disk", secrecy::keeper_disk),
    ("keeper refuses", secrecy::keeper_refuses),
    ("evict, get back", again::evicted_and_back),
    ("get by name elsewhere", again::by_name),
    ("flipped bytes", damage::flipped),
    ("SIGKILL", outage::killed),
    ("restart", outage::restarted),
    ("catch up", apart::caught_up),
    ("written apart", apart::reconciled),
    ("heal a wiped node", wiped::healed),
    ("remove a member", member::removed),
    ("remove", again::removed),
    ("the seed's 20 files", again::seed_loop),
    ("keeper's disk, at the end", secrecy::keeper_disk),
];

/// A step that held.
#[derive(Debug)]
pub struct Took {
    /// Its name.
    pub name: &'static str,
    /// The result.
    pub checked: String,
    /// The time it took.
    pub took: Duration,
}

impl Tour<'_> {
    /// Takes every step; fails with the name of the first that does not hold.
    pub fn take(mut self, report: &Report) -> Result<Vec<Took>> {
        let mut steps = vec![];
        for (name, check) in STEPS {
            let begun = Instant::now();
            let checked = check(&mut self)
                .with_context(|| format!("step \"{name}\" of the tour does not hold"))?;
            for node in &mut self.cluster.nodes {
                node.check_alive().with_context(|| format!("after step \"{name}\""))?;
            }
            let took = begun.elapsed();
            report.step(name, &checked, took);
            steps.push(Took { name, checked, took });
        }
        Ok(steps)
    }
}
