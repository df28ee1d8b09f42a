//! Getting sealed chunks: from the own store, else from any member that has them.
//!
//! Chunks come out in order and verified. Several are under way at once, spread over the members;
//! one that is late is asked for a second time elsewhere.

pub(crate) mod receive;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stash_crypto::chunk::{ManifestError, decode_manifest_chunk};
use stash_crypto::{Address, ChunkRef, Manifest, NodeId};
use stash_p2p::Peer;
use stash_store::{Blob, ReadError, Reservation, StageError, Staged, Store};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug_span};

use crate::buffers::buffer::{Buffer, MAX_BUFFER};
use crate::buffers::pool::BufferPool;
use crate::ledger::{self, Chunks, at};
use crate::lock::lock;
use crate::rpc::AskError;
use crate::transfer::Transfer;
use crate::transfer::damage::Damage;
use crate::transfer::local::read_local;
use crate::transfer::sources::{Answer, patience};
use receive::{fill, receive, request};

/// The purpose of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody reads the chunks.
    Read {
        /// True if chunks that come from members are kept here.
        keep: bool,
    },
    /// A copy that this node should have. Nobody waits for it, so it has buffers of its own.
    CatchUp,
}

impl Purpose {
    fn keeps(self) -> bool {
        self != Purpose::Read { keep: false }
    }

    fn pool(self, transfer: &Transfer) -> &BufferPool {
        match self {
            Purpose::Read { .. } => &transfer.pools.fetch,
            Purpose::CatchUp => &transfer.pools.catch_up,
        }
    }
}

/// Chunks under way for one reader; their buffers are bounded besides.
const AHEAD: usize = 8;

/// A chunk could not be had. Nothing changed, but a damaged local copy is quarantined; it may work
/// when other members are connected.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// No reachable member has the chunk whole.
    #[error("chunk {} is not here, and {}", .address.short(), who(.tried))]
    Missing {
        /// The chunk.
        address: Address,
        /// The members asked, and their answers.
        tried: Vec<(NodeId, String)>,
    },
    /// The chunk is damaged here, and no reachable member has it whole.
    #[error("chunk {} is damaged here, and {}", .address.short(), who(.tried))]
    Damaged {
        /// The chunk.
        address: Address,
        /// The members asked, and their answers.
        tried: Vec<(NodeId, String)>,
    },
    /// The own store cannot say whether it has the chunk, and no reachable member has it whole.
    #[error("chunk {} cannot be read here: {source}; and {}", .address.short(), who(.tried))]
    Here {
        /// The chunk.
        address: Address,
        /// The fault of the store.
        source: Arc<ReadError>,
        /// The members asked, and their answers.
        tried: Vec<(NodeId, String)>,
    },
    /// The chunk is longer than any sealed chunk: the record that names it is at fault.
    #[error("chunk {} is said to have {sealed_len} bytes, which no chunk has", .address.short())]
    Length {
        /// The chunk.
        address: Address,
        /// The length in the manifest.
        sealed_len: u32,
    },
    /// A manifest chunk matches its address and is no manifest: its author is at fault.
    #[error("manifest chunk {} is malformed: {source}", .address.short())]
    Manifest {
        /// The chunk.
        address: Address,
        /// The fault in it.
        source: ManifestError,
    },
    /// The manifest chunks name another number of chunks than the record says.
    #[error("the manifest names {got} chunks, the record says {expected}")]
    Total {
        /// The number in the record.
        expected: u64,
        /// The number in the manifest chunks.
        got: u64,
    },
    /// The own store does not keep what is brought for it: it is full, or takes no writes. Nothing
    /// is brought until it does.
    #[error("chunk {} is not kept here: {why}", .address.short())]
    NotKept {
        /// The chunk.
        address: Address,
        /// Its length in bytes.
        sealed_len: u32,
        /// The reason.
        why: Arc<StageError>,
    },
    /// There is no room to note what a manifest chunk names, so that nothing of it would be kept.
    #[error("there is no room for what manifest chunk {} names", .address.short())]
    NoRoom {
        /// The manifest chunk.
        address: Address,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

fn who(tried: &[(NodeId, String)]) -> String {
    if tried.is_empty() {
        return "no other member is connected".to_owned();
    }
    let answers = tried.iter().map(|(node, answer)| format!("{}: {answer}", node.short()));
    format!("no connected member gave it ({})", answers.collect::<Vec<_>>().join(", "))
}

/// Sealed chunks in the order asked for.
#[derive(Debug)]
pub struct Fetch {
    chunks: mpsc::Receiver<AbortOnDropHandle<Result<Buffer, FetchError>>>,
    _producer: AbortOnDropHandle<()>,
}

impl Fetch {
    pub(crate) fn open(transfer: &Arc<Transfer>, chunks: Vec<ChunkRef>, purpose: Purpose) -> Fetch {
        let keep = purpose.keeps();
        let (queue, receiver) = mpsc::channel(AHEAD);
        let transfer = Arc::clone(transfer);
        let producer = tokio::spawn(async move {
            let left = AtomicUsize::new(chunks.len());
            let kept = Arc::new(Kept { left, any: keep, full: AtomicBool::new(false) });
            for chunk in chunks {
                if kept.full.load(Ordering::Relaxed) {
                    return;
                }
                // Buffers are taken in order, so the chunk that the reader waits for always has one.
                let buffer = match checked(chunk) {
                    Ok(len) => Ok(purpose.pool(&transfer).take(len).await),
                    Err(error) => Err(error),
                };
                let (transfer, kept) = (Arc::clone(&transfer), Arc::clone(&kept));
                let task = tokio::spawn(async move {
                    let chunk = one(&transfer, chunk, buffer?, purpose).await;
                    let full = matches!(chunk, Err(FetchError::NotKept { .. }));
                    kept.full.fetch_or(full, Ordering::Relaxed);
                    kept.done(&transfer).await;
                    chunk
                });
                if queue.send(AbortOnDropHandle::new(task)).await.is_err() {
                    return;
                }
            }
        });
        Fetch { chunks: receiver, _producer: AbortOnDropHandle::new(producer) }
    }

    /// The next chunk's sealed bytes, verified against its address; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Buffer, FetchError>> {
        let task = self.chunks.recv().await?;
        Some(task.await.unwrap_or(Err(FetchError::Stopping)))
    }
}

