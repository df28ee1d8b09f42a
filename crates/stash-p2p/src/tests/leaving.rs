//! A shutdown beside peers that do not answer any more, and the last word of peers that leave.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy, duplex, split};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::node::{Node, test_limits};
use crate::{Class, CloseReason, Frame, Listen, MemoryNetwork, Network, StreamError, Wire};

/// Bytes that a connection takes which leads nowhere any more.
const BUFFER: usize = 64 * 1024;

/// A network whose connections may be cut so that neither side hears of it.
struct Cable {
    under: MemoryNetwork,
    cut: CancellationToken,
}

impl Network for Cable {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        self.under.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            let Wire { read: from_far, write: to_far, remote } = self.under.dial(addr).await?;
            let (near, here) = duplex(BUFFER);
            let (from_near, to_near) = split(here);
            tokio::spawn(carry(from_near, to_far, self.cut.clone()));
            tokio::spawn(carry(from_far, to_near, self.cut.clone()));
            let (read, write) = split(near);
            Ok(Wire { read: Box::new(read), write: Box::new(write), remote })
        })
    }
}

/// Carries bytes until the cable is cut; then it holds both ends.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    cut: CancellationToken,
) {
    tokio::select! {
        _ = copy(&mut from, &mut to) => {}
        () = cut.cancelled() => std::future::pending().await,
    }
}

// Fault case 93. A node behind a dead line that is told to stop does so soon, whatever it was about to send.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_holds_up_no_shutdown() {
    for bytes in [0, 2 * BUFFER] {
        let cable = Arc::new(Cable { under: MemoryNetwork::new(), cut: CancellationToken::new() });
        let network: Arc<dyn Network> = Arc::clone(&cable) as _;
        let [mut low, mut high] = Node::two(&network, &test_limits());
        low.keep(&high);
        let (there, _here) = (low.up_slowly().await, high.up_slowly().await);
        cable.cut.cancel();
        let (mut send, _recv) = there.open(Class::Control).await.unwrap().split();
        send.data(Bytes::from(vec![7; bytes])).await.unwrap();
        // Its writer is stuck by now, if there is enough to write.
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        low.endpoint.shutdown(Duration::from_secs(30)).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{bytes} bytes: {:?}", begun.elapsed());
        assert_eq!(low.down_slowly().await, CloseReason::Shutdown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_slow_and_alive_is_waited_for() {
    let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
    let [mut low, high] = Node::two(&network, &test_limits());
    let there = high.dial(&low).await;
    let here = low.up_slowly().await;
    let (mut send, mut recv) = here.open(Class::Control).await.unwrap().split();
    send.message(Bytes::from_static(b"take your time")).await.unwrap();
    send.finish();
    let (mut answer, _request) = there.accept().await.unwrap().split();
    let endpoint = low.endpoint.clone();
    let shutdown = tokio::spawn(async move { endpoint.shutdown(Duration::from_secs(30)).await });
    sleep(Duration::from_secs(20)).await;
    answer.message(Bytes::from_static(b"here")).await.unwrap();
    answer.finish();
    assert_eq!(recv.next().await, Ok(Some(Frame::Message(Bytes::from_static(b"here")))));
    assert_eq!(recv.next().await, Ok(None));
    shutdown.await.unwrap();
}

/// A network whose connections break in the order that hurts: once `breaks` is set, the dialling side
/// reads nothing before it has failed to write.
struct Brittle {
    under: MemoryNetwork,
    breaks: CancellationToken,
}

struct LateRead {
    from: Box<dyn AsyncRead + Send + Unpin>,
    breaks: CancellationToken,
    failed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for LateRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.breaks.is_cancelled() {
            ready!(self.failed.as_mut().poll(cx));
        }
        Pin::new(&mut self.from).poll_read(cx, buf)
    }
}

struct BrokenWrite {
    to: Box<dyn AsyncWrite + Send + Unpin>,
    breaks: CancellationToken,
    failed: CancellationToken,
}

impl AsyncWrite for BrokenWrite {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.breaks.is_cancelled() {
            self.failed.cancel();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.to).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(cx)
    }
}

impl Network for Brittle {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listen>> {
        self.under.listen(addr)
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Wire>> {
        Box::pin(async move {
            let Wire { read: from, write: to, remote } = self.under.dial(addr).await?;
            let (breaks, failed) = (self.breaks.clone(), CancellationToken::new());
            let waits = Box::pin(failed.clone().cancelled_owned());
            let read = LateRead { from, breaks: breaks.clone(), failed: waits };
            let write = BrokenWrite { to, breaks, failed };
            Ok(Wire { read: Box::new(read), write: Box::new(write), remote })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_write_any_more_hears_why_the_other_side_closed() {
    let brittle = Brittle { under: MemoryNetwork::new(), breaks: CancellationToken::new() };
    let breaks = brittle.breaks.clone();
    let network: Arc<dyn Network> = Arc::new(brittle);
    let [mut low, high] = Node::two(&network, &test_limits());
    let there = high.dial(&low).await;
    let here = low.up_slowly().await;
    let (mut send, mut recv) = there.open(Class::Control).await.unwrap().split();
    send.message(Bytes::from_static(b"x")).await.unwrap();
    here.accept().await.unwrap();
    breaks.cancel();
    let reason = CloseReason::Application(7);
    here.close(reason.clone());
    assert_eq!(low.down_slowly().await, reason);
    send.message(Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(there.closed().await, reason);
    assert_eq!(recv.next().await, Err(StreamError::Closed(reason)));
}
