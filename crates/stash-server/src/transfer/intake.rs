//! The responder's end of a put stream: chunks come in, are checked and staged, then records.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::{Address, ChunkRef, NodeId, Record, Role};
use stash_p2p::{Frame, Lent, RecvStream, SendStream, StreamError};
use stash_store::{Blob, Reservation, StageError, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug_span};

use crate::buffers::buffer::{Buffer, MAX_BUFFER};
use crate::ledger::lease::{Leases, Mark, mark};
use crate::ledger::{self, Chunks, at};
use crate::message::{self, Put, PutReply, RecordBytes, RecordResult};
use crate::rpc::time_for;
use crate::transfer::{Transfer, accept};

/// A put stream may be silent for this long: its sender may be reading from a slow pipe.
const IDLE: Duration = Duration::from_secs(600);

/// Reset code of a put stream whose sender broke the protocol.
const GIVEN_UP: u32 = 1;

/// Chunks being checked and staged at once, per stream.
const STAGING: usize = 3;

/// Bytes of buffers that wait for bytes behind the chunk that comes, per stream: about what a connection's window
/// lets come while this node is at the disk.
const AHEAD: usize = MAX_BUFFER;

/// A chunk that came within this time comes from a member that will soon fill the buffers which wait for
/// the next ones.
const QUICK: Duration = Duration::from_millis(500);

/// Commits whose results are still to be sent, per stream.
const COMMITS: usize = 8;

/// Chunks that were asked for and are remembered as such, by eight bytes each. Beyond, one may be asked
/// for twice.
const ASKED: usize = 4_096;

/// Messages of records that one member may have under way on all its put streams.
pub(crate) const COMMITTING: usize = 16;

/// Records in one message: more than the smallest ones that fit.
const MAX_RECORDS: usize = 1_024;