/// Makes what was kept durable with the last chunk, so that a fetch that has ended is a copy.
struct Kept {
    left: AtomicUsize,
    any: bool,
    /// True once a chunk could not be kept that should be: no more are brought.
    full: AtomicBool,
}

impl Kept {
    async fn done(&self, transfer: &Transfer) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && self.any
            && let Err(error) = transfer.core.disk.run(Store::flush).await
        {
            tracing::warn!(%error, "fetched chunks are not kept");
        }
    }
}

fn checked(chunk: ChunkRef) -> Result<usize, FetchError> {
    let (address, sealed_len) = (chunk.address, chunk.sealed_len);
    match usize::try_from(sealed_len) {
        Ok(len) if len <= MAX_BUFFER => Ok(len),
        _ => Err(FetchError::Length { address, sealed_len }),
    }
}

/// The file chunks of a manifest, fetching its manifest chunks where they are not here; those are
/// kept if the purpose keeps.
pub(crate) async fn manifest(
    transfer: &Arc<Transfer>,
    manifest: &Manifest,
    purpose: Purpose,
) -> Result<Vec<ChunkRef>, FetchError> {
    let Manifest::Indirect { chunks, total } = manifest else {
        return Ok(manifest.refs().to_vec());
    };
    let mut refs = Vec::new();
    let mut fetch = Fetch::open(transfer, chunks.clone(), purpose);
    for chunk in chunks {
        let bytes = fetch.next().await.unwrap_or(Err(FetchError::Stopping))?;
        let malformed = |source| FetchError::Manifest { address: chunk.address, source };
        refs.extend(decode_manifest_chunk(&bytes).map_err(malformed)?);
        let address = chunk.address;
        let told =
            transfer.core.disk.run(move |store| ledger::announce(store, &address, Chunks::Later));
        if let Err(error) = told.await {
            if purpose == Purpose::CatchUp && error.is_full() {
                // Its chunks would be collected, and brought again.
                return Err(FetchError::NoRoom { address });
            }
            // It is said again the next time; until then, a collection may take kept chunks.
            tracing::debug!(chunk = %address.short(), %error, "a manifest chunk is not announced");
        }
    }
    match refs.len() as u64 {
        got if got == *total => Ok(refs),
        got => Err(FetchError::Total { expected: *total, got }),
    }
}

