//! Members that are no friends: one that is slow, one that is silent, one that means it, and an owner that
//! puts what it never ends.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stash_crypto::{Address, ChunkRef};
use stash_p2p::{Class, Limits, RecvStream};
use tokio::time::sleep;

use crate::Failure;
use crate::member::{Ask, Member, Put, Session, Together, bytes, narrow, usual};

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

/// Chunks that a put stream may have on offer.
const OFFERED: usize = 256;

/// Far more than that.
const TOO_MANY: usize = 4_096;

/// Records in a message, at most.
const RECORDS: usize = 1_024;

/// Puts on all the streams that it may have, and more, for ever: offers without bytes, chunks without
/// records, records that are none, whose answers it does not read.
pub(crate) async fn greedy(member: Member) -> Result<(), Failure> {
    loop {
        if let Ok(session) = member.connect().await {
            let puts = many_puts(&session).await;
            let _held = act(on_all(puts, offers::<TOO_MANY>)).await;
            sleep(ACT).await;
        }
        if let Ok(session) = member.connect().await {
            let puts = many_puts(&session).await;
            let _held = act(on_all(puts, offers::<OFFERED>)).await;
            sleep(ACT).await;
        }
        if let Ok(session) = member.connect().await {
            let puts = many_puts(&session).await;
            let _held = act(on_all(puts, without_records)).await;
            sleep(ACT).await;
        }
        if let Ok(session) = member.connect().await {
            let puts = many_puts(&session).await;
            let _held = act(on_all(puts, no_records)).await;
            sleep(ACT).await;
        }
    }
}

/// As many put streams as the node lets it open at once.
async fn many_puts(session: &Session) -> Vec<Put> {
    let mut puts = Vec::new();
    let open = async {
        while puts.len() < STREAMS {
            let class = if puts.len() % 2 == 0 { Class::Control } else { Class::Bulk };
            puts.push(session.open_put(class).await?);
        }
        Ok::<_, Failure>(())
    };
    act(open).await;
    puts
}

/// Does something on each stream; the streams stay open whatever comes of it.
async fn on_all(
    mut puts: Vec<Put>,
    what: impl AsyncFn(&mut Put) -> Result<(), Failure>,
) -> Result<Vec<Put>, Failure> {
    // A stream that was reset ends alone.
    join_all(puts.iter_mut().map(|put| act(what(put)))).await;
    Ok(puts)
}

/// Offers of chunks that never come.
async fn offers<const COUNT: usize>(put: &mut Put) -> Result<(), Failure> {
    let random = |_| ChunkRef { address: Address::from_bytes(rand::random()), sealed_len: 4_096 };
    loop {
        let chunks: Vec<ChunkRef> = (0..COUNT).map(random).collect();
        put.offer(&chunks).await?;
        put.wanted().await?;
    }
}

/// Chunks of the least length, as fast as they are taken, that no record names.
async fn without_records(put: &mut Put) -> Result<(), Failure> {
    loop {
        let all: Vec<[u8; 48]> =
            (0..OFFERED).map(|_| std::array::from_fn(|_| rand::random())).collect();
        let refs = all.iter().map(|one| ChunkRef { address: Address::of(one), sealed_len: 48 });
        put.offer(&refs.collect::<Vec<_>>()).await?;
        put.wanted().await?;
        put.data(all.concat()).await?;
    }
}

/// Records that no decoder takes, as many as fit.
async fn no_records(put: &mut Put) -> Result<(), Failure> {
    loop {
        put.records(vec![bytes(&[7; 180]); RECORDS]).await?;
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
