//! Finding out who listens at an address: members answer the root there under a key that all of
//! them have, and show the member log and who they are. A node that was a member once can answer
//! so, too: what is shown is signed by the root, and the node is asked again under the key that the
//! log names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::member::SignedAddresses;
use stash_crypto::{MemberLog, NetworkKey, NoisePublic, StashId};
use stash_p2p::{CloseReason, Peer};

use crate::door::{Hello, meeting_realm};
use crate::membership::join::{JoinError, Stranger, read_log};
use crate::membership::{Membership, cut_exchange, exchange};
use crate::message::{Refusal, Request, refused};
use crate::{message, rpc};

/// Longest stay of a node that asks.
const STAY: Duration = Duration::from_secs(60);

/// Serves a connection of the meeting realm: the member log, and nothing else.
pub(crate) async fn serve(membership: Arc<Membership>, peer: Peer) {
    let answer = async {
        while let Some(stream) = peer.accept().await {
            let (mut send, mut recv) = stream.split();
            let reply = match rpc::opening(&mut recv).await {
                Ok(Some(Request::Members { from })) => exchange::member_log(&membership, from),
                Ok(Some(Request::Cuts { list, from })) => {
                    cut_exchange::answer(&membership, list, from)
                }
                Ok(_) => refused(Refusal::Unknown, "here only the member log is shown"),
                Err(_) => continue,
            };
            if send.message(message::encode(&reply)).await.is_ok() {
                send.finish();
            }
        }
    };
    // Who stays longer has read what there is.
    let _ = tokio::time::timeout(STAY, answer).await;
    peer.close(CloseReason::Shutdown);
}

/// Asks at an address who listens there. Returns the log that is shown, and the key under which the
/// node that shows it is to be asked, if that log names it. The endpoint is for this address alone:
/// the same key answers at all.
pub(crate) async fn who_is_at(
    stranger: &Stranger,
    (stash, first): (StashId, &NetworkKey),
    addr: SocketAddr,
    within: Duration,
) -> Result<(MemberLog, Option<NoisePublic>), JoinError> {
    let shared = first.meeting_static().public();
    let realm = meeting_realm(&stash, first);
    let peer = stranger.dial(&[addr.into()], &shared, realm, within).await?;
    let mut log = MemberLog::new(stash);
    read_log(&peer, &mut log).await?;
    let hello = message::decode::<Hello>(&peer.hello()).ok();
    let claim = hello.and_then(|hello| SignedAddresses::decode(&hello.addresses).ok());
    let claim = claim.filter(|claim| claim.verify(&stash).is_ok());
    let member =
        claim.and_then(|claim| log.member(&claim.node).map(|member| member.identity.noise));
    peer.close(CloseReason::Shutdown);
    Ok((log, member))
}
