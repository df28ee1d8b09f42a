//! Healing from other members what was found damaged here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::{Address, NameId, NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{
    Batch, Blob, ChunkState, CommitError, ReadError, StageError, Store, StoredRecord,
};
use tokio::time::sleep;

use crate::ledger::{self, Chunks, at};
use crate::lock::lock;
use crate::message::{FindPuts, RecordResult, Reply, Request};
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::damage::{Damage, Damaged, Open, SENTENCE};
use crate::transfer::fetch::FetchError;
use crate::transfer::{accept, fetch};
use crate::upkeep::Upkeep;

/// The second attempt follows the first one so soon; later ones are a matter of the housekeeping.
const SOON: Duration = Duration::from_secs(1);

/// Result of an attempt.
enum Mended {
    /// It is whole here.
    Whole,
    /// It is not damaged any more: given up, or collected.
    Gone,
}

/// Reason why something damaged is not whole yet.
#[derive(Debug, thiserror::Error)]
enum NotMended {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the new copy was not kept: {0:?}")]
    NotKept(ChunkState),
    #[error("{}: the record was not kept: {result:?}", .node.short())]
    RecordNotKept { node: NodeId, result: Vec<RecordResult> },
    #[error("no other member is connected")]
    Alone,
    #[error("{} does not have it", .0.short())]
    NotThere(NodeId),
    #[error("{}: {source}", .node.short())]
    Ask { node: NodeId, source: AskError },
}

/// Tries to heal everything that is damaged, from the members that are connected.
pub(crate) async fn heal(upkeep: &Arc<Upkeep>) {
    for (damage, _) in upkeep.transfer.damage.all() {
        if upkeep.core.disk.store().away().is_some() {
            // Nothing that would come could be kept.
            return;
        }
        if upkeep.core.tasks.is_stopping() {
            return;
        }
        heal_one(upkeep, damage).await;
    }
}

/// Tries to heal one thing that was noted.
pub(crate) async fn heal_one(upkeep: &Arc<Upkeep>, damage: Damage) {
    let _one_at_a_time = upkeep.transfer.damage.attempt.lock().await;
    let Some(open) = lock(&upkeep.transfer.damage.open).get(&damage).cloned() else {
        return;
    };
    let mended = match damage {
        Damage::Chunk(address) => chunk(upkeep, address).await,
        Damage::Record(hash) => record(upkeep, hash).await,
    };
    let list = &upkeep.transfer.damage;
    match mended {
        Ok(mended) => {
            if lock(&list.open).remove(&damage).is_some() && matches!(mended, Mended::Whole) {
                list.healed.fetch_add(1, Ordering::Relaxed);
                tracing::info!(?damage, "damage is healed");
            }
            if open.written {
                write(upkeep, &damage, None).await;
            }
        }
        Err(error) if !open.written => {
            tracing::warn!(?damage, why = open.why, %error, "damage is not healed");
            let why = format!("{}; {error}", open.why);
            if write(upkeep, &damage, Some(&why)).await
                && let Some(open) = lock(&list.open).get_mut(&damage)
            {
                *open = Open { why, written: true };
            }
            // Who has it may be about to give it up, and gives it to nobody until that is decided.
            let shared = Arc::clone(upkeep);
            upkeep.core.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = shared.core.tasks.stopped() => {}
                    () = sleep(SOON) => shared.transfer.damage.look_again(),
                }
            });
        }
        Err(error) => tracing::debug!(?damage, %error, "damage is still not healed"),
    }
}

/// Writes down that something is damaged, or is no longer. False if the store does not take it.
async fn write(upkeep: &Arc<Upkeep>, damage: &Damage, why: Option<&str>) -> bool {
    let value = why.map(|why| why.as_bytes()[..why.floor_char_boundary(SENTENCE)].to_vec());
    let batch = Batch::new().row(&damage.row(), value.as_deref());
    upkeep.core.disk.run(move |store| store.commit(batch)).await.is_ok()
}

/// Makes a chunk whole.
async fn chunk(upkeep: &Arc<Upkeep>, address: Address) -> Result<Mended, NotMended> {
    let state = upkeep.core.disk.run(move |store| store.chunk_state(&at(&address))).await;
    match state? {
        ChunkState::Here { .. } => return Ok(Mended::Whole),
        ChunkState::Evicted | ChunkState::Absent => return Ok(Mended::Gone),
        ChunkState::Quarantined => {}
    }
    // Its file may be back, or be read where it was not before.
    let read =
        upkeep.core.disk.run(move |store| store.read_into(&at(&address), &mut Vec::new())).await;
    if matches!(read, Ok(true)) {
        return Ok(Mended::Whole);
    }
    let (buffer, kept) = fetch::unmeasured(&upkeep.transfer, address).await?;
    let work = move |store: &Store| {
        let bytes = buffer.freeze();
        ledger::announce_coming(store, &address, bytes.as_ref())?;
        kept.stage(Blob::assume(at(&address), bytes))?;
        store.flush()?;
        Ok::<_, NotMended>(store.chunk_state(&at(&address))?)
    };
    match upkeep.core.disk.run(work).await? {
        ChunkState::Here { .. } => Ok(Mended::Whole),
        state => Err(NotMended::NotKept(state)),
    }
}

