//! State that the steps of the tour share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;

use crate::cluster::{self, Cluster, Node, Role};
use crate::compare;
use crate::tree::{self, Tree};

/// A cluster and a tree on their tour.
pub struct Tour<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) tree: &'a Tree,
    pub(super) rng: StdRng,
    pub(super) scratch: PathBuf,
    pub(super) outputs: u32,
    /// The first keeper.
    pub(super) keeper: usize,
    /// The first owner that is not the founder, if the cluster is large enough to have one.
    pub(super) other: Option<usize>,
}

impl<'a> Tour<'a> {
    /// Prepares a tour of a cluster that has a keeper, with nothing stored yet.
    ///
    /// # Errors
    ///
    /// If there is no keeper, or no directory can be made.
    pub fn new(cluster: &'a mut Cluster, tree: &'a Tree, seed: u64) -> Result<Self> {
        let scratch = cluster::fresh(&cluster.run.path, "tour")?;
        let keeper = cluster.first(Role::Keeper).context("a tour needs a keeper")?;
        let other = cluster.first(Role::Owner);
        Ok(Self { cluster, tree, rng: tree::rng(seed ^ 1), scratch, outputs: 0, keeper, other })
    }

    pub(super) fn founder(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    pub(super) fn keeper(&self) -> &Node {
        &self.cluster.nodes[self.keeper]
    }

    pub(super) fn count(&self) -> usize {
        self.cluster.nodes.len()
    }

    /// A path where nothing is yet.
    pub(super) fn output(&mut self) -> PathBuf {
        self.outputs += 1;
        self.scratch.join(format!("out-{}", self.outputs))
    }

    /// Gets the whole tree at a node and compares every byte; returns how long the get took.
    pub(super) fn whole_tree_back(&mut self, index: usize) -> Result<Duration> {
        let output = self.output();
        let node = &self.cluster.nodes[index];
        let reply = node.ok(&["get", &self.tree.key, "-o", cluster::text(&output)?])?;
        compare::same_tree(self.tree, &output).with_context(|| format!("at {}", node.name()))?;
        std::fs::remove_dir_all(&output)?;
        Ok(reply.took)
    }

    /// Gets one key at a node and compares every byte.
    pub(super) fn one_back(&mut self, index: usize, key: &str, expected: &Path) -> Result<()> {
        let output = self.output();
        let node = &self.cluster.nodes[index];
        node.ok(&["get", key, "-o", cluster::text(&output)?])?;
        compare::same(expected, &output).with_context(|| format!("at {}", node.name()))?;
        std::fs::remove_file(&output)?;
        Ok(())
    }
}

/// "1 file", "3 files".
pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
