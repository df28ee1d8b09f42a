//! Records that are here without all of their chunks, and bringing the chunks.
//!
//! The list of wanted records stands in the store, so that a restart goes on where it was. Chunks
//! come once their records are here, those first that the fewest connected members have.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use stash_crypto::{Address, ChunkRef, Manifest, NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, StageError, Store};
use tokio::time::{Instant, sleep};

use crate::ledger::{LedgerError, Named, at, rows};
use crate::message::{Holding, Reply, Request};
use crate::replication::{Replication, ask_again, records};
use crate::rpc::{AskError, ask};
use crate::transfer::counting::Counting;
use crate::transfer::fetch::{Fetch, FetchError, Purpose};
use crate::transfer::{fetch, holders};
use crate::{ledger, message};

/// Records looked at together: one question to each member tells who has what.
const BATCH: usize = 256;

/// Records whose chunks are brought at once. Their buffers are bounded besides.
const AT_ONCE: usize = 16;

/// Copies with which a record is in no danger.
const MANY: u8 = 3;

/// Copies with which a record can wait for those that have one.
const SAFER: [u8; 2] = [2, MANY];

/// While some records are not looked at yet, those that can wait are brought for so many times as long as the looking
/// has taken.
const SAFE_SHARE: u32 = 4;

/// Time until wanted chunks are asked for again that no connected member had, if nothing new
/// happens.
const RETRY: Duration = Duration::from_secs(60);

/// Bytes of a manifest chunk, which are about what the store takes to note what it names.
const MANIFEST: u64 = 1 << 20;

/// Has those of these records brought whole that are held here and lack chunks, unless their bytes
/// were given up.
pub(crate) async fn look_at(
    replication: &Arc<Replication>,
    hashes: Vec<RecordHash>,
) -> Result<(), AskError> {
    let look = move |store: &Store| {
        let mut batch = Batch::new();
        for hash in &hashes {
            if store.row(&rows::want(hash))?.is_none()
                && holders::here(store, hash)? == Holding::Incomplete
            {
                batch = batch.row(&rows::want(hash), Some(&[]));
            }
        }
        if batch.is_empty() {
            return Ok(false);
        }
        store.commit(batch.even_if_full())?;
        Ok::<_, LedgerError>(true)
    };
    if replication.core.disk.run(look).await? {
        replication.transfer.wanted.notify_one();
    }
    Ok(())
}

/// Wakes what waits for room when there is some.
pub(crate) fn hear_of_room(replication: &Arc<Replication>) {
    let listener = Arc::downgrade(replication);
    replication.core.disk.store().on_room(move || {
        if let Some(replication) = listener.upgrade() {
            replication.waits.grew();
            replication.transfer.wanted.notify_one();
            replication.transfer.rooms.changed();
        }
    });
}

/// Asks again for what found no room, once there is some.
async fn ask_again(replication: &Arc<Replication>) {
    if replication.refused.some()
        && replication.core.disk.run(records::has_room).await
        && let Err(error) = ask_again::ask_again(replication).await
    {
        tracing::debug!(%error, "what found no room is asked for later");
    }
}

/// Brings what is wanted until the engine stops. Without room nobody is asked for anything: only
/// the own disk is looked at from time to time.
pub(crate) async fn run(replication: Arc<Replication>) {
    let task = replication.core.tasks.list("fetch");
    loop {
        task.begins();
        ask_again(&replication).await;
        let shared = Arc::clone(&replication);
        let passed = match replication.core.disk.run(move |store| shared.waits.is_over(store)).await
        {
            true => pass(&replication).await.map(drop),
            false => Ok(()),
        };
        let left = match passed {
            Ok(()) => replication.core.disk.run(|store| store.rows_after(rows::WANT, &[], 1)).await,
            Err(error) => {
                tracing::warn!(%error, "what is wanted could not be brought");
                Ok(Vec::new())
            }
        };
        let left = left.is_ok_and(|rows| !rows.is_empty()) || replication.refused.some();
        task.ends(left.then_some(RETRY));
        let again = async { if left { sleep(RETRY).await } else { std::future::pending().await } };
        tokio::select! {
            biased;
            () = replication.core.tasks.stopped() => return,
            () = replication.transfer.wanted.notified() => {}
            () = again => {}
        }
    }
}

