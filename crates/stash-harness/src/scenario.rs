//! A scenario: nodes, files of random bytes, something that hurts, and what must hold.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;

use crate::cluster::{self, COMMAND, Cluster, Plan, Role};
use crate::report::Report;
use crate::{build, compare, interrupt, tree};

/// Rounds after which a line says how far it is.
const TOLD: u32 = 100;

/// Nodes of one stash, and what a scenario does with them. Dropped, it stops the nodes and keeps their directories and logs;
/// [`Scenario::finish`] lets them go.
#[derive(Debug)]
pub struct Scenario<'a> {
    /// The nodes: the first founded the stash.
    pub cluster: Cluster,
    /// Everything that is drawn: one seed is one scenario.
    pub rng: StdRng,
    report: &'a Report,
    begun: Instant,
}

/// A file that is stored.
#[derive(Debug)]
pub struct Stored {
    /// Its key in the stash.
    pub key: String,
    /// The file that was put.
    pub source: PathBuf,
}

impl<'a> Scenario<'a> {
    /// Builds the program, and founds a stash of one node for each role; the first is an owner.
    ///
    /// # Errors
    ///
    /// If the program does not build, or the nodes do not become one stash.
    pub fn begin(roles: &[Role], seed: u64, report: &'a Report) -> Result<Self> {
        let binary = build::stash(report)?;
        let cluster = Cluster::found(&Plan::new(roles.to_vec(), &binary), report)?;
        Ok(Self { cluster, rng: tree::rng(seed), report, begun: Instant::now() })
    }

    /// Stores `size` random bytes under `key` through the first node: every node has them, and every node that reads
    /// lists them.
    ///
    /// # Errors
    ///
    /// If the put is short, or a node does not list the key in time.
    pub fn store(&mut self, key: &str, size: usize) -> Result<Stored> {
        let source = self.cluster.run.path.join(key);
        let mut bytes = vec![0; size];
        self.rng.fill_bytes(&mut bytes);
        fs::write(&source, bytes)?;
        let words = ["put", cluster::text(&source)?, "--as", key, "--wait", "all"];
        self.cluster.nodes[0].ok(&words)?;
        for node in self.cluster.nodes.iter().skip(1).filter(|node| node.role.reads()) {
            cluster::wait_listed(node, key, 1)?;
        }
        Ok(Stored { key: key.to_owned(), source })
    }

    /// Runs `round` as often, with a line in between that says what held: `held`.
    ///
    /// # Errors
    ///
    /// What a round fails with, and its number; or an interruption.
    pub fn rounds(
        &mut self,
        count: u32,
        held: &str,
        mut round: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.begun = Instant::now();
        for number in 1..=count {
            round(self).with_context(|| format!("round {number}"))?;
            if number.is_multiple_of(TOLD) {
                self.report.line(format_args!("  {number} rounds, {held}"));
            }
            interrupt::check()?;
        }
        Ok(())
    }

    /// Runs the same command at two nodes, at the second one `skew` later, and says with what each ended.
    ///
    /// # Errors
    ///
    /// If one ends with an exit code that is not among `codes`, or not in time.
    pub fn at_once(
        &self,
        [first, second]: [usize; 2],
        skew: Duration,
        words: &[&str],
        codes: &[i32],
    ) -> Result<[i32; 2]> {
        let early = self.cluster.nodes[first].begin(words)?;
        thread::sleep(skew);
        let late = self.cluster.nodes[second].begin(words)?;
        let replies = [early.finish(COMMAND)?, late.finish(COMMAND)?];
        let [early, late] = replies.map(|reply| reply.expect(codes).map(|reply| reply.code));
        Ok([early?, late?])
    }

    /// Gets a file at a node and compares every byte.
    ///
    /// # Errors
    ///
    /// If the node does not give it, or gives another byte.
    pub fn gives_back(&self, node: usize, stored: &Stored) -> Result<()> {
        let output = self.cluster.run.path.join("output");
        self.cluster.nodes[node].ok(&["get", &stored.key, "-o", cluster::text(&output)?])?;
        compare::same(&stored.source, &output)?;
        // What is there already would not be read again.
        Ok(fs::remove_file(&output)?)
    }

    /// Tells what held, and how long that took since the first round.
    pub fn held(&self, name: &str, checked: &str) {
        self.report.step(name, checked, self.begun.elapsed());
    }

    /// Stops every node, and lets directories and logs go.
    ///
    /// # Errors
    ///
    /// If a node does not stop in good order.
    pub fn finish(self) -> Result<()> {
        self.cluster.finish(self.report)
    }
}
