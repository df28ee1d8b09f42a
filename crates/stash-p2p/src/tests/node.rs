//! Whole endpoints for tests: on any network, with a gate that can be told what to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::pair::realm;
use crate::{
    Class, CloseReason, Endpoint, Environment, Event, Events, Frame, Limits, MemoryGate,
    MemoryNetwork, Network, Peer, PublicKey, StaticSecret, Stream, TcpNetwork,
};

pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) events: Events,
    pub(super) gate: Arc<MemoryGate>,
    pub(super) key: PublicKey,
    pub(super) addr: SocketAddr,
}

pub(super) fn networks() -> [(&'static str, Arc<dyn Network>); 2] {
    [("memory", Arc::new(MemoryNetwork::new())), ("tcp", Arc::new(TcpNetwork))]
}

pub(super) fn test_limits() -> Limits {
    Limits { unauthenticated_per_ip: 64, ..Limits::default() }
}

impl Node {
    pub(super) fn new(network: &Arc<dyn Network>, seed: u8, limits: Limits) -> Self {
        Self::with_gate(network, seed, limits, Arc::new(MemoryGate::new(vec![realm()])))
    }

    pub(super) fn with_gate(
        network: &Arc<dyn Network>,
        seed: u8,
        limits: Limits,
        gate: Arc<MemoryGate>,
    ) -> Self {
        let secret = StaticSecret::from_bytes([seed; 32]);
        let key = secret.public();
        let any = "127.0.0.1:0".parse().unwrap();
        let (endpoint, events) = Endpoint::bind_on(
            Environment::on(Arc::clone(network)),
            &[any],
            secret,
            gate.clone(),
            limits,
        )
        .unwrap();
        let addr = endpoint.local_addresses()[0];
        Self { endpoint, events, gate, key, addr }
    }

    /// Two nodes that admit one another; the first has the lower key.
    pub(super) fn two(network: &Arc<dyn Network>, limits: &Limits) -> [Self; 2] {
        let mut nodes = [21, 22].map(|seed| Self::new(network, seed, limits.clone()));
        nodes.sort_by_key(|node| node.key);
        nodes[0].gate.add(nodes[1].key);
        nodes[1].gate.add(nodes[0].key);
        nodes
    }

    pub(super) fn keep(&self, other: &Self) {
        self.endpoint.keep(other.key, vec![other.addr], realm());
    }

    pub(super) async fn dial(&self, other: &Self) -> Peer {
        let addrs = vec![other.addr];
        self.endpoint.dial_once(addrs, other.key, realm(), Duration::from_secs(20)).await.unwrap()
    }

    pub(super) async fn up(&mut self) -> Peer {
        match within(self.events.next()).await {
            Some(Event::Up(peer)) => peer,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub(super) async fn down(&mut self) -> CloseReason {
        match within(self.events.next()).await {
            Some(Event::Down { reason, .. }) => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }
}

impl Node {
    /// The next event under paused time, where hours pass at once.
    pub(super) async fn up_slowly(&mut self) -> Peer {
        match self.events.next().await {
            Some(Event::Up(peer)) => peer,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub(super) async fn down_slowly(&mut self) -> CloseReason {
        match self.events.next().await {
            Some(Event::Down { reason, .. }) => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }
}

/// A total deadline for what a test waits for, far beyond what it takes.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing happened in a minute")
}

/// Serves every stream of a peer: messages come back as they are, data as its length.
pub(super) fn echo(peer: Peer) {
    tokio::spawn(async move {
        while let Some(stream) = peer.accept().await {
            tokio::spawn(echo_stream(stream));
        }
    });
}

async fn echo_stream(stream: Stream) -> Option<()> {
    let (mut send, mut recv) = stream.split();
    let mut total = 0_u64;
    while let Some(frame) = recv.next().await.ok()? {
        match frame {
            Frame::Message(bytes) => send.message(bytes).await.ok()?,
            Frame::Data(bytes) => total += bytes.len() as u64,
        }
    }
    send.message(total.to_le_bytes().to_vec()).await.ok()?;
    send.finish();
    Some(())
}

/// Asks for one echo; the answer must be right.
pub(super) async fn ask(peer: &Peer, class: Class, text: &[u8]) {
    let (mut send, mut recv) = within(peer.open(class)).await.unwrap().split();
    send.message(text.to_vec()).await.unwrap();
    send.finish();
    let answer = within(recv.next()).await.unwrap();
    assert_eq!(answer, Some(Frame::Message(text.to_vec().into())));
    let total = within(recv.next()).await.unwrap();
    assert_eq!(total, Some(Frame::Message(0_u64.to_le_bytes().to_vec().into())));
    assert_eq!(within(recv.next()).await.unwrap(), None);
}
