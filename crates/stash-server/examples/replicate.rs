//! Three engines on loopback: a sealed chunk is put on all of them, and one copy is evicted.
//!
//! `cargo run -p stash-server --example replicate`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::record::KeyError;
use stash_crypto::{
    ChunkRef, Clear, JoinRequest, Key, KeyGrant, Manifest, MemberChange, MemberEntry, MemberLog,
    Meta, NodeKeys, RecordDraft, RecordKind, Role, RootSecret, TicketId,
};
use stash_server::members::SignFailure;
use stash_server::store::{Options, Store};
use stash_server::{
    Admission, Engine, EngineOptions, Environment, Mode, Position, Wait, Write, found, join,
};

struct Founder(RootSecret);

impl Admission for Founder {
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), SignFailure> {
        let grant = KeyGrant { network: vec![self.0.network_key()], read: Vec::new() };
        let plain = grant.encode()?;
        let (stash, rng) = (self.0.stash_id(), &mut rand::rng());
        let wrapped = stash_crypto::keys::wrap(&request.identity.wrap, &stash, &plain, rng)?;
        Ok((entry(&self.0, log, request, role)?, wrapped))
    }

    fn change(
        &self,
        log: &MemberLog,
        change: MemberChange,
    ) -> Result<Vec<MemberEntry>, SignFailure> {
        Ok(stash_crypto::member::change_members(log, &self.0, change, &mut rand::rng())?)
    }
}

fn entry(
    root: &RootSecret,
    log: &MemberLog,
    request: &JoinRequest,
    role: Role,
) -> Result<MemberEntry, SignFailure> {
    let change = MemberChange::Admit {
        identity: request.identity,
        role,
        ticket: request.ticket,
        label: Vec::new(),
        node_signature: request.signature,
    };
    Ok(MemberEntry::sign(&root.root_signer(), log.len(), log.head(), change)?)
}

async fn start(
    dir: &Path,
    root: &RootSecret,
    keys: NodeKeys,
    role: Role,
    log: &MemberLog,
    addresses: &[Vec<u8>],
) -> Result<Engine, SignFailure> {
    let store = Store::create(dir, &Options::default())?;
    found(&store, log, addresses, role == Role::Owner)?;
    let founder = Founder(RootSecret::from_bytes(*root.expose()));
    let options = EngineOptions {
        store,
        mode: Mode::Threads,
        environment: Environment::default(),
        keys: Arc::new(keys),
        stash: root.stash_id(),
        network: vec![root.network_key()],
        listen: vec!["127.0.0.1:0".parse()?],
        advertise: Vec::new(),
        admission: (role == Role::Owner).then(|| Arc::new(founder) as Arc<dyn Admission>),
        fresh_writer: false,
        housekeeping: stash_server::Housekeeping::default(),
        traffic: stash_server::Traffic::default(),
        discovery: false,
    };
    Ok(Engine::start(options).await?)
}

/// The work of a vault: a record whose sealed meta names the file.
fn record(root: &RootSecret, signer: &Arc<NodeKeys>, chunk: ChunkRef) -> Result<Write, KeyError> {
    let key = Key::new("example")?;
    let read = root.read_root();
    let (name, keys, signer) = (read.name_key().name_id(&key), read.meta_keys(), signer.clone());
    let draft = move |at: Position| {
        let clear = Clear {
            stash: at.stash,
            kind: RecordKind::Put,
            name: at.name,
            dot: at.dot,
            previous: at.previous,
            height: at.height,
            epoch: at.epoch,
            seen: at.seen,
            manifest: Manifest::Direct(vec![chunk]),
        };
        let meta = Meta { chunk_size: 1 << 20, ..Meta::new(key.clone(), 1 << 20) };
        RecordDraft { clear, meta: Some(meta) }.sign(signer.signer(), &keys)
    };
    Ok(Write { name, draft: Box::new(draft) })
}

#[tokio::main]
async fn main() -> Result<(), SignFailure> {
    let dir = tempfile::tempdir()?;
    let root = RootSecret::generate(&mut rand::rng());
    let keys = NodeKeys::generate(&mut rand::rng());
    let signer = Arc::new(keys.duplicate());
    let request = JoinRequest::sign(&keys, &root.stash_id(), TicketId::from_bytes([0; 16]), "")?;
    let mut log = MemberLog::new(root.stash_id());
    log.push(entry(&root, &log, &request, Role::Owner)?)?;
    let mut engines =
        vec![start(&dir.path().join("0"), &root, keys, Role::Owner, &log, &[]).await?];

    for name in ["1", "2"] {
        let ticket = engines[0].invite(Role::Keeper, Duration::from_secs(60)).await?;
        let keys = NodeKeys::generate(&mut rand::rng());
        let joined = join(&ticket, &keys, name).await?;
        let (role, addresses) = (joined.role, &joined.addresses);
        let dir = dir.path().join(name);
        engines.push(start(&dir, &root, keys, role, &joined.log, addresses).await?);
    }
    let together =
        |engine: &Engine| engine.members().iter().filter(|member| member.connected).count() == 3;
    while !engines.iter().all(together) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let upload = engines[0].upload(Wait::All);
    let mut buffer = engines[0].buffer(CHUNK_OVERHEAD + (1 << 20)).await;
    buffer[CHUNK_OVERHEAD..].fill(7);
    let sealed = root.read_root().chunk_keys().seal_in_place(&mut buffer)?;
    upload.chunk(sealed.address, buffer.freeze()).await?;
    let chunk = ChunkRef { address: sealed.address, sealed_len: (1 << 20) + 48 };
    let outcome = upload.commit(vec![record(&root, &signer, chunk)?]).await?.wait().await;
    println!("chunk {} has {} of {} copies", chunk.address.short(), outcome.copies, outcome.wanted);
    let evicted = engines[0].evict(vec![sealed.address]).await?;
    let by: Vec<String> = evicted.proven_by.iter().map(|node| node.short().to_string()).collect();
    println!("evicted {} bytes, proven by {}", evicted.bytes, by.join(", "));
    let located = engines[0].locate(&[sealed.address]).await;
    let left = located.iter().filter(|(_, here)| *here == Ok(vec![true])).count();
    println!("{left} of 3 copies are left");
    for engine in &engines {
        engine.shutdown(Duration::from_secs(2)).await;
    }
    Ok(())
}
