//! Network namespaces, one for each node, on one bridge. The bridge has a namespace of its own, so nothing of the
//! machine's own network is touched.
//!
//! This runs where [`super`] has put an empty directory over `/run/netns`, in a mount namespace of its own: when its
//! last process ends, however it ends, the kernel removes the namespaces with all that is in them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};

use super::fault::Broken;
use crate::cluster::Place;
use crate::process::{Reply, Running};
use crate::tools;

/// The namespace of the bridge.
const HUB: &str = "hub";

/// The port of every node, each at an address of its own.
const PORT: u16 = 7979;

/// A hardware address that nobody has: what is sent there is lost without a word.
const NOWHERE: &str = "02:00:5e:00:00:00";

/// The rate of a slow link, and how long a packet waits for it before it is lost.
const TRICKLE: [&str; 7] = ["tbf", "rate", "256kbit", "burst", "16kb", "latency", "100ms"];

/// The longest that one of the programs here may take; they take milliseconds.
const PROGRAM: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    /// Faults of now. Of nodes that are dead it knows nothing.
    now: Broken,
    /// True if links can be made slow here.
    pub(super) slows: bool,
}

impl Network {
    /// A namespace for each node, all links whole.
    pub(crate) fn make(nodes: usize) -> Result<Self> {
        ip(&["netns", "add", HUB]).context("this machine makes no network namespaces")?;
        ip(&["-n", HUB, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", HUB, "link", "set", "bridge", "up"])?;
        for node in 0..nodes {
            let (name, port) = (name(node), port(node));
            ip(&["netns", "add", &name])?;
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &name];
            ip(&[&["-n", HUB, "link", "add", &port][..], &pair].concat())?;
            ip(&["-n", HUB, "link", "set", &port, "master", "bridge", "up"])?;
            let subnet = format!("{}/24", address(node));
            ip(&["-n", &name, "address", "add", &subnet, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        let mut network = Self { nodes, now: Broken::default(), slows: false };
        network.slows = network.slow(0, true).is_ok();
        if network.slows {
            network.slow(0, false)?;
        }
        Ok(network)
    }

    /// Where nodes live in it.
    pub(crate) fn places(&self) -> Vec<Place> {
        let ip = tools::command("ip").get_program().to_string_lossy().into_owned();
        let place = |node| Place {
            enter: [&ip, "netns", "exec", &name(node)].map(str::to_owned).to_vec(),
            listen: format!("{}:{PORT}", address(node)),
        };
        (0..self.nodes).map(place).collect()
    }

    /// Breaks and mends links until so much is broken.
    pub(super) fn become_as(&mut self, wanted: &Broken) -> Result<()> {
        for node in changed(&self.now.cables, &wanted.cables) {
            let state = if wanted.cables.contains(&node) { "down" } else { "up" };
            ip(&["-n", HUB, "link", "set", &port(node), state])?;
        }
        for (from, to) in changed(&self.now.ways, &wanted.ways) {
            let (namespace, target) = (name(from), address(to));
            let entry = ["dev", "eth0", "lladdr", NOWHERE, "nud", "permanent"];
            if wanted.ways.contains(&(from, to)) {
                ip(&[&["-n", &namespace, "neighbour", "replace", &target][..], &entry].concat())?;
            } else {
                ip(&["-n", &namespace, "neighbour", "delete", &target, "dev", "eth0"])?;
            }
        }
        if self.slows {
            for node in changed(&self.now.slow, &wanted.slow) {
                self.slow(node, wanted.slow.contains(&node))?;
            }
        }
        self.now = wanted.clone();
        Ok(())
    }

    fn slow(&self, node: usize, slow: bool) -> Result<()> {
        let (change, how) = if slow { ("add", &TRICKLE[..]) } else { ("delete", &[][..]) };
        let port = port(node);
        run("tc", &[&["-n", HUB, "qdisc", change, "dev", &port, "root"], how].concat()).map(drop)
    }
}

/// The elements that are in one of the two and not in the other.
fn changed<T: Copy + Ord>(now: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Vec<T> {
    now.symmetric_difference(wanted).copied().collect()
}

/// The namespace of a node.
pub(crate) fn name(node: usize) -> String {
    format!("node{}", node + 1)
}

fn port(node: usize) -> String {
    format!("port{}", node + 1)
}

fn address(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

/// Runs `ip`, which must succeed.
pub(crate) fn ip(arguments: &[&str]) -> Result<Reply> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<Reply> {
    let what = format!("{program} {}", arguments.join(" "));
    Running::spawn(tools::command(program).args(arguments), what)?.finish(PROGRAM)?.expect(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_touched() {
        let (now, wanted) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 4]));
        assert_eq!(changed(&now, &wanted), [1, 3, 4]);
        assert!(changed(&wanted, &wanted).is_empty());
    }
}
