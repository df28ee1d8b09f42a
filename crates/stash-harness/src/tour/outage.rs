//! The keeper is killed; everything goes on; it comes back and serves.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use rand::Rng;
use stash_api::files::{PutDone, Where};

use crate::cluster;
use crate::report::seconds;
use crate::tour::ground::Tour;
use crate::tour::store::{all_copies, complete_everywhere, only_root};

/// Exit code for "stored below the requested copies".
const SHORT: i32 = 7;

/// Size of the files stored during and after the outage: three chunks.
const SIZE: usize = 2_500_000;

pub(super) fn killed(tour: &mut Tour<'_>) -> Result<String> {
    let count = tour.count();
    let (left, quorum) = (count - 1, count / 2 + 1);
    tour.cluster.nodes[tour.keeper].kill()?;
    let (first, second) = (random_file(tour, "outage-1")?, random_file(tour, "outage-2")?);

    let expected = if left >= quorum { 0 } else { SHORT };
    let put: PutDone = tour
        .founder()
        .run(&["put", cluster::text(&first)?, "--json"])?
        .expect(&[expected])?
        .json()?;
    let root = only_root(put)?;
    // It may answer as soon as a quorum has it, and never claims the dead node's copy.
    let honest = quorum.min(left) as u64..=left as u64;
    if !honest.contains(&root.copies) || root.wanted != count as u64 {
        bail!("put says {} of {} copies with one of {count} nodes dead", root.copies, root.wanted);
    }
    let reply = tour.founder().run(&["put", cluster::text(&second)?, "--wait", "all"])?;
    let reply = reply.expect(&[SHORT])?;
    let phrase = format!("{left} of {count}");
    if !format!("{}{}", reply.text(), reply.stderr).contains(&phrase) {
        bail!(
            "put --wait all exits {SHORT} and does not say \"{phrase}\": {}{}",
            reply.text(),
            reply.stderr
        );
    }
    for key in ["outage-1", "outage-2"] {
        let source = tour.scratch.join(key);
        tour.one_back(0, key, &source)?;
        if let Some(other) = tour.other {
            cluster::wait_listed(&tour.cluster.nodes[other], key, 1)?;
            tour.one_back(other, key, &source)?;
        }
    }
    Ok(format!(
        "{} dead: put exits {expected}, --wait all says \"{phrase} copies\" and exits {SHORT}, get goes on",
        tour.keeper().name()
    ))
}

pub(super) fn restarted(tour: &mut Tour<'_>) -> Result<String> {
    let serving = tour.cluster.nodes[tour.keeper].start()?;
    tour.cluster.settle()?;
    let source = random_file(tour, "after-restart")?;
    let put = tour.founder().json(&["put", cluster::text(&source)?, "--wait", "all"])?;
    all_copies(&only_root(put)?, tour.count())?;
    let place: Where = tour.founder().json(&["where", "after-restart"])?;
    complete_everywhere(tour, "after-restart", &place)?;
    let alone = from_the_keeper_alone(tour, "after-restart", &source)?;
    Ok(format!("ready in {}, takes a copy of a put, {alone}", seconds(serving)))
}

/// With every other node stopped, what the founder gives up can only come back from the keeper.
fn from_the_keeper_alone(
    tour: &mut Tour<'_>,
    key: &str,
    source: &std::path::Path,
) -> Result<String> {
    let others: Vec<usize> = (1..tour.count()).filter(|index| *index != tour.keeper).collect();
    for index in &others {
        tour.cluster.nodes[*index].stop()?;
    }
    tour.founder().ok(&["evict", key, "--copies", "1"])?;
    tour.one_back(0, key, source)?;
    for index in &others {
        tour.cluster.nodes[*index].start()?;
    }
    tour.cluster.settle()?;
    Ok("and gives an evicted file back with all others stopped".into())
}

pub(super) fn random_file(tour: &mut Tour<'_>, name: &str) -> Result<PathBuf> {
    let mut bytes = vec![0; SIZE];
    tour.rng.fill_bytes(&mut bytes);
    let path = tour.scratch.join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}
