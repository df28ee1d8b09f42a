//! Joins.

use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_bytes::ByteBuf;
use stash_crypto::{JoinRequest, NodeKeys, Role, TicketId};
use stash_p2p::{CloseReason, Frame};
use stash_server::{JoinError, Wait, join};

use crate::client::{Answer, Ask, Client, pack, within};
use crate::support::{PATIENCE, Stash};

// Fault case 30.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_request_for_other_keys_than_the_connections_is_refused() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let ticket = node.engine.invite(Role::Owner, Duration::from_secs(60)).await.unwrap();
    let (alice, bob) = (fresh(&stash), fresh(&stash));
    // Bob's own signed request, sent by alice.
    let borrowed = bob.join_request(&ticket).encode();
    // Alice's keys with bob's Noise static: the identity is part of what is signed.
    let mut mixed = alice.join_request(&ticket);
    mixed.identity.wrap = bob.keys.wrap_public();
    let other_id = TicketId::from_bytes([1; 16]);
    let other_ticket = JoinRequest::sign(&alice.keys, &stash.id(), other_id, "x").unwrap();
    let elsewhere = JoinRequest::sign(&alice.keys, &Stash::new().id(), ticket.id, "x").unwrap();
    let trailing = [alice.join_request(&ticket).encode(), vec![0]].concat();
    for (what, request) in [
        ("another node's request", borrowed),
        ("keys that were not signed", mixed.encode()),
        ("another ticket's id", other_ticket.encode()),
        ("another stash's id", elsewhere.encode()),
        ("a trailing byte", trailing),
        ("nothing", vec![]),
    ] {
        let session = alice.knock(&ticket).await;
        let answer = session.ask(&Ask::Join { request: ByteBuf::from(request) }).await;
        assert_eq!(answer.refusal(), "malformed", "{what}");
        session.peer.close(CloseReason::Shutdown);
    }
    assert_eq!(node.engine.members().len(), 1, "nobody was admitted");
    let joined = join(&ticket, &alice.keys, "alice").await.unwrap();
    assert_eq!(joined.role, Role::Owner, "the ticket was not burnt by any of these");
}

fn fresh(stash: &Stash) -> Client {
    Client::new(stash, NodeKeys::generate(&mut rand::rng()))
}

// Fault case 41: whoever holds a ticket of long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_say_nothing_keep_out_no_member_and_no_other_guest() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let addr = node.engine.listen()[0];
    let member = Client::member(&stash, &node, Role::Keeper).await;
    let used = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
    join(&used, &NodeKeys::generate(&mut rand::rng()), "first").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..24 {
        let guest = fresh(&stash);
        let came = guest.try_knock(&used, addr).await;
        silent.push((guest, came));
    }
    let came = silent.iter().filter(|(_, came)| came.is_ok()).count();
    assert!(came <= 4, "{came} connections");
    member.try_connect(&node, addr).await.unwrap();
    let ticket = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
    join(&ticket, &NodeKeys::generate(&mut rand::rng()), "second").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_connection_by_which_a_member_joined_is_not_the_members_end() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let ticket = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
    let client = fresh(&stash);
    let guest = client.knock(&ticket).await;
    let request = ByteBuf::from(client.join_request(&ticket).encode());
    assert!(matches!(guest.ask(&Ask::Join { request }).await, Answer::Welcome { .. }));
    let _member = client.connect(&node).await;
    guest.peer.close(CloseReason::Shutdown);
    within("the guest's connection ends", guest.peer.closed()).await;
    // Whoever comes next is announced after that end.
    let other = Client::member(&stash, &node, Role::Keeper).await;
    let _other = other.connect(&node).await;
    assert!(node.engine.members().iter().all(|member| member.connected));
}

// Fault cases 3 and 30: a ticket opens one door only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_join_realm_answers_nothing_but_one_join() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let (chunks, _) = stash.put(&node, "secret", &[5_000], Wait::Local).await;
    let ticket = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
    let address = ByteBuf::from(chunks[0].address.as_bytes().to_vec());
    for ask in [
        Ask::Put {},
        Ask::Get { address },
        Ask::Have { chunks: ByteBuf::new() },
        Ask::Evict { nonce: ByteBuf::from(vec![0; 32]), groups: vec![] },
        Ask::Members { from: 0 },
        Ask::Announce { entries: vec![], addresses: vec![] },
        Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 },
        Ask::Find { hashes: ByteBuf::new() },
        Ask::All {},
        Ask::News {},
        Ask::Lack { hashes: ByteBuf::new() },
        Ask::Holding { hashes: ByteBuf::new() },
        Ask::Prove { nonce: ByteBuf::from(vec![0; 32]), chunks: ByteBuf::new() },
        Ask::Leaves { drawn: ByteBuf::new() },
    ] {
        let stranger = fresh(&stash);
        let session = stranger.knock(&ticket).await;
        assert_eq!(session.ask(&ask).await.refusal(), "unknown", "{ask:?}");
        // The one question of this connection has been asked; a proper join elsewhere shows that
        // the node had time to answer a second one.
        let mut second = session.open().await;
        second.send.message(pack(&Ask::Members { from: 0 })).await.unwrap();
        let elsewhere = fresh(&stash);
        let other = node.engine.invite(Role::Keeper, Duration::from_secs(60)).await.unwrap();
        join(&other, &elsewhere.keys, "elsewhere").await.unwrap();
        let answer = second.recv.next().now_or_never();
        let answered = matches!(answer, Some(Ok(Some(Frame::Message(_) | Frame::Data(_)))));
        assert!(!answered, "a second question in a join realm was answered: {answer:?}");
    }
}

// Fault case 113: whoever used a ticket is told that its time is over, and gets no second grant;
// whoever did not gets no answer, and reads the time on the ticket itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_ticket_admits_nobody_and_says_so_to_whoever_used_it() {
    let stash = Stash::new();
    let node = stash.founder().await;
    let second = Duration::from_secs(1);
    let unused = node.engine.invite(Role::Owner, second).await.unwrap();
    // It ends with a whole second of the clock, so that one of one second may end at once.
    let used = node.engine.invite(Role::Owner, 2 * second).await.unwrap();
    let keys = NodeKeys::generate(&mut rand::rng());
    let start = Instant::now();
    let expired = loop {
        match join(&used, &keys, "early").await {
            Ok(_) => assert!(start.elapsed() < PATIENCE, "the ticket never expires"),
            Err(error) => break error,
        }
    };
    assert!(matches!(expired, JoinError::Expired), "{expired:?}");
    let members = node.engine.members().len();
    // The other ticket is the older one, so it has expired as well.
    let late = NodeKeys::generate(&mut rand::rng());
    let refused = join(&unused, &late, "late").await;
    assert!(matches!(refused, Err(JoinError::Expired)), "{:?}", refused.err());
    let knocked = fresh(&stash).try_knock(&unused, unused.addresses[0].address().unwrap()).await;
    assert!(knocked.is_err(), "it is answered to nobody");
    assert_eq!(node.engine.members().len(), members);
}