/// Reason why a put stream was given up. The sender's fault but for [`Fault::Store`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the stream broke: {0}")]
    Stream(#[from] StreamError),
    #[error("nothing came for ten minutes")]
    Idle,
    #[error("a put message does not decode: {0}")]
    Message(#[from] message::Malformed),
    #[error("a chunk of {0} bytes is offered, which no sealed chunk has")]
    Length(u32),
    #[error("more chunks are offered than may be outstanding")]
    TooMany,
    #[error("chunk bytes came that were not asked for")]
    Unasked,
    #[error("records came before the chunks that were asked for")]
    Early,
    #[error("a chunk does not match its address: {0}")]
    Mismatch(#[from] stash_store::Mismatch),
    #[error("the store does not take chunks: {0}")]
    Store(#[from] StageError),
    #[error("the store cannot say what it has: {0}")]
    Read(#[from] stash_store::ReadError),
    #[error("a message has more than {MAX_RECORDS} records")]
    TooManyRecords,
    #[error("its sender does not take the answers")]
    Untaken,
    #[error("its sender is an owner no more")]
    Demoted,
    #[error("the stream's own tasks ended")]
    Stopped,
}

/// Serves one put stream to its end.
pub(crate) async fn serve(
    transfer: Arc<Transfer>,
    from: NodeId,
    send: SendStream,
    mut recv: RecvStream,
) -> Result<(), Fault> {
    let (wants, want_queue) = mpsc::channel(COMMITS);
    let (commits, commit_queue) = mpsc::channel(COMMITS);
    let abort = CancellationToken::new();
    let leases = Leases::new(transfer.leasing.of(from));
    let committing = transfer.committing.of(from);
    let replies = tokio::spawn(reply(send, want_queue, commit_queue, abort.clone()));
    let mut intake = Intake {
        transfer,
        from,
        leases,
        committing,
        expected: VecDeque::new(),
        asked: HashSet::new(),
        filling: VecDeque::new(),
        is_quick: false,
        full: Arc::default(),
        staging: JoinSet::new(),
        wants,
        commits,
    };
    let outcome = intake.run(&mut recv).await;
    if outcome.is_err() {
        abort.cancel();
    }
    drop(intake);
    let replied = replies.await.map_err(|_| Fault::Stopped)?;
    replied.and(outcome)
}

/// A chunk whose buffer is lent to the stream, which puts what comes into it.
struct Filling {
    address: Address,
    room: Reservation,
    buffer: Lent<Buffer>,
    len: usize,
    /// Bytes that are still to come.
    left: usize,
    /// The time at which the first of them were seen. The span ends with the last.
    begun: Option<(Instant, Span)>,
}

impl Filling {
    fn begin(&mut self) {
        self.begun.get_or_insert_with(|| {
            let arrive = debug_span!(target: "chunk", "arrive", id = %self.address.short());
            (Instant::now(), arrive)
        });
    }
}

/// What came next on a stream.
enum Came {
    Frame(Option<Frame>),
    /// So many bytes of the chunk that is being filled.
    Bytes(usize),
}

struct Intake {
    transfer: Arc<Transfer>,
    from: NodeId,
    /// Leases on chunks that were offered and no record names yet. Only owners put, and only they
    /// lease.
    leases: Leases,
    /// Chunks that were asked for, each with the room that is kept for it.
    expected: VecDeque<(ChunkRef, Reservation)>,
    asked: HashSet<Mark>,
    /// Chunks whose buffers are lent, in the order in which they come: the first one comes, or is next.
    filling: VecDeque<Filling>,
    /// True if the last chunk came quickly.
    is_quick: bool,
    /// True if some chunk found no room since the last records.
    full: Arc<AtomicBool>,
    staging: JoinSet<Result<(), Fault>>,
    wants: mpsc::Sender<PutReply>,
    committing: Arc<Semaphore>,
    commits: mpsc::Sender<Commit>,
}

/// Records that are being stored, and the place that they and their results take.
type Commit = (JoinHandle<Vec<RecordResult>>, OwnedSemaphorePermit);

impl Intake {
    async fn run(&mut self, recv: &mut RecvStream) -> Result<(), Fault> {
        loop {
            self.lend_ahead(recv);
            match self.next(recv).await? {
                Came::Bytes(count) => self.filled(count).await?,
                Came::Frame(Some(Frame::Data(piece))) => self.begin(piece, recv).await?,
                Came::Frame(Some(Frame::Message(bytes))) => match message::decode(&bytes)? {
                    Put::Offer { chunks } => self.offered(&chunks).await?,
                    Put::Records { records } => self.records(records).await?,
                },
                Came::Frame(None) => return self.staged(0).await,
            }
        }
    }

    /// What comes next, or the failure of a chunk that came before.
    async fn next(&mut self, recv: &mut RecvStream) -> Result<Came, Fault> {
        let is_filling = !self.filling.is_empty();
        let next = timeout(IDLE, async {
            if is_filling {
                match recv.filled().await? {
                    0 => {}
                    count => return Ok(Came::Bytes(count)),
                }
            }
            recv.next().await.map(Came::Frame)
        });
        tokio::pin!(next);
        let transfer = Arc::clone(&self.transfer);
        loop {
            let grown = transfer.core.roster.grown();
            tokio::pin!(grown);
            // Before the look: what changes after it is heard of.
            grown.as_mut().enable();
            if !self.transfer.core.roster.role(&self.from).is_some_and(Role::writes) {
                return Err(Fault::Demoted);
            }
            tokio::select! {
                biased;
                () = grown => {}
                frame = &mut next => return Ok(frame.map_err(|_| Fault::Idle)??),
                Some(done) = self.staging.join_next() => done.map_err(|_| Fault::Stopped)??,
            }
        }
    }

    async fn offered(&mut self, packed: &[u8]) -> Result<(), Fault> {
        let chunks = message::unpack_references(packed)?;
        let waiting = self.filling.iter().filter(|filling| filling.begun.is_none()).count();
        if chunks.len() + self.expected.len() + waiting > message::MAX_OFFERED {
            return Err(Fault::TooMany);
        }
        let sealed = |len: u32| (CHUNK_OVERHEAD..=MAX_BUFFER).contains(&(len as usize));
        if let Some(wrong) = chunks.iter().find(|chunk| !sealed(chunk.sealed_len)) {
            return Err(Fault::Length(wrong.sealed_len));
        }
        let addresses: Vec<_> = chunks.iter().map(|chunk| chunk.address).collect();
        let leases = self.leases.clone();
        let here = self.transfer.core.disk.run(move |store| leases.add(store, &addresses)).await?;
        if self.asked.len() > ASKED {
            self.asked.clear();
        }
        let mut want = Vec::with_capacity(chunks.len());
        for (chunk, here) in chunks.into_iter().zip(here) {
            let lacks = !here && self.asked.insert(mark(&chunk.address));
            let room = if lacks { self.room(chunk.sealed_len)? } else { None };
            want.push(room.is_some());
            self.expected.extend(room.map(|room| (chunk, room)));
        }
        let reply = PutReply::Want { chunks: message::bits(want) };
        self.wants.send(reply).await.map_err(|_| Fault::Stopped)
    }

    /// Keeps room for a chunk before its bytes are asked for. Without any, it is not asked for, and
    /// the records that name it are told why.
    fn room(&self, len: u32) -> Result<Option<Reservation>, Fault> {
        if self.transfer.core.keeps.is_cache() {
            // Its sender has not heard yet that this node is no copy.
            self.full.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        match self.transfer.core.disk.store().reserve(len.into()) {
            Ok(room) => Ok(Some(room)),
            Err(error) if error.is_full() => {
                self.full.store(true, Ordering::Relaxed);
                self.transfer.rooms.changed();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Begins chunks with the first bytes of them, and lends a buffer for the rest of the last one.
    async fn begin(&mut self, mut piece: Bytes, recv: &mut RecvStream) -> Result<(), Fault> {
        while !piece.is_empty() {
            let (chunk, room) = self.expected.pop_front().ok_or(Fault::Unasked)?;
            let len = chunk.sealed_len as usize;
            let mut buffer = self.transfer.pools.intake.take(self.from, len).await;
            let part = piece.split_to(piece.len().min(len));
            buffer[..part.len()].copy_from_slice(&part);
            if part.len() < len {
                self.lend(chunk.address, room, buffer, part.len(), recv);
            } else {
                self.stage(chunk.address, room, buffer).await?;
            }
        }
        Ok(())
    }

    /// Lends buffers for the chunks that come next, so that their bytes need not be copied when they come while
    /// this node is at the disk. As far as they are free, and only to a member that will soon fill
    /// them.
    fn lend_ahead(&mut self, recv: &mut RecvStream) {
        let mut ahead: usize = self.filling.iter().skip(1).map(|filling| filling.len).sum();
        while self.is_quick
            && let Some((chunk, _)) = self.expected.front()
        {
            let len = chunk.sealed_len as usize;
            ahead += if self.filling.is_empty() { 0 } else { len };
            if ahead > AHEAD {
                return;
            }
            let Some(buffer) = self.transfer.pools.intake.take_spare(self.from, len) else {
                return;
            };
            let Some((chunk, room)) = self.expected.pop_front() else { return };
            self.lend(chunk.address, room, buffer, 0, recv);
        }
    }

    /// Lends the buffer of a chunk of which `filled` bytes are in it.
    fn lend(
        &mut self,
        address: Address,
        room: Reservation,
        buffer: Buffer,
        filled: usize,
        recv: &mut RecvStream,
    ) {
        let len = buffer.len();
        let buffer = recv.lend(buffer, filled);
        let mut filling = Filling { address, room, buffer, len, left: len - filled, begun: None };
        if filled > 0 {
            filling.begin();
        }
        self.filling.push_back(filling);
    }

    /// More of the first chunk whose buffer is lent has come.
    async fn filled(&mut self, count: usize) -> Result<(), Fault> {
        let Some(filling) = self.filling.front_mut() else { return Ok(()) };
        filling.begin();
        filling.left = filling.left.saturating_sub(count);
        match self.filling.pop_front_if(|filling| filling.left == 0) {
            None => Ok(()),
            Some(Filling { address, room, buffer, begun, .. }) => {
                self.is_quick = begun.is_some_and(|(at, _)| at.elapsed() <= QUICK);
                self.stage(address, room, buffer.take()).await
            }
        }
    }

    /// Checks a whole chunk against its address and hands it to the store, beside the stream.
    async fn stage(
        &mut self,
        address: Address,
        room: Reservation,
        buffer: Buffer,
    ) -> Result<(), Fault> {
        self.staged(STAGING - 1).await?;
        let (transfer, full) = (Arc::clone(&self.transfer), Arc::clone(&self.full));
        self.staging.spawn(async move {
            let shared = Arc::clone(&transfer);
            let work = move |store: &Store| {
                shared.background.came(buffer.len());
                let (len, bytes) = (buffer.len(), buffer.freeze());
                let blob = debug_span!(target: "chunk", "verify", id = %address.short())
                    .in_scope(|| Blob::verify(at(&address), bytes.clone()))?;
                let told = ledger::announce_coming(store, &address, bytes.as_ref());
                let staged = debug_span!(target: "chunk", "stage", id = %address.short())
                    .in_scope(|| told.and_then(|()| room.stage(blob)));
                match staged {
                    Ok(_) => shared.background.kept(len),
                    // The disk has less room than it said: the records are told.
                    Err(error) if StageError::is_full(&error) => {
                        full.store(true, Ordering::Relaxed)
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            };
            transfer.core.disk.run(work).await
        });
        Ok(())
    }

    /// Waits until at most `left` chunks are still being staged.
    async fn staged(&mut self, left: usize) -> Result<(), Fault> {
        while self.staging.len() > left {
            if let Some(done) = self.staging.join_next().await {
                done.map_err(|_| Fault::Stopped)??;
            }
        }
        Ok(())
    }

    async fn records(&mut self, records: Vec<RecordBytes>) -> Result<(), Fault> {
        message::together(&records, message::MAX_RECORD_BYTES)?;
        if records.len() > MAX_RECORDS {
            return Err(Fault::TooManyRecords);
        }
        if !self.filling.is_empty() || !self.expected.is_empty() {
            return Err(Fault::Early);
        }
        self.staged(0).await?;
        let place = Arc::clone(&self.committing).acquire_owned().await;
        let place = place.map_err(|_| Fault::Stopped)?;
        // What was asked for is here; should it vanish, it may be asked for again.
        self.asked.clear();
        let full = self.full.swap(false, Ordering::Relaxed);
        let (transfer, from, leases) = (Arc::clone(&self.transfer), self.from, self.leases.clone());
        let commit = tokio::spawn(async move {
            let records = accept::decode(&transfer.core.disk, records).await;
            let mut results =
                accept::accept(&transfer, from, records.clone(), Chunks::Required).await;
            if full {
                // What they need was offered, and there is no room for it.
                let lacks = |one: &&mut RecordResult| matches!(one, RecordResult::Need { .. });
                let stats = transfer.core.disk.store().stats();
                let (used, limit) = (stats.used_bytes, stats.limit_bytes);
                results
                    .iter_mut()
                    .filter(lacks)
                    .for_each(|one| *one = RecordResult::Full { used, limit });
            }
            let kept = records.into_iter().zip(&results);
            let kept = kept.filter(|(_, result)| **result == RecordResult::Stored {});
            let kept: Vec<Record> = kept.filter_map(|(record, _)| record.ok()).collect();
            transfer.core.disk.run(move |store| leases.release(store, &kept)).await;
            results
        });
        self.commits.send((commit, place)).await.map_err(|_| Fault::Stopped)
    }
}

/// Sends replies: wants at once, results of records in their order. Resets the stream when the
/// intake gives up.
async fn reply(
    mut send: SendStream,
    mut wants: mpsc::Receiver<PutReply>,
    mut commits: mpsc::Receiver<Commit>,
    abort: CancellationToken,
) -> Result<(), Fault> {
    let mut current: Option<Commit> = None;
    let (mut wanting, mut committing) = (true, true);
    while wanting || committing || current.is_some() {
        // Given back when the reply has left.
        let mut place = None;
        let reply = tokio::select! {
            biased;
            () = abort.cancelled() => {
                send.reset(GIVEN_UP);
                return Ok(());
            }
            want = wants.recv(), if wanting => want,
            done = async { (&mut current.as_mut().expect("guarded").0).await }, if current.is_some() => {
                place = current.take().map(|(_, place)| place);
                // A panic in a commit is a defect here; the sender learns that nothing is stored.
                let Ok(results) = done else { break };
                Some(PutReply::Results { results })
            }
            commit = commits.recv(), if committing && current.is_none() => {
                committing = commit.is_some();
                current = commit;
                continue;
            }
        };
        let Some(reply) = reply else {
            wanting = false;
            continue;
        };
        let reply = message::encode(&reply);
        let limit = time_for(reply.len());
        tokio::select! {
            biased;
            sent = timeout(limit, send.message(reply)) => sent.map_err(|_| Fault::Untaken)??,
            () = abort.cancelled() => {
                send.reset(GIVEN_UP);
                return Ok(());
            }
        }
        drop(place);
    }
    send.finish();
    Ok(())
}
