//! Telling others of members, and dialling them.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::NodeId;

use crate::core::Core;
use crate::door::public;
use crate::membership::addresses;
use crate::message::{self, MAX_CLAIM_BYTES, Request, page};
use crate::rpc::ask;

/// Keeps a connection to every member whose address is known. Of whom nothing has changed, the pauses
/// between dials go on as they are.
pub(crate) fn dial_members(core: &Core) {
    let (members, realms) = (core.roster.members(), core.door.member_realms());
    let mine = members.iter().filter(|member| member.node == core.me);
    let mut own: Vec<_> = mine.flat_map(|member| member.addresses.iter().copied()).collect();
    own.extend(core.endpoint.local_addresses());
    for member in members.iter().filter(|member| member.node != core.me) {
        let addresses = addresses::dialled(&member.addresses, &own);
        if !core.addresses.is_news(member.node, &addresses, realms.len()) {
            continue;
        }
        let remote = public(&member.noise);
        if addresses.is_empty() {
            core.endpoint.forget(&remote);
        } else {
            core.endpoint.keep_under_any(remote, addresses, realms.clone());
        }
    }
}

/// What has changed about members.
pub(crate) enum News {
    /// The member log: whoever has none of the last entries needs those before as well, and the
    /// addresses of whoever is new.
    Log,
    /// Where these are, as every start of a node tells.
    Addresses(Vec<NodeId>),
}

/// Tells every connected member what has changed about members.
pub(crate) fn spread(core: &Arc<Core>, news: &News) {
    let (entries, claims) = match news {
        News::Log => (core.roster.last_entries(message::MAX_RECORD_BYTES), core.roster.claims()),
        News::Addresses(nodes) => (Vec::new(), core.roster.claims_of(nodes)),
    };
    let entries: Vec<ByteBuf> = entries.into_iter().map(ByteBuf::from).collect();
    let addresses = page(claims, MAX_CLAIM_BYTES);
    for (node, peer) in core.connected() {
        let request = Request::Announce { entries: entries.clone(), addresses: addresses.clone() };
        core.tasks.spawn(async move {
            if let Err(error) = ask(&peer, &request).await {
                tracing::debug!(peer = %node.short(), %error, "members were not announced");
            }
        });
    }
}
