//! A node loses its disk but for its identity, and is whole again without a command.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::report::seconds;
use crate::shapes::Status;
use crate::tour::Tour;
use crate::tour::apart::until;

/// What is left: the keys, and who the others are.
const IDENTITY: [&str; 2] = ["keyring", "members"];

pub(super) fn healed(tour: &mut Tour<'_>) -> Result<String> {
    let keeper = tour.keeper;
    let before: Status = tour.keeper().json(&["status"])?;
    tour.cluster.nodes[keeper].kill()?;
    wipe(&tour.keeper().data())?;
    // As far as there is somebody else, the founder takes no part.
    let from = match tour.other {
        Some(other) => {
            tour.cluster.nodes[0].stop()?;
            tour.cluster.nodes[other].name()
        }
        None => tour.founder().name(),
    };
    let begun = Instant::now();
    tour.cluster.nodes[keeper].start()?;
    until("the wiped keeper is not whole again", || {
        let now: Status = tour.keeper().json(&["status"])?;
        Ok(now.synchronised
            && now.incomplete == 0
            && (now.records, now.chunks, now.bytes)
                == (before.records, before.chunks, before.bytes))
    })?;
    let took = seconds(begun.elapsed());
    if tour.other.is_some() {
        tour.cluster.nodes[0].start()?;
    }
    tour.cluster.settle()?;
    let Status { records, chunks, .. } = before;
    Ok(format!(
        "{} lost all but its identity: {records} records and {chunks} chunks came back from {from} in {took}",
        tour.keeper().name()
    ))
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
