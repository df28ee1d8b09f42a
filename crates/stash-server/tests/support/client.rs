//! A second implementation of part B of `docs/protocol.md`, for tests: it shares the transport and
//! the formats with the engine and none of its messages. It says whatever a test lets it say.

#![allow(dead_code, clippy::unwrap_used, reason = "test support: each file uses a part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::chunk::{CHUNK_OVERHEAD, padme};
use stash_crypto::{
    Address, ChunkRef, Clear, Dot, Incarnation, JoinRequest, Key, Manifest, Meta, NodeId, NodeKeys,
    Record, RecordDraft, RecordHash, RecordKind, Role, StashId, Ticket, Vector, Writer,
};
use stash_p2p::{
    Claim, Class, DialError, Endpoint, Frame, Gate, GateError, Limits, Peer, PublicKey, Realm,
    RecvStream, SendStream, StaticSecret, Stream, StreamError,
};

use crate::support::{Node, PATIENCE, Stash, until};

/// B.2: what opens a stream, and what else an initiator says on a put stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Put {},
    Get { address: ByteBuf },
    Have { chunks: ByteBuf },
    Evict { nonce: ByteBuf, groups: Vec<Together> },
    Members { from: u64 },
    Announce { entries: Vec<ByteBuf>, addresses: Vec<ByteBuf> },
    Join { request: ByteBuf },
    Log { log: ByteBuf, after: u64 },
    Find { hashes: ByteBuf },
    All {},
    News {},
    Lack { hashes: ByteBuf },
    Holding { hashes: ByteBuf },
    Prove { nonce: ByteBuf, chunks: ByteBuf },
    Writers { node: ByteBuf, from: ByteBuf },
    Cuts { list: ByteBuf, from: u64 },
    Sums { prefixes: ByteBuf, length: u8 },
    Ids { parts: ByteBuf, size: u8 },
    Match { halves: ByteBuf },
    Confirmed { confirmation: ByteBuf },
}

/// B.4: chunks that the same records name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Together {
    pub(crate) chunks: ByteBuf,
    pub(crate) named: NamedBy,
}

/// B.4: the records that name chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedBy {
    Records { hashes: ByteBuf },
    Digest { digest: ByteBuf },
}

/// B.3: what an initiator says on a put stream.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Put {
    Offer { chunks: ByteBuf },
    Records { records: Vec<ByteBuf> },
}

/// B.2 and B.3: what a responder says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Chunk { length: u32 },
    NotHere {},
    Have { chunks: ByteBuf },
    Kept { proofs: ByteBuf, reason: String },
    Proofs { proofs: ByteBuf },
    Holding { states: ByteBuf },
    Done {},
    Members { entries: Vec<ByteBuf>, addresses: Vec<ByteBuf> },
    Records { records: Vec<ByteBuf> },
    Log { known: bool, hashes: ByteBuf, log: ByteBuf, last: u64 },
    All { n: u64, sum: ByteBuf, log: u64 },
    Sums { sums: ByteBuf },
    Ids { ids: ByteBuf, parts: u64 },
    Hashes { hashes: ByteBuf },
    Writers { last: ByteBuf },
    Cuts { cuts: ByteBuf },
    Welcome { entries: Vec<ByteBuf>, grant: ByteBuf, addresses: Vec<ByteBuf> },
    Refused { code: String, reason: String },
    Want { chunks: ByteBuf },
    Results { results: Vec<Fate> },
}

/// B.3: what became of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    Stored {},
    Need { chunks: ByteBuf },
    Refused { reason: String },
    Failed { reason: String },
}