/// Gets a chunk, from here or from a member.
async fn one(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    buffer: Buffer,
    purpose: Purpose,
) -> Result<Buffer, FetchError> {
    if purpose != Purpose::CatchUp {
        transfer.cache.used(&chunk.address);
    }
    match read_local(transfer, chunk, buffer).await {
        Ok(buffer) => Ok(buffer),
        Err((buffer, fault)) => {
            if purpose == Purpose::CatchUp {
                return match away(transfer).await {
                    // It may be here, and what comes could not be kept.
                    Some(fault) => Err(fault_here(chunk.address, fault, Vec::new())),
                    None => replicate(transfer, chunk, buffer).await,
                };
            }
            let fetched = from_members(transfer, chunk, buffer).await;
            let fault = match fault {
                None => away(transfer).await,
                fault => fault,
            };
            let buffer = match (fetched, fault) {
                (Err(FetchError::Missing { address, tried }), Some(fault)) => {
                    return Err(fault_here(address, fault, tried));
                }
                (Err(FetchError::Missing { address, tried }), None)
                    if transfer.damage.is_known(&Damage::Chunk(address)) =>
                {
                    return Err(FetchError::Damaged { address, tried });
                }
                (fetched, _) => fetched?,
            };
            let store = transfer.core.disk.store();
            let keeps = purpose.keeps() && transfer.cache.keeps(store, &chunk);
            if !keeps || store.away().is_some() {
                return Ok(buffer);
            }
            let (buffer, staged) = stage(transfer, chunk, buffer, None).await;
            if let Err(error) = staged {
                tracing::debug!(chunk = %chunk.address.short(), %error, "a fetched chunk is not kept");
            }
            Ok(buffer)
        }
    }
}

/// Says if the directory of the chunk files is away. It may be back since somebody last looked.
async fn away(transfer: &Transfer) -> Option<ReadError> {
    transfer.core.disk.store().away()?;
    transfer.core.disk.run(Store::look).await.err().map(ReadError::Away)
}

fn fault_here(address: Address, fault: ReadError, tried: Vec<(NodeId, String)>) -> FetchError {
    FetchError::Here { address, source: Arc::new(fault), tried }
}

/// Brings a chunk that this node should have: its room is kept before anybody sends it.
async fn replicate(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    buffer: Buffer,
) -> Result<Buffer, FetchError> {
    let ChunkRef { address, sealed_len } = chunk;
    let not_kept = |why| FetchError::NotKept { address, sealed_len, why: Arc::new(why) };
    let room = transfer.core.disk.run(move |store| store.reserve(sealed_len.into())).await;
    let room = room.map_err(not_kept)?;
    transfer.background.turn(sealed_len.into()).await;
    let buffer = from_members(transfer, chunk, buffer).await?;
    transfer.background.came(buffer.len());
    let (buffer, staged) = stage(transfer, chunk, buffer, Some(room)).await;
    staged.map_err(not_kept)?;
    transfer.background.kept(buffer.len());
    Ok(buffer)
}

/// Hands a fetched chunk to the own store, in the room that is kept for it, if some is.
async fn stage(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    buffer: Buffer,
    room: Option<Reservation>,
) -> (Buffer, Result<Staged, StageError>) {
    let shared = buffer.freeze();
    let bytes = shared.clone();
    let work = move |store: &Store| {
        ledger::announce_coming(store, &chunk.address, bytes.as_ref())?;
        let blob = Blob::assume(at(&chunk.address), bytes);
        match room {
            Some(room) => room.stage(blob),
            None => store.stage(blob),
        }
    };
    let staged = transfer.core.disk.run(work).await;
    let buffer = match shared.thaw() {
        Ok(buffer) => buffer,
        // The store holds a small chunk until it is in its log.
        Err(shared) => Buffer::copy_of(shared.as_ref()),
    };
    (buffer, staged)
}

