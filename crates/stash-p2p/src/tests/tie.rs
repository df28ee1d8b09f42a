//! Simultaneous dials between whole endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::sync::Barrier;

use super::node::{Node, ask, echo, networks, test_limits, within};
use crate::{Class, CloseReason, Event, Listen, Network, Wire};

/// A network on which two dials always cross: neither gets its connection before both have one.
struct Crossing {
    under: Arc<dyn Network>,
    both: Barrier,
    dials: AtomicUsize,
}

impl Crossing {
    fn new(under: &Arc<dyn Network>) -> Self {
        let under = Arc::clone(under);
        Self { under, both: Barrier::new(2), dials: AtomicUsize::new(0) }
    }
}

impl Network for Crossing {
    fn listen(&self, addr: SocketAddr) -> std::io::Result<Box<dyn Listen>> {
        self.under.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, std::io::Result<Wire>> {
        Box::pin(async move {
            self.dials.fetch_add(1, Ordering::Relaxed);
            let wire = self.under.dial(addr).await;
            self.both.wait().await;
            wire
        })
    }
}

// Fault case 97.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_simultaneous_dials_leave_one_connection_and_lose_no_request() {
    for (name, network) in networks() {
        let rounds = if name == "memory" { 1000 } else { 200 };
        for round in 0..rounds {
            let crossing = Arc::new(Crossing::new(&network));
            let both: Arc<dyn Network> = crossing.clone();
            let mut nodes = Node::two(&both, &test_limits());
            nodes[0].keep(&nodes[1]);
            nodes[1].keep(&nodes[0]);
            let mut peers = Vec::new();
            for node in &mut nodes {
                let peer = node.up().await;
                echo(peer.clone());
                peers.push(peer);
            }
            // Requests from both sides while the tie is being broken.
            let asks = peers.iter().flat_map(|peer| {
                [&b"one"[..], b"two", b"three"].map(|text| ask(peer, Class::Control, text))
            });
            futures::future::join_all(asks.map(Box::pin)).await;
            within(async {
                let lower = nodes[0].key;
                let settled = |peer: &crate::Peer| {
                    let control = peer.0.control();
                    let winner = control.map(|link| link.info.contender.dialler);
                    peer.connections() == 1 && winner == Some(lower)
                };
                while !peers.iter().all(settled) {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(peers[0].handshake_hash(), peers[1].handshake_hash(), "{name} {round}");
            futures::future::join_all(peers.iter().map(|peer| ask(peer, Class::Control, b"x")))
                .await;
            for node in &mut nodes {
                let idle = futures::FutureExt::now_or_never(node.events.next());
                assert!(idle.is_none(), "{name} round {round}: {:?}", idle.flatten());
                assert_eq!(node.endpoint.peers().len(), 1);
            }
            assert_eq!(crossing.dials.load(Ordering::Relaxed), 2, "{name} round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_takes_over_its_old_connection_at_once() {
    for (_, network) in networks() {
        let [mut low, high] = Node::two(&network, &test_limits());
        let _first = high.dial(&low).await;
        let old = low.up().await;
        // The old process is gone without a word (its endpoint still holds the connection open);
        // the new one has the same key and another run.
        let seed =
            if high.key == crate::StaticSecret::from_bytes([21; 32]).public() { 21 } else { 22 };
        let again = Node::with_gate(&network, seed, test_limits(), high.gate.clone());
        let there = again.dial(&low).await;
        match within(low.events.next()).await {
            Some(Event::Down { peer, .. }) => assert_eq!(peer.remote(), high.key),
            other => panic!("{other:?}"),
        }
        let new = low.up().await;
        assert!(within(old.closed()).await != CloseReason::Shutdown);
        echo(new);
        ask(&there, Class::Control, b"the new one").await;
    }
}

// Fault case 3: a member that is removed just then would stay connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_closed_while_dials_cross_stays_closed() {
    for (name, network) in networks() {
        for round in 0..200 {
            let both: Arc<dyn Network> = Arc::new(Crossing::new(&network));
            let mut nodes = Node::two(&both, &test_limits());
            nodes[0].keep(&nodes[1]);
            nodes[1].keep(&nodes[0]);
            for node in &mut nodes {
                let peer = node.up().await;
                node.endpoint.forget(&peer.remote());
                peer.close(CloseReason::Lost);
                within(peer.closed()).await;
                match within(node.events.next()).await {
                    Some(Event::Down { .. }) => {}
                    other => panic!("{name} round {round}: {other:?}"),
                }
            }
        }
    }
}
