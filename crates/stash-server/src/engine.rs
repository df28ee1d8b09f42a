//! The engine: one node of one stash, running.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stash_crypto::{
    Address, AddressesError, ChunkRef, Manifest, MemberLog, NameId, NetworkKey, NodeId, NodeKeys,
    NoisePublic, Record, RecordHash, Role, SignedAddresses, StashId, Ticket,
};
use stash_p2p::{
    BindError, CloseReason, Endpoint, Environment, Event, Events, Limits, Peer, PeerStats,
    StaticSecret,
};
use stash_store::{CommitError, ReadError, Stats, Store};
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::author::Author;
use crate::challenge::{Trial, Trials};
use crate::core::{Core, Pools, ask};
use crate::damage::{self, Damage};
use crate::disk::{Disk, Mode};
use crate::door::{self, Door, advertised, noise};
use crate::evict::{self, EvictError, Evicted};
use crate::fetch::{self, Fetch, FetchError, Purpose};
use crate::flying::Flying;
use crate::housekeeping::{self, House, HouseStatus};
use crate::join::{self, Admission, InviteError};
use crate::ledger::{self, ALARM, LedgerError, at};
use crate::logs::Logs;
use crate::members::{self, ChangeMemberError, Fate, MembersChanged};
use crate::message::{self, MAX_ADDRESSES, Reply, Request};
use crate::pool::Buffer;
use crate::repair::{RepairStatus, Repairs};
use crate::restored::Restored;
use crate::roster::{self, Roster, RosterError};
use crate::schedule::Housekeeping;
use crate::serve::{self, Asker};
use crate::short::{self, Short};
use crate::tally::Wait;
use crate::traffic::{Background, Traffic};
use crate::upload::Upload;
use crate::{catchup, challenge, repair, sync, wants};

/// Mended names that wait for a slow listener, 32 bytes each.
const MENDED: usize = 1_024;

/// What an engine needs to run.
pub struct EngineOptions {
    /// The opened store of this node.
    pub store: Store,
    /// Where its blocking work runs.
    pub mode: Mode,
    /// What it runs on.
    pub environment: Environment,
    /// This node's keys.
    pub keys: Arc<NodeKeys>,
    /// The stash.
    pub stash: StashId,
    /// Network keys that this node was granted, oldest first; at least one. Those of later epochs it
    /// finds in the member log.
    pub network: Vec<NetworkKey>,
    /// Where to listen; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// What to tell others instead of the listening addresses; may be empty.
    pub advertise: Vec<SocketAddr>,
    /// Signs admissions, on the node that holds the root secret.
    pub admission: Option<Arc<dyn Admission>>,
    /// The store may not be the one that this node last wrote to: take a new writer incarnation.
    pub fresh_writer: bool,
    /// How it keeps its store in order.
    pub housekeeping: Housekeeping,
    /// How much of the line it takes.
    pub traffic: Traffic,
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineOptions({} of {})", self.keys.node_id().short(), self.stash.short())
    }
}

/// The engine did not start; nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listening address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The member log in the store is not valid.
    #[error("the member log cannot be used: {0}")]
    Roster(#[from] RosterError),
    /// This node is not in the member log, or was removed.
    #[error("the member log does not list this node: it was removed, or never was a member")]
    NotMember,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An address to advertise is not one that others can use.
    #[error("this node's addresses cannot be signed: {0}")]
    Addresses(#[from] AddressesError),
}

impl From<ReadError> for StartError {
    fn from(error: ReadError) -> StartError {
        StartError::Ledger(error.into())
    }
}

impl From<CommitError> for StartError {
    fn from(error: CommitError) -> StartError {
        StartError::Ledger(error.into())
    }
}

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The member.
    pub node: NodeId,
    /// Its Noise static key.
    pub noise: NoisePublic,
    /// What it may do.
    pub role: Role,
    /// Its sealed display name.
    pub label: Vec<u8>,
    /// Whether it is this node.
    pub this: bool,
    /// Whether it is connected now; true for this node.
    pub connected: bool,
    /// Where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// Whether it has been away for so long that it does not count as a copy until it is back.
    pub lapsed: bool,
    /// How it stood up to challenges of this node.
    pub trial: Trial,
}

/// A node that was a member once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedView {
    /// The node.
    pub node: NodeId,
    /// What it could do at the end.
    pub role: Role,
    /// Its sealed display name.
    pub label: Vec<u8>,
}

