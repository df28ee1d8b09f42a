//! The engine: one node of one stash, running.

pub(crate) mod clock;
pub(crate) mod founder;
mod members;
pub(crate) mod options;
pub(crate) mod paper;
pub(crate) mod recovery;
pub(crate) mod restored;
pub(crate) mod start;
pub(crate) mod upkeep;
pub(crate) mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stash_crypto::{
    Address, ChunkRef, Manifest, MemberLog, NameId, NodeId, Record, RecordHash, Role, StashId,
    Ticket,
};
use stash_p2p::{Peer, Subnet};
use stash_store::{ReadError, Store};
use tokio::sync::{broadcast, watch};

use crate::buffers::buffer::Buffer;
use crate::disk::{Disk, Mode};
use crate::engine::options::{EngineOptions, StartError};
use crate::engine::start::{meet_peers, open};
use crate::engine::view::{EngineStatus, MemberView};
use crate::founder::invite;
use crate::founder::invite::InviteError;
use crate::layers::Layers;
use crate::ledger::{GivenUp, LedgerError, at, progress, rows, seen};
use crate::membership::recovery::asking;
use crate::membership::{announce, departed, guests, own_places, search};
use crate::message::{MAX_ADDRESSES, Reply, Request};
use crate::replication::{follow, room_news, statement_news, wants};
use crate::rpc::ask;
use crate::tasks::{ListedTask, TaskStatus};
use crate::transfer::background::{Replicated, Traffic};
use crate::transfer::damage::Damage;
use crate::transfer::evict::outcome::{EvictError, Evicted};
use crate::transfer::fetch::{Fetch, FetchError, Purpose};
use crate::transfer::tally::Wait;
use crate::transfer::upload::Upload;
use crate::transfer::{evict, fetch, lacking};
use crate::upkeep::{heal, housekeeping, repair, shrink};
use crate::{ledger, message};

