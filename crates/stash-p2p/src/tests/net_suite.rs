//! The suite that every network passes: memory and TCP, the same code.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::node::{Node, ask, echo, networks, test_limits, within};
use super::pair::realm;
use crate::{
    Class, CloseReason, DialError, Endpoint, Frame, Limits, Network, PeerError, StreamError,
};

async fn on_all<F: AsyncFn(&Arc<dyn Network>)>(f: F) {
    for (name, network) in networks() {
        eprintln!("on {name}");
        within(f(&network)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_meet_speak_and_see_the_same_session() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        low.gate.set_hello(Bytes::from_static(b"low says hi"));
        high.gate.set_hello(Bytes::from_static(b"high says hi"));
        let there = high.dial(&low).await;
        let here = low.up().await;
        assert_eq!((here.remote(), there.remote()), (high.key, low.key));
        assert_eq!(here.handshake_hash(), there.handshake_hash());
        assert_eq!((here.realm(), there.realm()), (realm().label, realm().label));
        assert_eq!(&here.hello()[..], b"high says hi");
        assert_eq!(&there.hello()[..], b"low says hi");
        echo(here.clone());
        for size in [0, 1, 65_507, 65_508, 256 * 1024] {
            ask(&there, Class::Control, &vec![7; size]).await;
        }
        assert!(there.stats().bytes_in > 256 * 1024);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_data_goes_over_its_own_connection_and_arrives_whole() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        let there = high.dial(&low).await;
        let here = low.up().await;
        // Both sides may want bulk: the one that dialled asks, the other lets it ask.
        for (peer, other) in [(&here, &there), (&there, &here)] {
            echo(other.clone());
            let (mut send, mut recv) = peer.open(Class::Bulk).await.unwrap().split();
            let piece = Bytes::from(vec![5; 1 << 20]);
            for _ in 0..20 {
                send.data(piece.clone()).await.unwrap();
            }
            send.finish();
            let total = (20_u64 << 20).to_le_bytes().to_vec();
            assert_eq!(recv.next().await, Ok(Some(Frame::Message(total.into()))));
            assert_eq!(recv.next().await, Ok(None));
            while peer.connections() < 2 || other.connections() < 2 {
                ask(peer, Class::Bulk, b"until the bulk connection is up").await;
            }
            ask(peer, Class::Bulk, b"on it").await;
        }
        assert_eq!((here.connections(), there.connections()), (2, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_peer_is_dialled_again_after_a_restart() {
    on_all(async |network| {
        let limits = Limits { backoff_max: Duration::from_millis(300), ..test_limits() };
        let [mut low, mut high] = Node::two(network, &limits);
        low.keep(&high);
        let _first = (low.up().await, high.up().await);
        high.endpoint.shutdown(Duration::from_secs(5)).await;
        assert_eq!(low.down().await, CloseReason::Shutdown);
        let seed =
            if high.key == crate::StaticSecret::from_bytes([21; 32]).public() { 21 } else { 22 };
        let mut again = Node::with_gate(network, seed, limits, Arc::clone(&high.gate));
        assert_eq!(again.key, high.key);
        low.keep(&again);
        let (_, here) = (low.up().await, again.up().await);
        echo(low.endpoint.peers()[0].clone());
        ask(&here, Class::Control, b"still there").await;
    })
    .await;
}

// Fault case 93.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_a_request_end_and_refuses_new_ones() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        let there = high.dial(&low).await;
        let here = low.up().await;
        let (mut send, mut recv) = there.open(Class::Control).await.unwrap().split();
        send.message(Bytes::from_static(b"in time")).await.unwrap();
        send.finish();
        let (mut answer, mut request) = here.accept().await.unwrap().split();
        assert_eq!(request.next().await, Ok(Some(Frame::Message(Bytes::from_static(b"in time")))));
        let endpoint = low.endpoint.clone();
        let shutdown =
            tokio::spawn(async move { endpoint.shutdown(Duration::from_secs(30)).await });
        // The other side hears of it before its answer is sent.
        while there.open(Class::Control).await.is_ok() {
            tokio::task::yield_now().await;
        }
        answer.message(Bytes::from_static(b"answered")).await.unwrap();
        answer.finish();
        assert_eq!(request.next().await, Ok(None));
        assert_eq!(recv.next().await, Ok(Some(Frame::Message(Bytes::from_static(b"answered")))));
        assert_eq!(recv.next().await, Ok(None));
        within(shutdown).await.unwrap();
        assert_eq!(there.closed().await, CloseReason::Shutdown);
        assert_eq!(low.down().await, CloseReason::Shutdown);
        assert!(low.events.next().await.is_none(), "events end with the endpoint");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_with_a_code_is_told_to_the_other_side() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        let there = high.dial(&low).await;
        let here = low.up().await;
        let (mut send, mut recv) = there.open(Class::Control).await.unwrap().split();
        send.message(Bytes::from_static(b"x")).await.unwrap();
        here.close(CloseReason::Application(7));
        let reason = CloseReason::Application(7);
        assert_eq!(there.closed().await, reason);
        assert_eq!(low.down().await, reason);
        assert_eq!(recv.next().await, Err(StreamError::Closed(reason.clone())));
        let refused = there.open(Class::Control).await.map(|_| ());
        assert_eq!(refused, Err(PeerError::Closed(reason)));
        assert!(here.accept().await.is_none_or(|_| true));
    })
    .await;
}

// Fault case 37.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_its_stream_and_no_other() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        let there = high.dial(&low).await;
        let here = low.up().await;
        let (mut send, _recv) = there.open(Class::Control).await.unwrap().split();
        let piece = Bytes::from(vec![0; 1 << 20]);
        let mut sent = 0;
        let filled = async {
            loop {
                send.data(piece.clone()).await.unwrap();
                sent += 1;
            }
        };
        let (mut held, served) = (None, async {
            let first = here.accept().await.unwrap();
            echo(here.clone());
            first
        });
        tokio::select! {
            () = filled => {}
            first = served => held = Some(first),
        }
        for _ in 0..20 {
            ask(&there, Class::Control, b"not held up").await;
        }
        // What was taken off the sender is bounded by window and queue.
        assert!(sent <= 4, "{sent} MiB");
        drop(held);
    })
    .await;
}