/// The state of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// This node.
    pub node: NodeId,
    /// The stash.
    pub stash: StashId,
    /// This node's role.
    pub role: Role,
    /// Whether this store has been through one full exchange of records.
    pub synchronised: bool,
    /// Members in all.
    pub members: usize,
    /// Members connected, this node included.
    pub connected: usize,
    /// Records held.
    pub records: u64,
    /// Chunks held.
    pub chunks: u64,
    /// Bytes of those chunks.
    pub bytes: u64,
    /// Records written here that some member is known not to hold; at most 10,000 are counted.
    pub missing_copies: u64,
    /// Records held here that lack chunks; at most 10,000 are counted.
    pub incomplete: u64,
    /// Why the store takes no writes, if so.
    pub read_only: Option<String>,
    /// What somebody should look into.
    pub alarms: Vec<String>,
    /// Chunks found damaged and not yet replaced.
    pub quarantined: u64,
    /// The figures of the store.
    pub store: Stats,
    /// How the housekeeping stands.
    pub house: HouseStatus,
    /// How the repair stands.
    pub repair: RepairStatus,
    /// How much of the line it takes.
    pub traffic: Traffic,
    /// Bytes sent to other nodes since the start, and received from them.
    pub transferred: PeerStats,
}

/// One running node of one stash. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
}

