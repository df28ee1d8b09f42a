//! Authenticated, framed, multiplexed TCP peers for any protocol.
//!
//! Two nodes that know each other's X25519 key keep one encrypted connection up between them,
//! whichever of them dialled, and open streams on it. A stream is one request and its response.
//! Each is a series of messages (at most [`MAX_MESSAGE`] bytes, delivered whole) and raw data (any
//! length, delivered in pieces). A stranger gets no byte back.
//!
//! The crate discovers no peers, crosses no NAT, and knows nothing of what is sent; it has the sockets for a
//! program that discovers some ([`Network::join`]). Nor does it decide whom to trust or where to keep counters: the program does, as the [`Gate`].
//!
//! Start with [`Endpoint::bind`]; it gives [`Events`], which give [`Peer`]s, which open and accept
//! [`Stream`]s. The wire format is part A of `docs/protocol.md`.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use stash_p2p::{Class, Endpoint, Event, Frame, Limits, MemoryGate, Realm, StaticSecret};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let realm = || Realm {
//!     label: [0; 32],
//!     prologue: b"my program 1".to_vec(),
//!     tag_key: [1; 32],
//!     psk: [2; 32],
//! };
//! let (alice, bob) = (StaticSecret::from_bytes([3; 32]), StaticSecret::from_bytes([4; 32]));
//! let (alice_key, bob_key) = (alice.public(), bob.public());
//!
//! let gate = MemoryGate::new(vec![realm()]);
//! gate.add(bob_key);
//! let any = "127.0.0.1:0".parse()?;
//! let (alice, mut events) = Endpoint::bind(&[any], alice, Arc::new(gate), Limits::default())?;
//! tokio::spawn(async move {
//!     let Some(Event::Up(peer)) = events.next().await else { return };
//!     let Some(stream) = peer.accept().await else { return };
//!     let (mut send, mut recv) = stream.split();
//!     if let Ok(Some(Frame::Message(request))) = recv.next().await {
//!         send.message(request).await.ok();
//!         send.finish();
//!     }
//!     peer.closed().await;
//! });
//!
//! let gate = Arc::new(MemoryGate::new(vec![realm()]));
//! let (bob, _events) = Endpoint::bind(&[], bob, gate, Limits::default())?;
//! let addresses = alice.local_addresses();
//! let peer = bob.dial_once(addresses, alice_key, realm(), Duration::from_secs(5)).await?;
//! let (mut send, mut recv) = peer.open(Class::Control).await?.split();
//! send.message("hello").await?;
//! send.finish();
//! assert_eq!(recv.next().await?, Some(Frame::Message("hello".into())));
//! bob.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod accept;
mod backlog;
mod backoff;
mod budget;
mod candidate;
mod cipher;
mod dial;
mod endpoint;
mod environment;
mod error;
mod establish;
mod established;
mod events;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod handshake;
mod hello;
mod inner;
mod intake;
mod key;
mod knocks;
mod lent;
mod limits;
mod link;
mod log;
mod memory_gate;
mod multicast;
mod mux;
mod net;
mod pace;
mod packer;
mod peer;
mod preamble;
mod race;
mod rate;
mod replay;
mod resolver;
mod stream;
mod tasks;
mod tiebreak;
mod wire;

#[cfg(test)]
mod tests;

pub use candidate::{Candidate, Source, Way};
pub use endpoint::Endpoint;
pub use environment::{Clock, Entropy, Environment, Random, SystemClock, SystemEntropy};
pub use error::{BindError, CloseReason, DialError, PeerError, ProtocolError, StreamError};
pub use events::{Event, Events};
pub use frame::{Class, Frame};
pub use gate::{Claim, Gate, GateError, Purpose, Realm, SharedRealm};
pub use key::{ParseKeyError, PublicKey, StaticSecret};
pub use lent::Lent;
pub use limits::{
    Bandwidth, Limits, MAX_BULK, MAX_DATA, MAX_HELLO_APP, MAX_MESSAGE, MIN_RATE, REPLAY_WINDOW,
    Rate, RateTooLow, Subnet,
};
pub use memory_gate::MemoryGate;
pub use multicast::{Datagrams, Link, MULTICAST_PORT};
pub use net::{Attached, Listen, MemoryNetwork, Network, TcpNetwork, Wire};
pub use peer::{Peer, PeerStats};
pub use rate::Bucket;
pub use replay::ReplayWindow;
pub use stream::{RecvStream, SendStream, Stream};
