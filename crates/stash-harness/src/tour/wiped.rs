//! A node loses its disk but for its identity, and is whole again without a command.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use stash_api::node::Status;

use crate::report::seconds;
use crate::tour::apart::until;
use crate::tour::ground::Tour;

/// The parts that are left: the keys, and who the others are.
const IDENTITY: [&str; 2] = ["keyring", "members"];

pub(super) fn healed(tour: &mut Tour<'_>) -> Result<String> {
    let keeper = tour.keeper;
    let from = tour.other.unwrap_or(0);
    let before = agreed(tour, from)?;
    tour.cluster.nodes[keeper].kill()?;
    wipe(&tour.keeper().data())?;
    // As far as there is somebody else, the founder takes no part.
    if from != 0 {
        tour.cluster.nodes[0].stop()?;
    }
    let begun = Instant::now();
    tour.cluster.nodes[keeper].start()?;
    until("the wiped keeper is not whole again", || {
        let now: Status = tour.keeper().json(&["status"])?;
        Ok(whole(&now) && holdings(&now) == holdings(&before))
    })?;
    let took = seconds(begun.elapsed());
    if from != 0 {
        tour.cluster.nodes[0].start()?;
    }
    tour.cluster.settle()?;
    let Status { records, chunks, .. } = before;
    Ok(format!(
        "{} lost all but its identity: {records} records and {chunks} chunks came back from {} in {took}",
        tour.keeper().name(),
        tour.cluster.nodes[from].name()
    ))
}

/// The holdings of the keeper once it and the member that is to give it back agree: an earlier step may have
/// written something that is still on its way.
fn agreed(tour: &Tour<'_>, from: usize) -> Result<Status> {
    let mut agreed = None;
    until("the keeper does not hold what the others do", || {
        let statuses: Vec<Status> = [0, from, tour.keeper]
            .iter()
            .map(|&index| tour.cluster.nodes[index].json(&["status"]))
            .collect::<Result<_>>()?;
        let same = statuses.windows(2).all(|two| holdings(&two[0]) == holdings(&two[1]));
        agreed = statuses.into_iter().next_back().filter(|keeper| same && whole(keeper));
        Ok(agreed.is_some())
    })?;
    agreed.context("agreed, by the wait above")
}

fn whole(status: &Status) -> bool {
    status.synchronised && status.incomplete == 0
}

fn holdings(status: &Status) -> (u64, u64, u64) {
    (status.records, status.chunks, status.bytes)
}

fn wipe(data: &Path) -> Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name in UTF-8")?;
        if IDENTITY.contains(&name) {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    Ok(())
}