// Fault case 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_dial_to_another_identity_fails_by_name_and_changes_nothing() {
    on_all(async |network| {
        let [low, high] = Node::two(network, &test_limits());
        let other = crate::StaticSecret::from_bytes([99; 32]).public();
        let dial = |remote, realm| {
            high.endpoint.dial_once(vec![low.addr], remote, realm, Duration::from_secs(20))
        };
        let error = dial(other, realm()).await.unwrap_err();
        assert!(matches!(error, DialError::NoSuchIdentity { .. }), "{error}");
        assert!(error.to_string().contains("no node with this identity answers there"));
        let mut wrong_psk = realm();
        wrong_psk.psk = [77; 32];
        let error = dial(low.key, wrong_psk).await.unwrap_err();
        assert!(matches!(error, DialError::NoSuchIdentity { .. }), "{error}");
        // Fault case 7.
        let error = dial(high.key, realm()).await.unwrap_err();
        assert!(matches!(error, DialError::SelfDial), "{error}");
        let none = high
            .endpoint
            .dial_once(Vec::<std::net::SocketAddr>::new(), low.key, realm(), Duration::from_secs(1))
            .await;
        assert!(matches!(none, Err(DialError::NoAddress)));
        assert!(low.endpoint.peers().is_empty() && high.endpoint.peers().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_refused_and_the_stream_lives() {
    on_all(async |network| {
        let [mut low, high] = Node::two(network, &test_limits());
        let there = high.dial(&low).await;
        echo(low.up().await);
        let (mut send, mut recv) = there.open(Class::Control).await.unwrap().split();
        let long = vec![0; crate::MAX_MESSAGE + 1];
        assert_eq!(send.message(long).await, Err(StreamError::TooLong(crate::MAX_MESSAGE + 1)));
        send.message(Bytes::from_static(b"short")).await.unwrap();
        assert_eq!(recv.next().await, Ok(Some(Frame::Message(Bytes::from_static(b"short")))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_limits_out_of_range_are_named() {
    on_all(async |network| {
        let low = Node::new(network, 21, test_limits());
        let bind = |limits| {
            let secret = crate::StaticSecret::from_bytes([1; 32]);
            let environment = crate::Environment::on(Arc::clone(network));
            Endpoint::bind_on(environment, &[low.addr], secret, low.gate.clone(), limits)
        };
        let taken = bind(test_limits()).map(|_| ()).unwrap_err();
        assert!(taken.to_string().contains(&low.addr.to_string()), "{taken}");
        let limits = Limits { stream_window: 1, ..test_limits() };
        let range = bind(limits).map(|_| ()).unwrap_err();
        assert_eq!(range.to_string(), "the limit `stream_window` is out of range");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_aged_connection_is_replaced_by_a_new_one() {
    let network: Arc<dyn Network> = Arc::new(crate::MemoryNetwork::new());
    let limits = Limits { max_age: Duration::from_secs(3600), ..test_limits() };
    let [mut low, mut high] = Node::two(&network, &limits);
    low.keep(&high);
    let began = tokio::time::Instant::now();
    let first = (low.endpoint.clone(), high.up().await.handshake_hash());
    echo(low.up_slowly().await);
    let aged = high.down_slowly().await;
    assert!(began.elapsed() >= Duration::from_secs(3600));
    assert_eq!(aged, CloseReason::Aged);
    let second = high.up_slowly().await;
    assert_ne!(second.handshake_hash(), first.1);
    assert_eq!(low.down_slowly().await, CloseReason::Aged);
    echo(low.up_slowly().await);
    ask(&second, Class::Control, b"on the new one").await;
}

/// A network that can be cut: bytes stop, and nobody is told.
#[derive(Default)]
pub(super) struct Cuttable {
    pub(super) under: crate::MemoryNetwork,
    pub(super) cut: Arc<std::sync::atomic::AtomicBool>,
}

struct CutRead(Box<dyn tokio::io::AsyncRead + Send + Unpin>, Arc<std::sync::atomic::AtomicBool>);

impl tokio::io::AsyncRead for CutRead {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return std::task::Poll::Pending;
        }
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Network for Cuttable {
    fn listen(&self, addr: std::net::SocketAddr) -> std::io::Result<Box<dyn crate::Listen>> {
        self.under.listen(addr)
    }

    fn dial(
        &self,
        addr: std::net::SocketAddr,
    ) -> futures::future::BoxFuture<'_, std::io::Result<crate::Wire>> {
        Box::pin(async move {
            let mut wire = self.under.dial(addr).await?;
            wire.read = Box::new(CutRead(wire.read, Arc::clone(&self.cut)));
            Ok(wire)
        })
    }
}

// Fault cases 38, 95 and 101.
#[tokio::test(start_paused = true)]
async fn a_silent_network_is_noticed_and_a_kept_peer_comes_back_after_it() {
    let cuttable = Cuttable::default();
    let cut = Arc::clone(&cuttable.cut);
    let network: Arc<dyn Network> = Arc::new(cuttable);
    let [mut low, mut high] = Node::two(&network, &test_limits());
    low.keep(&high);
    let (_, _) = (low.up_slowly().await, high.up_slowly().await);
    let start = tokio::time::Instant::now();
    cut.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(low.down_slowly().await, CloseReason::Dead);
    assert!(start.elapsed() <= Duration::from_secs(41), "{:?}", start.elapsed());
    cut.store(false, std::sync::atomic::Ordering::Relaxed);
    low.endpoint.redial(&high.key);
    echo(low.up_slowly().await);
    let _old = high.down_slowly().await;
    ask(&high.up_slowly().await, Class::Control, b"back").await;
}
