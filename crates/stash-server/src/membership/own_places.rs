//! The places of this node itself: it looks whether the addresses of its machine have changed, and
//! tells the others.
//!
//! It asks the system every few seconds instead of being told: that takes one system call or two, works in every
//! container, and needs no thread and no message format of one system. A laptop that changes its
//! network is a few seconds without one in any case.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::NodeId;
use stash_crypto::member::SignedAddresses;
use stash_p2p::{Attached, Environment};
use stash_store::Store;
use tokio::time::sleep;

use crate::door::public;
use crate::ledger::RosterError;
use crate::membership::Membership;
use crate::membership::announce::{self, News};
use crate::reach;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(3);

/// The addresses of the machine, as far as it tells.
pub(crate) fn attached(environment: &Environment) -> Vec<Attached> {
    let mut attached = environment.network.interfaces().unwrap_or_else(|error| {
        tracing::debug!(%error, "the addresses of this machine are not known");
        Vec::new()
    });
    attached.sort_unstable();
    attached.dedup();
    attached
}

/// Follows the addresses of the machine until the engine stops.
pub(crate) async fn watch(membership: Arc<Membership>) {
    // A network that cannot tell has nothing to be watched.
    if membership.core.door.attached().is_empty() {
        return;
    }
    let task = membership.core.tasks.list("addresses");
    loop {
        task.ends(Some(LOOK));
        tokio::select! {
            biased;
            () = membership.core.tasks.stopped() => return,
            () = sleep(LOOK) => {}
        }
        task.begins();
        let now = attached(&membership.core.environment);
        // A machine that cannot tell is as it was.
        if now.is_empty() || now == membership.core.door.attached() {
            continue;
        }
        tracing::info!("the addresses of this machine have changed");
        membership.core.door.is_attached(now);
        membership.discovery.moved.notify_one();
        if let Err(error) = tell(&membership).await {
            tracing::error!(%error, "the new addresses of this node cannot be told");
        }
        // Whoever could not be reached before may be now.
        for member in membership.core.roster.members() {
            membership.core.endpoint.redial(&public(&member.noise));
        }
    }
}

/// Takes in at which address a member says that it sees this node.
pub(crate) async fn seen(membership: &Arc<Membership>, member: NodeId, at: &str) {
    let Ok(at) = at.parse::<SocketAddr>() else { return };
    if membership.seen.heard(member, at.ip())
        && let Err(error) = tell(membership).await
    {
        tracing::error!(%error, "the address at which members see this node cannot be told");
    }
}

/// Signs and tells where this node is, if that is not what was told last.
async fn tell(membership: &Arc<Membership>) -> Result<(), RosterError> {
    let listen = membership.core.endpoint.local_addresses();
    let attached = membership.core.door.attached();
    let seen = membership.seen.agreed();
    let places = reach::announced(&listen, &membership.advertise, &attached, &seen);
    let told = SignedAddresses::decode(&membership.core.door.own_addresses());
    if told.is_ok_and(|told| told.places == places) {
        return Ok(());
    }
    let shared = Arc::clone(membership);
    let work = move |store: &Store| announce::sign(&shared, store, places);
    membership.core.disk.run(work).await?;
    announce::spread(membership, &News::Addresses(vec![membership.core.me]));
    Ok(())
}
