//! A stash of several node processes on loopback.

mod ask;
mod command;
mod node;
mod role;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stash_api::members::{InviteDone, Peers};
use stash_api::node::Status;

use crate::interrupt;
use crate::machine::Processor;
use crate::report::{Report, seconds};
use crate::scratch::RunDirectory;

pub(crate) use ask::POLL;
pub use ask::{fresh, list, text, wait_listed};
pub use command::COMMAND;
pub use node::{Node, Place, Started};
pub use role::Role;

/// From the last start to every node seeing every other; dials back off, so more than one round trip.
const SETTLE: Duration = Duration::from_secs(30);

/// The shape of a cluster.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Roles in the order in which the nodes come; the first is an owner.
    pub roles: Vec<Role>,
    /// The built program.
    pub binary: &'a Path,
    /// Filter of the nodes' logs.
    pub log: &'a str,
    /// Addresses that nodes tell their peers; empty: the ones they listen on.
    pub advertise: Vec<String>,
    /// Where the nodes live; empty: on loopback.
    pub places: Vec<Place>,
}

impl<'a> Plan<'a> {
    /// Nodes of these roles on loopback, with the usual logs.
    pub fn new(roles: Vec<Role>, binary: &'a Path) -> Self {
        Self { roles, binary, log: "info", advertise: vec![], places: vec![] }
    }
}

/// Running nodes of one stash. Dropping it stops them, then removes their directories unless they are kept.
#[derive(Debug)]
pub struct Cluster {
    /// Node 1, which founded the stash, and the others.
    pub nodes: Vec<Node>,
    /// Where everything of this run lies.
    pub run: RunDirectory,
    binary: PathBuf,
}

impl Cluster {
    /// Founds a stash on node 1 and lets the others join with real tickets: node 2 and every second one before it
    /// serves for the first time, the others through the serving program.
    pub fn found(plan: &Plan<'_>, report: &Report) -> Result<Self> {
        Self::found_with(plan, report, |_, _| {})
    }

    /// As [`Cluster::found`], telling `started` of every node that serves for the first time.
    pub fn found_with(
        plan: &Plan<'_>,
        report: &Report,
        mut started: impl FnMut(usize, &Node),
    ) -> Result<Self> {
        let run = RunDirectory::create()?;
        report.line(format_args!("{:<28} {}", "directories and logs", run.path.display()));
        let mut cluster = Self { nodes: vec![], run, binary: plan.binary.to_path_buf() };
        for (index, role) in plan.roles.iter().enumerate() {
            let begun = Instant::now();
            let mut node = cluster.new_node(*role)?;
            node.log_level(plan.log);
            if let Some(address) = plan.advertise.get(index) {
                node.advertise(address.clone());
            }
            if let Some(place) = plan.places.get(index) {
                node.live_in(place.clone());
            }
            let how = cluster.admit(node)?;
            started(index, &cluster.nodes[index]);
            let node = &cluster.nodes[index];
            let what = format!("{role}, {how}, listens on {}", node.listen());
            report.step(&node.name(), &what, begun.elapsed());
        }
        let begun = Instant::now();
        cluster.settle()?;
        report.step("all see all", &format!("{} nodes", cluster.nodes.len()), begun.elapsed());
        Ok(cluster)
    }

    /// A node of this run that has nothing yet.
    pub fn new_node(&self, role: Role) -> Result<Node> {
        Node::new(self.nodes.len() + 1, role, &self.run.path, &self.run.sockets, &self.binary)
    }