/// Brings what is wanted, as far as connected members have it: page by page as it is looked at, at once that of which one
/// of them has a copy, then all of which two have. Returns how many records are whole now, or not wanted any more.
pub(crate) async fn pass(replication: &Arc<Replication>) -> Result<u64, LedgerError> {
    let _alone = replication.wanting.lock().await;
    replication.waits.end();
    let mut done = first_look(replication).await?;
    'copies: for copies in 1..=MANY {
        let mut after = Vec::new();
        while let Some(page) = Page::read(replication, &mut after).await? {
            if replication.waits.some() {
                break 'copies;
            }
            done += page.bring(replication, &[copies]).await?;
        }
    }
    if replication.waits.some() {
        replication.transfer.rooms.changed();
    }
    if done > 0 {
        // Others may have been waiting for what is whole here now.
        replication.core.applied();
    }
    Ok(done)
}

/// Looks at what is wanted and was not looked at yet. What is in danger is brought at once; of the rest, so much that
/// looking on takes its share of the time: else a late joiner would have nothing for as long as it looks, and what is
/// in danger at the end would wait for all that is safe. Returns how many records are whole now, or not wanted any
/// more.
async fn first_look(replication: &Arc<Replication>) -> Result<u64, LedgerError> {
    let (mut done, mut after) = (0, Vec::new());
    let (mut looking, mut bringing) = (Duration::ZERO, Duration::ZERO);
    while let Some(page) = Page::read(replication, &mut after).await? {
        let begun = Instant::now();
        let (page, gone) = page.look(replication).await?;
        looking += begun.elapsed();
        done += gone;
        if replication.waits.some() {
            // The rest is looked at all the same: it costs no room, and some of it may be gone.
            continue;
        }
        done += page.clone().bring(replication, &[1]).await?;
        if bringing <= looking * SAFE_SHARE && !replication.waits.some() {
            let begun = Instant::now();
            done += page.bring(replication, &SAFER).await?;
            bringing += begun.elapsed();
        }
    }
    Ok(done)
}

/// Some rows of what is wanted: a record, and how many connected members had what it lacks when
/// that was looked at last.
#[derive(Clone)]
struct Page(Vec<(RecordHash, Option<u8>)>);