/// Asks members one after the other, and one more beside those asked whenever they are late.
async fn from_members(
    transfer: &Arc<Transfer>,
    chunk: ChunkRef,
    buffer: Buffer,
) -> Result<Buffer, FetchError> {
    let mut spare = Some(buffer);
    let mut asked: Vec<NodeId> = Vec::new();
    let mut answers: VecDeque<(NodeId, String)> = VecDeque::new();
    let mut under_way = FuturesUnordered::new();
    let patience = patience(transfer.core.endpoint.bandwidth().down);
    loop {
        let connected: Vec<_> = transfer.core.connected();
        let nodes: Vec<NodeId> = connected.iter().map(|(node, _)| *node).collect();
        if let Some(buffer) = spare.take() {
            let pick = lock(&transfer.sources).pick(&nodes, &asked);
            match connected.into_iter().find(|(node, _)| Some(*node) == pick) {
                Some((node, peer)) => {
                    asked.push(node);
                    under_way.push(attempt(transfer, node, peer, chunk, buffer));
                }
                None => drop(buffer),
            }
        }
        if under_way.is_empty() {
            let tried = answers.into_iter().collect();
            return Err(FetchError::Missing { address: chunk.address, tried });
        }
        let others = nodes.iter().any(|node| !asked.contains(node));
        let second = async {
            sleep(patience).await;
            transfer.pools.hedge.take(chunk.sealed_len as usize).await
        };
        tokio::select! {
            biased;
            Some((node, result)) = under_way.next() => match result {
                Ok(buffer) => return Ok(buffer),
                Err((buffer, answer)) => {
                    answers.push_back((node, answer));
                    spare = Some(buffer);
                }
            },
            buffer = second, if others => spare = Some(buffer),
        }
    }
}

/// Asks one member for a chunk. The request counts against the member until it is answered.
async fn attempt(
    transfer: &Arc<Transfer>,
    node: NodeId,
    peer: Peer,
    chunk: ChunkRef,
    buffer: Buffer,
) -> (NodeId, Result<Buffer, (Buffer, String)>) {
    let mut load = Load { transfer, node, answer: Answer::Failed };
    let span = debug_span!(target: "chunk", "fetch", id = %chunk.address.short());
    let (buffer, result) = receive(&peer, chunk, buffer).instrument(span).await;
    let text = match result {
        Ok(true) if Address::of(&buffer) == chunk.address => {
            load.answer = Answer::Delivered;
            return (node, Ok(buffer));
        }
        Ok(true) => {
            load.answer = Answer::Damaged;
            tracing::error!(peer = %node.short(), chunk = %chunk.address.short(),
                "a member served bytes that do not match their address");
            "served bytes that do not match the address".to_owned()
        }
        Ok(false) => {
            load.answer = Answer::NotHere;
            "does not have it".to_owned()
        }
        Err(error) => {
            if let AskError::Protocol(_) = error {
                load.answer = Answer::Damaged;
                tracing::error!(peer = %node.short(), %error, "a member broke the protocol");
            }
            error.to_string()
        }
    };
    (node, Err((buffer, text)))
}

/// Takes a request off a member's load however it ends, cancelled included.
struct Load<'a> {
    transfer: &'a Transfer,
    node: NodeId,
    answer: Answer,
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        lock(&self.transfer.sources).answered(&self.node, self.answer);
    }
}

/// A chunk whose length nobody here knows any more, from the first connected member that has it
/// whole, with the room that is kept for it.
pub(crate) async fn unmeasured(
    transfer: &Transfer,
    address: Address,
) -> Result<(Buffer, Reservation), FetchError> {
    let mut tried = Vec::new();
    for (node, peer) in transfer.core.connected() {
        let why = match measure(transfer, &peer, address).await {
            Ok(Some((buffer, room))) if Address::of(&buffer) == address => {
                return Ok((buffer, room));
            }
            Ok(Some(_)) => {
                let mut sources = lock(&transfer.sources);
                sources.pick(&[node], &[]);
                sources.answered(&node, Answer::Damaged);
                "served bytes that do not match the address".to_owned()
            }
            Ok(None) => "does not have it".to_owned(),
            Err(error) => error.to_string(),
        };
        tried.push((node, why));
    }
    Err(FetchError::Missing { address, tried })
}

async fn measure(
    transfer: &Transfer,
    peer: &Peer,
    address: Address,
) -> Result<Option<(Buffer, Reservation)>, AskError> {
    let Some((length, recv)) = request(peer, address).await? else {
        return Ok(None);
    };
    if length as usize > MAX_BUFFER {
        return Err(AskError::Protocol(format!("a chunk of {length} bytes")));
    }
    let room = transfer.core.disk.run(move |store| store.reserve(length.into())).await;
    let room = room.map_err(|error| AskError::NotKept(error.to_string()))?;
    let buffer = transfer.pools.fetch.take(length as usize).await;
    let (buffer, filled) = fill(peer, recv, buffer).await;
    filled.map(|()| Some((buffer, room)))
}
