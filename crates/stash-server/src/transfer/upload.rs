//! Putting: chunks go to the own store and to every connected member at once, records follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stash_crypto::{Address, ChunkRef, NodeId, Record};
use stash_p2p::Peer;
use stash_store::{Blob, StageError, Staged, Store};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, debug_span};

use crate::buffers::buffer::Shared;
use crate::ledger::author::Write;
use crate::ledger::lease::Leases;
use crate::ledger::{self, LedgerError, WriteError, at};
use crate::transfer::cache::OverKeep;
use crate::transfer::counting::Counting;
use crate::transfer::lane::Item;
use crate::transfer::shipment::{Progress, Shipment};
use crate::transfer::tally::{Own, STALL, Tally, Wait};
use crate::transfer::{Transfer, lacking, lane};

/// Chunks of one lane that are held in memory at once.
const HELD: usize = 6;

/// Longest wait of a put for one lane, unless it waits for every copy; then the lane falls
/// behind.
const PATIENCE: Duration = Duration::from_millis(200);

/// Chunks that one lane may be behind: 64 bytes each. Beyond it the lane is given up.
const BEHIND: usize = 1 << 20;

/// Chunks being written to the own store at once.
const STAGING: usize = 3;

/// Putting failed. Nothing that was not committed is visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// This node may not write: it is a keeper or a reader. The caller's fault.
    #[error("this node is a {0}: only owners put")]
    Role(stash_crypto::Role),
    /// This node keeps less than everything, has more than it keeps, and can drop none of it.
    #[error(transparent)]
    OverKeep(#[from] OverKeep),
    /// The store did not take a chunk.
    #[error("the chunk was not stored: {0}")]
    Stage(#[from] StageError),
    /// The records could not be made or stored.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A task of the upload ended: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A put of any number of files. Cheap to share between tasks.
#[derive(Clone)]
pub struct Upload {
    inner: Arc<Inner>,
}

struct Inner {
    transfer: Arc<Transfer>,
    wait: Wait,
    targets: Vec<NodeId>,
    lanes: BTreeMap<NodeId, Lane>,
    staging: Mutex<JoinSet<Result<Staged, StageError>>>,
    progress: Arc<Progress>,
    /// Leases on chunks that were handed over, or found here, and no record names yet.
    leases: Leases,
}

struct Lane {
    items: mpsc::Sender<Item>,
    places: Arc<Semaphore>,
    /// The peer is slow: it gets addresses, and its bytes are read back when it wants them.
    behind: AtomicBool,
    /// The peer is so far behind that it was given up.
    lost: AtomicBool,
}

/// Records that are durable here and on their way to other members.
pub struct Pending {
    transfer: Arc<Transfer>,
    shipment: Arc<Shipment>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} records)", self.shipment.records().len())
    }
}

/// Outcome of a batch of records.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The records as they were written.
    pub records: Vec<Record>,
    /// Members that hold them durably with every chunk, this node included. A member in doubt is none.
    pub copies: usize,
    /// Members that should, connected or not.
    pub wanted: usize,
    /// True if `copies` is below what the put waits for.
    pub short: bool,
    /// Members without a copy, and why.
    pub missing: Vec<(NodeId, String)>,
}

impl Pending {
    /// Waits for the copies that the put asked for, no longer than any reachable member makes
    /// progress.
    pub async fn wait(self) -> Outcome {
        let ended = |tally: &Tally| {
            let tally = self.counted(tally.clone());
            tally.enough() || tally.closed()
        };
        let tally = self.shipment.until(ended).await;
        self.outcome(tally)
    }

    /// Waits for every reachable member, whatever the put asked for: for what must be seen
    /// everywhere, such as a tombstone.
    pub async fn settle(self) -> Outcome {
        let tally = self.shipment.until(Tally::closed).await;
        self.outcome(tally)
    }

    /// The count without the copies of members whose word does not count.
    fn counted(&self, mut tally: Tally) -> Tally {
        for (node, why) in Counting::now(&self.transfer).uncounted() {
            tally.discount(&node, why);
        }
        tally
    }

