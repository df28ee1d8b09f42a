//! Exchange of the member log and of addresses when nodes meet.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{MemberEntry, NodeId};
use stash_p2p::Peer;
use tokio::time::sleep;

use crate::asker::Asker;
use crate::door::Hello;
use crate::membership::{Membership, confirmation, cut_exchange, learn, own_places};
use crate::message::{self, MAX_CLAIM_BYTES, MAX_ENTRY_BYTES, Reply, Request, page};
use crate::rpc::{AskError, ask, unexpected};

/// Learns about members from one that has just come up. True if all of its member log is known
/// here.
pub(crate) async fn meet(membership: &Arc<Membership>, node: NodeId, peer: &Peer) -> bool {
    let Ok(hello) = message::decode::<Hello>(&peer.hello()) else {
        return false;
    };
    let beside = log_beside(membership, &hello);
    hello
        .room
        .into_iter()
        .for_each(|room| membership.transfer.rooms.learn(&membership.core.peers, node, room));
    membership.last_met.runs(node, &hello.program);
    confirmation::learn(membership, &hello.confirmed).await;
    learn::show_forks(membership, peer);
    own_places::seen(membership, node, &hello.seen).await;
    let claims = vec![hello.addresses.into_vec()];
    // What does not verify is left out, and the reason is in the log.
    let _ = learn::learn(membership, Vec::new(), claims).await;
    let ended = match beside {
        Beside::Same => Ok(()),
        Beside::Longer => members(membership, peer).await,
        Beside::Forked => Err(AskError::Protocol("another member log".to_owned())),
    };
    let Err(error) = ended else {
        return true;
    };
    tracing::debug!(peer = %node.short(), %error, "the member log was not read");
    is_known(membership, peer).await
}

/// True if all of another node's member log is known here, once it is read from its beginning.
pub(crate) async fn is_known(membership: &Arc<Membership>, peer: &Peer) -> bool {
    read_all(membership, peer).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the member logs were not compared");
        false
    })
}

/// Another node's member log, compared with the own one as far as its hello says.
#[derive(Debug, PartialEq)]
enum Beside {
    /// It is the same, or an earlier state of it.
    Same,
    /// It has more entries.
    Longer,
    /// It has another entry where it ends.
    Forked,
}

fn log_beside(membership: &Membership, hello: &Hello) -> Beside {
    membership.core.roster.log(|log| {
        if hello.members > log.len() {
            return Beside::Longer;
        }
        let last = hello.members.checked_sub(1).and_then(|last| usize::try_from(last).ok());
        let last = last.and_then(|last| log.entries().get(last));
        let same = last.is_none_or(|entry| entry.hash().as_bytes()[..] == hello.head[..]);
        if same || hello.head.is_empty() { Beside::Same } else { Beside::Forked }
    })
}

/// Reads another node's member log from the beginning, up to the entry that is another one here:
/// that raises the alarm. The log here stays as it is. True if it was read to its end.
///
/// The member cannot go on for ever: each answer begins where it was asked to, so that what is held
/// here is shown once, and what lies beyond is signed by the root.
async fn read_all(membership: &Arc<Membership>, peer: &Peer) -> Result<bool, AskError> {
    let mut from = 0;
    loop {
        let reply = ask(peer, &Request::Members { from }).await?;
        let Reply::Members { entries, .. } = reply else {
            return Err(unexpected(&reply));
        };
        let raw: Vec<Vec<u8>> = entries.into_iter().map(ByteBuf::into_vec).collect();
        if raw.is_empty() {
            return Ok(true);
        }
        let index = |bytes: &Vec<u8>| MemberEntry::decode(bytes).map(|entry| entry.index());
        let shown: Vec<_> = raw.iter().map(index).collect();
        let to = from + raw.len() as u64;
        if !shown.into_iter().eq((from..to).map(Ok)) {
            return Err(AskError::Protocol(format!("no entries from {from} on")));
        }
        from = to;
        if cut_exchange::learn(membership, peer, raw, Vec::new()).await.is_err() {
            return Ok(false);
        }
    }
}

/// Reads the member log of a peer from an index on. Returns how many entries are known then.
async fn members_from(
    membership: &Arc<Membership>,
    peer: &Peer,
    from: u64,
) -> Result<u64, AskError> {
    let reply = ask(peer, &Request::Members { from }).await?;
    let Reply::Members { entries, addresses } = reply else {
        return Err(unexpected(&reply));
    };
    let raw = |list: Vec<ByteBuf>| list.into_iter().map(ByteBuf::into_vec).collect();
    cut_exchange::learn(membership, peer, raw(entries), raw(addresses)).await?;
    Ok(membership.core.roster.log(|log| log.len()))
}

/// Takes the root's confirmation of the member log from a peer.
pub(crate) async fn confirmed(
    membership: &Arc<Membership>,
    asker: Asker,
    peer: &Peer,
    told: &[u8],
) -> Reply {
    sleep(membership.addresses.announced(asker.account())).await;
    if confirmation::learn(membership, told).await
        && let Asker::Member(..) = asker
    {
        read_more(membership, peer);
    }
    Reply::Done {}
}

/// Reads, in a task of its own, what a peer has more of the member log: more is known to exist.
pub(crate) fn read_more(membership: &Arc<Membership>, peer: &Peer) {
    let (shared, peer) = (Arc::clone(membership), peer.clone());
    membership.core.tasks.spawn(async move {
        if let Err(error) = members(&shared, &peer).await {
            tracing::debug!(%error, "what the root confirmed was not read");
        }
    });
}

/// Reads what a peer has more of the member log than this node.
pub(crate) async fn members(membership: &Arc<Membership>, peer: &Peer) -> Result<(), AskError> {
    loop {
        let known = membership.core.roster.log(|log| log.len());
        if members_from(membership, peer, known).await? <= known {
            return Ok(());
        }
    }
}

/// Answers with the log from an index on, as much as fits, and addresses of members.
pub(crate) fn member_log(membership: &Membership, from: u64) -> Reply {
    let entries = page(membership.core.roster.entries(from), MAX_ENTRY_BYTES);
    Reply::Members { entries, addresses: page(membership.core.roster.claims(), MAX_CLAIM_BYTES) }
}
