//! What a node answers members and the holder of the root secret: one task a connected peer, one a request.
//! Guests with a ticket are answered by `founder/admit.rs`, and who only asks who is here by
//! `membership/recovery/meeting.rs`.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{Address, MemberLog, NodeId};
use stash_p2p::{Peer, Stream, StreamError};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::asker::Asker;
use crate::founder::writers;
use crate::layers::Layers;
use crate::membership::exchange::member_log;
use crate::membership::{confirmation, cut_exchange, exchange};
use crate::message::{self, MAX_CLAIM_BYTES, MAX_ENTRY_BYTES, Refusal, Reply, Request, refused};
use crate::replication::answer::{find, ids, page_of_log, sums, told, whole_hashes};
use crate::replication::difference;
use crate::rpc::opening;
use crate::transfer::answer::have;
use crate::transfer::evict::question;
use crate::transfer::{answer, holders, intake};
use crate::upkeep::challenge;

/// Requests of one peer that are answered at once; the next ones wait in the transport.
const REQUESTS: usize = 64;

/// Answers one peer until it is gone.
pub(crate) async fn peer(layers: Layers, asker: Asker, peer: Peer) {
    let places = Arc::new(Semaphore::new(REQUESTS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let Some(stream) = peer.accept().await else {
            return;
        };
        let (layers, peer) = (layers.clone(), peer.clone());
        layers.core.tasks.clone().spawn(async move {
            if let Err(error) = request(&layers, asker, &peer, stream).await {
                tracing::debug!(?asker, %error, "a request ended early");
            }
            drop(place);
        });
    }
}

async fn request(
    layers: &Layers,
    asker: Asker,
    peer: &Peer,
    stream: Stream,
) -> Result<(), StreamError> {
    let (send, mut recv) = stream.split();
    let opening = opening(&mut recv).await?;
    let reply = match (opening, asker.now(&layers.core)) {
        (_, Asker::Nobody) => refused(Refusal::Role, "this node is no member any more"),
        (None, _) => refused(Refusal::Unknown, "this request is not known here"),
        (Some(Request::Put {}), Asker::Member(node, role)) if role.writes() => {
            if let Err(fault) = intake::serve(Arc::clone(&layers.transfer), node, send, recv).await
            {
                tracing::warn!(peer = %node.short(), %fault, "a put stream was given up");
            }
            return Ok(());
        }
        (Some(Request::Put {}), _) => refused(Refusal::Role, "only owners put"),
        // Whoever is asked to prove a chunk gets it elsewhere, or not at all.
        (Some(Request::Get { address }), Asker::Member(node, _))
            if layers.transfer.evicting.asks(&node, &Address::from_bytes(address)) =>
        {
            Reply::NotHere {}
        }
        (Some(Request::Get { address }), _) => {
            let address = Address::from_bytes(address);
            return answer::chunk(&layers.transfer, asker.account(), peer, address, send).await;
        }
        (Some(Request::Evict { nonce, groups }), Asker::Member(node, _)) => {
            question::answer(&layers.transfer, node, peer.handshake_hash(), nonce, groups).await
        }
        (Some(Request::Prove { nonce, chunks }), Asker::Member(node, _)) => {
            challenge::prove(&layers.upkeep, node, peer.handshake_hash(), nonce, &chunks).await
        }
        // A visitor in the root's name reads, and nobody reads from it.
        (Some(Request::News {} | Request::Lack { .. } | Request::Room(_)), Asker::Root) => {
            Reply::Done {}
        }
        (Some(Request::News {}), Asker::Member(node, _)) => {
            told(&layers.replication, &node, |follower| follower.news());
            Reply::Done {}
        }
        (Some(Request::Lack { hashes }), Asker::Member(node, _)) => {
            match message::unpack_hashes(&hashes) {
                Ok(hashes) => {
                    told(&layers.replication, &node, |follower| follower.lack(hashes));
                    Reply::Done {}
                }
                Err(error) => refused(Refusal::Malformed, &error.to_string()),
            }
        }
        (Some(Request::Room(room)), Asker::Member(node, _)) => {
            layers.transfer.rooms.learn(&layers.core.peers, node, room);
            Reply::Done {}
        }
        (Some(Request::Confirmed { confirmation }), asker) => {
            sleep(layers.membership.addresses.announced(asker.account())).await;
            if confirmation::learn(&layers.membership, &confirmation).await
                && let Asker::Member(..) = asker
            {
                exchange::read_more(&layers.membership, peer);
            }
            Reply::Done {}
        }
        (Some(Request::Log { log, after }), asker) => {
            page_of_log(&layers.replication, asker, log, after).await
        }
        (Some(request), _) => answer(layers, asker.account(), peer, request).await,
    };
    answer::message(asker.account(), peer, send, &reply).await
}

/// Answers what any member may ask.
async fn answer(layers: &Layers, member: NodeId, peer: &Peer, request: Request) -> Reply {
    match request {
        Request::Have { chunks } => match message::unpack(&chunks) {
            Ok(chunks) => have(&layers.transfer, &chunks).await,
            Err(error) => refused(Refusal::Malformed, &error.to_string()),
        },
        Request::Members { from } => member_log(&layers.membership, from),
        Request::Announce { entries, addresses } => {
            let fit = message::together(&entries, MAX_ENTRY_BYTES)
                .and_then(|()| message::together(&addresses, MAX_CLAIM_BYTES));
            if let Err(error) = fit {
                return refused(Refusal::Malformed, &error.to_string());
            }
            sleep(layers.membership.addresses.announced(member)).await;
            let raw = |list: Vec<ByteBuf>| list.into_iter().map(ByteBuf::into_vec).collect();
            match cut_exchange::learn(&layers.membership, peer, raw(entries), raw(addresses)).await
            {
                Ok(()) => Reply::Done {},
                Err(error) => refused(Refusal::Failed, &error.to_string()),
            }
        }
        Request::All {} => {
            let log = layers.core.roster.log(MemberLog::len);
            let shared = layers.clone();
            match layers
                .core
                .disk
                .run(move |store| shared.replication.refused.with_totals(store))
                .await
            {
                Ok((held, refused)) => {
                    let less = if refused.count > 0 { refused.sum.to_vec() } else { Vec::new() };
                    let (n, sum, full) = (held.count, held.sum, refused.count);
                    Reply::All { n, sum, log, full, less: ByteBuf::from(less) }
                }
                Err(error) => refused(Refusal::Failed, &error.to_string()),
            }
        }
        Request::Sums { prefixes, length } => match difference::prefixes(&prefixes, length) {
            Some(prefixes) => sums(&layers.replication, member, prefixes).await,
            None => refused(Refusal::Malformed, "no prefixes of 0 or 1 bytes, at most 64"),
        },
        Request::Ids { parts, size } => match difference::parts(&parts, size) {
            Some(parts) => ids(&layers.replication, member, parts, size.into()).await,
            None => refused(Refusal::Malformed, "no parts, at most 4096, in 16 or 32 bytes"),
        },
        Request::Match { halves } => match difference::halves(&halves) {
            Some(halves) => whole_hashes(&layers.replication, member, halves).await,
            None => refused(Refusal::Malformed, "no halves of hashes, at most 4096"),
        },
        Request::Find { hashes, puts } => match message::unpack_hashes(&hashes) {
            Ok(hashes) => find(&layers.replication, hashes, puts).await,
            Err(error) => refused(Refusal::Malformed, &error.to_string()),
        },
        Request::Holding { hashes } => holders::answer(&layers.transfer, member, &hashes).await,
        Request::Cuts { list, from } => cut_exchange::answer(&layers.membership, list, from),
        Request::Writers { node, from } => {
            match writers::writers(&layers.founder, node, from).await {
                Ok(reply) => reply,
                Err(error) => refused(Refusal::Failed, &error.to_string()),
            }
        }
        Request::Join { .. } => refused(Refusal::Unknown, "this node is a member already"),
        Request::Put {}
        | Request::Get { .. }
        | Request::Evict { .. }
        | Request::Prove { .. }
        | Request::News {}
        | Request::Lack { .. }
        | Request::Room(_)
        | Request::Confirmed { .. }
        | Request::Log { .. } => refused(Refusal::Role, "only members ask this"),
    }
}
