//! Records that are here without all of their chunks, and bringing the chunks.
//!
//! What is wanted stands in the store, so that a restart goes on where it was. Chunks come once
//! their records are here, those first that the fewest connected members have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use stash_crypto::{Address, ChunkRef, NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Allowance, Batch, StageError, Store};
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::ledger::{LedgerError, Named, at, rows};
use crate::lock::lock;
use crate::message::{Reply, Request};
use crate::replication::{records, refused};
use crate::rpc::{AskError, ask};
use crate::transfer::fetch::{Fetch, FetchError, Purpose};
use crate::transfer::holders::Holding;
use crate::transfer::{fetch, holders};
use crate::{ledger, message};

/// Records looked at together: one question to each member tells who has what.
const BATCH: usize = 256;

/// Records whose chunks are brought at once. Their buffers are bounded besides.
const AT_ONCE: usize = 16;

/// So many copies or more are no danger.
const MANY: u8 = 3;

/// When to try again what no connected member had, if nobody came or told anything new.
const RETRY: Duration = Duration::from_secs(60);

/// When to try again what the disk did not take though there seemed to be room.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Bytes of a manifest chunk, which are about what the store takes to note what it names.
const MANIFEST: u64 = 1 << 20;

/// Has those of these records brought whole that are held here and lack chunks, unless their bytes
/// were given up.
pub(crate) async fn look_at(core: &Arc<Core>, hashes: Vec<RecordHash>) -> Result<(), AskError> {
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
    if core.disk.run(look).await.map_err(|error| AskError::Gone(error.to_string()))? {
        core.wanted.notify_one();
    }
    Ok(())
}

/// What is waited for when a pass ended for want of room.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Option<Want>>);

#[derive(Clone, Copy, Debug)]
struct Want {
    /// Bytes of the chunk that found no room.
    len: u64,
    /// Whether asking tells if there is room for it: a disk may refuse what it seemed to have room for.
    asks: bool,
    /// It is tried again then in any case.
    until: Instant,
}

impl Waits {
    /// There is more room than there was.
    fn grew(&self) {
        lock(&self.0).iter_mut().for_each(|want| want.asks = true);
    }

    /// There is no room for a chunk of this length.
    fn note(&self, len: u64, asks: bool) {
        *lock(&self.0) = Some(Want { len, asks, until: Instant::now() + AGAIN });
    }

    fn some(&self) -> bool {
        lock(&self.0).is_some()
    }

    fn end(&self) {
        *lock(&self.0) = None;
    }

    /// Whether it is of use to begin.
    fn is_over(&self, store: &Store) -> bool {
        let want = *lock(&self.0);
        want.is_none_or(|Want { len, asks, until }| {
            Instant::now() >= until || asks && store.has_room(len, Allowance::None)
        })
    }
}

/// Lets what waits for room know when there is some.
pub(crate) fn hear_of_room(core: &Arc<Core>) {
    let listener = Arc::downgrade(core);
    core.disk.store().on_room(move || {
        if let Some(core) = listener.upgrade() {
            core.waits.grew();
            core.wanted.notify_one();
            core.rooms.changed();
        }
    });
}

/// Asks again for what found no room, once there is some.
async fn ask_again(core: &Arc<Core>) {
    if core.refused.some()
        && core.disk.run(records::has_room).await
        && let Err(error) = refused::ask_again(core).await
    {
        tracing::debug!(%error, "what found no room is asked for later");
    }
}

/// Brings what is wanted until the engine stops. Without room nobody is asked for anything: only the
/// own disk is looked at from time to time.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        ask_again(&core).await;
        let shared = Arc::clone(&core);
        let passed = match core.disk.run(move |store| shared.waits.is_over(store)).await {
            true => pass(&core).await.map(drop),
            false => Ok(()),
        };
        let left = match passed {
            Ok(()) => core.disk.run(|store| store.rows_after(rows::WANT, &[], 1)).await,
            Err(error) => {
                tracing::warn!(%error, "what is wanted could not be brought");
                Ok(Vec::new())
            }
        };
        let left = left.is_ok_and(|rows| !rows.is_empty()) || core.refused.some();
        let again = async { if left { sleep(RETRY).await } else { std::future::pending().await } };
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = core.wanted.notified() => {}
            () = again => {}
        }
    }
}