    fn admit(&mut self, mut node: Node) -> Result<&'static str> {
        let name = node.name();
        let how = if self.nodes.is_empty() {
            node.ok(&["init", "--name", &name])?;
            node.start()?;
            "founded the stash"
        } else {
            let ticket = self.invite(node.role)?;
            if node.number.is_multiple_of(2) {
                node.ok(&["join", &ticket])?;
                node.start()?;
                "joined, then served"
            } else {
                node.start()?;
                node.ok(&["join", &ticket])?;
                node.refresh_ready()?;
                "joined while serving"
            }
        };
        self.nodes.push(node);
        Ok(how)
    }

    /// A node that joins the stash for a while, and is none of the cluster's.
    pub fn guest(&self, role: Role) -> Result<Node> {
        let mut guest = self.new_node(role)?;
        guest.ok(&["join", &self.invite(role)?])?;
        guest.start()?;
        Ok(guest)
    }

    fn invite(&self, role: Role) -> Result<String> {
        let invited: InviteDone = self.nodes[0].json(&["invite", "--role", &role.to_string()])?;
        if invited.role != role.to_string() {
            bail!("asked for a ticket for {role}, got one for {}", invited.role);
        }
        Ok(invited.ticket)
    }

    /// Waits until every running node is connected to every other running one.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            for node in &mut self.nodes {
                node.check_alive()?;
            }
            let Some(gap) = self.gap()? else {
                return self.refresh_ids();
            };
            if Instant::now() > deadline {
                bail!("after {} s {gap}", SETTLE.as_secs());
            }
            interrupt::check()?;
            thread::sleep(POLL);
        }
    }

    /// Says what is not connected, if anything.
    fn gap(&self) -> Result<Option<String>> {
        let running = || self.nodes.iter().filter(|node| node.is_running());
        for node in running() {
            let reply = node.run(&["peers", "--json"])?;
            if reply.code != 0 {
                return Ok(Some(format!(
                    "{} answers no `peers`: {}",
                    node.name(),
                    reply.stderr.trim()
                )));
            }
            let peers: Peers = reply.json()?;
            let connected = peers.peers.iter().filter(|peer| peer.this || peer.connected).count();
            let members = peers.peers.len();
            if members < self.nodes.len() || connected < running().count() {
                let name = node.name();
                return Ok(Some(format!(
                    "{name} sees {members} members, {connected} connected or itself"
                )));
            }
        }
        Ok(None)
    }

    /// Node ids as `status` says them, checked: one stash, the roles of the tickets, nothing amiss.
    fn refresh_ids(&mut self) -> Result<()> {
        let mut stash = None;
        let members = self.nodes.len() as u64;
        for node in self.nodes.iter_mut().filter(|node| node.is_running()) {
            let status: Status = node.json(&["status"])?;
            let name = node.name();
            if status.role != node.role.to_string() {
                bail!("{name} calls itself {} and was invited as {}", status.role, node.role);
            }
            if stash.get_or_insert_with(|| status.stash_id.clone()) != &status.stash_id {
                bail!("{name} is in another stash");
            }
            if let Some(why) = status.read_only {
                bail!("{name} is read-only: {why}");
            }
            if status.members < members || !status.alarms.is_empty() {
                bail!("{name} has {} members and alarms {:?}", status.members, status.alarms);
            }
            node.id = status.node_id;
        }
        Ok(())
    }

    /// The first node of a role, the founder left out.
    pub fn first(&self, wanted: Role) -> Option<usize> {
        (1..self.nodes.len()).find(|index| self.nodes[*index].role == wanted)
    }

    /// Peak resident set of every node, as a line.
    pub fn peaks(&mut self) -> Vec<(String, u64)> {
        self.nodes.iter_mut().map(|node| (node.name(), node.peak_kib())).collect()
    }

    /// Processor time that all nodes have taken since they were started.
    pub fn processor_time(&self) -> Result<Processor> {
        let mut sum = Processor::default();
        for node in &self.nodes {
            sum += node.processor_time()?;
        }
        Ok(sum)
    }

    /// The largest resident set that any node had, in MiB.
    pub fn peak_mib(&mut self) -> u64 {
        self.peaks().into_iter().map(|(_, kib)| kib.div_ceil(1024)).max().unwrap_or(0)
    }

    /// Ends a run that held: stops every node and lets the directories go.
    pub fn finish(mut self, report: &Report) -> Result<()> {
        let begun = Instant::now();
        for node in &mut self.nodes {
            node.stop()?;
        }
        self.run.keep(false);
        report.line(format_args!("{:<28} ({})", "nodes stopped", seconds(begun.elapsed())));
        Ok(())
    }
}
