//! Many members at one node: all are connected, and those that use much leave room to the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::node::{Node, ask, echo, networks, test_limits, within};
use crate::{Class, CloseReason, Frame, Limits, MemoryNetwork, Network, Peer};

/// Members that operating.md promises.
const MEMBERS: u8 = 64;

/// A node, and members that dialled it.
async fn centre(
    network: &Arc<dyn Network>,
    members: u8,
    limits: &Limits,
) -> (Node, Vec<(Node, Peer)>) {
    let mut centre = Node::new(network, 1, limits.clone());
    let mut all = Vec::new();
    for n in 0..members {
        let member = Node::new(network, 10 + n, limits.clone());
        centre.gate.add(member.key);
        let there = member.dial(&centre).await;
        echo(match within(centre.events.next()).await {
            Some(crate::Event::Up(peer)) => peer,
            other => panic!("{other:?}"),
        });
        all.push((member, there));
    }
    (centre, all)
}

/// Sends so many bytes on a large stream, and waits until they have arrived.
async fn send(peer: &Peer, bytes: usize) {
    let (mut send, mut recv) = peer.open(Class::Bulk).await.unwrap().split();
    send.data(Bytes::from(vec![0; bytes])).await.unwrap();
    send.finish();
    let total = (bytes as u64).to_le_bytes().to_vec();
    assert_eq!(recv.next().await, Ok(Some(Frame::Message(total.into()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_members_are_connected_each_with_a_bulk_connection() {
    for (name, network) in networks() {
        let (node, members) = centre(&network, MEMBERS, &test_limits()).await;
        for (n, (_, peer)) in members.iter().enumerate() {
            within(async {
                while peer.connections() < 2 {
                    send(peer, 2 << 20).await;
                }
            })
            .await;
            assert_eq!(peer.connections(), 2, "{name}: member {n}");
        }
        let work = members.iter().map(async |(_, peer)| {
            within(send(peer, 1 << 20)).await;
            ask(peer, Class::Control, b"beside all others").await;
        });
        futures::future::join_all(work).await;
        assert!(node.endpoint.inner().budget.windows() <= Limits::default().process_budget);
        assert_eq!(node.endpoint.peers().len(), usize::from(MEMBERS));
    }
}

// One member uses all that there is; others that come meanwhile find places, and it shrinks.
#[tokio::test(start_paused = true)]
async fn windows_that_grew_make_room_for_those_that_come() {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    // Twelve connections of the first size, or one large and two.
    let limits = Limits { process_budget: 4 << 20, ..test_limits() };
    let (mut node, old) = centre(&network, 2, &limits).await;
    let endpoint = node.endpoint.clone();
    let windows = || endpoint.inner().budget.windows();
    for (_, peer) in &old {
        send(peer, 8 << 20).await;
    }
    assert!(windows() > 2 << 20, "{}", windows());
    let mut late = Vec::new();
    for n in 0..6 {
        let member = Node::new(&network, 100 + n, limits.clone());
        node.gate.add(member.key);
        late.push((member.dial(&node).await, member));
        let here = node.up_slowly().await;
        echo(here);
        sleep(Duration::from_secs(2)).await;
        assert!(windows() <= 4 << 20, "{}", windows());
    }
    for peer in old.iter().map(|(_, peer)| peer).chain(late.iter().map(|(peer, _)| peer)) {
        send(peer, 1 << 20).await;
        ask(peer, Class::Control, b"all have their place").await;
    }
    let hash = old[0].1.handshake_hash();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(old[0].1.handshake_hash(), hash);
    let connections: usize = node.endpoint.peers().iter().map(Peer::connections).sum();
    let first = Limits::default().first_window as usize;
    assert_eq!(windows(), connections * first, "all are idle");
}

#[tokio::test(start_paused = true)]
async fn places_come_back_with_the_end_of_their_connections() {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    let (mut node, members) = centre(&network, 20, &test_limits()).await;
    for (_, peer) in &members {
        send(peer, 4 << 20).await;
    }
    for (member, peer) in members {
        peer.close(CloseReason::Lost);
        drop(member);
        node.down_slowly().await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(node.endpoint.inner().budget.windows(), 0);
}

#[tokio::test(start_paused = true)]
async fn bulk_connections_are_not_given_while_places_are_short() {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    // Places for six, of which bulk connections leave a quarter.
    let limits = Limits { process_budget: 2 << 20, ..test_limits() };
    let (node, members) = centre(&network, 4, &limits).await;
    for (_, peer) in &members {
        send(peer, 100_000).await;
    }
    let connections = Vec::from_iter(members.iter().map(|(_, peer)| peer.connections()));
    assert_eq!(connections, [1; 4]);
    // Members that dial find the places that were kept.
    let late = Node::new(&network, 100, limits);
    node.gate.add(late.key);
    late.dial(&node).await.open(Class::Control).await.unwrap();
}