    fn outcome(self, tally: Tally) -> Outcome {
        let mut tally = self.counted(tally);
        let records = self.shipment.records();
        let counts = |record: &Record| {
            let dot = record.clear().dot;
            self.transfer.core.roster.log(|log| log.admits(&dot, &record.hash()).is_ok())
        };
        // The member log may have ended what this node writes while it waited.
        if !records.iter().all(counts) {
            tally.void("the member log has ended what its writer writes, and it is set aside");
        }
        Outcome {
            records: records.to_vec(),
            copies: tally.copies(),
            wanted: tally.wanted(),
            short: !tally.enough(),
            missing: tally.without(),
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload(to {} members)", self.inner.lanes.len())
    }
}

impl Upload {
    pub(crate) fn open(transfer: &Arc<Transfer>, wait: Wait) -> Upload {
        let progress = Arc::new(Progress::new());
        let targets = Counting::now(transfer).expected().collect();
        let lane = |(node, peer)| {
            let (items, queue) = mpsc::channel(BEHIND);
            let task = lane::run(Arc::clone(transfer), node, peer, Arc::clone(&progress), queue);
            transfer.core.tasks.spawn(task);
            let places = Arc::new(Semaphore::new(HELD));
            let (behind, lost) = (AtomicBool::new(false), AtomicBool::new(false));
            (node, Lane { items, places, behind, lost })
        };
        // A cache hears of the records as of any others.
        let copies = |(node, _): &(NodeId, Peer)| transfer.core.keeps.keeps_all(node);
        let lanes = transfer.core.connected().into_iter().filter(copies).map(lane).collect();
        let staging = Mutex::new(JoinSet::new());
        let transfer = Arc::clone(transfer);
        let leases = Leases::own();
        Upload {
            inner: Arc::new(Inner { transfer, wait, targets, lanes, staging, progress, leases }),
        }
    }

    /// Hands a sealed chunk to the own store and to every connected member. Returns when there is
    /// room for the next one; the chunk is durable with the records that name it.
    ///
    /// # Errors
    ///
    /// [`PutError::Stage`] of this or an earlier chunk.
    pub async fn chunk(&self, address: Address, sealed: Shared) -> Result<(), PutError> {
        let inner = &*self.inner;
        let store = inner.transfer.core.disk.store();
        // Where nobody is connected, waiting changes nothing.
        let idle = || match inner.lanes.is_empty() {
            true => Duration::MAX,
            false => inner.progress.idle(),
        };
        inner.transfer.cache.room_for_a_put(store, idle).await?;
        let sealed_len = u32::try_from(sealed.as_ref().len()).unwrap_or(u32::MAX);
        let chunk = ChunkRef { address, sealed_len };
        let (transfer, bytes, leases) =
            (Arc::clone(&inner.transfer), sealed.clone(), inner.leases.clone());
        self.stage(async move {
            let work = move |store: &Store| {
                let _stage = debug_span!(target: "chunk", "stage", id = %address.short()).entered();
                leases.add(store, &[address])?;
                ledger::announce_coming(store, &address, bytes.as_ref())?;
                store.stage(Blob::assume(at(&address), bytes))
            };
            transfer.core.disk.run(work).await
        })
        .await?;
        for lane in inner.lanes.values() {
            let place = inner.place(lane);
            let place =
                place.instrument(debug_span!(target: "chunk", "lane", id = %address.short())).await;
            lane.send(Item::Chunk(chunk, place.map(|place| (sealed.clone(), place))));
        }
        Ok(())
    }

    /// Offers members a chunk that this node believes to hold. `false`: it does not; seal it again.
    ///
    /// # Errors
    ///
    /// [`PutError::Ledger`] when the store cannot be read.
    pub async fn known(&self, chunk: ChunkRef) -> Result<bool, PutError> {
        let inner = &*self.inner;
        let leases = inner.leases.clone();
        let work = move |store: &Store| leases.add(store, &[chunk.address]);
        let here = inner.transfer.core.disk.run(work).await.map_err(LedgerError::from)?;
        if here != [true] {
            return Ok(false);
        }
        inner.transfer.cache.used(&chunk.address);
        for lane in inner.lanes.values() {
            lane.send(Item::Chunk(chunk, None));
        }
        Ok(true)
    }

    /// Hands over a manifest chunk; the store learns what it names with the record.
    ///
    /// # Errors
    ///
    /// As [`Upload::chunk`].
    pub async fn manifest_chunk(&self, address: Address, bytes: Vec<u8>) -> Result<(), PutError> {
        let mut buffer = self.inner.transfer.pools.upload.take(bytes.len()).await;
        buffer.copy_from_slice(&bytes);
        self.chunk(address, buffer.freeze()).await
    }

