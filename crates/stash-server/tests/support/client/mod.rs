//! A second implementation of part B of `docs/protocol.md`, for tests: it shares the transport and
//! the formats with the engine and none of its messages. It says whatever a test lets it say.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "test support: each program, and each file, uses a part of it"
)]

mod made;
mod message;
mod polite;
mod session;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_bytes::ByteBuf;
use stash_crypto::{JoinRequest, NodeKeys, Role, StashId, Ticket};
use stash_p2p::{
    Claim, DialError, Endpoint, Frame, Gate, GateError, Limits, Peer, PublicKey, Realm, RecvStream,
    SendStream, StaticSecret, Stream, StreamError,
};

use crate::support::{Node, PATIENCE, Stash, until};
pub(crate) use made::{clear, leaf, proof, put_of, sealed, signed};
pub(crate) use message::{Answer, Ask, Fate, NamedBy, Put, Together, joined_up, pack};
use polite::polite;
pub(crate) use session::{PutStream, Session, next};

/// Fails the test when something that must happen does not.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("nothing after {PATIENCE:?}: {what}"))
}

/// B.1: a gate that dials and admits nobody.
#[derive(Default)]
struct Dialler {
    counter: Mutex<u64>,
    hello: Hello,
}

/// B.1: what the client says of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Hello {
    pub(crate) members: u64,
    pub(crate) head: ByteBuf,
    pub(crate) addresses: ByteBuf,
}

impl Gate for Dialler {
    fn realms(&self) -> Arc<[Realm]> {
        Arc::from([])
    }

    fn admit(&self, _: Claim) -> BoxFuture<'_, bool> {
        std::future::ready(false).boxed()
    }

    fn floor(&self, _: &PublicKey) -> u64 {
        u64::MAX
    }

    fn raise(&self, _: PublicKey, _: u64) -> BoxFuture<'_, Result<(), GateError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn next_counter(&self, _: PublicKey, now: u64) -> BoxFuture<'_, Result<u64, GateError>> {
        let mut counter = self.counter.lock().unwrap();
        *counter = now.max(*counter + 1);
        std::future::ready(Ok(*counter)).boxed()
    }

    fn hello(&self, _: &PublicKey, _: SocketAddr) -> Bytes {
        pack(&self.hello).into()
    }
}

pub(crate) fn prologue(stash: &StashId, purpose: &str) -> Vec<u8> {
    [b"stash/1", &stash.as_bytes()[..], purpose.as_bytes()].concat()
}

pub(crate) fn members_realm(stash: &Stash) -> Realm {
    let key = stash.root().network_key();
    Realm {
        label: [1; 32],
        prologue: prologue(&stash.id(), "peer"),
        tag_key: key.peer_tag_key(),
        psk: *key.peer_psk(),
    }
}

fn join_realm(ticket: &Ticket) -> Realm {
    Realm {
        label: [2; 32],
        prologue: prologue(&ticket.stash, "join"),
        tag_key: ticket.join_tag_key(),
        psk: *ticket.join_psk(),
    }
}

/// Act of a scripted member on a request of the engine's.
pub(crate) enum Act {
    Say(Answer),
    /// Says a length, then sends these bytes, whether they fit or not.
    Send(u32, Vec<u8>),
    /// Leaves the stream open and never answers.
    Nothing,
    /// On a put stream: wants no chunk, and says of every record that it is stored.
    Acknowledge,
    /// Acts as a polite member without any chunk.
    Default,
}

/// A scripted member's mind: the request, and the handshake hash of its connection.
pub(crate) type Script = Arc<dyn Fn(Ask, [u8; 32]) -> BoxFuture<'static, Act> + Send + Sync>;

/// A script without waits.
pub(crate) fn script(act: impl Fn(Ask, [u8; 32]) -> Act + Send + Sync + 'static) -> Script {
    Arc::new(move |ask, session| std::future::ready(act(ask, session)).boxed())
}

/// A node of the second implementation.
pub(crate) struct Client {
    pub(crate) keys: Arc<NodeKeys>,
    stash: StashId,
    realm: Realm,
    pub(crate) endpoint: Endpoint,
}

impl Client {
    pub(crate) fn new(stash: &Stash, keys: NodeKeys) -> Client {
        Client::with(stash, keys, Limits::default(), Hello::default())
    }

    /// A node that takes as much as these limits let it, and says this.
    pub(crate) fn with(stash: &Stash, keys: NodeKeys, limits: Limits, hello: Hello) -> Client {
        let secret = StaticSecret::from_bytes(*keys.noise_secret().expose());
        let gate = Arc::new(Dialler { hello, ..Dialler::default() });
        let (endpoint, _) = Endpoint::bind(&[], secret, gate, limits).unwrap();
        Client { keys: Arc::new(keys), stash: stash.id(), realm: members_realm(stash), endpoint }
    }

    /// B.5: becomes a member by a ticket of the inviter's.
    pub(crate) async fn member(stash: &Stash, inviter: &Node, role: Role) -> Client {
        Client::member_as(stash, inviter, role, NodeKeys::generate(&mut rand::rng())).await
    }