impl Page {
    /// The next rows; `None` after the last, or when the engine stops.
    async fn read(
        replication: &Replication,
        after: &mut Vec<u8>,
    ) -> Result<Option<Page>, LedgerError> {
        let from = after.clone();
        let rows = replication
            .core
            .disk
            .run(move |store| store.rows_after(rows::WANT, &from, BATCH))
            .await?;
        let Some((last, _)) = rows.last().filter(|_| !replication.core.tasks.is_stopping()) else {
            return Ok(None);
        };
        after.clone_from(last);
        let wanted = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let hash = RecordHash::from_bytes(key.strip_prefix(rows::WANT)?.try_into().ok()?);
            Some((hash, value.first().copied()))
        };
        Ok(Some(Page(rows.iter().filter_map(wanted).collect())))
    }

    /// Counts the members that have what these records lack, unless that is noted already, and notes it. Returns those that
    /// are wanted, and how many are not any more.
    async fn look(self, replication: &Arc<Replication>) -> Result<(Page, u64), LedgerError> {
        let is_known = |(_, noted): &(RecordHash, Option<u8>)| noted.is_some_and(|noted| noted > 0);
        let (mut page, rows): (Vec<_>, Vec<_>) = self.0.into_iter().partition(is_known);
        let is_cache = replication.core.keeps.is_cache();
        let look = move |store: &Store| {
            let (mut wanted, mut done) = (Vec::new(), Vec::new());
            for (hash, noted) in rows {
                match lacking(store, &hash, is_cache)? {
                    Some((_, lacking)) => wanted.push(Wanted { hash, noted, lacking, copies: 0 }),
                    None => done.push(hash),
                }
            }
            Ok::<_, LedgerError>((wanted, done))
        };
        let (mut wanted, done) = replication.core.disk.run(look).await?;
        count_copies(replication, &mut wanted).await;
        let count = done.len() as u64;
        page.extend(wanted.iter().map(|one| (one.hash, Some(one.copies))));
        let write = move |store: &Store| {
            let strike = |batch: Batch, hash: &RecordHash| batch.row(&rows::want(hash), None);
            let note =
                |batch: Batch, one: &Wanted| batch.row(&rows::want(&one.hash), Some(&[one.copies]));
            let changed = wanted.iter().filter(|one| one.noted != Some(one.copies));
            let batch = changed.fold(done.iter().fold(Batch::new(), strike), note);
            if !batch.is_empty() {
                store.commit(batch.even_if_full())?;
            }
            Ok::<_, LedgerError>(())
        };
        replication.core.disk.run(write).await?;
        Ok((Page(page), count))
    }

    /// Brings those of which so many members have a copy, and those that were not looked at yet.
    /// Returns how many are whole now.
    async fn bring(
        self,
        replication: &Arc<Replication>,
        copies: &[u8],
    ) -> Result<u64, LedgerError> {
        let due = |noted: Option<u8>| noted.is_none_or(|noted| copies.contains(&noted.min(MANY)));
        let due = self.0.into_iter().filter(|(_, noted)| due(*noted));
        let bring = |(hash, _)| async move { (hash, complete_if_room(replication, hash).await) };
        let mut brought = stream::iter(due.map(bring)).buffer_unordered(AT_ONCE);
        let (mut done, mut not_had) = (Vec::new(), Vec::new());
        while let Some((hash, result)) = brought.next().await {
            match result {
                Ok(()) => done.push(hash),
                Err(error) => {
                    tracing::debug!(%error, "a wanted record still lacks chunks");
                    if matches!(error, Incomplete::Fetch(_)) {
                        not_had.push(hash);
                    }
                }
            }
        }
        let count = done.len() as u64;
        let strike = |batch: Batch, hash: &RecordHash| batch.row(&rows::want(hash), None);
        // What was noted of the others is not so any more.
        let note = |batch: Batch, hash: &RecordHash| batch.row(&rows::want(hash), Some(&[0]));
        let batch = not_had.iter().fold(done.iter().fold(Batch::new(), strike), note);
        if !batch.is_empty() {
            let batch = batch.even_if_full();
            replication.core.disk.run(move |store| store.commit(batch)).await?;
        }
        Ok(count)
    }
}

/// A record that lacks chunks.
struct Wanted {
    hash: RecordHash,
    /// Copies that were noted.
    noted: Option<u8>,
    /// A chunk of it that is not here.
    lacking: Address,
    /// Connected members that have that chunk and whose copies count; 1 if only others say that they have it.
    copies: u8,
}

/// The record and a chunk of it that is not here, if it is still wanted. A cache wants manifests only.
fn lacking(
    store: &Store,
    hash: &RecordHash,
    is_cache: bool,
) -> Result<Option<(Record, Address)>, LedgerError> {
    // Forgotten; or damaged: its good copy is wanted again when it comes.
    let Some(record) = ledger::whole(store, hash)? else {
        return Ok(None);
    };
    if ledger::is_given_up(store, &record)? {
        return Ok(None);
    }
    let named = Named::of(store, &record.clear().manifest)?;
    // An older program kept manifest chunks without saying what they name.
    named.announce(store)?;
    let mut missing = named.missing.iter().copied();
    let missing = match (is_cache, &record.clear().manifest) {
        (false, _) => missing.next(),
        (true, Manifest::Indirect { chunks, .. }) => {
            missing.find(|missing| chunks.iter().any(|chunk| chunk.address == *missing))
        }
        (true, _) => None,
    };
    Ok(missing.map(|address| (record, address)))
}

