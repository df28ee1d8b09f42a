//! Real processes in network namespaces, whose links are cut and mended at random and which are killed at random,
//! while owners on all sides write, remove, resolve and evict the same few names. Then all is mended, and all nodes
//! must agree, within a bounded time, on what the model says.
//!
//! The namespaces live in a mount namespace of their own, in a second process of this program that dies with the
//! first: whatever ends the run, the kernel removes them. Nothing of the machine's own network is touched.

mod content;
mod events;
mod fault;
mod hands;
mod model;
pub(super) mod network;
mod storm;
mod verdict;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::{RngExt, SeedableRng};

use self::content::Contents;
use self::events::Events;
use self::fault::Plan;
use self::hands::Hands;
use self::network::Network;
use self::storm::Storm;
use crate::chaos::arguments::NetnsArguments;
use crate::cluster::{self, Cluster, Role};
use crate::process::{Owned, wait_until};
use crate::report::{Report, complain};
use crate::{build, guard, tools, tree};

/// Programs of root that it needs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("tc", "iproute2"), ("unshare", "util-linux"), ("mount", "mount")];

/// Where `ip netns` keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// Beside the storm: founding the stash, agreeing, and reading every version on every node.
const REST: Duration = Duration::from_secs(20 * 60);

/// Stopping every node, one after the other.
const STOP: Duration = Duration::from_secs(90);

/// A run this long must have seen everything that it is about.
const WHOLE: Duration = Duration::from_secs(60);

/// Runs [`run_inside`] in a mount namespace of its own.
pub(super) fn run(arguments: &NetnsArguments, seed: u64, report: &Report) -> Result<()> {
    let part = Part { name: "netns", inside: "netns-inside", shows: "cut links are" };
    part.run(arguments.words(seed), arguments.length() + REST, report)
}

/// A scenario whose body runs in a mount namespace of its own, where network namespaces have their names.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// First argument of the program that runs the body.
    pub(super) inside: &'static str,
    pub(super) shows: &'static str,
}

impl Part {
    /// Runs the body with these arguments, for so long at most.
    pub(super) fn run(&self, words: Vec<String>, most: Duration, report: &Report) -> Result<()> {
        let missing = missing();
        for need in &missing {
            complain(&format!("chaos {}: MISSING {need}", self.name));
        }
        ensure!(missing.is_empty(), "{} NOT SHOWN here", self.shows);
        let binary = build::stash(report)?;
        inside(self.inside, &binary, words, most)
    }
}

fn inside(part: &str, binary: &Path, words: Vec<String>, most: Duration) -> Result<()> {
    let unshare = tools::command("unshare");
    let mut command = guard::command(unshare.get_program().as_ref());
    command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
    command.arg(part).arg(binary).args(words).stdin(Stdio::null());
    let mut inside = Owned::spawn(&mut command)?;
    match wait_until(&mut inside, Instant::now() + most) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("the part in the namespace ended with {status}"),
        Err(error) => {
            inside.stop(STOP)?;
            Err(error)
        }
    }
}

fn missing() -> Vec<String> {
    let mut missing: Vec<String> =
        PROGRAMS.iter().filter_map(|(program, package)| tools::absent(program, package)).collect();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: only root makes network namespaces; run it with sudo".into());
    }
    missing
}

/// The run, in a mount namespace of its own.
pub(crate) fn run_inside(binary: &Path, arguments: &NetnsArguments) -> Result<()> {
    let report = Report::text();
    let seed = arguments.seed.context("the part outside chooses the seed")?;
    cover_names()?;
    let count = usize::from(arguments.nodes);
    let mut network = Network::make(count)?;
    let slows = if network.slows { "" } else { ", none of them slow: this kernel has no tbf" };
    report.line(format_args!("{:<28} {count} on one bridge{slows}", "network namespaces"));
    let places = network.places();
    let roles = Role::of_cluster(count);
    let mut cluster =
        Cluster::found(&cluster::Plan { places, ..cluster::Plan::new(roles, binary) }, &report)?;
    let outcome = stormy(&mut cluster, &mut network, arguments.length(), seed, &report);
    if outcome.is_err() {
        // Links may be cut, and a node that stops in good order waits for those it talks to.
        for node in cluster.nodes.iter_mut().filter(|node| node.is_running()) {
            node.kill()?;
        }
        return outcome;
    }
    cluster.finish(&report)
}

/// An empty directory over that of the names, for this mount namespace alone.
pub(super) fn cover_names() -> Result<()> {
    std::fs::create_dir_all(NAMES)?;
    let mut mount = tools::command("mount");
    let done = mount.args(["-t", "tmpfs", "stash-chaos", NAMES]).stdin(Stdio::null()).status()?;
    ensure!(done.success(), "cannot mount over {NAMES} ({done})");
    Ok(())
}

fn stormy(
    cluster: &mut Cluster,
    network: &mut Network,
    length: Duration,
    seed: u64,
    report: &Report,
) -> Result<()> {
    let mut rng = tree::rng(seed);
    let plan = Plan::draw(cluster.nodes.len(), length, &mut rng);
    let (cuts, kills) = plan.counts();
    let work = cluster::fresh(&cluster.run.path, "files")?;
    let mut events = Events::create(&cluster.run.path.join("events"))?;
    let contents = Contents { seed: rng.random() };
    let mut hands = Hands::new(cluster, contents, rand::rngs::StdRng::from_rng(&mut rng), work);

    let begun = Instant::now();
    let storm = Storm { cluster, network, hands: &mut hands, events: &mut events };
    storm.blow(&plan, length, report)?;
    let tally = &hands.tally;
    let done = format!("{cuts} cuts, {kills} kills; {tally}");
    report.step("storm", &done, begun.elapsed());
    let seen = tally.puts > 0 && tally.removals > 0 && tally.resolved > 0 && kills > 0;
    ensure!(seen || length < WHOLE, "too little happened to show anything: {done}");

    let (records, took) = verdict::agreement(cluster)?;
    events.note("all agree");
    report.step("agreement", &format!("{records} records on every node"), took);

    let begun = Instant::now();
    let agreed = verdict::verdict(cluster, &hands.model, contents)?;
    let held = format!(
        "{} versions, {} of them beside a head, every one read on every node that reads; nothing lost, nothing risen",
        agreed.versions, agreed.conflicts
    );
    report.step("verdict", &held, begun.elapsed());
    Ok(())
}