/// Makes a record whole: the same bytes from another member replace those that are damaged.
async fn record(upkeep: &Arc<Upkeep>, hash: RecordHash) -> Result<Mended, NotMended> {
    match upkeep.core.disk.run(move |store| store.record(hash.as_bytes())).await {
        Ok(Some(_)) => return Ok(Mended::Whole),
        Ok(None) => return Ok(Mended::Gone),
        Err(ReadError::RecordDamaged { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut why = NotMended::Alone;
    for (node, peer) in upkeep.core.connected() {
        let record = match find(&peer, hash).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                why = NotMended::NotThere(node);
                continue;
            }
            Err(source) => {
                why = NotMended::Ask { node, source };
                continue;
            }
        };
        let name = record.clear().name;
        match replace(upkeep, node, record).await {
            Ok(()) => {
                // Whoever keeps an index of names passed the record over while it was damaged.
                let _nobody_listens = upkeep.transfer.damage.mended.send(name);
                return Ok(Mended::Whole);
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn replace(upkeep: &Arc<Upkeep>, node: NodeId, record: Record) -> Result<(), NotMended> {
    let hash = record.hash();
    let result = accept::accept(&upkeep.transfer, node, vec![Ok(record)], Chunks::Later).await;
    match upkeep.core.disk.run(move |store| store.record(hash.as_bytes())).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(NotMended::RecordNotKept { node, result }),
        Err(error) => Err(error.into()),
    }
}

/// At most `limit` records after a sequence number. A damaged one is healed first; one that no
/// member has whole is passed over, or else it would hide all that come after it.
pub(crate) async fn records_after(
    upkeep: &Arc<Upkeep>,
    after: u64,
    limit: u64,
) -> Result<Vec<StoredRecord>, ReadError> {
    let read = move |store: &Store| store.records_after(after, limit);
    match upkeep.core.disk.run(read).await {
        Err(ReadError::RecordDamaged { .. }) => {}
        result => return result,
    }
    let (mut after, mut whole) = (after, Vec::new());
    loop {
        let page =
            upkeep.core.disk.run(move |store| store.record_hashes_after(after, limit)).await?;
        let Some((last, _)) = page.last() else {
            return Ok(whole);
        };
        after = *last;
        for (_, hash) in page {
            whole.extend(record_if_whole(upkeep, hash).await?);
        }
        // Nothing at all would say that there are no more.
        if !whole.is_empty() {
            return Ok(whole);
        }
    }
}

async fn record_if_whole(
    upkeep: &Arc<Upkeep>,
    hash: [u8; 32],
) -> Result<Option<StoredRecord>, ReadError> {
    let read = move |store: &Store| store.record(&hash);
    let damage = Damage::Record(RecordHash::from_bytes(hash));
    match upkeep.core.disk.run(read).await {
        Err(error @ ReadError::RecordDamaged { .. }) => {
            // Not again and again: the housekeeping asks from time to time.
            if upkeep.transfer.damage.met(damage, error.to_string()) {
                heal_one(upkeep, damage).await;
            }
        }
        result => return result,
    }
    match upkeep.core.disk.run(read).await {
        Err(ReadError::RecordDamaged { .. }) => Ok(None),
        result => result,
    }
}

/// Asks a member for one record.
async fn find(peer: &Peer, hash: RecordHash) -> Result<Option<Record>, AskError> {
    let request = Request::Find { hashes: ByteBuf::from(hash.as_bytes()), puts: FindPuts::All };
    let reply = ask(peer, &request).await?;
    let Reply::Records { records } = reply else {
        return Err(unexpected(&reply));
    };
    let Some(bytes) = records.first() else {
        return Ok(None);
    };
    match Record::decode(bytes.as_ref()) {
        Ok(record) if record.hash() == hash => Ok(Some(record)),
        Ok(_) => Err(AskError::Protocol("another record".to_owned())),
        Err(error) => Err(AskError::Protocol(error.to_string())),
    }
}

/// Damage that is not healed, the first `limit`, with the records and names that it concerns.
/// Blocking.
pub(crate) fn view(upkeep: &Upkeep, store: &Store, limit: usize) -> Vec<Damaged> {
    let all = upkeep.transfer.damage.all().into_iter().take(limit);
    let one = |(damage, open): (Damage, Open)| {
        let records = match damage {
            // What cannot be looked up is not named; the damage itself is.
            Damage::Chunk(address) => store.referrers(&at(&address)).unwrap_or_default(),
            Damage::Record(hash) => vec![*hash.as_bytes()],
        };
        let read = |hash: &[u8; 32]| {
            let stored = store.record(hash).ok().flatten()?;
            Some(ledger::decode(&stored).ok()?.clear().name)
        };
        let mut names: Vec<NameId> = records.iter().filter_map(read).collect();
        names.sort_unstable();
        names.dedup();
        let records = records.into_iter().map(RecordHash::from_bytes).collect();
        Damaged { damage, why: open.why, records, names }
    };
    all.map(one).collect()
}
