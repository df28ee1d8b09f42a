//! A member that speaks `docs/protocol.md`, without a store.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::{
    Address, ChunkRef, Clear, Dot, Incarnation, Key, KeyGrant, Manifest, Meta, NetworkKey,
    NodeKeys, ReadRoot, Record, RecordDraft, RecordHash, RecordKind, StashId, Ticket, Vector,
    Writer,
};
use stash_p2p::{
    Bandwidth, Claim, Class, Endpoint, Events, Frame, Gate, GateError, Limits, Peer, PublicKey,
    Realm, RecvStream, SendStream, StaticSecret,
};
use stash_server::join;
use tokio::time::timeout;

use crate::{Failure, PATIENCE};

/// A question of a member (B.2, B.3).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Get { address: ByteBuf },
    Have { chunks: ByteBuf },
    Evict { nonce: ByteBuf, groups: Vec<Together> },
    Prove { nonce: ByteBuf, chunks: ByteBuf },
    Members { from: u64 },
    Announce { entries: Vec<ByteBuf>, addresses: Vec<ByteBuf> },
    Log { log: ByteBuf, after: u64 },
    Find { hashes: ByteBuf },
    All {},
    Sums { prefixes: ByteBuf, length: u8 },
    Ids { parts: ByteBuf, size: u8 },
    Match { halves: ByteBuf },
    News {},
    Lack { hashes: ByteBuf },
    Holding { hashes: ByteBuf },
    Writers { node: ByteBuf, from: ByteBuf },
    Cuts { list: ByteBuf, from: u64 },
    Confirmed { confirmation: ByteBuf },
    Put {},
    Offer { chunks: ByteBuf },
    Records { records: Vec<ByteBuf> },
}

/// Chunks that the same records name (B.4).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Together {
    chunks: ByteBuf,
    named: NamedBy,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum NamedBy {
    Records { hashes: ByteBuf },
}

impl Together {
    pub(crate) fn named_by(chunks: ByteBuf, record: &[u8]) -> Together {
        Together { chunks, named: NamedBy::Records { hashes: bytes(record) } }
    }
}

/// An answer to a member. Most of it is not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Chunk { length: u32 },
    Log { hashes: ByteBuf },
    Records { records: Vec<ByteBuf> },
    Refused { code: String, reason: String },
    NotHere(IgnoredAny),
    Have(IgnoredAny),
    Kept(IgnoredAny),
    Proofs(IgnoredAny),
    Holding(IgnoredAny),
    Done(IgnoredAny),
    Members(IgnoredAny),
    All(IgnoredAny),
    Writers(IgnoredAny),
    Cuts(IgnoredAny),
    Sums(IgnoredAny),
    Ids(IgnoredAny),
    Hashes(IgnoredAny),
    Results(IgnoredAny),
    Want(IgnoredAny),
}

/// As a node is limited, on one connection.
pub(crate) fn usual() -> Limits {
    Limits { bulk_connections: 0, ..Limits::default() }
}

/// As little as a member may have under way, at a rate.
pub(crate) fn narrow(bandwidth: Bandwidth) -> Limits {
    Limits { stream_window: 320 << 10, connection_window: 640 << 10, bandwidth, ..usual() }
}

/// B.1: a gate that admits nobody.
#[derive(Default)]
struct Dialler(Mutex<u64>);

impl Gate for Dialler {
    fn realms(&self) -> Arc<[Realm]> {
        Arc::from([])
    }

    fn admit(&self, _: Claim) -> BoxFuture<'_, bool> {
        ready(false).boxed()
    }

    fn floor(&self, _: &PublicKey) -> u64 {
        u64::MAX
    }

    fn raise(&self, _: PublicKey, _: u64) -> BoxFuture<'_, Result<(), GateError>> {
        ready(Ok(())).boxed()
    }

    fn next_counter(&self, _: PublicKey, now: u64) -> BoxFuture<'_, Result<u64, GateError>> {
        let mut counter = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *counter = now.max(*counter + 1);
        ready(Ok(*counter)).boxed()
    }

    fn hello(&self, _: &PublicKey, _: SocketAddr) -> Bytes {
        Bytes::new()
    }
}

/// A member: its keys, those that it was granted, and how it dials.
pub(crate) struct Member {
    keys: NodeKeys,
    stash: StashId,
    network: Vec<NetworkKey>,
    read: Vec<ReadRoot>,
    node: (PublicKey, Vec<SocketAddr>),
    endpoint: Endpoint,
    _events: Events,
}

impl Member {
    /// Joins by a ticket.
    pub(crate) async fn join(ticket: &Ticket, limits: Limits) -> Result<Member, Failure> {
        let keys = NodeKeys::generate(&mut rand::rng());
        let joined = join(ticket, &keys, "many").await?;
        let grant = stash_crypto::keys::unwrap(keys.wrap_secret(), &joined.stash, &joined.grant)?;
        let KeyGrant { network, read } = KeyGrant::decode(&grant)?;
        let inviter = PublicKey::from_bytes(*ticket.inviter.as_bytes());
        let addresses = ticket.addresses.iter().filter_map(|place| place.address()).collect();
        let node = (inviter, addresses);
        let (endpoint, events) = bind(&keys, limits)?;
        let stash = joined.stash;
        Ok(Member { keys, stash, network, read, node, endpoint, _events: events })
    }

