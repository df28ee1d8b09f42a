//! Real engines on loopback, in directories of their own.

#![allow(dead_code, clippy::unwrap_used, reason = "test support: each file uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::chunk::{CHUNK_OVERHEAD, padme};
use stash_crypto::member::change_members;
use stash_crypto::{
    Address, ChunkRef, Clear, JoinRequest, Key, KeyGrant, Manifest, MemberChange, MemberEntry,
    MemberLog, Meta, NameId, NodeKeys, RecordDraft, RecordKind, Role, RootSecret, StashId,
    TicketId,
};
use stash_server::members::SignFailure;
use stash_server::store::{Options, Store};
use stash_server::{
    Admission, Engine, EngineOptions, Environment, Housekeeping, Mode, Traffic, Upload, Wait,
    Write, found, join,
};

/// Longest wait of a test for something to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Founder {
    pub(crate) root: RootSecret,
}

impl Admission for Founder {
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), SignFailure> {
        let secret = self.root.wrap_secret();
        let mut read = vec![self.root.read_root()];
        read.extend(log.read_roots(None, &secret, &read));
        let mut network = vec![self.root.network_key()];
        network.extend(log.network_keys(None, &secret));
        let read = if role.reads() { read } else { vec![] };
        let grant = KeyGrant { network, read };
        let plain = grant.encode()?;
        let wrapped = stash_crypto::keys::wrap(
            &request.identity.wrap,
            &self.root.stash_id(),
            &plain,
            &mut rand::rng(),
        )?;
        let entry = admit_entry(&self.root, log, request, role);
        Ok((entry, wrapped))
    }

    fn change(
        &self,
        log: &MemberLog,
        change: MemberChange,
    ) -> Result<Vec<MemberEntry>, SignFailure> {
        Ok(change_members(log, &self.root, change, &mut rand::rng())?)
    }
}

pub(crate) fn admit_entry(
    root: &RootSecret,
    log: &MemberLog,
    request: &JoinRequest,
    role: Role,
) -> MemberEntry {
    let change = MemberChange::Admit {
        identity: request.identity,
        role,
        ticket: request.ticket,
        label: Vec::new(),
        node_signature: request.signature,
    };
    MemberEntry::sign(&root.root_signer(), log.len(), log.head(), change).unwrap()
}

/// A running node of a test stash.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

/// A stash for tests: its root secret, and everything that a vault would know.
pub(crate) struct Stash {
    pub(crate) root: [u8; 32],
    /// Settings of the housekeeping of every node of it.
    pub(crate) housekeeping: Housekeeping,
    /// Limits of the traffic of nodes that are started from now on.
    pub(crate) traffic: Traffic,
    /// True if nodes that are started from now on look for members on the local network.
    pub(crate) discovery: bool,
    /// The machine of nodes that are started from now on.
    pub(crate) environment: Environment,
}

impl Stash {
    pub(crate) fn new() -> Stash {
        Stash::of(rand::random())
    }

    pub(crate) fn of(root: [u8; 32]) -> Stash {
        let (housekeeping, traffic) = (Housekeeping::default(), Traffic::default());
        Stash { root, housekeeping, traffic, discovery: false, environment: Environment::default() }
    }

    pub(crate) fn root(&self) -> RootSecret {
        RootSecret::from_bytes(self.root)
    }

    pub(crate) fn id(&self) -> StashId {
        self.root().stash_id()
    }

    pub(crate) async fn founder(&self) -> Node {
        self.founder_among(0).await
    }

