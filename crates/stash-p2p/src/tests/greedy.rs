//! A member that asks for much and takes nothing: it costs itself, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::net_suite::Cuttable;
use super::node::{Node, ask, echo, test_limits};
use crate::{Class, CloseReason, Frame, Limits, MemoryNetwork, Network, Peer, RecvStream, Stream};

/// Requests that an application answers at once, as the engine does.
const REQUESTS: usize = 64;
/// Of each connection.
const STREAMS: usize = 1024;
const ANSWER: usize = 128 << 10;

/// Answers every request of a peer; says what it took and what answers it holds.
struct Server {
    taken: AtomicUsize,
    held: AtomicUsize,
}

impl Server {
    fn start(peer: Peer) -> Arc<Self> {
        let server = Arc::new(Self { taken: AtomicUsize::new(0), held: AtomicUsize::new(0) });
        let (shared, places) = (Arc::clone(&server), Arc::new(Semaphore::new(REQUESTS)));
        tokio::spawn(async move {
            loop {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let Some(stream) = peer.accept().await else { return };
                let server = Arc::clone(&shared);
                tokio::spawn(async move {
                    server.taken.fetch_add(1, Ordering::Relaxed);
                    server.held.fetch_add(ANSWER, Ordering::Relaxed);
                    let _its_own_fault = answer(stream).await;
                    server.held.fetch_sub(ANSWER, Ordering::Relaxed);
                    drop(place);
                });
            }
        });
        server
    }
}

async fn answer(stream: Stream) -> Result<(), crate::StreamError> {
    let (mut send, mut recv) = stream.split();
    recv.next().await?;
    send.message(vec![7; ANSWER]).await?;
    send.finish();
    Ok(())
}

/// A member with a control connection and four bulk ones, that has announced all the credit there is.
async fn greedy(network: &Arc<dyn Network>, node: &Node) -> (Node, Peer) {
    let limits = Limits {
        first_stream_window: 1 << 31,
        first_window: 1 << 31,
        stream_window: 1 << 31,
        connection_window: 1 << 31,
        process_budget: 1 << 40,
        bulk_connections: 4,
        ..test_limits()
    };
    let greedy = Node::new(network, 22, limits);
    node.gate.add(greedy.key);
    let peer = greedy.dial(node).await;
    for connections in 2..=5 {
        while peer.connections() < connections {
            drop(peer.open(Class::Bulk).await.unwrap());
            // The next one is asked for after a pause.
            sleep(Duration::from_secs(1)).await;
        }
    }
    (greedy, peer)
}

/// Asks as much as may be asked; gives the streams, which nobody reads.
async fn ask_for_all(peer: &Peer) -> Vec<RecvStream> {
    let mut streams = Vec::new();
    for n in 0..5 * STREAMS {
        let class = if n < STREAMS { Class::Control } else { Class::Bulk };
        streams.push(request(peer, class).await);
    }
    streams
}

async fn request(peer: &Peer, class: Class) -> RecvStream {
    let (mut send, recv) = peer.open(class).await.unwrap().split();
    send.message(vec![1; 100]).await.unwrap();
    send.finish();
    recv
}

// Fault case 37.
#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_are_bounded_and_others_are_served() {
    let memory = MemoryNetwork::new();
    let cut = Arc::new(AtomicBool::new(false));
    let network: Arc<dyn Network> = Arc::new(memory.clone());
    let deaf: Arc<dyn Network> = Arc::new(Cuttable { under: memory, cut: Arc::clone(&cut) });
    let mut node = Node::new(&network, 21, test_limits());
    let honest = Node::new(&network, 23, test_limits());
    node.gate.add(honest.key);
    let (greedy, there) = greedy(&deaf, &node).await;
    let server = Server::start(node.up_slowly().await);
    let live = honest.dial(&node).await;
    echo(node.up_slowly().await);
    cut.store(true, Ordering::Relaxed);
    let streams = ask_for_all(&there).await;
    let endpoint = node.endpoint.clone();
    let queued = || endpoint.inner().send_budget.queued();
    let mut most = 0;
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(queued() + server.held.load(Ordering::Relaxed));
        ask(&live, Class::Control, b"beside it").await;
        ask(&live, Class::Bulk, &vec![1; 200_000]).await;
    }
    // 2 MiB a connection, and what the application holds meanwhile.
    let bound = 5 * (2 << 20) + REQUESTS * ANSWER + ANSWER;
    assert!(most <= bound, "{most} bytes are held, {bound} may be");
    let taken = server.taken.load(Ordering::Relaxed);
    assert!((REQUESTS..300).contains(&taken), "{taken} of {} requests were taken", 5 * STREAMS);
    // All is free after it.
    drop((streams, there));
    greedy.endpoint.peers().into_iter().for_each(|peer| peer.close(CloseReason::Lost));
    drop(greedy);
    node.down_slowly().await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((queued(), server.held.load(Ordering::Relaxed)), (0, 0));
    ask(&live, Class::Control, b"after it").await;
}

// Fault case 37: whoever takes its answers late has all of them.
#[tokio::test(start_paused = true)]
async fn a_late_reader_gets_every_answer() {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    let [mut node, asker] = Node::two(&network, &test_limits());
    let there = asker.dial(&node).await;
    let server = Server::start(node.up_slowly().await);
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(request(&there, Class::Control).await);
    }
    sleep(Duration::from_secs(5)).await;
    assert!(server.taken.load(Ordering::Relaxed) < 500, "some wait");
    let read = streams.into_iter().map(async |mut recv| {
        let answer = recv.next().await.unwrap();
        assert_eq!(answer, Some(Frame::Message(Bytes::from(vec![7; ANSWER]))));
        assert_eq!(recv.next().await, Ok(None));
    });
    futures::future::join_all(read).await;
    assert_eq!(node.endpoint.inner().send_budget.queued(), 0);
}
