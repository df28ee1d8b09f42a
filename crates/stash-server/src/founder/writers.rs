//! The last records of a member that is about to be cut: asked of others, and answered.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_bytes::ByteBuf;
use stash_crypto::{Cut, NodeId};
use stash_p2p::Peer;
use stash_store::Store;
use tokio::time::timeout;

use crate::founder::Founder;
use crate::ledger::cut_lists;
use crate::message::{self, Refusal, Reply, Request, refused};
use crate::replication::records;
use crate::rpc::{AskError, ask, unexpected};

/// Longest time for a member to say what it has of one that is about to be cut, and to hand it
/// over. One that takes longer counts as not reachable.
const GATHER: Duration = Duration::from_secs(10);

/// Answers with the last records of a node that are held here, from an incarnation on.
pub(crate) async fn writers(founder: &Founder, node: [u8; 32], from: [u8; 8]) -> Reply {
    let look = move |store: &Store| cut_lists::last(store, &NodeId::from_bytes(node));
    let last = match founder.core.disk.run(look).await {
        Ok(last) => last.into_iter(),
        Err(error) => return refused(Refusal::Failed, &error.to_string()),
    };
    let last = last.skip_while(|cut| *cut.incarnation.as_bytes() < from).take(message::CUTS_PAGE);
    let last: Vec<u8> = last.flat_map(|cut| cut.to_bytes()).collect();
    Reply::Writers { last: ByteBuf::from(last) }
}

/// Members that said what they have of a node, and members that could not be asked.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) asked: Vec<NodeId>,
    pub(crate) silent: Vec<NodeId>,
}

/// Asks every other member that is connected for the last records of a node, and takes over those
/// that are not here: what a member claims to hold counts once it is.
pub(crate) async fn gather(founder: &Arc<Founder>, node: NodeId) -> Gathered {
    let connected = founder.core.connected();
    let others = founder.core.roster.members().into_iter().map(|member| member.node);
    let others = others.filter(|other| *other != founder.core.me && *other != node);
    let ask_one = |other: NodeId| {
        let peer = connected.iter().find(|(node, _)| *node == other).map(|(_, peer)| peer.clone());
        async move {
            let Some(peer) = peer else {
                return (other, false);
            };
            let told = timeout(GATHER, gather_from(founder, other, &peer, node)).await;
            if let Ok(Err(error)) = &told {
                tracing::warn!(peer = %other.short(), %error, "a member was not asked");
            }
            (other, matches!(told, Ok(Ok(()))))
        }
    };
    let mut gathered = Gathered::default();
    for (other, told) in join_all(others.map(ask_one)).await {
        let list = if told { &mut gathered.asked } else { &mut gathered.silent };
        list.push(other);
    }
    gathered
}

async fn gather_from(
    founder: &Arc<Founder>,
    other: NodeId,
    peer: &Peer,
    node: NodeId,
) -> Result<(), AskError> {
    let wrong = || AskError::Protocol("no list of last records".to_owned());
    let (mut from, mut no_room) = (Some([0; 8]), 0);
    while let Some(first) = from {
        let request = Request::Writers { node: *node.as_bytes(), from: first };
        let reply = ask(peer, &request).await?;
        let Reply::Writers { last } = reply else {
            return Err(unexpected(&reply));
        };
        let page = unpack_cuts(&last).ok_or_else(wrong)?;
        let Some(end) = page.last() else { break };
        // They ascend, so that an answer is a step forward.
        if page[0].incarnation.as_bytes() < &first {
            return Err(wrong());
        }
        from = u64::from_be_bytes(*end.incarnation.as_bytes()).checked_add(1).map(u64::to_be_bytes);
        let hashes = page.iter().map(|cut| cut.hash).collect();
        no_room +=
            records::take_from(&founder.replication, other, peer, hashes).await?.no_room.len();
    }
    match no_room {
        0 => Ok(()),
        // They would lie past the cut: whoever changes the member is told, and may make room first.
        n => Err(AskError::NotKept(format!("there is no room for {n} of them"))),
    }
}

/// The last records that an answer names; `None` if it is none.
pub(crate) fn unpack_cuts(bytes: &[u8]) -> Option<Vec<Cut>> {
    let (cuts, []) = bytes.as_chunks::<{ Cut::ENCODED }>() else {
        return None;
    };
    let cuts: Vec<Cut> = cuts.iter().map(Cut::from_bytes).collect::<Option<_>>()?;
    let ascending = cuts.is_sorted_by(|one, next| one.incarnation < next.incarnation);
    (cuts.len() <= message::CUTS_PAGE && ascending).then_some(cuts)
}
