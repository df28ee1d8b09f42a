//! Answers about the records that are held here.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Record, RecordHash};
use stash_store::{ReadError, Store};

use crate::asker::Asker;
use crate::ledger::cursor::Cursor;
use crate::message::{
    FindPuts, LogId, MAX_ADDRESSES, MAX_RECORD_BYTES, Refusal, Reply, page, refused,
};
use crate::peers::Follower;
use crate::replication::{Replication, difference};
use crate::{ledger, message};

/// Wakes whoever follows a member; one that is gone already has nothing to tell.
pub(crate) fn told(replication: &Replication, node: &NodeId, tell: impl FnOnce(&Follower)) {
    let follower = replication.core.peers.follower(node);
    if let Some(follower) = follower {
        tell(&follower);
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
    prefixes: Vec<Vec<u8>>,
) -> Reply {
    let _turn = replication.transfer.comparing.of(member).await;
    match replication.core.disk.run(move |store| difference::sums(store, &prefixes)).await {
        Ok(sums) => Reply::Sums { sums: ByteBuf::from(sums) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

pub(crate) async fn ids(
    replication: &Arc<Replication>,
    member: NodeId,
    parts: Vec<[u8; 2]>,
    size: usize,
) -> Reply {
    let _turn = replication.transfer.comparing.of(member).await;
    match replication.core.disk.run(move |store| difference::list(store, &parts, size)).await {
        Ok((ids, done)) => Reply::Ids { ids: ByteBuf::from(ids), parts: done as u64 },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

pub(crate) async fn whole_hashes(
    replication: &Arc<Replication>,
    member: NodeId,
    halves: Vec<[u8; difference::HALF]>,
) -> Reply {
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

/// The records with these hashes that are here whole, as many as fit, without the puts that the asker
/// has no room for.
pub(crate) async fn find(
    replication: &Arc<Replication>,
    hashes: Vec<RecordHash>,
    puts: FindPuts,
) -> Reply {
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
    match replication.core.disk.run(read).await {
        Ok(found) => Reply::Records { records: page(found, MAX_RECORD_BYTES) },
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}
