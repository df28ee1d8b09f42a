//! One chunk from one member: the request, and its bytes.

use stash_crypto::{Address, ChunkRef};
use stash_p2p::{Class, Frame, Peer, RecvStream};
use tokio::time::timeout;

use crate::buffers::buffer::Buffer;
use crate::message;
use crate::message::{Reply, Request};
use crate::rpc::{ANSWER, AskError, decoded, next_in_line, time_for, unexpected};

/// Receives a chunk from a member; false if it does not have it.
pub(super) async fn receive(
    peer: &Peer,
    chunk: ChunkRef,
    buffer: &mut Buffer,
) -> Result<bool, AskError> {
    match request(peer, chunk.address).await? {
        Some((length, mut recv)) if length == chunk.sealed_len => {
            fill(peer, &mut recv, buffer).await?;
            Ok(true)
        }
        Some((length, _)) => Err(AskError::Protocol(format!("{length} bytes"))),
        None => Ok(false),
    }
}

/// Asks a member for a chunk. Returns its length, and the stream on which its bytes follow; `None`
/// if the member does not have it.
pub(super) async fn request(
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

/// Receives the bytes of a chunk.
pub(super) async fn fill(
    peer: &Peer,
    recv: &mut RecvStream,
    buffer: &mut Buffer,
) -> Result<(), AskError> {
    let limit = time_for(buffer.len());
    timeout(limit, receive_into(peer, recv, buffer)).await.unwrap_or(Err(AskError::Late))
}

async fn receive_into(
    peer: &Peer,
    recv: &mut RecvStream,
    buffer: &mut Buffer,
) -> Result<(), AskError> {
    let mut filled = 0;
    while filled < buffer.len() {
        let Some(Frame::Data(piece)) = next_in_line(peer, recv).await? else {
            return Err(AskError::Protocol(format!("the chunk ends after {filled} bytes")));
        };
        let room = buffer.get_mut(filled..filled + piece.len());
        let too_long = || AskError::Protocol("the chunk is longer than it was said".to_owned());
        room.ok_or_else(too_long)?.copy_from_slice(&piece);
        filled += piece.len();
    }
    Ok(())
}