impl Engine {
    /// Starts listening and dials the members whose addresses are known.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: EngineOptions) -> Result<Engine, StartError> {
        let mode = options.mode;
        let disk = Disk::new(options.store.clone(), mode);
        let opened = disk.run(move |_| open(options)).await?;
        let (core, events) = opened;
        let engine = Engine { core: Arc::clone(&core) };
        join::open_to_tickets(&core)?;
        core.applied();
        sync::dial_members(&core);
        core.tasks.spawn(meet_peers(core.clone(), events));
        core.tasks.spawn(catchup::tell(Arc::clone(&core)));
        core.tasks.spawn(wants::run(Arc::clone(&core)));
        core.tasks.spawn(repair::run(Arc::clone(&core)));
        if mode == Mode::Threads {
            core.tasks.spawn(housekeeping::run(Arc::clone(&core)));
        }
        Ok(engine)
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.core.me
    }

    /// What this node may do, as the member log says now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.core.role()
    }

    /// The current epoch of keys, as the member log says now.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.core.roster.log(MemberLog::epoch)
    }

    /// The stash.
    #[must_use]
    pub fn stash(&self) -> StashId {
        self.core.stash
    }

    /// Where this node listens.
    #[must_use]
    pub fn listen(&self) -> Vec<SocketAddr> {
        self.core.endpoint.local_addresses()
    }

    /// Says goodbye to peers and waits for running work, until `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        self.core.stop.cancel();
        self.core.endpoint.shutdown(deadline).await;
        self.core.tasks.close();
        let _ = tokio::time::timeout(deadline, self.core.tasks.wait()).await;
    }

    /// Every member, in order of admission.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let connected = self.core.connected();
        let view = |known: roster::Known| MemberView {
            this: known.node == self.core.me,
            connected: known.node == self.core.me
                || connected.iter().any(|(node, _)| *node == known.node),
            trial: self.core.trials.of(&known.node),
            node: known.node,
            noise: known.noise,
            role: known.role,
            label: known.label,
            addresses: known.addresses,
            lapsed: known.lapsed,
        };
        self.core.roster.members().into_iter().map(view).collect()
    }

    /// The member log as it is known here.
    #[must_use]
    pub fn member_log(&self) -> MemberLog {
        self.core.roster.log(MemberLog::clone)
    }

    /// Where members say that they can be reached, signed by them, encoded.
    #[must_use]
    pub fn signed_addresses(&self) -> Vec<Vec<u8>> {
        self.core.roster.claims()
    }

    /// Changes whenever [`Engine::member_log`] or [`Engine::signed_addresses`] does.
    #[must_use]
    pub fn membership(&self) -> watch::Receiver<u64> {
        self.core.roster.changes()
    }

    /// The state of this node.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn status(&self) -> Result<EngineStatus, LedgerError> {
        let core = &self.core;
        let read = |store: &Store| {
            let counts = (short::count(store)?, wants::count(store)?);
            Ok::<_, ReadError>((store.stats(), store.rows(ALARM)?, counts))
        };
        let (stats, alarms, (missing_copies, incomplete)) = core.disk.run(read).await?;
        let members = self.members();
        let text = |(_, value): (Vec<u8>, Vec<u8>)| String::from_utf8_lossy(&value).into_owned();
        Ok(EngineStatus {
            node: core.me,
            stash: core.stash,
            role: core.role(),
            synchronised: catchup::synchronised(core),
            members: members.len(),
            connected: members.iter().filter(|member| member.connected).count(),
            records: stats.records,
            chunks: stats.chunks,
            bytes: stats.bytes,
            missing_copies,
            incomplete,
            read_only: stats.read_only.clone(),
            alarms: alarms
                .into_iter()
                .map(text)
                .chain(core.trials.alarms(|node| core.roster.role(node).is_some()))
                .collect(),
            quarantined: stats.quarantined,
            store: stats,
            house: housekeeping::status(core).await?,
            repair: core.repairs.status(),
            traffic: Traffic {
                bandwidth: core.endpoint.bandwidth(),
                background_down: core.background.rate(),
            },
            transferred: core.endpoint.stats(),
        })
    }

    /// A buffer for one sealed chunk of `len` bytes; waits while the budget is used up.
    ///
    /// # Panics
    ///
    /// When `len` is above [`crate::MAX_BUFFER`].
    pub async fn buffer(&self, len: usize) -> Buffer {
        self.core.pools.upload.take(len).await
    }

    /// The records held of a name.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn records_of(&self, name: NameId) -> Result<Vec<Record>, LedgerError> {
        let held = self.core.disk.run(move |store| ledger::records_of(store, &name)).await;
        let Err(LedgerError::Read(ReadError::RecordDamaged { hash, what })) = held else {
            return held;
        };
        // Another member may have it whole.
        let damage = Damage::Record(RecordHash::from_bytes(hash));
        self.core.house.damaged(damage, what);
        damage::heal_one(&self.core, damage).await;
        self.core.disk.run(move |store| ledger::records_of(store, &name)).await
    }

    /// Names of which a record was damaged here, and is whole again: whoever derives something from
    /// the records looks at them once more. Bounded: whoever lags behind looks at all of them.
    #[must_use]
    pub fn mended(&self) -> broadcast::Receiver<NameId> {
        self.core.mended.subscribe()
    }

    /// Records of this store after a sequence number, in order. One that is damaged, and that no
    /// member has whole, is left out; see [`Engine::damaged`].
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn record_log(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Record)>, LedgerError> {
        let stored = damage::records_after(&self.core, after, limit as u64).await?.into_iter();
        let decode = |one: stash_store::StoredRecord| {
            Ok((one.sequence, ledger::decode(one.sequence, &one.bytes)?))
        };
        stored.map(decode).collect()
    }

    /// The sequence number of the last record; changes with every one that is applied.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.changes.subscribe()
    }

    /// The file chunks of a manifest; manifest chunks that are not here are fetched and kept.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn manifest(&self, manifest: &Manifest) -> Result<Vec<ChunkRef>, FetchError> {
        fetch::manifest(&self.core, manifest, Purpose::Read { keep: true }).await
    }

    /// Which chunks are here, durably.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn chunks_here(&self, chunks: &[Address]) -> Result<Vec<bool>, LedgerError> {
        let addresses: Vec<_> = chunks.iter().map(at).collect();
        Ok(self.core.disk.run(move |store| store.has(&addresses)).await?)
    }

    /// Asks every member which chunks it has. `Err` says why a member did not answer.
    pub async fn locate(&self, chunks: &[Address]) -> Vec<(NodeId, Result<Vec<bool>, String>)> {
        let ask_one = |member: MemberView| async move {
            let answer = match self.core.peer(&member.node) {
                _ if member.this => {
                    self.chunks_here(chunks).await.map_err(|error| error.to_string())
                }
                Some(peer) => have(&peer, chunks).await,
                None => Err("not connected".to_owned()),
            };
            (member.node, answer)
        };
        futures::future::join_all(self.members().into_iter().map(ask_one)).await
    }

    /// Opens a put of any number of files.
    #[must_use]
    pub fn upload(&self, wait: Wait) -> Upload {
        Upload::open(&self.core, wait)
    }

    /// Fetches chunks in order, from here or from members. With `keep`, what comes from members is
    /// kept here.
    #[must_use]
    pub fn fetch(&self, chunks: Vec<ChunkRef>, keep: bool) -> Fetch {
        Fetch::open(&self.core, chunks, Purpose::Read { keep })
    }

    /// Drops the local bytes of chunks once another member has proven and holds them.
    ///
    /// # Errors
    ///
    /// [`EvictError`]. With more than 64 chunks, earlier ones may have been evicted.
    pub async fn evict(&self, chunks: Vec<Address>) -> Result<Evicted, EvictError> {
        evict::evict(&self.core, chunks).await
    }

    /// Gives up the local bytes of a name's version: drops those of its chunks that no other
    /// version with local bytes uses, once another member has proven and holds them.
    ///
    /// # Errors
    ///
    /// [`EvictError`]; the version is not given up, though with more than 64 chunks some of them
    /// may have been dropped.
    pub async fn evict_version(
        &self,
        name: NameId,
        version: RecordHash,
        chunks: Vec<Address>,
    ) -> Result<Evicted, EvictError> {
        let look = move |store: &Store| {
            ledger::give_up(store, &name, Some(version))?;
            let mut free = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                if !ledger::in_use(store, &chunk)? {
                    free.push(chunk);
                }
            }
            Ok::<_, LedgerError>(free)
        };
        let evicted = match self.core.disk.run(look).await {
            Ok(free) => evict::evict(&self.core, free).await,
            Err(error) => Err(error.into()),
        };
        if evicted.is_err() {
            self.want_version(name).await?;
        }
        evicted
    }

    /// Takes back [`Engine::evict_version`]: the local bytes of the name are wanted again. Fetching
    /// with `keep` brings them.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be written.
    pub async fn want_version(&self, name: NameId) -> Result<(), LedgerError> {
        self.core.disk.run(move |store| ledger::give_up(store, &name, None)).await
    }

    /// Makes a ticket for one new member.
    ///
    /// # Errors
    ///
    /// [`InviteError`]; no ticket was made.
    pub async fn invite(&self, role: Role, lifetime: Duration) -> Result<Ticket, InviteError> {
        let members = self.members().into_iter();
        let mine = members.filter(|member| member.this).flat_map(|member| member.addresses);
        join::invite(&self.core, role, lifetime, mine.collect()).await
    }

    /// Removes a member, for good: its connections are cut, its records end at the last that a member
    /// which can be reached holds, and a new epoch of keys begins for the rest. Takes up to 10 s.
    ///
    /// # Errors
    ///
    /// [`ChangeMemberError`]; the member is one as before.
    pub async fn remove_member(&self, node: NodeId) -> Result<MembersChanged, ChangeMemberError> {
        members::change(&self.core, node, Fate::Removed).await
    }

    /// Gives a member another role. If it was an owner and is one no more, its records end as those
    /// of a removed one. Takes up to 10 s.
    ///
    /// # Errors
    ///
    /// [`ChangeMemberError`]; its role is as before.
    pub async fn set_role(
        &self,
        node: NodeId,
        role: Role,
    ) -> Result<MembersChanged, ChangeMemberError> {
        members::change(&self.core, node, Fate::Becomes(role)).await
    }

    /// The nodes that were removed, in that order.
    #[must_use]
    pub fn removed(&self) -> Vec<RemovedView> {
        let view = |gone: &stash_crypto::Removal| RemovedView {
            node: gone.member.identity.node,
            role: gone.member.role,
            label: gone.member.label.clone(),
        };
        self.core.roster.log(|log| log.removals().map(view).collect())
    }

    /// How many records were ever set aside here, as they lay past a cut of the member log: whoever
    /// derives something from the records begins anew when it changes.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub fn set_aside_count(&self) -> Result<u64, ReadError> {
        ledger::set_aside_count(self.core.disk.store())
    }
}

