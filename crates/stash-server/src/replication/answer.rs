//! Answers about the records that are held here.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::member::RecordSum;
use stash_crypto::{MemberLog, NodeId, Record, RecordHash};
use stash_store::{ReadError, Store, Turned, TurnedAt};

use crate::asker::Asker;
use crate::ledger::cursor::Cursor;
use crate::ledger::{LedgerError, sums};
use crate::message::{
    FindPuts, LogId, MAX_ADDRESSES, MAX_RECORD_BYTES, RecordBytes, Refusal, Reply, TURNED_PAGE,
    Which, page, refused,
};
use crate::peers::Follower;
use crate::replication::whole::Whole;
use crate::replication::{Replication, difference};
use crate::transfer::holders;
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
    which: Which,
) -> Reply {
    let Some(prefixes) = difference::prefixes(prefixes, length) else {
        return refused(Refusal::Malformed, "no prefixes of 0 or 1 bytes, at most 64");
    };
    let _turn = replication.transfer.comparing.of(member).await;
    let sums = move |store: &Store| match which {
        Which::Held => difference::sums(store, &prefixes).map(Some),
        Which::Whole => if_known(store, || difference::sums(&Whole(store), &prefixes)),
    };
    match replication.core.disk.run(sums).await {
        Ok(Some(sums)) => Reply::Sums { sums: ByteBuf::from(sums) },
        Ok(None) => not_known(),
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

pub(crate) async fn ids(
    replication: &Arc<Replication>,
    member: NodeId,
    parts: &[u8],
    size: u8,
    which: Which,
) -> Reply {
    let Some(parts) = difference::parts(parts, size) else {
        return refused(Refusal::Malformed, "no parts, at most 4096, in 16 or 32 bytes");
    };
    let size = size.into();
    let _turn = replication.transfer.comparing.of(member).await;
    let list = move |store: &Store| match which {
        Which::Held => difference::list(store, &parts, size).map(Some),
        Which::Whole => if_known(store, || difference::list(&Whole(store), &parts, size)),
    };
    match replication.core.disk.run(list).await {
        Ok(Some((ids, done))) => Reply::Ids { ids: ByteBuf::from(ids), parts: done as u64 },
        Ok(None) => not_known(),
        Err(error) => refused(Refusal::Failed, &error.to_string()),
    }
}

/// Finds something out about the records that are whole here; `None` while it is not known which are.
fn if_known<T>(
    store: &Store,
    find: impl FnOnce() -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    match knows(store) {
        true => find().map(Some),
        false => Ok(None),
    }
}

fn knows(store: &Store) -> bool {
    store.wholeness().settled && store.away().is_none()
}

fn not_known() -> Reply {
    refused(Refusal::Unavailable, "which records are whole here is being found out")
}

/// What turned whole here or stopped being so, after a position, and all that is whole.
pub(crate) async fn turned(replication: &Arc<Replication>, run: u64, after: u64) -> Reply {
    let look = move |store: &Store| {
        // Before the changes: those that come meanwhile are told again.
        let wholeness = store.wholeness();
        let turned = store.turned_since(TurnedAt { run, number: after }, TURNED_PAGE);
        let hashes = turned.records.iter().map(|(hash, _)| RecordHash::from_bytes(*hash));
        let hashes: Vec<RecordHash> = hashes.collect();
        let Some(states) = holders::known(store, &hashes)?.filter(|_| wholeness.settled) else {
            return Ok(None);
        };
        let mut records = Vec::with_capacity(hashes.len() * 33);
        for (hash, state) in hashes.iter().zip(states) {
            records.extend_from_slice(hash.as_bytes());
            records.push(state as u8);
        }
        let held = sums::sum_of(wholeness.held);
        let whole = sums::without(held, sums::sum_of(wholeness.lacking));
        Ok::<_, LedgerError>(Some((turned, records, whole)))
    };
    match replication.core.disk.run(look).await {
        Ok(Some((Turned { known, position, .. }, records, RecordSum { count: n, sum }))) => {
            let (TurnedAt { run, number: last }, records) = (position, ByteBuf::from(records));
            Reply::Turned { known, records, run, last, n, sum }
        }
        Ok(None) => not_known(),
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