/// Asks all connected members which of the chunks that these records lack they have, and counts those whose word counts.
async fn count_copies(replication: &Replication, wanted: &mut [Wanted]) {
    let chunks = message::pack(wanted.iter().map(|wanted| &wanted.lacking));
    let ask_one = |(node, peer): (NodeId, Peer)| {
        let (chunks, count) = (chunks.clone(), wanted.len());
        async move {
            match ask(&peer, &Request::Have { chunks }).await {
                Ok(Reply::Have { chunks }) => Some((node, message::flags(&chunks, count).ok()?)),
                Ok(_) => None,
                Err(error) => {
                    tracing::debug!(peer = %node.short(), %error, "a member does not say what it has");
                    None
                }
            }
        }
    };
    let answers =
        futures::future::join_all(replication.core.connected().into_iter().map(ask_one)).await;
    let counting = Counting::now(&replication.transfer);
    let (sure, unsure): (Vec<_>, Vec<_>) =
        answers.into_iter().flatten().partition(|(node, _)| counting.counts(node));
    for (_, here) in sure {
        for (wanted, here) in wanted.iter_mut().zip(here) {
            wanted.copies = wanted.copies.saturating_add(u8::from(here));
        }
    }
    // One whose word does not count may have it all the same: it is asked, as for what is in danger.
    for (_, here) in unsure {
        for (wanted, _) in wanted.iter_mut().zip(here).filter(|(_, here)| *here) {
            wanted.copies = wanted.copies.max(1);
        }
    }
}

/// Reason why a record still lacks chunks.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("there is no room")]
    NoRoom,
    #[error("the store did not keep all of its chunks")]
    NotKept,
    #[error(transparent)]
    Store(#[from] LedgerError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Brings a record, unless there was no room for another one since the pass began.
async fn complete_if_room(
    replication: &Arc<Replication>,
    hash: RecordHash,
) -> Result<(), Incomplete> {
    match replication.waits.some() {
        true => Err(Incomplete::NoRoom),
        false => complete(replication, hash).await,
    }
}

/// Brings every chunk of a record, through its manifest chunks, as far as there is room.
async fn complete(replication: &Arc<Replication>, hash: RecordHash) -> Result<(), Incomplete> {
    let is_cache = replication.core.keeps.is_cache();
    let wanted = replication.core.disk.run(move |store| lacking(store, &hash, is_cache)).await?;
    let Some((record, _)) = wanted else {
        return Ok(());
    };
    let refs =
        fetch::manifest(&replication.transfer, &record.clear().manifest, Purpose::CatchUp).await;
    let refs = refs.inspect_err(|error| heed(replication, error))?;
    if is_cache {
        return Ok(replication.core.disk.run(Store::flush).await.map_err(LedgerError::from)?);
    }
    let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
    let has = move |store: &Store| store.has(&addresses);
    let here = replication.core.disk.run(has.clone()).await.map_err(LedgerError::from)?;
    let absent = refs.iter().zip(here).filter(|(_, here)| !here).map(|(chunk, _)| *chunk);
    let brought = bring_chunks(replication, absent.collect()).await;
    let flushed = replication.core.disk.run(Store::flush).await;
    let longest = brought?;
    if let Err(error) = flushed {
        // It may be somebody else's chunk that was lost.
        if longest > 0 {
            replication.waits.note(longest, false);
        }
        return Err(LedgerError::from(error).into());
    }
    let here = replication.core.disk.run(has).await.map_err(LedgerError::from)?;
    match here.iter().all(|here| *here) {
        true => Ok(()),
        false => {
            replication.waits.note(longest, false);
            Err(Incomplete::NotKept)
        }
    }
}

/// Brings chunks, and says how long the longest of them is.
async fn bring_chunks(
    replication: &Arc<Replication>,
    chunks: Vec<ChunkRef>,
) -> Result<u64, FetchError> {
    let mut fetch = Fetch::open(&replication.transfer, chunks, Purpose::CatchUp);
    let (mut longest, mut full) = (0, None);
    while let Some(chunk) = fetch.next().await {
        match chunk {
            Ok(chunk) => longest = longest.max(chunk.len() as u64),
            // What is under way is waited for: there is room for it.
            Err(error @ FetchError::NotKept { .. }) => {
                heed(replication, &error);
                full = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    full.map_or(Ok(longest), Err)
}

/// Notes that there is no room, if that is what the error says.
fn heed(replication: &Replication, error: &FetchError) {
    match error {
        FetchError::NotKept { sealed_len, why, .. } => {
            let asks = matches!(**why, StageError::NoRoom(_));
            replication.waits.note((*sealed_len).into(), asks);
        }
        FetchError::NoRoom { .. } => replication.waits.note(MANIFEST, true),
        _ => {}
    }
}
