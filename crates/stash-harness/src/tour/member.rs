//! A member is removed while another one is away: it hears nothing more, and nobody else is held up.

use std::time::Instant;

use anyhow::{Result, bail};
use stash_api::files::Where;
use stash_api::node::Status;

use crate::cluster::{self, Role};
use crate::report::seconds;
use crate::tour::apart::until;
use crate::tour::ground::Tour;
use crate::tour::outage::random_file;
use crate::tour::store::complete_everywhere;

pub(super) fn removed(tour: &mut Tour<'_>) -> Result<String> {
    let guest = tour.cluster.guest(Role::Owner)?;
    until("the new member does not meet all others", || {
        let status = guest.json::<Status>(&["status"])?;
        Ok(status.synchronised && status.connected == status.members)
    })?;
    let theirs = random_file(tour, "guest")?;
    guest.ok(&["put", cluster::text(&theirs)?, "--as", "by-guest", "--wait", "all"])?;
    let id = guest.json::<Status>(&["status"])?.node_id;
    let keeper = tour.keeper;
    tour.cluster.nodes[keeper].stop()?;

    let begun = Instant::now();
    tour.founder().ok(&["peer", "remove", &id, "-y"])?;
    until("the removed member is still connected", || {
        let status = guest.json::<Status>(&["status"])?;
        // It may have read that it is no member itself.
        Ok(status.peers.iter().all(|peer| peer.this || !peer.connected))
    })?;
    let took = seconds(begun.elapsed());
    let later = random_file(tour, "later")?;
    let put = ["put", cluster::text(&later)?, "--as", "after-removal", "--wait", "local"];
    tour.founder().ok(&put)?;
    tour.cluster.nodes[keeper].start()?;
    tour.cluster.settle()?;
    for (key, file) in [("by-guest", &theirs), ("after-removal", &later)] {
        until("a member lacks what was stored", || {
            let place: Where = tour.founder().json(&["where", key])?;
            Ok(complete_everywhere(tour, key, &place).is_ok())
        })?;
        tour.one_back(0, key, file)?;
    }
    if !cluster::list(&guest, "after-removal")?.is_empty() {
        bail!("the removed member hears what is stored");
    }
    Ok(format!(
        "cut off after {took}, while {} was away; it hears nothing more, what it stored stays, and \
         the rest go on with new keys",
        tour.keeper().name()
    ))
}
