//! Answers to members and to the holder of the root secret: one task a connected peer, one a
//! request. `founder/admit.rs` answers guests with a ticket, and `membership/recovery/meeting.rs`
//! nodes that only ask who is here.

use std::sync::Arc;

use stash_crypto::Address;
use stash_p2p::{Peer, Stream, StreamError};
use tokio::sync::Semaphore;

use crate::asker::Asker;
use crate::founder::writers;
use crate::layers::Layers;
use crate::membership::{cut_exchange, exchange};
use crate::message::{Refusal, Reply, Request, refused};
use crate::replication::{answer, statement_news};
use crate::rpc::opening;
use crate::transfer::evict::question;
use crate::transfer::{answer as bytes, holders, intake};
use crate::upkeep::challenge::{self, leaves};

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

/// Answers one request: who may ask it, and the function that answers.
async fn request(
    layers: &Layers,
    asker: Asker,
    peer: &Peer,
    stream: Stream,
) -> Result<(), StreamError> {
    let Layers { transfer, membership, replication, founder, upkeep, .. } = layers;
    let (send, mut recv) = stream.split();
    let (opening, asker) = (opening(&mut recv).await?, asker.now(&layers.core));
    let (account, session) = (asker.account(), peer.handshake_hash());
    let reply = match (opening, asker) {
        (_, Asker::Nobody) => refused(Refusal::Role, "this node is no member any more"),
        (None, _) => refused(Refusal::Unknown, "this request is not known here"),

        // Owners.
        (Some(Request::Put {}), Asker::Member(node, role)) if role.writes() => {
            if let Err(fault) = intake::serve(Arc::clone(transfer), node, send, recv).await {
                tracing::warn!(peer = %node.short(), %fault, "a put stream was given up");
            }
            return Ok(());
        }
        (Some(Request::Put {}), _) => refused(Refusal::Role, "only owners put"),

        // Members.
        (Some(Request::Evict { nonce, groups }), Asker::Member(node, _)) => {
            question::answer(transfer, node, session, nonce, groups).await
        }
        (Some(Request::Prove { nonce, chunks }), Asker::Member(node, _)) => {
            challenge::prove(upkeep, node, session, nonce, &chunks).await
        }
        (Some(Request::Leaves { drawn }), Asker::Member(node, _)) => {
            leaves::answer(upkeep, node, &drawn).await
        }
        (
            Some(Request::Evict { .. } | Request::Prove { .. } | Request::Leaves { .. }),
            Asker::Root,
        ) => refused(Refusal::Role, "only members ask this"),
        (Some(Request::News {}), Asker::Member(node, _)) => answer::news(replication, node),
        (Some(Request::Lack { hashes }), Asker::Member(node, _)) => {
            answer::lack(replication, node, &hashes)
        }
        (Some(Request::Room(room)), Asker::Member(node, _)) => {
            transfer.rooms.learn(&layers.core.peers, node, room);
            Reply::Done {}
        }
        (Some(Request::State { statements, met }), _) => {
            statement_news::learn(replication, account, statements, &met).await
        }
        // A visitor in the root's name reads, and nobody reads from it.
        (Some(Request::News {} | Request::Lack { .. } | Request::Room(_)), Asker::Root) => {
            Reply::Done {}
        }
        (Some(Request::Join { .. }), _) => {
            refused(Refusal::Unknown, "this node is a member already")
        }

        // Members, and whoever holds the root secret.
        (Some(Request::Get { address }), _) => {
            let address = Address::from_bytes(address);
            return bytes::chunk(transfer, account, peer, address, send).await;
        }
        (Some(Request::Have { chunks }), _) => bytes::have(transfer, &chunks).await,
        (Some(Request::Holding { hashes }), _) => holders::answer(transfer, account, &hashes).await,
        (Some(Request::Log { log, after }), asker) => {
            answer::page_of_log(replication, asker, log, after).await
        }
        (Some(Request::All {}), _) => answer::totals(replication).await,
        (Some(Request::Turned { run, after }), _) => answer::turned(replication, run, after).await,
        (Some(Request::Sums { prefixes, length, which }), _) => {
            answer::sums(replication, account, &prefixes, length, which).await
        }
        (Some(Request::Ids { parts, size, which }), _) => {
            answer::ids(replication, account, &parts, size, which).await
        }
        (Some(Request::Match { halves }), _) => {
            answer::whole_hashes(replication, account, &halves).await
        }
        (Some(Request::Find { hashes, puts }), _) => answer::find(replication, &hashes, puts).await,
        (Some(Request::Members { from }), _) => exchange::member_log(membership, from),
        (Some(Request::Announce { entries, addresses }), _) => {
            cut_exchange::announced(membership, account, peer, entries, addresses).await
        }
        (Some(Request::Confirmed { confirmation }), _) => {
            exchange::confirmed(membership, asker, peer, &confirmation).await
        }
        (Some(Request::Cuts { list, from }), _) => cut_exchange::answer(membership, list, from),
        (Some(Request::Writers { node, from }), _) => writers::writers(founder, node, from).await,
    };
    bytes::message(account, peer, send, &reply).await
}
