//! Telling others of members, and dialling them.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::NodeId;
use stash_crypto::member::{Announced, Place, SignedAddresses};
use stash_p2p::Peer;
use stash_store::Store;

use crate::door::public;
use crate::ledger::{LedgerError, RosterError};
use crate::membership::Membership;
use crate::message::{self, MAX_CLAIM_BYTES, Request, page};
use crate::reach;
use crate::rpc::ask;

/// Keeps a connection to every member whose address is known. If nothing has changed for a member,
/// the pauses between its dials go on as they are.
pub(crate) fn dial_members(membership: &Membership) {
    let (members, realms) =
        (membership.core.roster.members(), membership.core.door.member_realms());
    for member in members.iter().filter(|member| member.node != membership.core.me) {
        let heard = membership.discovery.addresses(&member.node);
        let places = membership.ways.candidates(&member.node, &heard, &member.addresses);
        if !membership.addresses.is_news(member.node, &places, realms.len()) {
            continue;
        }
        let remote = public(&member.noise);
        if places.is_empty() {
            membership.core.endpoint.forget(&remote);
        } else {
            membership.core.endpoint.keep_under_any(remote, places, realms.clone());
        }
    }
}

/// Sets the places at which a member is dialled because the user says so, and dials it.
pub(crate) async fn give(
    membership: &Arc<Membership>,
    node: NodeId,
    places: Vec<Place>,
) -> Result<(), LedgerError> {
    let shared = Arc::clone(membership);
    let work = move |store: &Store| shared.ways.give(store, node, &places);
    membership.core.disk.run(work).await?;
    dial_members(membership);
    if let Some(noise) = membership.core.roster.log(|log| Some(log.member(&node)?.identity.noise)) {
        membership.core.endpoint.redial(&public(&noise));
    }
    Ok(())
}

/// Notes where a member has answered that has just come, if this node dialled it.
pub(crate) fn met(membership: &Arc<Membership>, node: NodeId, peer: &Peer) {
    let (shared, address) = (Arc::clone(membership), peer.addr());
    // One that is good on one link alone is of no use without the link, and is heard there again.
    if !peer.dialled() || reach::is_link_local(&address.ip()) {
        return;
    }
    membership.core.tasks.spawn(async move {
        let now = shared.core.environment.seconds();
        let ways = Arc::clone(&shared);
        let work = move |store: &Store| ways.ways.met(store, node, address, now);
        match shared.core.disk.run(work).await {
            Ok(true) => dial_members(&shared),
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, peer = %node.short(), "where it answered is not kept");
            }
        }
    });
}

/// A change about members.
pub(crate) enum News {
    /// The member log: a member that has none of the last entries needs those before as well, and
    /// the addresses of new members.
    Log,
    /// Addresses of these members, as every start of a node tells.
    Addresses(Vec<NodeId>),
}

/// Tells every connected member what has changed about members.
pub(crate) fn spread(membership: &Arc<Membership>, news: &News) {
    let (entries, claims) = match news {
        News::Log => (
            membership.core.roster.last_entries(message::MAX_RECORD_BYTES),
            membership.core.roster.claims(),
        ),
        News::Addresses(nodes) => (Vec::new(), membership.core.roster.claims_of(nodes)),
    };
    let entries: Vec<ByteBuf> = entries.into_iter().map(ByteBuf::from).collect();
    let addresses = page(claims, MAX_CLAIM_BYTES);
    for (node, peer) in membership.core.connected() {
        let request = Request::Announce { entries: entries.clone(), addresses: addresses.clone() };
        membership.core.tasks.spawn(async move {
            if let Err(error) = ask(&peer, &request).await {
                tracing::debug!(peer = %node.short(), %error, "members were not announced");
            }
        });
    }
}

/// Signs this node's own addresses again, so that they replace those that others know of it:
/// another life of it has used the same sequence number, or a higher one.
pub(crate) fn sign_again(membership: &Arc<Membership>, store: &Store) -> Result<(), RosterError> {
    match SignedAddresses::decode(&membership.core.door.own_addresses()) {
        Ok(own) => sign(membership, store, own.places),
        Err(_) => Ok(()),
    }
}

/// Signs these places as those of this node, and has hello say so.
pub(crate) fn sign(
    membership: &Membership,
    store: &Store,
    places: Vec<Announced>,
) -> Result<(), RosterError> {
    let sequence = membership.core.roster.next_sequence(&membership.core.me);
    let signed = SignedAddresses::sign(
        membership.core.keys.signer(),
        &membership.core.stash,
        sequence,
        membership.core.environment.seconds(),
        places,
    );
    let Ok(signed) = signed else { return Ok(()) };
    membership.core.roster.learn(store, &[signed.encode()], |_| true)?;
    membership.core.door.answers_at(&signed, &membership.core.endpoint.local_addresses());
    Ok(())
}