    /// The same member, limited otherwise from its next connection on.
    pub(crate) fn again(mut self, limits: Limits) -> Result<Member, Failure> {
        (self.endpoint, self._events) = bind(&self.keys, limits)?;
        Ok(self)
    }

    /// Connects to the node.
    pub(crate) async fn connect(&self) -> Result<Session, Failure> {
        let (remote, addresses) = self.node.clone();
        let network = self.network.last().ok_or("no network key was granted")?;
        let realm = Realm {
            label: [1; 32],
            prologue: [b"stash/1", &self.stash.as_bytes()[..], b"peer"].concat(),
            tag_key: network.peer_tag_key(),
            psk: *network.peer_psk(),
        };
        let peer = self.endpoint.dial_once(addresses, remote, realm, PATIENCE).await?;
        tokio::spawn(politely(peer.clone()));
        Ok(Session { peer })
    }

    /// Asks everything that a member can ask, and an owner can put.
    pub(crate) async fn everything(
        &self,
        session: &Session,
        chunks: &[ChunkRef],
    ) -> Result<(), Failure> {
        let chunk = chunks.first().ok_or("the node has no chunk")?;
        session.get(chunk).await?;
        let (address, nonce) = (bytes(chunk.address.as_bytes()), ByteBuf::from(vec![3; 32]));
        let hash = session.first_record().await?;
        let node = bytes(self.keys.node_id().as_bytes());
        for ask in [
            Ask::Have { chunks: address.clone() },
            Ask::Prove { nonce: nonce.clone(), chunks: address.clone() },
            Ask::Evict { nonce, groups: vec![Together::named_by(address, &hash)] },
            Ask::Members { from: 0 },
            Ask::Announce { entries: vec![], addresses: vec![] },
            Ask::Find { hashes: bytes(&hash) },
            Ask::All {},
            Ask::Sums { prefixes: ByteBuf::new(), length: 0 },
            Ask::Sums { prefixes: bytes(&hash[..1]), length: 1 },
            Ask::Ids { parts: bytes(&hash[..2]), size: 32 },
            Ask::Match { halves: bytes(&hash[..16]) },
            Ask::News {},
            Ask::Lack { hashes: ByteBuf::new() },
            Ask::Holding { hashes: bytes(&hash) },
            Ask::Writers { node, from: ByteBuf::from(vec![0; 8]) },
            Ask::Cuts { list: ByteBuf::from(vec![0; 32]), from: 0 },
            Ask::Confirmed { confirmation: ByteBuf::new() },
        ] {
            session.ask(&ask).await.map_err(|error| format!("{ask:?}: {error}"))?;
        }
        let record = self.empty_file()?;
        session.put(record.bytes()).await
    }

    /// A record of a file without content, under a name of its own.
    fn empty_file(&self) -> Result<Record, Failure> {
        let read = self.read.last().ok_or("no read root was granted")?;
        let key = Key::new(&format!("many {}", rand::random::<u64>()))?;
        let incarnation = Incarnation::from_bytes(rand::random());
        let clear = Clear {
            stash: self.stash,
            kind: RecordKind::Put,
            name: read.name_key().name_id(&key),
            dot: Dot { writer: Writer { node: self.keys.node_id(), incarnation }, n: 1 },
            previous: RecordHash::from_bytes([0; 32]),
            height: 1,
            epoch: 0,
            seen: Vector::new(),
            manifest: Manifest::Direct(Vec::new()),
        };
        let meta = Meta { chunk_size: 0, inline: Some(Vec::new()), ..Meta::new(key, 0) };
        let draft = RecordDraft { clear, meta: Some(meta) };
        Ok(draft.sign(self.keys.signer(), &read.meta_keys())?)
    }
}

fn bind(keys: &NodeKeys, limits: Limits) -> Result<(Endpoint, Events), Failure> {
    let secret = StaticSecret::from_bytes(*keys.noise_secret().expose());
    Ok(Endpoint::bind(&[], secret, Arc::new(Dialler::default()), limits)?)
}

pub(crate) fn bytes(bytes: &[u8]) -> ByteBuf {
    ByteBuf::from(bytes.to_vec())
}

/// Refuses whatever the node asks: a member that has nothing.
async fn politely(peer: Peer) {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Said {
        Refused { code: &'static str, reason: &'static str },
    }
    let no = Said::Refused { code: "failed", reason: "there is nothing here" };
    let no = rmp_serde::to_vec_named(&no).unwrap_or_default();
    while let Some(stream) = peer.accept().await {
        let (mut send, _recv) = stream.split();
        if send.message(no.clone()).await.is_ok() {
            send.finish();
        }
    }
}

/// A connection to the node.
pub(crate) struct Session {
    pub(crate) peer: Peer,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.peer.close(stash_p2p::CloseReason::Lost);
    }
}