    /// A founder with so many readers, which nobody ever meets.
    pub(crate) async fn founder_among(&self, readers: u64) -> Node {
        let keys = NodeKeys::generate(&mut rand::rng());
        let zero = TicketId::from_bytes([0; 16]);
        let request = JoinRequest::sign(&keys, &self.id(), zero, "founder").unwrap();
        let mut log = MemberLog::new(self.id());
        let told = MemberChange::Root {
            noise: self.root().noise_static().public(),
            wrap: self.root().wrap_public(),
        };
        let told = MemberEntry::sign(&self.root().root_signer(), 0, log.head(), told).unwrap();
        log.push(told).unwrap();
        log.push(admit_entry(&self.root(), &log, &request, Role::Owner)).unwrap();
        for _ in 0..readers {
            let keys = NodeKeys::generate(&mut rand::rng());
            let request = JoinRequest::sign(&keys, &self.id(), zero, "reader").unwrap();
            log.push(admit_entry(&self.root(), &log, &request, Role::Reader)).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store"), &Options::default()).unwrap();
        found(&store, &log, &[], true).unwrap();
        self.run(store, keys, Role::Owner, dir, true).await
    }

    pub(crate) async fn run(
        &self,
        store: Store,
        keys: NodeKeys,
        role: Role,
        dir: tempfile::TempDir,
        founder: bool,
    ) -> Node {
        let anywhere = "127.0.0.1:0".parse().unwrap();
        self.run_as(store, keys, role, dir, founder, false, anywhere).await
    }

    /// The same node again, after its shutdown, where the others saw it last.
    pub(crate) async fn restarted_there(&self, node: Node, role: Role) -> Node {
        let there = node.engine.listen()[0];
        let Node { engine, keys, store, dir } = node;
        drop(engine);
        let keys = Arc::into_inner(keys).expect("the engine is gone");
        self.run_as(store, keys, role, dir, false, false, there).await
    }

    /// As [`Stash::run`]; `fresh` says that the store may not be the node's last one.
    #[expect(clippy::too_many_arguments, reason = "what a node is made of")]
    pub(crate) async fn run_as(
        &self,
        store: Store,
        keys: NodeKeys,
        role: Role,
        dir: tempfile::TempDir,
        founder: bool,
        fresh: bool,
        listen: std::net::SocketAddr,
    ) -> Node {
        let keys = Arc::new(keys);
        let admission = founder.then(|| Arc::new(Founder { root: self.root() }) as Arc<_>);
        let options = EngineOptions {
            store: store.clone(),
            mode: Mode::Threads,
            environment: self.environment.clone(),
            keys: Arc::clone(&keys),
            stash: self.id(),
            network: vec![self.root().network_key()],
            listen: vec![listen],
            advertise: vec![],
            admission,
            fresh_writer: fresh,
            housekeeping: self.housekeeping.clone(),
            traffic: self.traffic,
            discovery: self.discovery,
        };
        let engine = Engine::start(options).await.unwrap();
        assert_eq!(engine.role(), role, "what the member log says");
        Node { engine, keys, store, dir }
    }

    pub(crate) async fn joined(&self, inviter: &Node, role: Role) -> Node {
        self.joined_at(inviter, role, "127.0.0.1:0".parse().unwrap()).await
    }

    /// A new member that listens at an address.
    pub(crate) async fn joined_at(
        &self,
        inviter: &Node,
        role: Role,
        listen: std::net::SocketAddr,
    ) -> Node {
        let ticket = inviter.engine.invite(role, Duration::from_secs(60)).await.unwrap();
        let keys = NodeKeys::generate(&mut rand::rng());
        let joined = join(&ticket, &keys, "member").await.unwrap();
        assert_eq!(joined.role, role);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store"), &Options::default()).unwrap();
        found(&store, &joined.log, &joined.addresses, false).unwrap();
        self.run_as(store, keys, role, dir, false, false, listen).await
    }

    /// The same node again, after its shutdown.
    pub(crate) async fn restarted(&self, node: Node, role: Role) -> Node {
        let Node { engine, keys, store, dir } = node;
        drop(engine);
        let keys = Arc::into_inner(keys).expect("the engine is gone");
        self.run(store, keys, role, dir, false).await
    }

    pub(crate) fn name(&self, key: &str) -> NameId {
        self.root().read_root().name_key().name_id(&Key::new(key).unwrap())
    }

    /// A put of these chunks under this key, signed by `keys`.
    pub(crate) fn write(&self, keys: &Arc<NodeKeys>, key: &str, chunks: Vec<ChunkRef>) -> Write {
        let (keys, root, key) = (Arc::clone(keys), self.root(), Key::new(key).unwrap());
        Write {
            name: self.name(key.as_str()),
            draft: Box::new(move |position| {
                let clear = Clear {
                    stash: position.stash,
                    kind: RecordKind::Put,
                    name: position.name,
                    dot: position.dot,
                    previous: position.previous,
                    height: position.height,
                    // Of the read root that every member here was granted: any that has begun will do.
                    epoch: 0,
                    seen: position.seen,
                    manifest: Manifest::Direct(chunks.clone()),
                };
                let meta = meta(key.clone(), &chunks);
                let draft = RecordDraft { clear, meta: Some(meta) };
                draft.sign(keys.signer(), &root.read_root().meta_keys())
            }),
        }
    }

    /// Seals one chunk of at least `len` pseudo-random bytes, of a length that needs no padding,
    /// and hands it to an upload.
    pub(crate) async fn chunk(
        &self,
        node: &Node,
        upload: &Upload,
        seed: u8,
        len: usize,
    ) -> ChunkRef {
        let len = usize::try_from(padme(len as u64)).unwrap();
        let mut buffer = node.engine.buffer(CHUNK_OVERHEAD + len).await;
        let mut bytes = blake3::Hasher::new().update(&[seed]).finalize_xof();
        bytes.fill(&mut buffer[CHUNK_OVERHEAD..]);
        let keys = self.root().read_root().chunk_keys();
        let sealed = keys.seal_in_place(&mut buffer).unwrap();
        let sealed_len = u32::try_from(buffer.len()).unwrap();
        upload.chunk(sealed.address, buffer.freeze()).await.unwrap();
        ChunkRef { address: sealed.address, sealed_len }
    }

    /// Puts one file of the given chunks and waits for its copies.
    pub(crate) async fn put(
        &self,
        node: &Node,
        key: &str,
        lens: &[usize],
        wait: Wait,
    ) -> (Vec<ChunkRef>, stash_server::Outcome) {
        let upload = node.engine.upload(wait);
        let mut chunks = Vec::new();
        for (seed, len) in (key.as_bytes()[0]..).zip(lens) {
            chunks.push(self.chunk(node, &upload, seed, *len).await);
        }
        let write = self.write(&node.keys, key, chunks.clone());
        let outcome = upload.commit(vec![write]).await.unwrap().wait().await;
        (chunks, outcome)
    }
}

fn meta(key: Key, chunks: &[ChunkRef]) -> Meta {
    let plain = |chunk: &ChunkRef| u64::from(chunk.sealed_len) - CHUNK_OVERHEAD as u64;
    Meta {
        chunk_size: 1 << 20,
        inline: chunks.is_empty().then(Vec::new),
        ..Meta::new(key, chunks.iter().map(plain).sum())
    }
}

/// Waits until `done` holds, looking again whenever some member changes.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "still waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn all_connected(nodes: &[&Node]) {
    for node in nodes {
        until("all members are connected", || {
            let members = node.engine.members();
            members.len() == nodes.len() && members.iter().all(|member| member.connected)
        })
        .await;
    }
}

pub(crate) fn addresses(chunks: &[ChunkRef]) -> Vec<Address> {
    chunks.iter().map(|chunk| chunk.address).collect()
}

/// Waits for a future from within a multi-threaded test.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// Copies a directory with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}