/// Brings what is wanted, as far as connected members have it: first all of which one of them has a
/// copy, then all of which two have. How many records are whole now, or not wanted any more.
pub(crate) async fn pass(core: &Arc<Core>) -> Result<u64, LedgerError> {
    let _alone = core.wanting.lock().await;
    let mut done = 0;
    let mut after = Vec::new();
    while let Some(page) = Page::read(core, &mut after).await? {
        done += page.look(core).await?;
    }
    core.waits.end();
    'copies: for copies in 1..=MANY {
        let mut after = Vec::new();
        while let Some(page) = Page::read(core, &mut after).await? {
            done += page.bring(core, copies).await?;
            if core.waits.some() {
                core.rooms.changed();
                break 'copies;
            }
        }
    }
    if done > 0 {
        // Others may have been waiting for what is whole here now.
        core.applied();
    }
    Ok(done)
}

/// Some rows of what is wanted: a record, and how many connected members had what it lacks when
/// that was looked at last.
struct Page(Vec<(RecordHash, Option<u8>)>);

impl Page {
    /// The next rows; `None` after the last, or when the engine stops.
    async fn read(core: &Core, after: &mut Vec<u8>) -> Result<Option<Page>, LedgerError> {
        let from = after.clone();
        let rows = core.disk.run(move |store| store.rows_after(rows::WANT, &from, BATCH)).await?;
        let Some((last, _)) = rows.last().filter(|_| !core.stop.is_cancelled()) else {
            return Ok(None);
        };
        after.clone_from(last);
        let wanted = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let hash = RecordHash::from_bytes(key.strip_prefix(rows::WANT)?.try_into().ok()?);
            Some((hash, value.first().copied()))
        };
        Ok(Some(Page(rows.iter().filter_map(wanted).collect())))
    }

    /// Looks who has what these records lack, and notes it. How many are not wanted any more.
    async fn look(self, core: &Arc<Core>) -> Result<u64, LedgerError> {
        let rows = self.0;
        let look = move |store: &Store| {
            let (mut wanted, mut done) = (Vec::new(), Vec::new());
            for (hash, noted) in rows {
                match lacking(store, &hash)? {
                    Some((_, lacking)) => wanted.push(Wanted { hash, noted, lacking, copies: 0 }),
                    None => done.push(hash),
                }
            }
            Ok::<_, LedgerError>((wanted, done))
        };
        let (mut wanted, done) = core.disk.run(look).await?;
        count_copies(core, &mut wanted).await;
        let count = done.len() as u64;
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
        core.disk.run(write).await?;
        Ok(count)
    }

    /// Brings those of which so many members have a copy, and those that were not looked at yet. How
    /// many are whole now.
    async fn bring(self, core: &Arc<Core>, copies: u8) -> Result<u64, LedgerError> {
        let due = |noted: Option<u8>| noted.is_none_or(|noted| noted.min(MANY) == copies);
        let due = self.0.into_iter().filter(|(_, noted)| due(*noted));
        let bring = |(hash, _)| async move { (hash, complete_if_room(core, hash).await) };
        let mut brought = stream::iter(due.map(bring)).buffer_unordered(AT_ONCE);
        let mut done = Vec::new();
        while let Some((hash, result)) = brought.next().await {
            match result {
                Ok(()) => done.push(hash),
                Err(reason) => tracing::debug!(reason, "a wanted record still lacks chunks"),
            }
        }
        let count = done.len() as u64;
        if count > 0 {
            let strike = |batch: Batch, hash: &RecordHash| batch.row(&rows::want(hash), None);
            let batch = done.iter().fold(Batch::new(), strike).even_if_full();
            core.disk.run(move |store| store.commit(batch)).await?;
        }
        Ok(count)
    }
}

/// A record that lacks chunks.
struct Wanted {
    hash: RecordHash,
    /// How many copies were noted.
    noted: Option<u8>,
    /// A chunk of it that is not here.
    lacking: Address,
    /// Connected members that have that chunk.
    copies: u8,
}

