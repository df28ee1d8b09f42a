//! The tour: what a stash promises, shown on running nodes and a real tree, one named step after the other.

mod again;
mod apart;
mod damage;
mod member;
mod outage;
mod secrecy;
mod store;
mod wiped;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;

use crate::cluster::{self, Cluster, Node, Role};
use crate::compare;
use crate::report::Report;
use crate::tree::{self, Tree};

/// What a step does; the text says what it checked.
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
pub(crate) struct Took {
    pub(crate) name: &'static str,
    pub(crate) checked: String,
    pub(crate) took: Duration,
}

pub(crate) struct Tour<'a> {
    cluster: &'a mut Cluster,
    tree: &'a Tree,
    rng: StdRng,
    scratch: PathBuf,
    outputs: u32,
    /// The first keeper.
    keeper: usize,
    /// The first owner that is not the founder, if the cluster is large enough to have one.
    other: Option<usize>,
}

impl<'a> Tour<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster, tree: &'a Tree, seed: u64) -> Result<Self> {
        let scratch = cluster::fresh(&cluster.run.path, "tour")?;
        let keeper = cluster.first(Role::Keeper).context("a tour needs a keeper")?;
        let other = cluster.first(Role::Owner);
        Ok(Self { cluster, tree, rng: tree::rng(seed ^ 1), scratch, outputs: 0, keeper, other })
    }

    /// Takes every step; fails with the name of the first that does not hold.
    pub(crate) fn take(mut self, report: &Report) -> Result<Vec<Took>> {
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

    fn founder(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    fn keeper(&self) -> &Node {
        &self.cluster.nodes[self.keeper]
    }

    fn count(&self) -> usize {
        self.cluster.nodes.len()
    }

    /// A path where nothing is yet.
    fn output(&mut self) -> PathBuf {
        self.outputs += 1;
        self.scratch.join(format!("out-{}", self.outputs))
    }

    /// Gets the whole tree at a node and compares every byte; returns how long the get took.
    fn whole_tree_back(&mut self, index: usize) -> Result<Duration> {
        let output = self.output();
        let node = &self.cluster.nodes[index];
        let reply = node.ok(&["get", &self.tree.key, "-o", cluster::text(&output)?])?;
        compare::same_tree(self.tree, &output).with_context(|| format!("at {}", node.name()))?;
        std::fs::remove_dir_all(&output)?;
        Ok(reply.took)
    }

    /// Gets one key at a node and compares every byte.
    fn one_back(&mut self, index: usize, key: &str, expected: &Path) -> Result<()> {
        let output = self.output();
        let node = &self.cluster.nodes[index];
        node.ok(&["get", key, "-o", cluster::text(&output)?])?;
        compare::same(expected, &output).with_context(|| format!("at {}", node.name()))?;
        std::fs::remove_file(&output)?;
        Ok(())
    }
}

/// "1 file", "3 files".
fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
