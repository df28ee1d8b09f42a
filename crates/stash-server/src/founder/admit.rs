//! The founder's side of a join: the request is checked and the joiner admitted.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{JoinRequest, TicketId};
use stash_p2p::{CloseReason, Peer};
use stash_store::{Batch, Store};

use crate::admission::Full;
use crate::founder::Founder;
use crate::ledger::tickets::{Now, Used, Verdict};
use crate::ledger::{roster, tickets};
use crate::membership::guests::{admitted_with, open_to_tickets};
use crate::membership::join::{MAX_LOG_BYTES, REACH, WELCOME};
use crate::membership::{announce, confirmation, cut_exchange, exchange, may_sign};
use crate::message::{MAX_CLAIM_BYTES, Refusal, Reply, Request, page, refused};
use crate::{door, message, rpc};

/// Serves one connection of a ticket's realm: one join request, and what follows from it.
pub(crate) async fn serve(founder: Arc<Founder>, ticket: TicketId, peer: Peer) {
    let Ok(Some(stream)) = tokio::time::timeout(REACH, peer.accept()).await else {
        // At once: guests have few places.
        return peer.close(CloseReason::Lost);
    };
    let (mut send, mut recv) = stream.split();
    let reply = match rpc::opening(&mut recv).await {
        Ok(Some(Request::Join { request })) => match admit(&founder, ticket, &peer, &request).await
        {
            Some(reply) => reply,
            // Somebody else was quicker.
            None => return peer.close(CloseReason::Lost),
        },
        Ok(_) => refused(Refusal::Unknown, "a ticket is good for a join request alone"),
        Err(_) => return peer.close(CloseReason::Shutdown),
    };
    if send.message(message::encode(&reply)).await.is_ok() {
        send.finish();
        let admitted = matches!(reply, Reply::Welcome { .. });
        // The joiner closes once it has read the answer, and the rest of the log.
        let rest =
            async { if admitted { give_log(&founder, &peer).await } else { peer.closed().await } };
        if tokio::time::timeout(REACH, rest).await.is_err() {
            return peer.close(CloseReason::Lost);
        }
    }
    peer.close(CloseReason::Shutdown);
}

/// Gives a node that has just been admitted the part of the member log for which its welcome had no
/// room, until it closes.
async fn give_log(founder: &Founder, peer: &Peer) -> CloseReason {
    while let Some(stream) = peer.accept().await {
        let (mut send, mut recv) = stream.split();
        let reply = match rpc::opening(&mut recv).await {
            Ok(Some(Request::Members { from })) => exchange::member_log(&founder.membership, from),
            Ok(Some(Request::Cuts { list, from })) => {
                cut_exchange::answer(&founder.membership, list, from)
            }
            Ok(_) => refused(Refusal::Unknown, "a ticket is good for a join request alone"),
            Err(_) => continue,
        };
        if send.message(message::encode(&reply)).await.is_ok() {
            send.finish();
        }
    }
    peer.closed().await
}

/// Answers a join request; `None` to a node whose ticket another one has used.
async fn admit(
    founder: &Arc<Founder>,
    ticket: TicketId,
    peer: &Peer,
    request: &[u8],
) -> Option<Reply> {
    let request = match JoinRequest::decode(request) {
        Ok(request) => request,
        Err(error) => return Some(refused(Refusal::Malformed, &error.to_string())),
    };
    let own = request.ticket == ticket && request.identity.noise == door::noise(&peer.remote());
    if !own || request.verify(&founder.core.stash).is_err() {
        let reason = "the join request is not signed by this node";
        return Some(refused(Refusal::Malformed, reason));
    }
    // Whoever was admitted before is answered in any case.
    let _ = may_sign::assure(&founder.membership, None).await;
    let guard = founder.admitting.lock().await;
    let shared = Arc::clone(founder);
    let outcome =
        founder.core.disk.run(move |store| decide(&shared, store, ticket, &request)).await;
    drop(guard);
    match outcome {
        Ok((grant, new)) => {
            if new {
                announce::spread(&founder.membership, &announce::News::Log);
                confirmation::look(&founder.membership).await;
            }
            Some(Reply::Welcome {
                entries: page(founder.core.roster.entries(0), WELCOME),
                grant: ByteBuf::from(grant),
                addresses: page(founder.core.roster.claims(), MAX_CLAIM_BYTES),
            })
        }
        Err(reply) => reply,
    }
}

/// Burns the ticket and admits the joiner in one durable step; from then on the ticket opens the
/// door to nobody else. Returns the grant, and whether the member is new; the error is the answer.
fn decide(
    founder: &Founder,
    store: &Store,
    ticket: TicketId,
    request: &JoinRequest,
) -> Result<(Vec<u8>, bool), Option<Reply>> {
    let failed = |reason: String| Some(refused(Refusal::Failed, &reason));
    let rows = tickets::all(store).map_err(|error| failed(error.to_string()))?;
    let row = rows.into_iter().find(|row| row.id == *ticket.as_bytes());
    let mut row = row.ok_or_else(|| failed("the ticket is not known any more".to_owned()))?;
    let now = founder.core.environment.seconds();
    let seen = Now::of(store, now).map_err(|error| failed(error.to_string()))?;
    if row.strike(&seen) {
        store.commit(row.put(Batch::new())).map_err(|error| failed(error.to_string()))?;
    }
    let admission = founder.membership.admission.as_ref();
    let admission = admission.ok_or_else(|| failed("the root secret is not here".to_owned()))?;
    let me = request.identity.node;
    let admitted = founder.core.roster.log(|log| admitted_with(log, &ticket));
    let role = match row.judge(&me, admitted, &seen) {
        Verdict::Repeat(grant) => return Ok((grant, false)),
        Verdict::Anew => {
            let role = founder.core.roster.log(|log| log.member(&me).map(|member| member.role));
            let role = role.ok_or(None)?;
            let granted = founder.core.roster.log(|log| admission.admit(log, request, role));
            let (_, grant) = granted.map_err(|error| failed(error.to_string()))?;
            row.used =
                Some(Used { node: *me.as_bytes(), grant: ByteBuf::from(grant.clone()), at: now });
            store.commit(row.put(Batch::new())).map_err(|error| failed(error.to_string()))?;
            return Ok((grant, false));
        }
        Verdict::Used => return Err(None),
        Verdict::Expired => {
            return Err(Some(refused(Refusal::TicketExpired, "the ticket has expired")));
        }
        Verdict::Admit(role) => role,
    };
    // It may have been started anew since the ticket was made.
    may_sign::check(&founder.membership).map_err(|error| failed(error.to_string()))?;
    if founder.core.roster.log_bytes() > MAX_LOG_BYTES {
        return Err(failed("the member log is as long as that of a stash can be".to_owned()));
    }
    if !founder.core.roster.log(|log| log.has_room_for(role)) {
        return Err(failed(Full.to_string()));
    }
    let granted = founder.core.roster.log(|log| admission.admit(log, request, role));
    let (entry, grant) = granted.map_err(|error| failed(error.to_string()))?;
    row.used = Some(Used { node: *me.as_bytes(), grant: ByteBuf::from(grant.clone()), at: now });
    let batch = roster::keep(row.put(Batch::new()), entry.index(), entry.bytes());
    founder.core.roster.check(&entry).map_err(|error| failed(error.to_string()))?;
    store.commit(batch).map_err(|error| failed(error.to_string()))?;
    founder.core.roster.admitted(&entry).map_err(|error| failed(error.to_string()))?;
    open_to_tickets(&founder.membership).map_err(|error| failed(error.to_string()))?;
    Ok((grant, true))
}