/// The record and a chunk of it that is not here, if it is still wanted.
fn lacking(store: &Store, hash: &RecordHash) -> Result<Option<(Record, Address)>, LedgerError> {
    // Forgotten; or damaged: its good copy is wanted again when it comes.
    let Some(record) = ledger::whole(store, hash)? else {
        return Ok(None);
    };
    if ledger::is_given_up(store, &record)? {
        return Ok(None);
    }
    let named = Named::of(store, &record.clear().manifest)?;
    let Some(address) = named.missing.first().copied() else {
        // It was taken while nobody could look, or its chunks came by themselves.
        named.announce(store)?;
        return Ok(None);
    };
    Ok(Some((record, address)))
}

/// Asks all connected members which of the chunks that these records lack they have.
async fn count_copies(core: &Core, wanted: &mut [Wanted]) {
    let chunks = message::pack(wanted.iter().map(|wanted| &wanted.lacking));
    let ask_one = |(node, peer): (NodeId, Peer)| {
        let (chunks, count) = (chunks.clone(), wanted.len());
        async move {
            match ask(&peer, &Request::Have { chunks }).await {
                Ok(Reply::Have { chunks }) => message::flags(&chunks, count).ok(),
                Ok(_) => None,
                Err(error) => {
                    tracing::debug!(peer = %node.short(), %error, "a member does not say what it has");
                    None
                }
            }
        }
    };
    let answers = futures::future::join_all(core.connected().into_iter().map(ask_one)).await;
    for here in answers.into_iter().flatten() {
        for (wanted, here) in wanted.iter_mut().zip(here) {
            wanted.copies = wanted.copies.saturating_add(u8::from(here));
        }
    }
}

/// Brings a record, unless there was no room for another one since the pass began.
async fn complete_if_room(core: &Arc<Core>, hash: RecordHash) -> Result<(), String> {
    match core.waits.some() {
        true => Err("there is no room".to_owned()),
        false => complete(core, hash).await,
    }
}

/// Brings every chunk of a record, through its manifest chunks, as far as there is room.
async fn complete(core: &Arc<Core>, hash: RecordHash) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let wanted = core.disk.run(move |store| lacking(store, &hash)).await;
    let Some((record, _)) = wanted.map_err(|error| words(&error))? else {
        return Ok(());
    };
    let refs = fetch::manifest(core, &record.clear().manifest, Purpose::CatchUp).await;
    let refs = refs.inspect_err(|error| heed(core, error)).map_err(|error| words(&error))?;
    let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
    let has = move |store: &Store| store.has(&addresses);
    let here = core.disk.run(has.clone()).await.map_err(|error| words(&error))?;
    let absent = refs.iter().zip(here).filter(|(_, here)| !here).map(|(chunk, _)| *chunk);
    let brought = bring_chunks(core, absent.collect()).await;
    let flushed = core.disk.run(Store::flush).await;
    let longest = brought.map_err(|error| words(&error))?;
    if let Err(error) = flushed {
        // It may be somebody else's chunk that was lost.
        if longest > 0 {
            core.waits.note(longest, false);
        }
        return Err(words(&error));
    }
    let here = core.disk.run(has).await.map_err(|error| words(&error))?;
    match here.iter().all(|here| *here) {
        true => Ok(()),
        false => {
            core.waits.note(longest, false);
            Err("the store did not keep all of its chunks".to_owned())
        }
    }
}

/// Brings chunks, and says how long the longest of them is.
async fn bring_chunks(core: &Arc<Core>, chunks: Vec<ChunkRef>) -> Result<u64, FetchError> {
    let mut fetch = Fetch::open(core, chunks, Purpose::CatchUp);
    let (mut longest, mut full) = (0, None);
    while let Some(chunk) = fetch.next().await {
        match chunk {
            Ok(chunk) => longest = longest.max(chunk.len() as u64),
            // What is under way is waited for: there is room for it.
            Err(error @ FetchError::NotKept { .. }) => {
                heed(core, &error);
                full = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    full.map_or(Ok(longest), Err)
}

/// Notes that there is no room, if that is what the error says.
fn heed(core: &Core, error: &FetchError) {
    match error {
        FetchError::NotKept { sealed_len, why, .. } => {
            let asks = matches!(**why, StageError::NoRoom(_));
            core.waits.note((*sealed_len).into(), asks);
        }
        FetchError::NoRoom { .. } => core.waits.note(MANIFEST, true),
        _ => {}
    }
}
