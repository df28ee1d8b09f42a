//! Two owners evict the same key at the same moment, again and again: never zero copies.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::{Rng, RngExt};

use crate::cluster::{self, Cluster, Plan, Role, command};
use crate::report::Report;
use crate::{build, compare, interrupt, tree};

/// Bytes of the file: three chunks, one of them padded.
const SIZE: usize = 2_300_000;

const KEY: &str = "wanted-by-both";

/// One evictor starts at most this much later than the other.
const SKEW: Duration = Duration::from_millis(4);

pub(super) fn run(rounds: u32, seed: u64, report: &Report) -> Result<()> {
    let binary = build::stash(report)?;
    let cluster = Cluster::found(&Plan::new(vec![Role::Owner, Role::Owner], &binary), report)?;
    let mut rng = tree::rng(seed);
    let (source, output) = (cluster.run.path.join("source"), cluster.run.path.join("output"));
    let mut bytes = vec![0; SIZE];
    rng.fill_bytes(&mut bytes);
    fs::write(&source, bytes)?;
    let [one, two] = cluster.nodes.as_slice() else { bail!("two nodes were asked for") };
    one.ok(&["put", cluster::text(&source)?, "--as", KEY, "--wait", "all"])?;
    cluster::wait_listed(two, KEY, 1)?;

    let begun = Instant::now();
    // How often: neither went, the first went, the second went.
    let mut outcomes = [0_u32; 3];
    for round in 1..=rounds {
        let skew = SKEW.mul_f64(rng.random_range(0.0..1.0));
        let (first, second) = if rng.random_bool(0.5) { (one, two) } else { (two, one) };
        let early = first.begin(&["evict", KEY])?;
        thread::sleep(skew);
        let late = second.begin(&["evict", KEY])?;
        let codes = [early.finish(command::COMMAND)?, late.finish(command::COMMAND)?];
        let [early, late] = codes.map(|reply| reply.expect(&[0, 5, 9]).map(|reply| reply.code));
        let (early, late) = (early?, late?);
        if early == 0 && late == 0 {
            bail!("round {round}: both gave up their copy");
        }
        outcomes[if early == 0 {
            1
        } else if late == 0 {
            2
        } else {
            0
        }] += 1;
        for node in [one, two] {
            let target = cluster::text(&output)?;
            node.ok(&["get", KEY, "-o", target, "--overwrite"])
                .and_then(|_| compare::same(&source, &output))
                .with_context(|| format!("round {round}: evictions exited {early} and {late}"))?;
        }
        if round.is_multiple_of(100) {
            report.line(format_args!("  {round} rounds, none lost"));
        }
        interrupt::check()?;
    }
    let [neither, early, late] = outcomes;
    let checked = format!(
        "{rounds} rounds: the earlier went {early} times, the later {late}, neither {neither}; both always read"
    );
    report.step("evict", &checked, begun.elapsed());
    if early + late == 0 && rounds > 20 {
        bail!("no eviction ever went through, so nothing was tested");
    }
    cluster.finish(report)
}
