//! What a node answers: one task a connected peer, one a request.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{Address, MemberLog, NodeId, Record, RecordHash, Role};
use stash_p2p::{Frame, Peer, RecvStream, Stream, StreamError};
use stash_store::{ReadError, Store};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::catchup::Follower;
use crate::core::lock;
use crate::core::{ANSWER, Core};
use crate::ledger;
use crate::logs::{Cursor, LogId};
use crate::message::{self, FindPuts, MAX_ADDRESSES, MAX_RECORD_BYTES, Refusal, Reply, Request};
use crate::{challenge, compare, cuts, evict, freshness, giving, holding, intake, members, sync};

/// Requests of one peer that are answered at once; the next ones wait in the transport.
const REQUESTS: usize = 64;

/// Bytes of member log entries in one answer; one entry alone may have all of it.
const MAX_ENTRY_BYTES: usize = MAX_RECORD_BYTES;

/// Bytes of signed addresses in one answer: what a message has left beside the entries.
pub(crate) const MAX_CLAIM_BYTES: usize = 48 << 10;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A member.
    Member(NodeId, Role),
    /// Whoever holds the root secret: admits itself again after a loss.
    Root,
    /// A member that was removed while it was connected.
    Nobody,
}

impl Asker {
    /// On whose account the answer goes. Whoever holds the root secret has one of its own.
    fn account(self) -> NodeId {
        match self {
            Asker::Member(node, _) => node,
            Asker::Root | Asker::Nobody => NodeId::from_bytes([0; 32]),
        }
    }

    /// The same with the role that the member log gives now.
    fn now(self, core: &Core) -> Asker {
        match self {
            Asker::Member(node, _) => {
                core.roster.role(&node).map_or(Asker::Nobody, |role| Asker::Member(node, role))
            }
            other => other,
        }
    }
}