impl Answer {
    /// The code of a refusal; anything else fails the test.
    pub(crate) fn refusal(self) -> String {
        match self {
            Answer::Refused { code, .. } => code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

impl Fate {
    /// Why a record was refused; anything else fails the test.
    pub(crate) fn refusal(self) -> String {
        match self {
            Fate::Refused { reason } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub(crate) fn pack<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).unwrap()
}

pub(crate) fn joined_up(addresses: &[Address]) -> ByteBuf {
    ByteBuf::from(addresses.iter().flat_map(|address| *address.as_bytes()).collect::<Vec<_>>())
}

fn references(chunks: &[ChunkRef]) -> ByteBuf {
    let one = |chunk: &ChunkRef| {
        [&chunk.address.as_bytes()[..], &chunk.sealed_len.to_le_bytes()].concat()
    };
    ByteBuf::from(chunks.iter().flat_map(one).collect::<Vec<_>>())
}

fn bit_string(bits: &[bool]) -> ByteBuf {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    for i in (0..bits.len()).filter(|i| bits[*i]) {
        bytes[i / 8] |= 1 << (i % 8);
    }
    ByteBuf::from(bytes)
}

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

    fn hello(&self, _: &PublicKey) -> Bytes {
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
        Session { peer: self.try_knock(ticket, ticket.addresses[0]).await.unwrap() }
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
        return Ok(());
    };
    match script(ask.clone(), session).await {
        Act::Say(answer) => send.message(pack(&answer)).await?,
        Act::Default => send.message(pack(&polite(ask))).await?,
        Act::Nothing => return std::future::pending().await,
        Act::Send(length, bytes) => {
            send.message(pack(&Answer::Chunk { length })).await?;
            send.data(bytes).await?;
        }
    }
    send.finish();
    Ok(())
}

fn polite(ask: Ask) -> Answer {
    match ask {
        Ask::Members { .. } => Answer::Members { entries: vec![], addresses: vec![] },
        Ask::Log { log, after } => {
            Answer::Log { known: true, hashes: ByteBuf::new(), log, last: after }
        }
        Ask::Find { .. } => Answer::Records { records: vec![] },
        Ask::Writers { .. } => Answer::Writers { last: ByteBuf::new() },
        Ask::Sums { prefixes, length } => {
            let parts = if length == 0 { 1 } else { prefixes.len() };
            Answer::Sums { sums: ByteBuf::from(vec![0; parts * 256 * 8]) }
        }
        Ask::Ids { parts, .. } => {
            let parts = parts.len() / 2;
            Answer::Ids { ids: ByteBuf::from(vec![0; 2 * parts]), parts: parts as u64 }
        }
        Ask::Match { .. } => Answer::Hashes { hashes: ByteBuf::new() },
        Ask::Cuts { .. } => Answer::Cuts { cuts: ByteBuf::new() },
        // As a member that holds nothing.
        Ask::All {} => Answer::All { n: 0, sum: ByteBuf::from(vec![0; 32]), log: 0 },
        Ask::Have { chunks } => {
            Answer::Have { chunks: bit_string(&vec![false; chunks.len() / 32]) }
        }
        Ask::Holding { hashes } => {
            Answer::Holding { states: ByteBuf::from(vec![0; hashes.len() / 32]) }
        }
        Ask::Prove { chunks, .. } => {
            Answer::Proofs { proofs: ByteBuf::from(vec![0; chunks.len()]) }
        }
        Ask::Evict { groups, .. } => Answer::Kept {
            proofs: ByteBuf::from(vec![0; groups.iter().map(|group| group.chunks.len()).sum()]),
            reason: "has nothing".to_owned(),
        },
        Ask::Get { .. } => Answer::NotHere {},
        Ask::Announce { .. } | Ask::News {} | Ask::Lack { .. } | Ask::Confirmed { .. } => {
            Answer::Done {}
        }
        Ask::Put {} | Ask::Join { .. } => {
            Answer::Refused { code: "role".to_owned(), reason: "scripted".to_owned() }
        }
    }
}

/// A connection.
pub(crate) struct Session {
    pub(crate) peer: Peer,
}

impl Session {
    pub(crate) async fn open(&self) -> PutStream {
        let stream = within("a stream", self.peer.open(Class::Control)).await.unwrap();
        let (send, recv) = stream.split();
        PutStream { send, recv }
    }

    /// Asks one question on a stream of its own.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.ask_raw(pack(ask)).await
    }

    /// Sends any bytes as the first message of a stream.
    pub(crate) async fn ask_raw(&self, bytes: Vec<u8>) -> Answer {
        let PutStream { mut send, recv } = self.open().await;
        send.message(bytes).await.unwrap();
        send.finish();
        within("an answer", next(&mut { recv })).await.unwrap().expect("an answer")
    }

    /// Opens a put stream.
    pub(crate) async fn put(&self) -> PutStream {
        let mut put = self.open().await;
        put.send.message(pack(&Ask::Put {})).await.unwrap();
        put
    }

    /// Offers and sends chunks and records on a put stream of their own, as an honest owner would.
    pub(crate) async fn give(
        &self,
        chunks: &[(ChunkRef, Vec<u8>)],
        records: &[&[u8]],
    ) -> Vec<Fate> {
        let mut put = self.put().await;
        for chunks in chunks.chunks(256) {
            let offered: Vec<_> = chunks.iter().map(|(chunk, _)| *chunk).collect();
            for (wanted, (_, bytes)) in put.offer(&offered).await.into_iter().zip(chunks) {
                if wanted {
                    put.data(bytes.clone()).await.unwrap();
                }
            }
        }
        put.records(records).await
    }

    /// Gets a chunk; `None` when it is not there.
    pub(crate) async fn get(&self, address: Address) -> Option<Vec<u8>> {
        let PutStream { mut send, mut recv } = self.open().await;
        let address = ByteBuf::from(address.as_bytes().to_vec());
        send.message(pack(&Ask::Get { address })).await.unwrap();
        send.finish();
        let length = match within("an answer", next(&mut recv)).await.unwrap() {
            Some(Answer::Chunk { length }) => length as usize,
            Some(Answer::NotHere {}) => return None,
            other => panic!("answered a get with {other:?}"),
        };
        let mut bytes = Vec::new();
        while let Some(frame) = within("chunk bytes", recv.next()).await.unwrap() {
            let Frame::Data(piece) = frame else { panic!("{frame:?} in a chunk") };
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(bytes.len(), length, "a chunk is as long as was said");
        Some(bytes)
    }
}

/// B.3: a put stream.
pub(crate) struct PutStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl PutStream {
    pub(crate) async fn say(&mut self, put: &Put) -> Result<(), StreamError> {
        self.send.message(pack(put)).await
    }

    pub(crate) async fn data(&mut self, bytes: Vec<u8>) -> Result<(), StreamError> {
        self.send.data(bytes).await
    }

    pub(crate) async fn say_offer(&mut self, chunks: &[ChunkRef]) -> Result<(), StreamError> {
        self.say(&Put::Offer { chunks: references(chunks) }).await
    }

    /// Offers chunks; which ones are wanted.
    pub(crate) async fn offer(&mut self, chunks: &[ChunkRef]) -> Vec<bool> {
        self.say_offer(chunks).await.unwrap();
        match within("a want", next(&mut self.recv)).await.unwrap() {
            Some(Answer::Want { chunks: bits }) => {
                assert_eq!(bits.len(), chunks.len().div_ceil(8), "the least length");
                let bit = |i: usize| bits[i / 8] >> (i % 8) & 1 == 1;
                assert!((chunks.len()..bits.len() * 8).all(|i| !bit(i)), "unused bits are zero");
                (0..chunks.len()).map(bit).collect()
            }
            other => panic!("answered an offer with {other:?}"),
        }
    }

    pub(crate) async fn say_records(&mut self, records: &[&[u8]]) -> Result<(), StreamError> {
        let records = records.iter().map(|bytes| ByteBuf::from(bytes.to_vec())).collect();
        self.say(&Put::Records { records }).await
    }

    /// Sends records in one message; what became of each.
    pub(crate) async fn records(&mut self, records: &[&[u8]]) -> Vec<Fate> {
        self.say_records(records).await.unwrap();
        match within("results", next(&mut self.recv)).await.unwrap() {
            Some(Answer::Results { results }) => {
                assert_eq!(results.len(), records.len(), "one result a record");
                results
            }
            other => panic!("answered records with {other:?}"),
        }
    }

    /// B.3, 2: the responder must reset the stream; no further answer may come before.
    pub(crate) async fn must_be_reset(mut self, why: &str) {
        match within(why, next(&mut self.recv)).await {
            Err(StreamError::Reset(_)) => {}
            other => panic!("{why}: the stream was not reset, but ended with {other:?}"),
        }
    }
}

/// The next message; `None` when the other side ended its direction in good order.
pub(crate) async fn next(recv: &mut RecvStream) -> Result<Option<Answer>, StreamError> {
    match recv.next().await? {
        Some(Frame::Message(bytes)) => {
            Ok(Some(rmp_serde::from_slice(&bytes).expect("an answer of the document")))
        }
        Some(Frame::Data(_)) => panic!("data where a message is due"),
        None => Ok(None),
    }
}

/// B.4: the possession proof of one chunk.
pub(crate) fn proof(
    nonce: &[u8],
    stash: &StashId,
    verifier: &NodeId,
    prover: &NodeId,
    session: &[u8; 32],
    sealed: &[u8],
) -> [u8; 32] {
    let said = [nonce, stash.as_bytes(), verifier.as_bytes(), prover.as_bytes(), session].concat();
    let key = blake3::derive_key("stash v1 possession proof", &said);
    *blake3::keyed_hash(&key, sealed).as_bytes()
}

/// Seals one chunk of at least `len` pseudo-random bytes, of a length that needs no padding.
pub(crate) fn sealed(stash: &Stash, seed: &str, len: usize) -> (ChunkRef, Vec<u8>) {
    let len = usize::try_from(padme(len as u64)).unwrap();
    let mut bytes = vec![0; CHUNK_OVERHEAD + len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes[CHUNK_OVERHEAD..]);
    let sealed = stash.root().read_root().chunk_keys().seal_in_place(&mut bytes).unwrap();
    let sealed_len = u32::try_from(bytes.len()).unwrap();
    (ChunkRef { address: sealed.address, sealed_len }, bytes)
}

/// The clear part of a member's first record of a name: a put without chunks. Tests change it.
pub(crate) fn clear(stash: &Stash, keys: &NodeKeys, key: &str, n: u64) -> Clear {
    Clear {
        stash: stash.id(),
        kind: RecordKind::Put,
        name: stash.name(key),
        dot: Dot {
            writer: Writer { node: keys.node_id(), incarnation: Incarnation::from_bytes([3; 8]) },
            n,
        },
        previous: RecordHash::from_bytes([0; 32]),
        height: 1,
        epoch: 0,
        seen: Vector::new(),
        manifest: Manifest::Direct(Vec::new()),
    }
}

/// Seals a fitting meta under `key` and signs.
pub(crate) fn signed(stash: &Stash, keys: &NodeKeys, key: &str, clear: Clear) -> Record {
    let plain = |chunk: &ChunkRef| u64::from(chunk.sealed_len) - CHUNK_OVERHEAD as u64;
    let chunks = clear.manifest.refs();
    let size = chunks.iter().map(plain).sum();
    let inline = (chunks.is_empty() && clear.kind == RecordKind::Put).then(Vec::new);
    let chunk_size = match chunks {
        [first, _, ..] => u32::try_from(plain(first)).unwrap(),
        [_] => 4 << 20,
        [] => 0,
    };
    let meta = Meta { chunk_size, inline, ..Meta::new(Key::new(key).unwrap(), size) };
    let meta = clear.kind.is_version().then_some(meta);
    let draft = RecordDraft { clear, meta };
    draft.sign(keys.signer(), &stash.root().read_root().meta_keys()).unwrap()
}

/// A put of these chunks.
pub(crate) fn put_of(
    stash: &Stash,
    keys: &NodeKeys,
    key: &str,
    n: u64,
    chunks: &[ChunkRef],
) -> Record {
    let manifest = Manifest::Direct(chunks.to_vec());
    signed(stash, keys, key, Clear { manifest, ..clear(stash, keys, key, n) })
}
