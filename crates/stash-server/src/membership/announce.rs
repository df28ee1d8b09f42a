//! Telling others of members, and dialling them.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::NodeId;
use stash_crypto::member::SignedAddresses;
use stash_p2p::{Candidate, Source, Way};
use stash_store::Store;

use crate::door::public;
use crate::ledger::RosterError;
use crate::membership::{Membership, addresses};
use crate::message::{self, MAX_CLAIM_BYTES, Request, page};
use crate::rpc::ask;

/// Keeps a connection to every member whose address is known. If nothing has changed for a member,
/// the pauses between its dials go on as they are.
pub(crate) fn dial_members(membership: &Membership) {
    let (members, realms) =
        (membership.core.roster.members(), membership.core.door.member_realms());
    let mine = members.iter().filter(|member| member.node == membership.core.me);
    let mut own: Vec<_> = mine.flat_map(|member| member.addresses.iter().copied()).collect();
    own.extend(membership.core.endpoint.local_addresses());
    for member in members.iter().filter(|member| member.node != membership.core.me) {
        let addresses = addresses::dialled(&member.addresses, &own);
        if !membership.addresses.is_news(member.node, &addresses, realms.len()) {
            continue;
        }
        let remote = public(&member.noise);
        if addresses.is_empty() {
            membership.core.endpoint.forget(&remote);
        } else {
            let told = |addr| Candidate::new(Way::Address(addr), Source::Told);
            let places = addresses.into_iter().map(told);
            membership.core.endpoint.keep_under_any(remote, places, realms.clone());
        }
    }
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
/// another life of it, or a clock that was ahead, has used a higher sequence number.
pub(crate) fn sign_again(membership: &Arc<Membership>, store: &Store) -> Result<(), RosterError> {
    let Ok(own) = SignedAddresses::decode(&membership.core.door.own_addresses()) else {
        return Ok(());
    };
    let sequence = membership
        .core
        .roster
        .next_sequence(&membership.core.me, membership.core.environment.micros());
    let signed = SignedAddresses::sign(
        membership.core.keys.signer(),
        &membership.core.stash,
        sequence,
        own.addresses,
    );
    let Ok(signed) = signed else { return Ok(()) };
    let signed = signed.encode();
    membership.core.roster.learn(store, std::slice::from_ref(&signed), |_| true)?;
    membership.core.door.answers_at(signed);
    Ok(())
}
