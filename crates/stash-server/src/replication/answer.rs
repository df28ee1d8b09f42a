//! Answers about the records that are held here.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{MemberLog, NodeId, Record, RecordHash};
use stash_store::{ReadError, Store};

use crate::asker::Asker;
use crate::ledger::cursor::Cursor;
use crate::message::{
    FindPuts, LogId, MAX_ADDRESSES, MAX_RECORD_BYTES, RecordBytes, Refusal, Reply, page, refused,
};
use crate::peers::Follower;
use crate::replication::{Replication, difference};
use crate::{ledger, message};

/// A member has news: the task that follows it reads them.
pub(crate) fn news(replication: &Replication, node: NodeId) -> Reply {
    told(replication, node, Follower::news)
}

/// A member tells what it has and this node lacks.
pub(crate) fn lack(replication: &Replication, node: NodeId, hashes: &[u8]) -> Reply {
    match message::unpack_hashes(hashes) {
        Ok(hashes) => told(replication, node, |follower| follower.lack(hashes)),
        Err(error) => refused(Refusal::Malformed, &error.to_string()),
    }
}

/// Wakes the task that follows a member; one that is gone already has nothing to tell.
fn told(replication: &Replication, node: NodeId, tell: impl FnOnce(&Follower)) -> Reply {
    if let Some(follower) = replication.core.peers.follower(&node) {
        tell(&follower);
    }
    Reply::Done {}
}

/// All that is held, in a few figures.
pub(crate) async fn totals(replication: &Arc<Replication>) -> Reply {
    let log = replication.core.roster.log(MemberLog::len);
    let shared = Arc::clone(replication);
    match replication.core.disk.run(move |store| shared.refused.with_totals(store)).await {
        Ok((held, refused)) => {
            let less = if refused.count > 0 { refused.sum.to_vec() } else { Vec::new() };
            let (n, sum, full) = (held.count, held.sum, refused.count);
            Reply::All { n, sum, log, full, less: ByteBuf::from(less) }
        }
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// A page of this store's order, without what is on its way to the asker.
pub(crate) async fn page_of_log(
    replication: &Arc<Replication>,
    asker: Asker,
    log: LogId,
    after: u64,
) -> Reply {
    let from = Cursor { log, after };
    // Before the page: what is stored meanwhile comes with the next one.
    let last = replication.core.disk.store().last_sequence();
    if !replication.stretches.knows(&from, last) {
        let Cursor { log, after } = replication.stretches.cursor(last);
        return Reply::Log { known: false, hashes: ByteBuf::new(), log, last: after };
    }
    let look = move |store: &Store| store.record_hashes_after(after, MAX_ADDRESSES as u64);
    let page = match replication.core.disk.run(look).await {
        Ok(page) => page,
        Err(error) => return refused(Refusal::Failed, &error.to_string()),
    };
    let end = replication.stretches.cursor(page.last().map_or(after, |(sequence, _)| *sequence));
    let mut hashes = page.into_iter().map(|(_, hash)| RecordHash::from_bytes(hash)).collect();
    if let Asker::Member(node, _) = asker {
        replication.transfer.in_flight.strike(&node, &mut hashes);
    }
    let hashes = message::pack_hashes(&hashes);
    Reply::Log { known: true, hashes, log: end.log, last: end.after }
}

pub(crate) async fn sums(
    replication: &Arc<Replication>,
    member: NodeId,
    prefixes: &[u8],
    length: u8,
) -> Reply {
    let Some(prefixes) = difference::prefixes(prefixes, length) else {
        return refused(Refusal::Malformed, "no prefixes of 0 or 1 bytes, at most 64");
    };
    let _turn = replication.transfer.comparing.of(member).await;
    match replication.core.disk.run(move |store| difference::sums(store, &prefixes)).await {
        Ok(sums) => Reply::Sums { sums: ByteBuf::from(sums) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

pub(crate) async fn ids(
    replication: &Arc<Replication>,
    member: NodeId,
    parts: &[u8],
    size: u8,
) -> Reply {
    let Some(parts) = difference::parts(parts, size) else {
        return refused(Refusal::Malformed, "no parts, at most 4096, in 16 or 32 bytes");
    };
    let size = size.into();
    let _turn = replication.transfer.comparing.of(member).await;
    match replication.core.disk.run(move |store| difference::list(store, &parts, size)).await {
        Ok((ids, done)) => Reply::Ids { ids: ByteBuf::from(ids), parts: done as u64 },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

pub(crate) async fn whole_hashes(
    replication: &Arc<Replication>,
    member: NodeId,
    halves: &[u8],
) -> Reply {
    let Some(halves) = difference::halves(halves) else {
        return refused(Refusal::Malformed, "no halves of hashes, at most 4096");
    };
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
    let _turn = replication.transfer.comparing.of(member).await;
    match replication.core.disk.run(look).await {
        Ok(found) => Reply::Hashes { hashes: message::pack_hashes(&found) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// The records with these hashes that are here whole, as many as fit, without the puts that the
/// asker has no room for.
pub(crate) async fn find(replication: &Arc<Replication>, hashes: &[u8], puts: FindPuts) -> Reply {
    let hashes = match message::unpack_hashes(hashes) {
        Ok(hashes) => hashes,
        Err(error) => return refused(Refusal::Malformed, &error.to_string()),
    };
    let is_read = move |bytes: &[u8]| {
        puts == FindPuts::All
            || Record::decode(bytes).is_ok_and(|record| ledger::is_read(&record, puts))
    };
    let read = move |store: &Store| {
        let mut found = Vec::new();
        let mut bytes = 0;
        for hash in hashes {
            match store.record(hash.as_bytes()) {
                Ok(Some(record)) if is_read(&record.bytes) => found.push(RecordBytes(record.bytes)),
                Ok(Some(_)) => continue,
                Ok(None) | Err(ReadError::RecordDamaged { .. }) => continue,
                Err(error) => return Err(error),
            }
            bytes += found.last().map_or(0, |record: &RecordBytes| record.0.len());
            if bytes > MAX_RECORD_BYTES {
                break;
            }
        }
        Ok(found)
    };
    match replication.core.disk.run(read).await {
        Ok(found) => Reply::Records { records: page(found, MAX_RECORD_BYTES) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}
