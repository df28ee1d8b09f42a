//! The way of one upload to one peer: offers, chunk bytes, records, results.
//!
//! A lane that falls behind keeps addresses instead of bytes and reads the bytes back from the
//! store when the peer wants them, so that a slow peer costs this node no memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use stash_crypto::{Address, ChunkRef, NodeId, Record, RecordKind};
use stash_p2p::{Class, Peer, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tracing::{Instrument, debug_span};

use crate::buffers::buffer::Shared;
use crate::ledger::at;
use crate::message::{self, MAX_RECORD_BYTES, Put, PutReply, RecordBytes, RecordResult, Request};
use crate::rpc::{ANSWER, AskError};
use crate::transfer::rooms::Rooms;
use crate::transfer::shipment::{Progress, Shipment};
use crate::transfer::tally::STALL;
use crate::transfer::{Transfer, local};

/// Chunks in one offer, at most: an offer costs a round trip, and its chunks stay in memory.
const OFFER: usize = 8;

/// Offers that wait for their answer.
const OFFERS: usize = 2;

/// Bytes handed to the transport at a time, of which each must leave within [`STALL`]: four frames,
/// so that a fast line loses nothing.
const PIECE: usize = 256 << 10;

/// Record messages that wait for their result.
const AWAITED: usize = 32;

/// The reason why a member that has no room has no copy.
const FULL: &str = "it is full";

/// Times that chunks which the peer lacks are sent again for one message of records.
const RETRIES: u32 = 3;

/// An item in the queue of a lane.
pub(crate) enum Item {
    /// A chunk; its bytes and a place among those held in memory, or its address alone.
    Chunk(ChunkRef, Option<(Shared, OwnedSemaphorePermit)>),
    /// Records whose chunks went before.
    Records(Arc<Shipment>),
}

/// Messages of the reading half that may wait for the writing half: one a record message, one an
/// offer.
const NEWS: usize = AWAITED + OFFERS;

/// Records under way, and how often they have been sent.
struct Awaited {
    shipment: Arc<Shipment>,
    records: Vec<Record>,
    attempt: u32,
}

/// A message of the reading half to the writing half.
enum News {
    Want(Vec<u8>),
    /// A record message is done with.
    Answered,
    /// The peer lacks chunks of records that were sent.
    Need(Awaited, Vec<Address>),
}

/// Runs a lane until its items end. A failure is noted in every shipment that is still to come, so
/// that no put waits for a lane that is gone.
pub(crate) async fn run(
    transfer: Arc<Transfer>,
    node: NodeId,
    peer: Peer,
    progress: Arc<Progress>,
    mut items: mpsc::Receiver<Item>,
) {
    let (awaited, expected) = mpsc::channel(AWAITED);
    let outcome = match open(&peer).await {
        Err(error) => Err(error),
        Ok((send, recv)) => {
            let (news, inbox) = mpsc::channel(NEWS);
            let reader = tokio::spawn(read(Arc::clone(&transfer), recv, node, expected, news));
            let offers = VecDeque::new();
            let (held, unanswered) = (None, 0);
            let mut lane =
                Lane { transfer, node, send, inbox, awaited, offers, held, unanswered, progress };
            let written = lane.run(&mut items).await;
            // Ends the stream's and the reader's input; the reader drains what is outstanding.
            let Lane { send, awaited, held, .. } = lane;
            drop(awaited);
            if written.is_ok() {
                send.finish();
            } else {
                send.reset(0);
            }
            let read = reader.await.unwrap_or_else(|error| Err(AskError::Gone(error.to_string())));
            // The reader knows better why the stream ended.
            read.and(written).inspect_err(|error| note(held, &node, error))
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(peer = %node.short(), %error, "a put stream ended early");
        while let Some(item) = items.recv().await {
            note(Some(item), &node, &error);
        }
    }
}

/// Notes in a shipment that it does not reach this member.
fn note(item: Option<Item>, node: &NodeId, error: &AskError) {
    if let Some(Item::Records(shipment)) = item {
        shipment.missing(node, &error.to_string());
    }
}

async fn open(peer: &Peer) -> Result<(SendStream, RecvStream), AskError> {
    let opened = timeout(ANSWER, peer.open(Class::Bulk)).await.map_err(|_| AskError::Late)?;
    let (mut send, recv) = opened.map_err(|error| AskError::Gone(error.to_string()))?.split();
    let request = message::encode(&Request::Put {});
    let sent = timeout(ANSWER, send.message(request)).await.map_err(|_| AskError::Late)?;
    sent.map_err(|error| AskError::Gone(error.to_string()))?;
    Ok((send, recv))
}

struct Lane {
    transfer: Arc<Transfer>,
    node: NodeId,
    send: SendStream,
    inbox: mpsc::Receiver<News>,
    awaited: mpsc::Sender<Awaited>,
    offers: VecDeque<Vec<Chunk>>,
    /// The item that was taken from the queue and is not done with.
    held: Option<Item>,
    /// Record messages without an answer.
    unanswered: usize,
    progress: Arc<Progress>,
}

type Chunk = (ChunkRef, Option<(Shared, OwnedSemaphorePermit)>);

impl Lane {
    async fn run(&mut self, items: &mut mpsc::Receiver<Item>) -> Result<(), AskError> {
        loop {
            if self.held.is_none() {
                tokio::select! {
                    biased;
                    news = self.inbox.recv() => {
                        self.heard(news.ok_or_else(ended)?).await?;
                        continue;
                    }
                    item = items.recv(), if self.offers.len() < OFFERS => match item {
                        Some(item) => self.held = Some(item),
                        None => return self.finish().await,
                    },
                }
            }
            // What is held is noted as missing if the lane ends here.
            if let Some(Item::Records(shipment)) = &self.held {
                let shipment = Arc::clone(shipment);
                self.settle().await?;
                self.ship(shipment).await?;
                self.held = None;
            } else if let Some(Item::Chunk(chunk, bytes)) = self.held.take() {
                self.offer((chunk, bytes), items).await?;
            }
        }
    }

    /// Offers a chunk and those that wait behind it; holds what comes after them. A member that is
    /// full is offered nothing.
    async fn offer(
        &mut self,
        first: Chunk,
        items: &mut mpsc::Receiver<Item>,
    ) -> Result<(), AskError> {
        if self.transfer.rooms.is_full(&self.node) {
            return Ok(());
        }
        let mut group = vec![first];
        while group.len() < OFFER && self.held.is_none() {
            match items.try_recv() {
                Ok(Item::Chunk(chunk, bytes)) => group.push((chunk, bytes)),
                Ok(item) => self.held = Some(item),
                Err(_) => break,
            }
        }
        self.send_offer(group).await
    }

    async fn send_offer(&mut self, group: Vec<Chunk>) -> Result<(), AskError> {
        let chunks = message::pack_references(group.iter().map(|(chunk, _)| chunk));
        self.message(&Put::Offer { chunks }).await?;
        self.offers.push_back(group);
        Ok(())
    }

    /// Waits until every offer has been answered and its chunks are sent.
    async fn settle(&mut self) -> Result<(), AskError> {
        while !self.offers.is_empty() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Waits until everything that was sent has been answered.
    async fn finish(&mut self) -> Result<(), AskError> {
        while !self.offers.is_empty() || self.unanswered > 0 {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), AskError> {
        match timeout(STALL, self.inbox.recv()).await {
            Err(_) => Err(AskError::Late),
            Ok(None) => Err(ended()),
            Ok(Some(news)) => Box::pin(self.heard(news)).await,
        }
    }

    async fn heard(&mut self, news: News) -> Result<(), AskError> {
        match news {
            News::Want(bits) => {
                let unasked = || AskError::Protocol("a want answers no offer".to_owned());
                let group = self.offers.pop_front().ok_or_else(unasked)?;
                let wanted = message::flags(&bits, group.len())
                    .map_err(|error| AskError::Protocol(error.to_string()))?;
                for ((chunk, bytes), wanted) in group.into_iter().zip(wanted) {
                    if wanted {
                        self.chunk(chunk, bytes).await?;
                    }
                }
                Ok(())
            }
            News::Answered => {
                self.unanswered = self.unanswered.saturating_sub(1);
                Ok(())
            }
            News::Need(awaited, chunks) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                for address in chunks {
                    let sealed_len = self.length(address).await?;
                    let chunk = ChunkRef { address, sealed_len };
                    self.send_offer(vec![(chunk, None)]).await?;
                    self.settle().await?;
                }
                self.records(Awaited { attempt: awaited.attempt + 1, ..awaited }).await
            }
        }
    }

    async fn length(&self, address: Address) -> Result<u32, AskError> {
        let gone = || AskError::Gone(format!("chunk {} is no longer here", address.short()));
        match self.transfer.core.disk.run(move |store| store.chunk_state(&at(&address))).await {
            Ok(stash_store::ChunkState::Here { len }) => Ok(len),
            _ => Err(gone()),
        }
    }

    async fn chunk(
        &mut self,
        chunk: ChunkRef,
        bytes: Option<(Shared, OwnedSemaphorePermit)>,
    ) -> Result<(), AskError> {
        let (bytes, place) = match bytes {
            Some((bytes, place)) => (Bytes::from(bytes), Some(place)),
            None => (self.read_back(chunk).await?, None),
        };
        let span = debug_span!(target: "chunk", "send", id = %chunk.address.short());
        let sent = self.data(bytes).instrument(span).await;
        drop(place);
        sent
    }

    /// Sends a chunk's bytes in pieces: on a slow line, a piece that leaves is progress.
    async fn data(&mut self, mut bytes: Bytes) -> Result<(), AskError> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let sent = timeout(STALL, self.send.data(piece)).await.map_err(|_| AskError::Late)?;
            sent.map_err(|error| AskError::Gone(error.to_string()))?;
            self.progress.made();
        }
        Ok(())
    }

    async fn read_back(&self, chunk: ChunkRef) -> Result<Bytes, AskError> {
        let len = chunk.sealed_len as usize;
        let buffer = self.transfer.pools.serve.take(self.node, len).await;
        match local::read_back(&self.transfer, chunk, buffer).await {
            Ok(buffer) => Ok(buffer.freeze().into()),
            Err((_, Some(fault))) => Err(AskError::Here(Arc::new(fault.into()))),
            Err((_, None)) => {
                Err(AskError::Gone(format!("chunk {} is no longer here", chunk.address.short())))
            }
        }
    }

    /// Sends the records of a shipment in as few messages as hold them.
    async fn ship(&mut self, shipment: Arc<Shipment>) -> Result<(), AskError> {
        let (mut rest, endings) = (shipment.records(), endings(&shipment));
        if self.transfer.rooms.is_full(&self.node) && endings.len() < rest.len() {
            // The others it asks for when it has room.
            shipment.missing(&self.node, FULL);
            rest = &endings;
        }
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |record: &&Record| {
                bytes += record.bytes().len() + 5;
                bytes <= MAX_RECORD_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            let shipment = Arc::clone(&shipment);
            self.records(Awaited { shipment, records: now.to_vec(), attempt: 0 }).await?;
            rest = later;
        }
        Ok(())
    }

    async fn records(&mut self, awaited: Awaited) -> Result<(), AskError> {
        let bytes = |record: &Record| RecordBytes(record.shared_bytes());
        let records = awaited.records.iter().map(bytes).collect();
        let node = self.node;
        let shipment = Arc::clone(&awaited.shipment);
        let sent = match self.awaited.send(awaited).await {
            Ok(()) => self.message(&Put::Records { records }).await,
            Err(_) => Err(ended()),
        };
        match &sent {
            Ok(()) => self.unanswered += 1,
            Err(error) => shipment.missing(&node, &error.to_string()),
        }
        sent
    }

    async fn message(&mut self, put: &Put) -> Result<(), AskError> {
        let sent = timeout(STALL, self.send.message(message::encode(put))).await;
        sent.map_err(|_| AskError::Late)?.map_err(|error| AskError::Gone(error.to_string()))
    }
}

/// Reads wants and results until the stream ends or nothing more is awaited.
async fn read(
    transfer: Arc<Transfer>,
    mut recv: RecvStream,
    node: NodeId,
    mut expected: mpsc::Receiver<Awaited>,
    news: mpsc::Sender<News>,
) -> Result<(), AskError> {
    let mut outcome = Ok(());
    loop {
        let frame = match recv.next().await {
            Ok(Some(stash_p2p::Frame::Message(bytes))) => message::decode::<PutReply>(&bytes),
            Ok(Some(stash_p2p::Frame::Data(_))) => Err(message::Malformed("data".to_owned())),
            Ok(None) => break,
            Err(error) => {
                outcome = Err(AskError::Gone(error.to_string()));
                break;
            }
        };
        let step = match frame {
            Ok(PutReply::Want { chunks }) => {
                news.send(News::Want(chunks.into_vec())).await.map_err(|_| stopped())
            }
            Ok(PutReply::Results { results }) => match expected.try_recv() {
                Ok(awaited) => results_of(awaited, results, (&node, &transfer.rooms), &news).await,
                Err(_) => Err(AskError::Protocol("results answer no records".to_owned())),
            },
            Err(error) => Err(AskError::Protocol(error.to_string())),
        };
        if let Err(error) = step {
            outcome = Err(error);
            break;
        }
    }
    // Whatever was sent and not answered is not stored, as far as this node can tell.
    expected.close();
    let reason = match &outcome {
        Ok(()) => "the peer ended the put without an answer".to_owned(),
        Err(error) => error.to_string(),
    };
    while let Some(awaited) = expected.recv().await {
        awaited.shipment.missing(&node, &reason);
    }
    outcome
}

/// Tombstones and forgets in a shipment: a full member takes them, too.
fn endings(shipment: &Shipment) -> Vec<Record> {
    let is_ending = |record: &&Record| record.clear().kind != RecordKind::Put;
    shipment.records().iter().filter(is_ending).cloned().collect()
}

fn ended() -> AskError {
    AskError::Gone("the peer ended the put".to_owned())
}

fn stopped() -> AskError {
    AskError::Gone("the put has ended here".to_owned())
}

async fn results_of(
    awaited: Awaited,
    results: Vec<RecordResult>,
    (node, rooms): (&NodeId, &Rooms),
    news: &mpsc::Sender<News>,
) -> Result<(), AskError> {
    if results.len() != awaited.records.len() {
        return Err(AskError::Protocol(format!("{} results", results.len())));
    }
    let mut needed = Vec::new();
    let mut again = Vec::new();
    let mut stored = 0;
    for (record, result) in awaited.records.iter().zip(results) {
        match result {
            RecordResult::Stored {} => stored += 1,
            RecordResult::Need { chunks } if awaited.attempt < RETRIES => {
                let chunks = message::unpack(&chunks);
                needed.extend(chunks.map_err(|error| AskError::Protocol(error.to_string()))?);
                again.push(record.clone());
            }
            RecordResult::Need { .. } => awaited.shipment.missing(node, "chunks do not arrive"),
            RecordResult::Refused { reason } | RecordResult::Failed { reason } => {
                awaited.shipment.missing(node, &reason);
            }
            RecordResult::Full { used, limit } => {
                rooms.refused(node, used, limit);
                awaited.shipment.missing(node, FULL);
            }
        }
    }
    awaited.shipment.stored(node, stored);
    needed.sort_unstable();
    needed.dedup();
    let answer = match again.is_empty() {
        true => News::Answered,
        false => News::Need(Awaited { records: again, ..awaited }, needed),
    };
    news.send(answer).await.map_err(|_| stopped())
}