/// Answers one peer until it is gone.
pub(crate) async fn peer(core: Arc<Core>, asker: Asker, peer: Peer) {
    let places = Arc::new(Semaphore::new(REQUESTS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let Some(stream) = peer.accept().await else {
            return;
        };
        let (core, peer) = (Arc::clone(&core), peer.clone());
        core.tasks.clone().spawn(async move {
            if let Err(error) = request(&core, asker, &peer, stream).await {
                tracing::debug!(?asker, %error, "a request ended early");
            }
            drop(place);
        });
    }
}

/// Reads the first message of a stream as a request; `None` when it is none that is known here.
pub(crate) async fn opening(recv: &mut RecvStream) -> Result<Option<Request>, StreamError> {
    match timeout(ANSWER, recv.next()).await {
        Ok(Ok(Some(Frame::Message(bytes)))) => Ok(message::decode(&bytes).ok()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(None),
    }
}

async fn request(
    core: &Arc<Core>,
    asker: Asker,
    peer: &Peer,
    stream: Stream,
) -> Result<(), StreamError> {
    let (send, mut recv) = stream.split();
    let opening = opening(&mut recv).await?;
    let reply = match (opening, asker.now(core)) {
        (_, Asker::Nobody) => refused(Refusal::Role, "this node is no member any more"),
        (None, _) => refused(Refusal::Unknown, "this request is not known here"),
        (Some(Request::Put {}), Asker::Member(node, role)) if role.writes() => {
            if let Err(fault) = intake::serve(Arc::clone(core), node, send, recv).await {
                tracing::warn!(peer = %node.short(), %fault, "a put stream was given up");
            }
            return Ok(());
        }
        (Some(Request::Put {}), _) => refused(Refusal::Role, "only owners put"),
        // Whoever is asked to prove a chunk gets it elsewhere, or not at all.
        (Some(Request::Get { address }), Asker::Member(node, _))
            if core.evicting.asks(&node, &Address::from_bytes(address)) =>
        {
            Reply::NotHere {}
        }
        (Some(Request::Get { address }), _) => {
            let address = Address::from_bytes(address);
            return giving::chunk(core, asker.account(), peer, address, send).await;
        }
        (Some(Request::Evict { nonce, groups }), Asker::Member(node, _)) => {
            evict::answer(core, node, peer.handshake_hash(), nonce, groups).await
        }
        (Some(Request::Prove { nonce, chunks }), Asker::Member(node, _)) => {
            challenge::prove(core, node, peer.handshake_hash(), nonce, &chunks).await
        }
        // A visitor in the root's name reads, and nobody reads from it.
        (Some(Request::News {} | Request::Lack { .. } | Request::Room(_)), Asker::Root) => {
            Reply::Done {}
        }
        (Some(Request::News {}), Asker::Member(node, _)) => {
            told(core, &node, |follower| follower.news());
            Reply::Done {}
        }
        (Some(Request::Lack { hashes }), Asker::Member(node, _)) => {
            match message::unpack_hashes(&hashes) {
                Ok(hashes) => {
                    told(core, &node, |follower| follower.lack(hashes));
                    Reply::Done {}
                }
                Err(error) => refused(Refusal::Malformed, &error.to_string()),
            }
        }
        (Some(Request::Room(room)), Asker::Member(node, _)) => {
            core.rooms.learn(core, node, room);
            Reply::Done {}
        }
        (Some(Request::Confirmed { confirmation }), asker) => {
            sleep(core.addresses.announced(asker.account())).await;
            if freshness::learn(core, &confirmation).await
                && let Asker::Member(..) = asker
            {
                sync::read_more(core, peer);
            }
            Reply::Done {}
        }
        (Some(Request::Log { log, after }), asker) => page_of_log(core, asker, log, after).await,
        (Some(request), _) => answer(core, asker.account(), peer, request).await,
    };
    giving::message(asker.account(), peer, send, &reply).await
}

pub(crate) fn refused(code: Refusal, reason: &str) -> Reply {
    Reply::Refused { code, reason: reason.to_owned() }
}

/// The refusal of a request that the store could not answer.
pub(crate) fn unable(error: &ReadError) -> Reply {
    let code = match error {
        ReadError::Away(_) => Refusal::Unavailable,
        _ => Refusal::Failed,
    };
    // Where a store keeps its files is its own affair.
    match code {
        Refusal::Unavailable => refused(code, "the directory of its chunk files is away"),
        code => refused(code, &error.to_string()),
    }
}

/// Answers what any member may ask.
async fn answer(core: &Arc<Core>, member: NodeId, peer: &Peer, request: Request) -> Reply {
    match request {
        Request::Have { chunks } => match message::unpack(&chunks) {
            Ok(chunks) => have(core, &chunks).await,
            Err(error) => refused(Refusal::Malformed, &error.to_string()),
        },
        Request::Members { from } => member_log(core, from),
        Request::Announce { entries, addresses } => {
            let fit = message::together(&entries, MAX_ENTRY_BYTES)
                .and_then(|()| message::together(&addresses, MAX_CLAIM_BYTES));
            if let Err(error) = fit {
                return refused(Refusal::Malformed, &error.to_string());
            }
            sleep(core.addresses.announced(member)).await;
            let raw = |list: Vec<ByteBuf>| list.into_iter().map(ByteBuf::into_vec).collect();
            match cuts::learn(core, peer, raw(entries), raw(addresses)).await {
                Ok(()) => Reply::Done {},
                Err(error) => refused(Refusal::Failed, &error.to_string()),
            }
        }
        Request::All {} => {
            let log = core.roster.log(MemberLog::len);
            let shared = Arc::clone(core);
            match core.disk.run(move |store| shared.refused.with_totals(store)).await {
                Ok((held, refused)) => {
                    let less = if refused.count > 0 { refused.sum.to_vec() } else { Vec::new() };
                    let (n, sum, full) = (held.count, held.sum, refused.count);
                    Reply::All { n, sum, log, full, less: ByteBuf::from(less) }
                }
                Err(error) => refused(Refusal::Failed, &error.to_string()),
            }
        }
        Request::Sums { prefixes, length } => match compare::prefixes(&prefixes, length) {
            Some(prefixes) => sums(core, member, prefixes).await,
            None => refused(Refusal::Malformed, "no prefixes of 0 or 1 bytes, at most 64"),
        },
        Request::Ids { parts, size } => match compare::parts(&parts, size) {
            Some(parts) => ids(core, member, parts, size.into()).await,
            None => refused(Refusal::Malformed, "no parts, at most 4096, in 16 or 32 bytes"),
        },
        Request::Match { halves } => match compare::halves(&halves) {
            Some(halves) => whole_hashes(core, member, halves).await,
            None => refused(Refusal::Malformed, "no halves of hashes, at most 4096"),
        },
        Request::Find { hashes, puts } => match message::unpack_hashes(&hashes) {
            Ok(hashes) => find(core, hashes, puts).await,
            Err(error) => refused(Refusal::Malformed, &error.to_string()),
        },
        Request::Holding { hashes } => holding::answer(core, member, &hashes).await,
        Request::Cuts { list, from } => cuts::answer(core, list, from),
        Request::Writers { node, from } => match members::writers(core, node, from).await {
            Ok(reply) => reply,
            Err(error) => refused(Refusal::Failed, &error.to_string()),
        },
        Request::Join { .. } => refused(Refusal::Unknown, "this node is a member already"),
        Request::Put {}
        | Request::Get { .. }
        | Request::Evict { .. }
        | Request::Prove { .. }
        | Request::News {}
        | Request::Lack { .. }
        | Request::Room(_)
        | Request::Confirmed { .. }
        | Request::Log { .. } => refused(Refusal::Role, "only members ask this"),
    }
}

/// What is known of the members: the log from an index on, as much as fits, and addresses.
pub(crate) fn member_log(core: &Core, from: u64) -> Reply {
    let entries = page(core.roster.entries(from), MAX_ENTRY_BYTES);
    Reply::Members { entries, addresses: page(core.roster.claims(), MAX_CLAIM_BYTES) }
}

async fn have(core: &Arc<Core>, chunks: &[Address]) -> Reply {
    let addresses: Vec<_> = chunks.iter().map(ledger::at).collect();
    match core.disk.run(move |store| store.has(&addresses)).await {
        Ok(here) => Reply::Have { chunks: message::bits(here) },
        Err(error) => unable(&error),
    }
}

/// A page of encoded items: at least one, at most `limit` bytes.
pub(crate) fn page(items: Vec<Vec<u8>>, limit: usize) -> Vec<ByteBuf> {
    let mut bytes = 0;
    let fits = |item: &Vec<u8>| {
        let first = bytes == 0;
        bytes += item.len() + message::ITEM;
        first || bytes <= limit
    };
    items.into_iter().take_while(fits).map(ByteBuf::from).collect()
}

/// Wakes whoever follows a member; one that is gone already has nothing to tell.
fn told(core: &Core, node: &NodeId, tell: impl FnOnce(&Follower)) {
    let follower = lock(&core.news).get(node).cloned();
    if let Some(follower) = follower {
        tell(&follower);
    }
}

/// A page of this store's order, without what is on its way to the asker.
async fn page_of_log(core: &Arc<Core>, asker: Asker, log: LogId, after: u64) -> Reply {
    let from = Cursor { log, after };
    // Before the page: what is stored meanwhile comes with the next one.
    let last = core.disk.store().last_sequence();
    if !core.logs.knows(&from, last) {
        let Cursor { log, after } = core.logs.cursor(last);
        return Reply::Log { known: false, hashes: ByteBuf::new(), log, last: after };
    }
    let look = move |store: &Store| store.record_hashes_after(after, MAX_ADDRESSES as u64);
    let page = match core.disk.run(look).await {
        Ok(page) => page,
        Err(error) => return refused(Refusal::Failed, &error.to_string()),
    };
    let end = core.logs.cursor(page.last().map_or(after, |(sequence, _)| *sequence));
    let mut hashes = page.into_iter().map(|(_, hash)| RecordHash::from_bytes(hash)).collect();
    if let Asker::Member(node, _) = asker {
        core.flying.strike(&node, &mut hashes);
    }
    let hashes = message::pack_hashes(&hashes);
    Reply::Log { known: true, hashes, log: end.log, last: end.after }
}

async fn sums(core: &Arc<Core>, member: NodeId, prefixes: Vec<Vec<u8>>) -> Reply {
    let _turn = core.comparing.of(member).await;
    match core.disk.run(move |store| compare::sums(store, &prefixes)).await {
        Ok(sums) => Reply::Sums { sums: ByteBuf::from(sums) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

async fn ids(core: &Arc<Core>, member: NodeId, parts: Vec<[u8; 2]>, size: usize) -> Reply {
    let _turn = core.comparing.of(member).await;
    match core.disk.run(move |store| compare::list(store, &parts, size)).await {
        Ok((ids, done)) => Reply::Ids { ids: ByteBuf::from(ids), parts: done as u64 },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

async fn whole_hashes(core: &Arc<Core>, member: NodeId, halves: Vec<[u8; compare::HALF]>) -> Reply {
    let look = move |store: &Store| {
        let mut found = Vec::with_capacity(halves.len());
        for half in halves {
            store.record_hashes_under(&half, &mut |hash| {
                if found.len() < MAX_ADDRESSES {
                    found.push(RecordHash::from_bytes(*hash));
                }
            })?;
        }
        Ok::<_, ReadError>(found)
    };
    let _turn = core.comparing.of(member).await;
    match core.disk.run(look).await {
        Ok(found) => Reply::Hashes { hashes: message::pack_hashes(&found) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// The records with these hashes that are here whole, as many as fit, without the puts that the asker
/// has no room for.
async fn find(core: &Arc<Core>, hashes: Vec<RecordHash>, puts: FindPuts) -> Reply {
    let is_read = move |bytes: &[u8]| {
        puts == FindPuts::All
            || Record::decode(bytes).is_ok_and(|record| ledger::is_read(&record, puts))
    };
    let read = move |store: &Store| {
        let mut found = Vec::new();
        let mut bytes = 0;
        for hash in hashes {
            match store.record(hash.as_bytes()) {
                Ok(Some(record)) if is_read(&record.bytes) => found.push(record.bytes.to_vec()),
                Ok(Some(_)) => continue,
                Ok(None) | Err(ReadError::RecordDamaged { .. }) => continue,
                Err(error) => return Err(error),
            }
            bytes += found.last().map_or(0, Vec::len);
            if bytes > MAX_RECORD_BYTES {
                break;
            }
        }
        Ok(found)
    };
    match core.disk.run(read).await {
        Ok(found) => Reply::Records { records: page(found, MAX_RECORD_BYTES) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}