async fn have(peer: &Peer, chunks: &[Address]) -> Result<Vec<bool>, String> {
    let mut here = Vec::with_capacity(chunks.len());
    for page in chunks.chunks(MAX_ADDRESSES) {
        let reply = ask(peer, &Request::Have { chunks: message::pack(page) }).await;
        match reply.map_err(|error| error.to_string())? {
            Reply::Have { chunks } => {
                here.extend(message::flags(&chunks, page.len()).map_err(|e| e.to_string())?);
            }
            _ => return Err("answered something else".to_owned()),
        }
    }
    Ok(here)
}

/// The blocking half of a start: store, roster, sockets.
fn open(options: EngineOptions) -> Result<(Arc<Core>, Events), StartError> {
    let (store, stash, keys) = (options.store, options.stash, options.keys);
    let roster = Arc::new(Roster::open(&store, stash)?);
    let me = keys.node_id();
    if roster.role(&me).is_none() {
        return Err(StartError::NotMember);
    }
    let disk = Disk::new(store.clone(), options.mode);
    let environment = options.environment;
    let shared = (Arc::clone(&roster), disk.clone());
    let realms = (stash, options.network);
    let door = Door::new(keys.noise_public(), realms, shared, environment.clone());
    let door = Arc::new(door);
    let logs = Logs::open(&store, &mut environment.rng())?;
    if options.fresh_writer {
        catchup::doubt(&store)?;
    }
    ledger::resume(&store)?;
    let turns = ledger::Turns::default();
    match ledger::set_aside(&turns, &store, &roster, catchup::doubt) {
        // A store that takes no writes is read as it is.
        Err(LedgerError::Commit(error)) => {
            tracing::error!(%error, "records past a cut are still shown here");
        }
        aside => drop(aside?),
    }
    let author = Author::open(&store, stash, me, options.fresh_writer, &environment)?;
    let secret = StaticSecret::from_bytes(*keys.noise_secret().expose());
    let gate = Arc::clone(&door) as Arc<dyn stash_p2p::Gate>;
    let limits = Limits { bandwidth: options.traffic.bandwidth, ..Limits::default() };
    let (endpoint, events) =
        Endpoint::bind_on(environment.clone(), &options.listen, secret, gate, limits)?;
    let addresses = advertised(&endpoint.local_addresses(), &options.advertise);
    let own =
        SignedAddresses::sign(keys.signer(), &stash, environment.micros(), addresses)?.encode();
    roster.learn(&store, std::slice::from_ref(&own))?;
    door.answers_at(own);
    let (changes, _) = watch::channel(0);
    let core = Core {
        environment,
        stash,
        me,
        keys,
        short: Short::load(&store)?,
        flying: Flying::default(),
        comparing: Semaphore::new(1),
        proving: Semaphore::new(1),
        trials: Trials::load(&store)?,
        repairs: Repairs::load(&store)?,
        restored: Restored::default(),
        logs,
        news: std::sync::Mutex::default(),
        wanted: Notify::new(),
        wanting: tokio::sync::Mutex::default(),
        disk,
        roster,
        door,
        author,
        turns,
        endpoint,
        peers: std::sync::RwLock::default(),
        pools: Pools::default(),
        sources: std::sync::Mutex::default(),
        background: Background::new(options.traffic.background_down),
        evicting: std::sync::Mutex::default(),
        changes,
        mended: broadcast::Sender::new(MENDED),
        house: House::open(&store, options.housekeeping)?,
        admission: options.admission,
        admitting: tokio::sync::Mutex::new(()),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    members::learn_keys(&core);
    Ok((Arc::new(core), events))
}

/// Follows peers as they come and go.
async fn meet_peers(core: Arc<Core>, mut events: Events) {
    loop {
        let event = tokio::select! {
            biased;
            () = core.stop.cancelled() => None,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Event::Up(peer)) => up(&core, peer),
            Some(Event::Down { remote, reason }) => {
                if let Some((node, _)) = core.roster.by_noise(&noise(&remote)) {
                    tracing::info!(peer = %node.short(), %reason, "a member is gone");
                    core.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
                    core.repairs.met(node, core.disk.store().stats().uptime);
                }
            }
        }
    }
}

