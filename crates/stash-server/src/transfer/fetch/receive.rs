//! One chunk from one member: the request, and its bytes.

use futures::FutureExt;
use stash_crypto::{Address, ChunkRef};
use stash_p2p::{Class, Frame, Peer, RecvStream};
use tokio::time::timeout;

use crate::buffers::buffer::Buffer;
use crate::message;
use crate::message::{Reply, Request};
use crate::rpc::{ANSWER, AskError, decoded, filled_in_line, next_in_line, time_for, unexpected};

/// Receives a chunk from a member into a buffer, and gives that back; false if it does not have it.
pub(super) async fn receive(
    peer: &Peer,
    chunk: ChunkRef,
    buffer: Buffer,
) -> (Buffer, Result<bool, AskError>) {
    match request(peer, chunk.address).await {
        Ok(Some((length, recv))) if length == chunk.sealed_len => {
            let (buffer, filled) = fill(peer, recv, buffer).await;
            (buffer, filled.map(|()| true))
        }
        Ok(Some((length, _))) => (buffer, Err(AskError::Protocol(format!("{length} bytes")))),
        Ok(None) => (buffer, Ok(false)),
        Err(error) => (buffer, Err(error)),
    }
}

/// Asks a member for a chunk. Returns its length, and the stream on which its bytes follow; `None`
/// if the member does not have it.
pub(crate) async fn request(
    peer: &Peer,
    address: Address,
) -> Result<Option<(u32, RecvStream)>, AskError> {
    let opened = timeout(ANSWER, peer.open(Class::Bulk)).await.map_err(|_| AskError::Late)?;
    let gone = |error: String| AskError::Gone(error);
    let (mut send, mut recv) = opened.map_err(|error| gone(error.to_string()))?.split();
    let request = Request::Get { address: *address.as_bytes() };
    let sent = timeout(ANSWER, send.message(message::encode(&request))).await;
    sent.map_err(|_| AskError::Late)?.map_err(|error| gone(error.to_string()))?;
    send.finish();
    match decoded(next_in_line(peer, &mut recv).await?)? {
        Reply::Chunk { length } => Ok(Some((length, recv))),
        Reply::NotHere {} => Ok(None),
        Reply::Refused { code, reason } => Err(AskError::Refused { code, reason }),
        reply => Err(unexpected(&reply)),
    }
}

/// Receives the bytes of a chunk into a buffer of its length, and gives that back.
pub(super) async fn fill(
    peer: &Peer,
    mut recv: RecvStream,
    buffer: Buffer,
) -> (Buffer, Result<(), AskError>) {
    let len = buffer.len();
    let lent = recv.lend(buffer, 0);
    let filled = timeout(time_for(len), receive_bytes(peer, &mut recv, len)).await;
    (lent.take(), filled.unwrap_or(Err(AskError::Late)))
}

/// Waits until so many bytes are in the buffer that was lent.
async fn receive_bytes(peer: &Peer, recv: &mut RecvStream, len: usize) -> Result<(), AskError> {
    let mut filled = 0;
    while filled < len {
        match filled_in_line(peer, recv).await? {
            0 => return Err(AskError::Protocol(format!("the chunk ends after {filled} bytes"))),
            count => filled += count,
        }
    }
    // What came together with the last of them is looked at; nothing is waited for.
    match recv.next().now_or_never() {
        Some(Ok(Some(Frame::Data(more)))) if !more.is_empty() => {
            Err(AskError::Protocol("the chunk is longer than it was said".to_owned()))
        }
        _ => Ok(()),
    }
}
