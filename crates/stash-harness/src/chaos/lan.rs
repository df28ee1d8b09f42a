//! Two nodes that know no address of each other any more, in network namespaces on one bridge: they find each other by
//! multicast, within two seconds of the start of the second one. Over IPv4 alone, then over IPv6 alone, where they have no
//! addresses but those of their link.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use stash_api::members::{PeerPath, Peers};
use stash_api::node::Status;

use super::netns::network::{Network, ip, name};
use super::netns::{Part, cover_names};
use crate::chaos::arguments::LanArguments;
use crate::cluster::{self, Cluster, POLL, Role};
use crate::interrupt;
use crate::report::Report;
use crate::tree;

/// The promise: from the start of the second node until both are connected.
const SOON: Duration = Duration::from_secs(2);

/// From the cable to the connection: a node looks at the addresses of its machine every few seconds.
const PLUGGED: Duration = Duration::from_secs(10);

/// The longest that is waited for a connection, to say by how much a promise was missed.
const NEVER: Duration = Duration::from_secs(60);

/// From giving a card an IPv6 address until it may be used: one or two seconds.
const SETTLED: Duration = Duration::from_secs(10);

/// Longest pause between the starts of the two, in milliseconds.
const PAUSE: u64 = 3_000;

/// Founding a stash, and one round.
const FOUND: Duration = Duration::from_secs(120);
const ROUND: Duration = Duration::from_secs(120);

const NODES: usize = 2;

/// One family of addresses, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

pub(super) fn run(arguments: &LanArguments, seed: u64, report: &Report) -> Result<()> {
    let part = Part { name: "lan", inside: "lan-inside", shows: "discovery on a network is" };
    let most = (FOUND + ROUND * (arguments.rounds + 1)) * 2;
    part.run(arguments.words(seed), most, report)
}

/// The run, in a mount namespace of its own.
pub(crate) fn run_inside(binary: &Path, arguments: &LanArguments) -> Result<()> {
    let report = Report::text();
    let mut rng = tree::rng(arguments.seed.context("the part outside chooses the seed")?);
    cover_names()?;
    let network = Network::make(NODES)?;
    for family in [Family::V4, Family::V6] {
        family.alone()?;
        let mut places = network.places();
        places.iter_mut().for_each(|place| place.listen = family.everywhere().to_owned());
        let roles = Role::of_cluster(NODES);
        let plan = cluster::Plan { places, ..cluster::Plan::new(roles, binary) };
        let mut cluster = Cluster::found(&plan, &report)?;
        let begun = Instant::now();
        let mut took = Vec::new();
        for round in 1..=arguments.rounds {
            stop(&mut cluster)?;
            family.move_away(round)?;
            cluster.nodes[0].start()?;
            thread::sleep(Duration::from_millis(rng.random_range(0..PAUSE)));
            let start = Instant::now();
            cluster.nodes[1].start()?;
            took.push(connected(&cluster, start)?);
        }
        took.sort_unstable();
        let (middle, most) = (took[took.len() / 2], took[took.len() - 1]);
        let what = format!(
            "{} moves, connected {middle:.2?} after the second start, {most:.2?} at most",
            took.len()
        );
        report.step(&format!("{family:?} alone"), &what, begun.elapsed());
        ensure!(most <= SOON, "that is later than {SOON:?}");
        let late = plugged(&mut cluster, family)?;
        report.step("plugged in later", &format!("connected {late:.2?} after it"), late);
        ensure!(late <= PLUGGED, "that is later than {PLUGGED:?}");
        cluster.finish(&report)?;
    }
    Ok(())
}

/// Starts the second node without an address, and gives it one.
fn plugged(cluster: &mut Cluster, family: Family) -> Result<Duration> {
    stop(cluster)?;
    family.move_away(200)?;
    ip(&["-n", &name(1), "link", "set", "eth0", "down"])?;
    cluster.nodes[0].start()?;
    cluster.nodes[1].start()?;
    let status: Status = cluster.nodes[1].json(&["status"])?;
    ensure!(status.connected == 1, "without a cable it is connected");
    ip(&["-n", &name(1), "link", "set", "eth0", "up"])?;
    connected(cluster, Instant::now())
}

fn stop(cluster: &mut Cluster) -> Result<()> {
    cluster.nodes.iter_mut().try_for_each(|node| node.stop())
}

/// Waits until the first node is connected to the second; returns for how long since `start`. It must say that it heard the other on
/// the network.
fn connected(cluster: &Cluster, start: Instant) -> Result<Duration> {
    let mut took = None;
    loop {
        let peers: Peers = cluster.nodes[0].json(&["peers"])?;
        let now = start.elapsed();
        let path = peers.peers.into_iter().find_map(|peer| peer.path);
        if let Some(PeerPath { kind, discovered, address, .. }) = &path {
            ensure!(kind == "lan", "found at {address}, kind {kind}");
            let took = *took.get_or_insert(now);
            if *discovered {
                return Ok(took);
            }
        }
        if now > NEVER {
            bail!("not found on the network after {NEVER:?}: {path:?}");
        }
        interrupt::check()?;
        thread::sleep(POLL);
    }
}

/// Waits until a node's addresses may be used: the system first looks whether another machine has them.
fn settled(node: usize) -> Result<()> {
    let deadline = Instant::now() + SETTLED;
    let tentative = ["-n", &name(node), "-6", "address", "show", "dev", "eth0", "tentative"];
    while !ip(&tentative)?.stdout.is_empty() {
        ensure!(Instant::now() < deadline, "an IPv6 address is tentative for {SETTLED:?}");
        thread::sleep(POLL);
    }
    Ok(())
}

impl Family {
    /// Leaves no address of another family, and gives each node one by which it can be told.
    fn alone(self) -> Result<()> {
        for node in 0..NODES {
            let off = if self == Family::V4 { "1" } else { "0" };
            let word = format!("echo {off} > /proc/sys/net/ipv6/conf/all/disable_ipv6");
            ip(&["netns", "exec", &name(node), "sh", "-c", &word])?;
        }
        self.move_away(0)?;
        (0..NODES).try_for_each(settled)
    }

    /// Gives both nodes addresses that neither has heard of. Of IPv6 ones they have one of their link alone after the first
    /// time, which no node tells.
    fn move_away(self, round: u32) -> Result<()> {
        for node in 0..NODES {
            let namespace = name(node);
            ip(&["-n", &namespace, "address", "flush", "dev", "eth0", "scope", "global"])?;
            let add = |address: String, more: &[&str]| {
                ip(&[&["-n", &namespace, "address", "add", &address, "dev", "eth0"], more].concat())
            };
            match (self, round) {
                (Family::V4, _) => add(format!("10.78.{round}.{}/24", node + 1), &[]).map(drop)?,
                (Family::V6, 0) => add(format!("fd78::{}/64", node + 1), &["nodad"]).map(drop)?,
                (Family::V6, _) => {}
            }
        }
        Ok(())
    }

    fn everywhere(self) -> &'static str {
        match self {
            Family::V4 => "0.0.0.0:7979",
            Family::V6 => "[::]:7979",
        }
    }
}