    pub(crate) async fn member_as(
        stash: &Stash,
        inviter: &Node,
        role: Role,
        keys: NodeKeys,
    ) -> Client {
        let client = Client::new(stash, keys);
        client.join(inviter, role).await;
        client
    }

    /// B.5: becomes a member by a ticket of the inviter's.
    pub(crate) async fn join(&self, inviter: &Node, role: Role) {
        let ticket = inviter.engine.invite(role, Duration::from_secs(60)).await.unwrap();
        let session = self.knock(&ticket).await;
        let request = self.join_request(&ticket);
        let answer = session.ask(&Ask::Join { request: ByteBuf::from(request.encode()) }).await;
        assert!(matches!(answer, Answer::Welcome { .. }), "{answer:?}");
    }

    pub(crate) fn join_request(&self, ticket: &Ticket) -> JoinRequest {
        JoinRequest::sign(&self.keys, &self.stash, ticket.id, "second").unwrap()
    }

    /// Opens a connection in a ticket's realm.
    pub(crate) async fn knock(&self, ticket: &Ticket) -> Session {
        Session {
            peer: self.try_knock(ticket, ticket.addresses[0].address().unwrap()).await.unwrap(),
        }
    }

    /// Knocks once in a ticket's realm, and waits for what becomes of it.
    pub(crate) async fn try_knock(
        &self,
        ticket: &Ticket,
        addr: SocketAddr,
    ) -> Result<Peer, DialError> {
        let inviter = PublicKey::from_bytes(*ticket.inviter.as_bytes());
        self.endpoint.dial_once(vec![addr], inviter, join_realm(ticket), PATIENCE).await
    }

    /// Knocks once, and waits for what becomes of it.
    pub(crate) async fn try_connect(
        &self,
        node: &Node,
        addr: SocketAddr,
    ) -> Result<Peer, DialError> {
        let remote = PublicKey::from_bytes(*node.keys.noise_public().as_bytes());
        self.endpoint.dial_once(vec![addr], remote, self.realm.clone(), PATIENCE).await
    }

    /// Connects to a node as a member that has nothing.
    pub(crate) async fn connect(&self, node: &Node) -> Session {
        self.connect_with(node, script(|_, _| Act::Default)).await
    }

    /// Connects to a node that may learn only now who this member is, and answers it by a script.
    pub(crate) async fn connect_with(&self, node: &Node, script: Script) -> Session {
        let remote = PublicKey::from_bytes(*node.keys.noise_public().as_bytes());
        let peer = within("a connection to a node", async {
            loop {
                let realm = self.realm.clone();
                let addresses = node.engine.listen();
                match self.endpoint.dial_once(addresses, remote, realm, PATIENCE).await {
                    Ok(peer) => break peer,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await;
        tokio::spawn(answer_all(peer.clone(), script));
        let me = self.keys.node_id();
        until("the node sees the scripted member", || {
            node.engine.members().iter().any(|member| member.node == me && member.connected)
        })
        .await;
        Session { peer }
    }
}

async fn answer_all(peer: Peer, script: Script) {
    while let Some(stream) = peer.accept().await {
        let (script, session) = (Arc::clone(&script), peer.handshake_hash());
        // A stream that fails concerns nobody else.
        tokio::spawn(async move { answer(stream, script, session).await.ok() });
    }
}

async fn answer(stream: Stream, script: Script, session: [u8; 32]) -> Result<(), StreamError> {
    let (mut send, mut recv) = stream.split();
    let Some(Frame::Message(bytes)) = recv.next().await? else {
        return Ok(());
    };
    let Ok(ask) = rmp_serde::from_slice::<Ask>(&bytes) else {
        // B.2: as a program that does not know the request.
        let (code, reason) = ("unknown".to_owned(), "not known here".to_owned());
        send.message(pack(&Answer::Refused { code, reason })).await?;
        send.finish();
        return Ok(());
    };
    match script(ask.clone(), session).await {
        Act::Say(answer) => send.message(pack(&answer)).await?,
        Act::Default => send.message(pack(&polite(ask))).await?,
        Act::Nothing => return std::future::pending().await,
        Act::Acknowledge => acknowledge(&mut send, &mut recv).await?,
        Act::Send(length, bytes) => {
            send.message(pack(&Answer::Chunk { length })).await?;
            send.data(bytes).await?;
        }
    }
    send.finish();
    Ok(())
}

async fn acknowledge(send: &mut SendStream, recv: &mut RecvStream) -> Result<(), StreamError> {
    while let Some(Frame::Message(bytes)) = recv.next().await? {
        let answer = match rmp_serde::from_slice(&bytes).expect("a message of a put stream") {
            Put::Offer { chunks } => {
                Answer::Want { chunks: message::bit_string(&vec![false; chunks.len() / 36]) }
            }
            Put::Records { records } => {
                Answer::Results { results: records.iter().map(|_| Fate::Stored {}).collect() }
            }
        };
        send.message(pack(&answer)).await?;
    }
    Ok(())
}
