//! Members that are no friends: one that is slow, one that is silent, and one that means it.

use std::sync::Arc;
use std::time::Duration;

use stash_crypto::ChunkRef;
use stash_p2p::{Class, Limits, RecvStream};
use tokio::time::sleep;

use crate::Failure;
use crate::member::{Ask, Member, Session, Together, bytes, narrow, usual};

/// Gets under way at once by one that catches up over a slow line.
const CATCHING_UP: usize = 7;

/// Streams that a member may have open on a connection.
const STREAMS: usize = 1_024;

/// Time that each hostile act lasts.
const ACT: Duration = Duration::from_secs(2);

/// Gets everything, several chunks at once, as fast as its line allows.
pub(crate) async fn slow(session: Session, chunks: Arc<Vec<ChunkRef>>) -> Result<(), Failure> {
    loop {
        let mut under_way = Vec::new();
        for chunk in chunks.iter().cycle().take(CATCHING_UP) {
            let get = Ask::Get { address: bytes(chunk.address.as_bytes()) };
            under_way.push(session.send(&get, Class::Bulk).await?);
        }
        for mut recv in under_way {
            while recv.next().await?.is_some() {}
        }
    }
}

/// Asks for chunks, and never takes one. Comes again when it is cut off.
pub(crate) async fn silent(session: Session, chunks: Arc<Vec<ChunkRef>>) -> Result<(), Failure> {
    let held = get_many(&session, &chunks, 64, Class::Bulk).await?;
    session.peer.closed().await;
    drop(held);
    std::future::pending().await
}

async fn get_many(
    session: &Session,
    chunks: &[ChunkRef],
    times: usize,
    class: Class,
) -> Result<Vec<RecvStream>, Failure> {
    let mut held = Vec::new();
    for chunk in chunks.iter().cycle().take(times) {
        let get = Ask::Get { address: bytes(chunk.address.as_bytes()) };
        held.push(session.send(&get, class).await?);
    }
    Ok(held)
}

/// Does one thing after the other, for ever, with a new connection each: what it is answered, if at
/// all, and whether it is cut off, is the node's affair.
pub(crate) async fn hostile(mut member: Member, chunks: Arc<Vec<ChunkRef>>) -> Result<(), Failure> {
    loop {
        member = member.again(narrow(Default::default()))?;
        // Answers that wait for credit when the connection ends.
        if let Ok(session) = member.connect().await {
            let _held = act(get_many(&session, &chunks, 256, Class::Control)).await;
        }
        // The same without the end, on bulk streams.
        if let Ok(session) = member.connect().await {
            let _held = act(get_many(&session, &chunks, 16, Class::Bulk)).await;
            sleep(ACT).await;
        }
        // Answers that nobody reads, with all the credit in the world.
        let limits = Limits {
            stream_window: 1 << 31,
            connection_window: 1 << 31,
            process_budget: 1 << 36,
            ..usual()
        };
        member = member.again(limits)?;
        if let Ok(session) = member.connect().await {
            let _held = act(sums(&session)).await;
            sleep(ACT).await;
        }
        // Work for the disk.
        if let Ok(session) = member.connect().await {
            act(evicts(&session, &chunks)).await;
        }
    }
}

/// Goes on with something for a while; what had come of it, if it came to an end.
async fn act<T>(what: impl Future<Output = Result<T, Failure>>) -> Option<T> {
    tokio::time::timeout(ACT, what).await.ok()?.ok()
}

async fn sums(session: &Session) -> Result<Vec<RecvStream>, Failure> {
    let prefixes: Vec<u8> = (0..64).collect();
    let ask = Ask::Sums { prefixes: bytes(&prefixes), length: 1 };
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(session.send(&ask, Class::Control).await?);
    }
    Ok(held)
}

/// Asks on and on whether chunks may be dropped: while they are asked about, they stay.
async fn evicts(session: &Session, chunks: &[ChunkRef]) -> Result<(), Failure> {
    let all: Vec<u8> = chunks.iter().take(64).flat_map(|chunk| *chunk.address.as_bytes()).collect();
    loop {
        let groups = vec![Together::named_by(bytes(&all), &[9; 32])];
        session.ask(&Ask::Evict { nonce: bytes(&[9; 32]), groups }).await?;
    }
}
