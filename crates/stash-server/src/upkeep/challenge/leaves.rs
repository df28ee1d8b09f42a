//! Chunks that a member says it has and this node has not: the member shows a leaf of each.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{Address, NodeId};
use stash_p2p::{Frame, Peer};
use stash_store::Store;

use crate::buffers::buffer::MAX_BUFFER;
use crate::message::{Refusal, Reply, Request, refused, unable};
use crate::rpc::{AskError, ask, next_in_line, unexpected};
use crate::transfer::fetch::receive;
use crate::transfer::local;
use crate::transfer::suspects::ASKED;
use crate::upkeep::Upkeep;
use crate::upkeep::challenge::hash_tree;

/// Bytes of an address and a draw.
const DRAWN: usize = 36;

/// A chunk, and the random number that draws a leaf of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub(crate) chunk: Address,
    pub(crate) draw: u32,
}

/// Asks a member to show these leaves. Returns for each whether it did; fewer than were asked for if its program does not
/// know the question: then it had to send the first of the chunks.
pub(super) async fn shown(
    upkeep: &Upkeep,
    peer: &Peer,
    drawn: &[Drawn],
) -> Result<Vec<bool>, AskError> {
    let leaves = match ask(peer, &Request::Leaves { drawn: pack(drawn) }).await {
        Ok(Reply::Leaves { leaves }) if leaves.len() == drawn.len() => leaves,
        Ok(Reply::Leaves { leaves }) => {
            return Err(AskError::Protocol(format!("{} leaves", leaves.len())));
        }
        Ok(reply) => return Err(unexpected(&reply)),
        Err(AskError::Refused { code: Refusal::Unknown, .. }) => {
            let first = drawn.first().map(|one| sends(upkeep, peer, &one.chunk));
            return futures::future::join_all(first).await.into_iter().collect();
        }
        Err(error) => return Err(error),
    };
    let pairs = drawn.iter().zip(&leaves);
    Ok(pairs.map(|(one, leaf)| hash_tree::is_shown(&one.chunk, one.draw, leaf)).collect())
}

/// True if a member sends a chunk whole. Its bytes are not kept.
async fn sends(upkeep: &Upkeep, peer: &Peer, chunk: &Address) -> Result<bool, AskError> {
    let Some((length, mut recv)) = receive::request(peer, *chunk).await? else {
        return Ok(false);
    };
    let length = length as usize;
    if length > MAX_BUFFER {
        return Ok(false);
    }
    upkeep.transfer.background.turn(length as u64).await;
    let (mut hasher, mut came) = (blake3::Hasher::new(), 0);
    while came < length {
        match next_in_line(peer, &mut recv).await? {
            Some(Frame::Data(bytes)) if came + bytes.len() <= length => {
                came += bytes.len();
                hasher.update(&bytes);
            }
            _ => return Ok(false),
        }
    }
    Ok(hasher.finalize() == blake3::Hash::from_bytes(*chunk.as_bytes()))
}

/// Shows a member leaves of chunks that are here: empty for those that are not.
pub(crate) async fn answer(upkeep: &Arc<Upkeep>, member: NodeId, drawn: &[u8]) -> Reply {
    let Some(drawn) = unpack(drawn) else {
        return refused(Refusal::Malformed, "no list of at most 16 drawn leaves");
    };
    // Whoever is to prove a chunk before an evict gets no piece of it here; and that it is not shown, is no lie.
    if drawn.iter().any(|one| upkeep.transfer.evicting.asks(&member, &one.chunk)) {
        return refused(Refusal::Failed, "this node is asking for a proof of it");
    }
    // Each may be 4 MiB to read: members come in turn.
    let _turn = upkeep.transfer.proving.of(member).await;
    let shared = Arc::clone(upkeep);
    let work = move |store: &Store| {
        let show = |one: &Drawn| {
            let mut sealed = Vec::new();
            match local::read(&shared.transfer, store, &one.chunk, &mut sealed) {
                Ok(true) => ByteBuf::from(hash_tree::show(&sealed, one.draw)),
                Ok(false) | Err(_) => ByteBuf::new(),
            }
        };
        drawn.iter().map(show).collect()
    };
    let leaves = upkeep.core.disk.run(work).await;
    // Looked at after it was read: what was not read may only have been away.
    if let Err(away) = upkeep.core.disk.run(Store::look).await {
        return unable(&away.into());
    }
    Reply::Leaves { leaves }
}

fn pack(drawn: &[Drawn]) -> ByteBuf {
    let one = |one: &Drawn| [&one.chunk.as_bytes()[..], &one.draw.to_le_bytes()].concat();
    ByteBuf::from(drawn.iter().flat_map(one).collect::<Vec<u8>>())
}

/// Unpacks drawn leaves; `None` if they are no list of at most [`ASKED`].
fn unpack(bytes: &[u8]) -> Option<Vec<Drawn>> {
    let (drawn, rest) = bytes.as_chunks::<DRAWN>();
    let one = |bytes: &[u8; DRAWN]| {
        let (chunk, draw) = bytes.split_first_chunk::<32>().expect("36 is more than 32");
        let draw = u32::from_le_bytes(draw.try_into().expect("36 less 32 is 4"));
        Drawn { chunk: Address::from_bytes(*chunk), draw }
    };
    (rest.is_empty() && drawn.len() <= ASKED).then(|| drawn.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_leaves_are_packed_and_a_list_that_is_too_long_or_cut_is_none() {
        let one = Drawn { chunk: Address::from_bytes([5; 32]), draw: 0x0102_0304 };
        let packed = pack(&[one]);
        assert_eq!((packed.len(), packed[32..].to_vec()), (DRAWN, vec![4, 3, 2, 1]));
        assert_eq!(unpack(&packed), Some(vec![one]));
        assert_eq!(unpack(&[]), Some(vec![]));
        assert_eq!(unpack(&packed[1..]), None);
        let most = pack(&[one; ASKED]);
        assert_eq!(unpack(&most).map(|drawn| drawn.len()), Some(ASKED));
        assert_eq!(unpack(&[&most[..], &packed].concat()), None);
    }
}