    /// Numbers, signs and commits a batch, then sends it on. The records are durable here when it
    /// returns; the result waits for other members.
    ///
    /// # Errors
    ///
    /// [`PutError`]; no record of the batch was kept.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Pending, PutError> {
        let inner = &*self.inner;
        let role = inner.transfer.core.role();
        if !role.writes() {
            return Err(PutError::Role(role));
        }
        self.staged(0).await?;
        let (transfer, leases) = (Arc::clone(&inner.transfer), inner.leases.clone());
        let work = move |store: &Store| {
            let records = transfer.core.author.write(
                &transfer.core.name_locks,
                &transfer.core.roster,
                store,
                writes,
            )?;
            leases.release(store, &records);
            Ok::<_, WriteError>(records)
        };
        let records = inner.transfer.core.disk.run(work).await?;
        inner.transfer.core.applied();
        inner.transfer.cache.wake.notify_one();
        // What was damaged may be covered now.
        inner.transfer.damage.look_again();
        Ok(self.send(records))
    }

    /// Sends records again that are held here, for members that may have missed them.
    ///
    /// # Errors
    ///
    /// [`PutError`] when a chunk that was handed over before failed to be stored.
    pub async fn resend(&self, records: Vec<Record>) -> Result<Pending, PutError> {
        self.staged(0).await?;
        Ok(self.send(records))
    }

    fn send(&self, records: Vec<Record>) -> Pending {
        let inner = &*self.inner;
        let targets = inner.targets.iter().copied();
        let progress = Arc::clone(&inner.progress);
        progress.made();
        let me = inner.transfer.core.me;
        let own = match inner.transfer.core.keeps.is_cache() {
            true => Own::Cache,
            false => Own::Copy(me),
        };
        let shipment = Arc::new(Shipment::new(records, inner.wait, own, targets, progress));
        let lanes: Vec<NodeId> = inner.lanes.keys().copied().collect();
        for node in &lanes {
            inner.transfer.in_flight.add(node, shipment.records());
        }
        for node in inner.targets.iter().filter(|node| **node != me) {
            match inner.lanes.get(node) {
                _ if shipment.records().is_empty() => shipment.stored(node, 0),
                Some(lane) if lane.send(Item::Records(Arc::clone(&shipment))) => {}
                Some(_) => shipment.missing(node, "the connection broke, or is too far behind"),
                None => shipment.missing(node, "not connected"),
            }
        }
        let watch = lacking::watch(Arc::clone(&inner.transfer), Arc::clone(&shipment), lanes);
        inner.transfer.core.tasks.spawn(watch);
        Pending { transfer: Arc::clone(&inner.transfer), shipment }
    }

    async fn stage(
        &self,
        work: impl Future<Output = Result<Staged, StageError>> + Send + 'static,
    ) -> Result<(), PutError> {
        self.staged(STAGING - 1).await?;
        self.inner.staging.lock().await.spawn(work);
        Ok(())
    }

    /// Waits until at most `left` chunks are still being written here.
    async fn staged(&self, left: usize) -> Result<(), PutError> {
        let mut staging = self.inner.staging.lock().await;
        while staging.len() > left {
            if let Some(done) = staging.join_next().await {
                done.map_err(|_| PutError::Stopping)??;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// A place in memory on this lane, or `None` when the lane has to do without bytes.
    async fn place(&self, lane: &Lane) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let places = Arc::clone(&lane.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Some(place);
        }
        if lane.behind.load(Ordering::Relaxed) {
            return None;
        }
        let patience = if self.wait == Wait::All { STALL } else { PATIENCE };
        let place = timeout(patience, places.acquire_owned()).await;
        if place.is_err() {
            lane.behind.store(true, Ordering::Relaxed);
        }
        place.ok()?.ok()
    }
}

impl Lane {
    /// Hands an item to the lane; `false` when the lane has ended or was given up. A chunk that is
    /// lost with its lane is noticed when records go down it.
    fn send(&self, item: Item) -> bool {
        if self.lost.load(Ordering::Relaxed) {
            return false;
        }
        let sent = self.items.try_send(item).is_ok();
        if !sent {
            self.lost.store(true, Ordering::Relaxed);
        }
        sent
    }
}