impl Session {
    /// Asks and leaves the answer where it is.
    pub(crate) async fn send(&self, ask: &Ask, class: Class) -> Result<RecvStream, Failure> {
        let (mut send, recv) = self.peer.open(class).await?.split();
        send.message(rmp_serde::to_vec_named(ask)?).await?;
        send.finish();
        Ok(recv)
    }

    async fn answer(&self, ask: &Ask) -> Result<Answer, Failure> {
        let mut recv = self.send(ask, Class::Control).await?;
        decode(recv.next().await?)
    }

    /// Asks, and looks whether there is an answer that is no refusal.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<(), Failure> {
        timeout(PATIENCE, self.answer(ask)).await?.map(drop)
    }

    pub(crate) async fn all(&self) -> Result<(), Failure> {
        self.ask(&Ask::All {}).await
    }

    /// Gets a chunk and checks it.
    pub(crate) async fn get(&self, chunk: &ChunkRef) -> Result<(), Failure> {
        let get = async {
            let address = bytes(chunk.address.as_bytes());
            let mut recv = self.send(&Ask::Get { address }, Class::Bulk).await?;
            let Answer::Chunk { length } = decode(recv.next().await?)? else {
                return Err("the node does not have a chunk".into());
            };
            let mut got = Vec::with_capacity(length as usize);
            while let Some(Frame::Data(piece)) = recv.next().await? {
                got.extend_from_slice(&piece);
            }
            let is_right = Address::of(&got) == chunk.address;
            if is_right { Ok(()) } else { Err("a chunk came damaged".into()) }
        };
        timeout(PATIENCE, get).await?
    }

    async fn records(&self) -> Result<Vec<[u8; 32]>, Failure> {
        let ask = Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 };
        let answer = timeout(PATIENCE, self.answer(&ask)).await??;
        let Answer::Log { hashes } = answer else { return Err("no order".into()) };
        Ok(hashes.as_chunks::<32>().0.to_vec())
    }

    async fn first_record(&self) -> Result<[u8; 32], Failure> {
        self.records().await?.first().copied().ok_or_else(|| "the node has no record".into())
    }

    /// The chunks of about 1 MiB that the records of the node name.
    pub(crate) async fn large_chunks(&self) -> Result<Vec<ChunkRef>, Failure> {
        let hashes = ByteBuf::from(self.records().await?.concat());
        let answer = timeout(PATIENCE, self.answer(&Ask::Find { hashes })).await??;
        let Answer::Records { records } = answer else { return Err("no records".into()) };
        let mut chunks = Vec::new();
        for record in records {
            let record = Record::decode(&record)?;
            let refs = record.clear().manifest.refs().iter().copied();
            chunks.extend(refs.filter(|chunk| chunk.sealed_len >= 1 << 20));
        }
        Ok(chunks)
    }

    /// Puts one record that names no chunks.
    async fn put(&self, record: &[u8]) -> Result<(), Failure> {
        let put = async {
            let mut put = self.open_put(Class::Control).await?;
            put.records(vec![bytes(record)]).await?;
            put.send.finish();
            decode(put.recv.next().await?).map(drop)
        };
        timeout(PATIENCE, put).await?
    }

    /// Opens a put stream (B.3).
    pub(crate) async fn open_put(&self, class: Class) -> Result<Put, Failure> {
        let (send, recv) = self.peer.open(class).await?.split();
        let mut put = Put { send, recv };
        put.say(&Ask::Put {}).await?;
        Ok(put)
    }
}

/// A put stream.
pub(crate) struct Put {
    send: SendStream,
    recv: RecvStream,
}

impl Put {
    async fn say(&mut self, ask: &Ask) -> Result<(), Failure> {
        Ok(self.send.message(rmp_serde::to_vec_named(ask)?).await?)
    }

    pub(crate) async fn offer(&mut self, chunks: &[ChunkRef]) -> Result<(), Failure> {
        let mut packed = Vec::new();
        for chunk in chunks {
            packed.extend_from_slice(chunk.address.as_bytes());
            packed.extend_from_slice(&chunk.sealed_len.to_le_bytes());
        }
        self.say(&Ask::Offer { chunks: ByteBuf::from(packed) }).await
    }

    /// Waits for an answer, and takes it for one to an offer of which all is wanted.
    pub(crate) async fn wanted(&mut self) -> Result<(), Failure> {
        decode(self.recv.next().await?).map(drop)
    }

    pub(crate) async fn data(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        Ok(self.send.data(bytes).await?)
    }

    pub(crate) async fn records(&mut self, records: Vec<ByteBuf>) -> Result<(), Failure> {
        self.say(&Ask::Records { records }).await
    }
}

fn decode(frame: Option<Frame>) -> Result<Answer, Failure> {
    let Some(Frame::Message(bytes)) = frame else {
        return Err("no message where one is due".into());
    };
    match rmp_serde::from_slice(&bytes)? {
        Answer::Refused { code, reason } => Err(format!("refused, {code}: {reason}").into()),
        answer => Ok(answer),
    }
}
