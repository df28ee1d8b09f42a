//! Giving members their answers, and giving up those that are not taken.
//!
//! An answer holds its place until its last byte has left this process: the member's place among
//! buffers (`buffers/places.rs`), and one of the requests that this node answers it at once. All of
//! them end with the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stash_crypto::{Address, ChunkRef, NodeId};
use stash_p2p::{CloseReason, Peer, SendStream, StreamError};
use stash_store::{ChunkState, ReadError};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::buffers::buffer::MAX_BUFFER;
use crate::buffers::places::Gone;
use crate::ledger::at;
use crate::message::{self, Refusal, Reply, refused, unable};
use crate::rpc::time_for;
use crate::transfer::{Transfer, local};

/// A message that tells when its last byte has left.
struct Watched {
    bytes: Bytes,
    _gone: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Gives a member one message, ends the stream, and waits until the message has left: so what is
/// queued for a member that reads nothing is as many answers as it may have under way.
pub(crate) async fn message(
    member: NodeId,
    peer: &Peer,
    send: SendStream,
    reply: &Reply,
) -> Result<(), StreamError> {
    if let Some((gone, limit)) = queue_message(send, reply).await? {
        taken(member, peer, gone, limit).await;
    }
    Ok(())
}

/// Queues a message and the end of the stream; `None` if there was no room for it in time.
async fn queue_message(
    mut send: SendStream,
    reply: &Reply,
) -> Result<Option<(Gone, Duration)>, StreamError> {
    let bytes = message::encode(reply);
    let limit = time_for(bytes.len());
    let (sender, gone) = oneshot::channel();
    let watched = Bytes::from_owner(Watched { bytes, _gone: sender });
    match timeout(limit, send.message(watched)).await {
        // The stream is reset by being dropped.
        Err(_) => Ok(None),
        Ok(sent) => {
            sent?;
            send.finish();
            Ok(Some((gone, limit)))
        }
    }
}

/// Waits until an answer has left. A member that does not take it in time is cut off.
async fn taken(member: NodeId, peer: &Peer, gone: Gone, limit: Duration) {
    tokio::select! {
        biased;
        _ = gone => {}
        _ = peer.closed() => {}
        () = sleep(limit) => {
            tracing::warn!(peer = %member.short(), "a member does not take its answers: cut off");
            peer.close(CloseReason::WriteStall);
        }
    }
}

/// Gives a member a chunk, or says that it is not here. A member that is asked to prove a chunk
/// gets it elsewhere, or not at all.
pub(crate) async fn chunk(
    transfer: &Arc<Transfer>,
    member: NodeId,
    peer: &Peer,
    address: Address,
    send: SendStream,
) -> Result<(), StreamError> {
    if transfer.evicting.asks(&member, &address) {
        return message(member, peer, send, &Reply::NotHere {}).await;
    }
    // Whoever waits for a place holds its connection, whose queue holds the places: so the wait has to
    // end with the connection.
    let given = tokio::select! {
        biased;
        reason = peer.closed() => return Err(StreamError::Closed(reason)),
        given = give(transfer, member, address, send) => given?,
    };
    if let Some((gone, limit)) = given {
        taken(member, peer, gone, limit).await;
    }
    Ok(())
}

/// Queues the answer; what tells that it was taken, and the time for that.
async fn give(
    transfer: &Arc<Transfer>,
    member: NodeId,
    address: Address,
    mut send: SendStream,
) -> Result<Option<(Gone, Duration)>, StreamError> {
    let state = transfer.core.disk.run(move |store| store.chunk_state(&at(&address))).await;
    let sealed_len = match state {
        Ok(ChunkState::Here { len }) => len,
        Err(error @ ReadError::Away(_)) => return queue_message(send, &unable(&error)).await,
        _ => return queue_message(send, &Reply::NotHere {}).await,
    };
    let len = sealed_len as usize;
    if len > MAX_BUFFER {
        return queue_message(send, &Reply::NotHere {}).await;
    }
    let (buffer, taken) = transfer.pools.serve.take_watched(member, len).await;
    let chunk = ChunkRef { address, sealed_len };
    let Ok(buffer) = local::read_local(transfer, chunk, buffer).await else {
        // It may have gone away while it was read.
        let away = transfer.core.disk.store().away().map(ReadError::Away);
        return queue_message(send, &away.as_ref().map_or(Reply::NotHere {}, unable)).await;
    };
    let limit = time_for(len);
    let queued = async {
        send.message(message::encode(&Reply::Chunk { length: sealed_len })).await?;
        send.data(buffer.freeze()).await
    };
    match timeout(limit, queued).await {
        Err(_) => Ok(None),
        Ok(queued) => {
            queued?;
            send.finish();
            Ok(Some((taken, limit)))
        }
    }
}

/// Tells of each of these chunks if it is here.
pub(crate) async fn have(transfer: &Arc<Transfer>, chunks: &[u8]) -> Reply {
    let addresses: Vec<_> = match message::unpack(chunks) {
        Ok(chunks) => chunks.iter().map(at).collect(),
        Err(error) => return refused(Refusal::Malformed, &error.to_string()),
    };
    match transfer.core.disk.run(move |store| store.has(&addresses)).await {
        Ok(here) => Reply::Have { chunks: message::bits(here) },
        Err(error) => unable(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::rpc::ANSWER;

    #[test]
    fn an_answer_may_take_a_second_for_each_2_kib() {
        assert_eq!(time_for(0), ANSWER);
        assert_eq!(time_for(1 << 20), ANSWER + Duration::from_secs(512));
    }
}