/// A running node of one stash. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) layers: Layers,
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
        let (layers, events) = opened;
        let engine = Engine { layers: layers.clone() };
        guests::open_to_tickets(&layers.membership)?;
        layers.core.applied();
        announce::dial_members(&layers.membership);
        layers.core.tasks.spawn(meet_peers(layers.clone(), events));
        layers.core.tasks.spawn(follow::tell(Arc::clone(&layers.replication)));
        layers.core.tasks.spawn(wants::run(Arc::clone(&layers.replication)));
        layers.core.tasks.spawn(lacking::strike_older(Arc::clone(&layers.transfer)));
        layers.core.tasks.spawn(room_news::run(Arc::clone(&layers.replication)));
        layers.core.tasks.spawn(statement_news::run(Arc::clone(&layers.replication)));
        layers.core.tasks.spawn(repair::run(Arc::clone(&layers.upkeep)));
        layers.core.tasks.spawn(shrink::run(Arc::clone(&layers.upkeep)));
        layers.core.tasks.spawn(own_places::watch(Arc::clone(&layers.membership)));
        layers.core.tasks.spawn(search::run(Arc::clone(&layers.membership)));
        layers.core.tasks.spawn(asking::ask_the_silent(Arc::clone(&layers.membership)));
        departed::clear_away(&layers.membership);
        if mode == Mode::Threads {
            layers.core.tasks.spawn(housekeeping::run(Arc::clone(&layers.upkeep)));
        }
        Ok(engine)
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.layers.core.me
    }

    /// The role of this node, as the member log says now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.layers.core.role()
    }

    /// True if this node was a member, and is none any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.layers.core.roster.log(|log| log.removal(&self.layers.core.me).is_some())
    }

    /// True if this node is no member and reads in the name of the root: it signs nothing.
    #[must_use]
    pub fn visits(&self) -> bool {
        self.layers.core.visits
    }

    /// The current epoch of keys, as the member log says now.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.layers.core.roster.log(MemberLog::epoch)
    }

    /// The stash.
    #[must_use]
    pub fn stash(&self) -> StashId {
        self.layers.core.stash
    }

    /// The addresses on which this node listens.
    #[must_use]
    pub fn listen(&self) -> Vec<SocketAddr> {
        self.layers.core.endpoint.local_addresses()
    }

    /// Says goodbye to peers and waits for running work, until `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        self.layers.core.tasks.stop();
        self.layers.core.endpoint.shutdown(deadline).await;
        self.layers.core.tasks.ended(deadline).await;
    }

    /// Bytes that came from members to be kept here, since the start.
    #[must_use]
    pub fn replicated(&self) -> Replicated {
        self.layers.transfer.background.replicated()
    }

    /// The background tasks of this node, each with when it last ran and when it runs next.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskStatus> {
        self.layers.core.tasks.listed()
    }

    /// Lists a task of the program that drives this engine with the engine's own.
    #[must_use]
    pub fn list_task(&self, name: &'static str) -> ListedTask {
        self.layers.core.tasks.list(name)
    }

    /// The member log as it is known here.
    #[must_use]
    pub fn member_log(&self) -> MemberLog {
        self.layers.core.roster.log(MemberLog::clone)
    }

    /// The addresses of members, signed by them, encoded.
    #[must_use]
    pub fn signed_addresses(&self) -> Vec<Vec<u8>> {
        self.layers.core.roster.claims()
    }

    /// Changes whenever [`Engine::member_log`] or [`Engine::signed_addresses`] does.
    #[must_use]
    pub fn membership(&self) -> watch::Receiver<u64> {
        self.layers.core.roster.changes()
    }

    /// The state of this node.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn status(&self) -> Result<EngineStatus, LedgerError> {
        let layers = &self.layers;
        let read = |store: &Store| {
            // The figures have it.
            let _ = store.look();
            let incomplete = progress::count_wanted(store)?;
            Ok::<_, ReadError>((store.stats(), store.rows(rows::ALARM)?, incomplete))
        };
        let (stats, alarms, incomplete) = layers.core.disk.run(read).await?;
        let missing_copies = lacking::counts(&layers.transfer).await?.lacked;
        let members = self.members();
        let text = |(_, value): (Vec<u8>, Vec<u8>)| String::from_utf8_lossy(&value).into_owned();
        Ok(EngineStatus {
            node: layers.core.me,
            stash: layers.core.stash,
            role: layers.core.role(),
            synchronised: layers.core.synchronised(),
            members: members.len(),
            connected: members.iter().filter(|member| member.connected).count(),
            records: stats.records,
            chunks: stats.chunks,
            bytes: stats.bytes,
            missing_copies,
            incomplete,
            refused: layers.replication.refused.count(),
            read_only: stats.read_only.clone(),
            alarms: alarms
                .into_iter()
                .map(text)
                .chain(
                    layers.transfer.suspects.alarms(|node| layers.core.roster.role(node).is_some()),
                )
                .collect(),
            quarantined: stats.quarantined,
            store: stats,
            house: housekeeping::status(&layers.upkeep).await?,
            repair: layers.upkeep.repairs.status(),
            traffic: self.traffic(),
            discovery: layers.membership.discovery.state(),
            transferred: layers.core.endpoint.stats(),
            replicated: layers.transfer.background.replicated(),
            cache: self.cache(),
        })
    }

    /// The limits on the line.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            bandwidth: self.layers.core.endpoint.bandwidth(),
            background_down: self.layers.transfer.background.rate(),
        }
    }

    /// Limits the line from now on, connections that are open included.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.layers.core.endpoint.set_bandwidth(traffic.bandwidth);
        self.layers.transfer.background.set_rate(traffic.background_down);
    }

    /// Looks for members on the local network from now on, or does so no more.
    pub fn set_discovery(&self, on: bool) {
        self.layers.membership.discovery.set(on);
    }

    /// Lets traffic with these addresses go past the limits of [`Traffic::bandwidth`] from now on.
    pub fn spare(&self, subnets: Vec<Subnet>) {
        self.layers.core.endpoint.spare(subnets);
    }

    /// A buffer for one sealed chunk of `len` bytes; waits while the budget is used up.
    ///
    /// # Panics
    ///
    /// When `len` is above [`crate::buffers::MAX_BUFFER`].
    pub async fn buffer(&self, len: usize) -> Buffer {
        self.layers.transfer.pools.upload.take(len).await
    }

    /// True if a name takes another version: not if its history has more writers than one can name.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn has_room_for_version(&self, name: NameId) -> Result<bool, LedgerError> {
        let layers = self.layers.clone();
        self.layers
            .core
            .disk
            .run(move |store| seen::has_room(&layers.core.roster, store, &name))
            .await
    }

    /// The records held of a name.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn records_of(&self, name: NameId) -> Result<Vec<Record>, LedgerError> {
        let held = self.layers.core.disk.run(move |store| ledger::records_of(store, &name)).await;
        let Err(LedgerError::Read(ReadError::RecordDamaged { hash, what })) = held else {
            return held;
        };
        // Another member may have it whole.
        let damage = Damage::Record(RecordHash::from_bytes(hash));
        self.layers.transfer.damage.met(damage, what);
        heal::heal_one(&self.layers.upkeep, damage).await;
        self.layers.core.disk.run(move |store| ledger::records_of(store, &name)).await
    }

    /// Names of which a record was damaged here and is whole again: anything derived from their
    /// records is to be derived again. Bounded: a receiver that lags behind looks at all names.
    #[must_use]
    pub fn mended(&self) -> broadcast::Receiver<NameId> {
        self.layers.transfer.damage.mended.subscribe()
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
        let stored =
            heal::records_after(&self.layers.upkeep, after, limit as u64).await?.into_iter();
        let decode = |one: stash_store::StoredRecord| Ok((one.sequence, ledger::decode(&one)?));
        stored.map(decode).collect()
    }

    /// The sequence number of the last record; changes with every one that is applied.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.layers.core.changes.subscribe()
    }

    /// The file chunks of a manifest; manifest chunks that are not here are fetched and kept.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn manifest(&self, manifest: &Manifest) -> Result<Vec<ChunkRef>, FetchError> {
        fetch::manifest(&self.layers.transfer, manifest, Purpose::Read { keep: true }).await
    }

    /// Tells of each chunk if it is here, durably.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when the store cannot be read.
    pub async fn chunks_here(&self, chunks: &[Address]) -> Result<Vec<bool>, LedgerError> {
        let addresses: Vec<_> = chunks.iter().map(at).collect();
        Ok(self.layers.core.disk.run(move |store| store.has(&addresses)).await?)
    }

    /// Asks every member which chunks it has. `Err` says why a member did not answer.
    pub async fn locate(&self, chunks: &[Address]) -> Vec<(NodeId, Result<Vec<bool>, String>)> {
        let ask_one = |member: MemberView| async move {
            let answer = match self.layers.core.peer(&member.node) {
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
        Upload::open(&self.layers.transfer, wait)
    }

    /// Fetches chunks in order, from here or from members. With `keep`, what comes from members is
    /// kept here.
    #[must_use]
    pub fn fetch(&self, chunks: Vec<ChunkRef>, keep: bool) -> Fetch {
        Fetch::open(&self.layers.transfer, chunks, Purpose::Read { keep })
    }

    /// Drops the local bytes of chunks that records name, once another member has proven that it
    /// has them, and all records that name them here.
    ///
    /// # Errors
    ///
    /// [`EvictError`], which says how many were evicted before.
    pub async fn evict(&self, chunks: Vec<Address>) -> Result<Evicted, EvictError> {
        evict::evict(&self.layers.transfer, chunks, 1).await
    }

    /// Gives up the local bytes of a name's version: drops those of its chunks that no other
    /// version with local bytes uses, once as many other members as `repair_copies` says have proven them as
    /// for [`Engine::evict`]. With `copies`, so many do, and it is noted that this was wanted: the bytes are not
    /// brought back as long as so many others have them.
    ///
    /// # Errors
    ///
    /// [`EvictError`], which says how many were dropped before. If any were, the version stays
    /// given up, and evicting it again goes on.
    pub async fn evict_version(
        &self,
        name: NameId,
        version: RecordHash,
        chunks: Vec<Address>,
        copies: Option<u8>,
    ) -> Result<Evicted, EvictError> {
        let given_up = GivenUp { version, copies };
        let copies = copies.map_or(self.layers.upkeep.house.options.repair_copies, u64::from);
        let look = move |store: &Store| {
            ledger::give_up(store, &name, Some(given_up))?;
            ledger::unused(store, &chunks)
        };
        let evicted = match self.layers.core.disk.run(look).await {
            Ok(free) => evict::evict(&self.layers.transfer, free, copies).await,
            Err(error) => Err(EvictError::from(error)),
        };
        if evicted.as_ref().is_err_and(|error| error.done.chunks == 0) {
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
        self.layers.core.disk.run(move |store| ledger::give_up(store, &name, None)).await
    }

    /// Makes a ticket for one new member.
    ///
    /// # Errors
    ///
    /// [`InviteError`]; no ticket was made.
    pub async fn invite(&self, role: Role, lifetime: Duration) -> Result<Ticket, InviteError> {
        let members = self.members().into_iter();
        let mine = members.filter(|member| member.this).flat_map(|member| member.addresses);
        let mine: Vec<_> = mine.map(|one| one.place).collect();
        invite::invite(&self.layers.founder, role, lifetime, &mine).await
    }

    /// Number of records ever set aside here because they lay past a cut of the member log. When it
    /// changes, anything derived from records is to be derived again.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store cannot be read.
    pub fn set_aside_count(&self) -> Result<u64, ReadError> {
        ledger::set_aside_count(self.layers.core.disk.store())
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