fn up(core: &Arc<Core>, peer: Peer) {
    if let Some(ticket) = door::ticket_of(&peer.realm(), &core.stash) {
        core.tasks.spawn(join::serve(Arc::clone(core), ticket, peer));
        return;
    }
    let remote = noise(&peer.remote());
    let asker = match core.roster.by_noise(&remote) {
        Some((node, role)) => Asker::Member(node, role),
        None if core.roster.is_root(&remote) => Asker::Root,
        // Removed between the handshake and now.
        None => return peer.close(CloseReason::Lost),
    };
    if let Asker::Member(node, role) = asker {
        tracing::info!(peer = %node.short(), %role, addr = %peer.addr(), "a member is up");
        core.peers.write().unwrap_or_else(PoisonError::into_inner).insert(node, peer.clone());
        if core.roster.role(&node).is_none() {
            // Whoever learned of the removal just now did not see it in the table.
            core.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
            return peer.close(CloseReason::Lost);
        }
        core.tasks.spawn(catchup::follow(Arc::clone(core), node, peer.clone()));
        core.tasks.spawn(challenge::watch(Arc::clone(core), node, peer.clone()));
        core.wanted.notify_one();
        core.house.met();
        core.repairs.met(node, core.disk.store().stats().uptime);
    }
    core.tasks.spawn(serve::peer(Arc::clone(core), asker, peer));
}
